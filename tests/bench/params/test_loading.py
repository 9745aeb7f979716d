"""Reading params.yaml: what is refused at once, with its place and the nearest name."""

from __future__ import annotations

import pytest

from bench.contracts import ParamsError
from bench.params import loading
from tests.bench.params.toys import with_run, written


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "empty, or not a mapping"),
        (b"- 1\n- 2\n", "empty, or not a mapping"),
        (b"a: [1, 2", "not YAML"),
        (b"\xff\xfe\x00", "not UTF-8 at byte 0"),
        (b"tracking: 2026-99-99", "not YAML: .*month must be in 1..12"),
    ],
)
def test_a_file_that_is_no_mapping_is_refused(tmp_path, content, message):
    (tmp_path / "params.yaml").write_bytes(content)
    with pytest.raises(ParamsError, match=rf"{tmp_path}/params\.yaml: {message}"):
        loading.load(tmp_path / "params.yaml")


def test_a_key_that_is_given_twice_is_refused_with_its_line(tmp_path):
    path = written(tmp_path)
    path.write_text(path.read_text() + "threads: 1\nseed: 2\nthreads: 2\n")
    line = len(path.read_text().splitlines())
    with pytest.raises(ParamsError, match=rf"(?s)not YAML: key 'threads' is given twice.*line {line}, column 1"):
        loading.load(path)


def test_two_runs_of_one_name_are_refused(tmp_path):
    twice = {"baselines": {"plain": {"method": "input", "dataset": "gopro"}}}
    with pytest.raises(ParamsError, match=r"two runs have the name 'plain'"):
        loading.load(written(tmp_path, twice))


def test_a_missing_file_and_a_folder_are_refused(tmp_path):
    with pytest.raises(ParamsError, match=r"no\.yaml: no such file; run the command in the project's folder"):
        loading.load(tmp_path / "no.yaml")
    with pytest.raises(ParamsError, match="cannot be read: Is a directory"):
        loading.load(tmp_path)


@pytest.mark.parametrize(
    ("change", "place", "near"),
    [
        ({"sead": 1}, "sead", "seed"),
        ({"paths": {"dta": "x"}}, "paths.dta", "data"),
        ({"runs": {"deblur": {"plain": {"methd": "x"}}}}, "runs.deblur.plain.methd", "method"),
        ({"recipes": {"mrfnet": {"paper": {"trian": {}}}}}, "recipes.mrfnet.paper.trian", "train"),
        ({"tour": {"runs": {"a": {"method": "m", "dataset": "d", "titel": "x"}}}}, "tour.runs.a.titel", "title"),
        ({"evaluate": {"paper": {"metric": []}}}, "evaluate.paper.metric", "metrics"),
    ],
)
def test_a_misspelt_key_is_named_with_its_place_and_the_nearest(tmp_path, change, place, near):
    path = written(tmp_path, change)
    with pytest.raises(ParamsError) as caught:
        loading.load(path)
    first = next(line for line in str(caught.value).splitlines() if "unknown key" in line)
    assert first.startswith(f"{path}: {place}: unknown key; the nearest are: ")
    assert near in first.rpartition(": ")[2].split(", ")


def test_an_unknown_key_offers_only_the_keys_of_its_own_place(tmp_path):
    with pytest.raises(ParamsError) as caught:
        loading.load(written(tmp_path, {"paths": {"zzz": "x"}}))
    near = str(caught.value).rpartition(": ")[2].split(", ")
    assert sorted(near) == ["data", "originals", "out", "reports", "resume", "weights"]


@pytest.mark.parametrize(
    ("package", "key", "near"),
    [("recipes", "mrfnt", "mrfnet"), ("datasets", "goprro", "gopro")],
)
def test_a_block_for_an_entry_that_is_not_there_is_refused(tmp_path, package, key, near):
    with pytest.raises(ParamsError, match=rf"{package}\.{key}: no \w+ '{key}'; the nearest are: {near}"):
        loading.load(written(tmp_path, {package: {key: {}}}))


def test_a_run_names_its_method_like_its_file(tmp_path):
    with pytest.raises(
        ParamsError, match=r"method: found 'mrfnet-edges'; a method is named like its file here: write mrf"
    ):
        loading.load(written(tmp_path, with_run(method="mrfnet-edges")))


def test_a_dataset_is_named_with_hyphens(tmp_path):
    with pytest.raises(
        ParamsError, match=r"dataset: found 'canon_dp'; a dataset is named with hyphens: write canon-dp"
    ):
        loading.load(written(tmp_path, with_run(method="dpdnet", dataset="canon_dp")))


def test_a_misspelt_profile_block_is_refused(tmp_path):
    with pytest.raises(ParamsError, match=r"defaults\.sampel.*found 'sampel'; input should be 'paper', 'sample'"):
        loading.load(written(tmp_path, {"defaults": {"sampel": {}}}))


def test_seeds_below_zero_are_refused(tmp_path):
    with pytest.raises(ParamsError, match=r"seed: found -1; input should be greater than or equal to 0"):
        loading.load(written(tmp_path, {"seed": -1}))
    with pytest.raises(ParamsError, match=r"runs\.deblur\.plain\.seed: found -3; input should be greater"):
        loading.load(written(tmp_path, with_run(seed=-3)))


def test_several_mistakes_come_in_one_message(tmp_path):
    with pytest.raises(ParamsError) as caught:
        loading.load(written(tmp_path, {"sead": 1, "threads": -2}))
    assert len(str(caught.value).splitlines()) == 2


def test_an_unknown_task_is_refused_with_the_known_ones(tmp_path):
    with pytest.raises(ParamsError, match=r"task: .*no task 'deblurr'; expected one of deblur, inpaint, sharp-inpaint"):
        loading.load(written(tmp_path, with_run(task="deblurr")))


def test_the_profile_is_the_arguments_the_environments_or_the_files(tmp_path, monkeypatch):
    path = written(tmp_path)
    assert loading.load(path).profile == "sample"
    monkeypatch.setenv("SHARPBENCH_PROFILE", "tour")
    assert loading.load(path).profile == "tour"
    assert loading.load(path, "paper").profile == "paper"


@pytest.mark.parametrize("profile", ["papr", "PAPER", ""])
def test_an_unknown_profile_is_refused(tmp_path, monkeypatch, profile):
    path = written(tmp_path, {"profile": profile})
    with pytest.raises(ParamsError, match=rf"{path}: profile: found '{profile}', the nearest are: .*paper"):
        loading.load(path)
    if profile:
        monkeypatch.setenv("SHARPBENCH_PROFILE", profile)
        with pytest.raises(ParamsError, match=f"profile: found '{profile}'"):
            loading.load(written(tmp_path))

"""The rule of names: what keeps it, what breaks it, and that every way to give a name ends there, before any work."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from bench.contracts import DataError, Item, ParamsError
from bench.data import build
from bench.names import LONGEST, as_name, check_name, fault_of
from bench.params import loading
from bench.runs import check_new_name
from bench.scoring.plans import find_plan
from tests.bench.params.toys import PROJECT, written

BROKEN = (
    "", ".", "..", "../x", "/absolute", "a/b", "a\\b", "-option", ".hidden", "+x", "a b", "a;b", "$(ls)", "a'b", "a\nb",
    "a\0b", "dot.", "größe", "\ud800", "x" * (LONGEST + 1), "con", "NUL", "com1.png", "a:b", "a%2e",
)  # fmt: skip
RUN = {"method": "mrfnet", "dataset": "gopro"}


@pytest.mark.parametrize("name", BROKEN, ids=ascii)
def test_a_name_that_breaks_the_rule_is_refused_and_a_file_of_it_gets_another(name):
    with pytest.raises(ParamsError, match=r"^here: found .*, expected ") as refusal:
        check_name(name, "here")
    assert len(str(refusal.value)) < 300
    assert fault_of(as_name(name)) == ""


@pytest.mark.parametrize("name", ["a", "7", "dmphn+rn", "Mrfnet_2.x-y", "x" * LONGEST, "1P0A0001", "console", "a--b+"])
def test_a_name_that_keeps_the_rule_stays_as_it_is(name):
    check_name(name, "here")
    assert as_name(name) == name


def test_all_names_of_the_project_keep_the_rule():
    names = [
        name
        for section in (PROJECT, PROJECT["tour"])
        for key in ("datasets", "auxiliary", "baselines", "transfers", "chains")
        for name in section.get(key, ())
    ]
    groups = PROJECT["runs"] | PROJECT["searches"]
    names += [*groups, *(name for group in groups.values() for name in group)]
    assert len(names) > 80 and [name for name in names if fault_of(name)] == []


PLACES: dict[str, Any] = {
    "runs.deblur": lambda name: {"runs": {"deblur": {name: RUN}}},
    "runs": lambda name: {"runs": {name: {"x": RUN}}},
    "runs.deblur.x.method": lambda name: {"runs": {"deblur": {"x": RUN | {"method": name}}}},
    "runs.deblur.x.dataset": lambda name: {"runs": {"deblur": {"x": RUN | {"dataset": name}}}},
    "runs.deblur.x.variant": lambda name: {"runs": {"deblur": {"x": RUN | {"variant": name}}}},
    "baselines": lambda name: {"baselines": {name: RUN}},
    "transfers": lambda name: {"transfers": {name: {"run": "plain", "dataset": "kohler"}}},
    "transfers.x.run": lambda name: {"transfers": {"x": {"run": name, "dataset": "kohler"}}},
    "chains": lambda name: {"chains": {name: {"first": "plain", "second": "plain", "dataset": "gopro"}}},
    "chains.x.first": lambda name: {"chains": {"x": {"first": name, "second": "plain", "dataset": "gopro"}}},
    "searches": lambda name: {"searches": {name: {}}},
    "searches.search": lambda name: {"searches": {"search": {name: RUN | {"of": {"group": "deblur", "run": "plain"}}}}},
    "searches.search.x.of.run": lambda name: {
        "searches": {"search": {"x": RUN | {"of": {"group": "deblur", "run": name}}}}
    },
    "datasets": lambda name: {"datasets": {name: {}}},
    "auxiliary": lambda name: {"auxiliary": {name: {"dataset": "gopro", "map": "texture"}}},
    "auxiliary.x.map": lambda name: {"auxiliary": {"x": {"dataset": "gopro", "map": name}}},
    "evaluate.sample.images": lambda name: {"evaluate": {"sample": {"images": {name: []}}}},
    "evaluate.sample.images.gopro.0": lambda name: {"evaluate": {"sample": {"images": {"gopro": [name]}}}},
    "recipes.mrfnet.variants": lambda name: {"recipes": {"mrfnet": {"variants": {name: {}}}}},
    "tour.datasets": lambda name: {"tour": {"datasets": {name: True}}},
    "tour.runs": lambda name: {"tour": {"runs": {name: RUN}}},
    "tour.baselines": lambda name: {"tour": {"baselines": {name: RUN}}},
    "tour.chains": lambda name: {"tour": {"chains": {name: {"first": "x", "second": "x", "dataset": "gopro"}}}},
}
"""Every place of `params.yaml` that holds a name: the changes that put a name there."""


@pytest.mark.parametrize("place", PLACES)
def test_params_yaml_is_refused_with_the_place_of_a_name_that_breaks_the_rule(place, tmp_path):
    for name in ("../../victim", "x; touch RAN", "y" * 5000):
        with pytest.raises(ParamsError, match=rf"params\.yaml: {place}.*; expected ASCII letters") as refusal:
            loading.load(written(tmp_path, PLACES[place](name)))
        assert len(str(refusal.value)) < 600, "a long name fills the screen"


def test_runs_that_differ_in_upper_and_lower_case_alone_are_refused(tmp_path):
    clash = written(tmp_path, {"baselines": {"PLAIN": {"method": "input", "dataset": "gopro"}}})
    with pytest.raises(ParamsError, match="two runs have the names 'plain' and 'PLAIN'"):
        loading.load(clash)


def test_stages_of_auxiliary_maps_that_differ_in_upper_and_lower_case_alone_are_refused(tmp_path):
    stage = {"dataset": "paris-streetview", "map": "texture"}
    with pytest.raises(ParamsError, match="auxiliary: two stages have the names 'Texture' and 'texture'"):
        loading.load(written(tmp_path, {"auxiliary": {"texture": stage, "Texture": stage}}))


@pytest.mark.parametrize(
    ("name", "message"), [("../x", "expected ASCII"), ("PLAIN", "'plain' is a run of params.yaml")]
)
def test_a_label_or_an_imported_run_gets_a_name_that_is_valid_and_free(tmp_path, name, message):
    with pytest.raises(ParamsError, match=f"--label: .*{message}"):
        check_new_name(loading.load(written(tmp_path)), name, "--label")


def test_scores_on_another_dataset_replace_no_run_of_that_name(tmp_path):
    taken = {"baselines": {"plain-on-kohler": {"method": "input", "dataset": "gopro"}}}
    with pytest.raises(Exception, match="--on: these scores would replace those of the run 'plain-on-kohler'"):
        find_plan(loading.load(written(tmp_path, taken)), "plain", "kohler")


def item(name: str, source: str = "a.png") -> Item:
    return Item(name, "train", lambda rng: None, source, "mine")  # type: ignore[arg-type,return-value]


@pytest.mark.parametrize(
    ("items", "message"),
    [
        ([item("../../escaped")], r"gopro: train: an image of the name '\.\./\.\./escaped', expected ASCII"),
        ([item("a"), item("b"), item("a")], "two images of split train have the name a"),
        ([item("a"), item("A")], "two images of split train have the names a and A, one file on some disks"),
        ([item("a", "\udcff.png")], r"the file '\\udcff\.png': its name is not UTF-8"),
    ],
)
def test_a_dataset_with_names_that_cannot_be_files_is_refused(items, message):
    with pytest.raises(DataError, match=message):
        build._check_names("gopro", items)


def test_a_users_files_with_spaces_become_valid_images(tmp_path: Path):
    assert [as_name(path) for path in ("IMG 1 (2)", "Straße.é")] == ["IMG-1-2", "Stra-e"]

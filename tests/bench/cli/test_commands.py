"""What the small commands print, and how commands refuse bad names, options and parameters."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from bench import registry
from bench.cli.main import main

ROOT = Path(__file__).parents[3]
PARAMS = """
profile: sample
runs:
  deblur:
    mrfnet-gopro: {method: mrfnet, dataset: gopro}
baselines:
  input-gopro: {method: input, dataset: gopro}
"""


@pytest.fixture
def project(tmp_path, monkeypatch):
    monkeypatch.delenv("SHARPBENCH_PROFILE", raising=False)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    (tmp_path / "params.yaml").write_text(PARAMS)
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "a.png").touch()
    monkeypatch.chdir(tmp_path)
    return tmp_path


def refused(capsys, *arguments: str) -> str:
    """Run a command that must refuse its input; return its one message."""
    assert main(arguments) == 2
    printed = capsys.readouterr()
    assert "Traceback" not in printed.err and printed.out == ""
    assert printed.err.startswith(f"sharpbench {arguments[0]}: ")
    assert len(printed.err.splitlines()) == 1
    return printed.err


# Bad input ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("train", "mrfnet-gorpo"), "no run 'mrfnet-gorpo'; the nearest are: mrfnet-gopro"),
        (("evaluate", "mrfnt-gopro"), "no run 'mrfnt-gopro'; the nearest are: mrfnet-gopro"),
        (("build", "gopr"), "no entry 'gopr' in datasets/; the nearest are: gopro"),
        (("auxiliary", "gopr"), "no entry 'gopr' in datasets/; the nearest are: gopro"),
        (("verify", "gopr", "--originals", "."), "no entry 'gopr' in datasets/; the nearest are: gopro"),
        (
            ("import", "mrfnt", "w.pth", "--dataset", "gopro", "--name", "x"),
            "no entry 'mrfnt' in methods/; the nearest are: mrfnet",
        ),
        (("settings", "mrfnet-gorpo"), "no run 'mrfnet-gorpo'; the nearest are: mrfnet-gopro"),
        (("restore", "mrfnet-gorpo", "images/a.png", "--out", "."), "no run 'mrfnet-gorpo'; the nearest are: "),
    ],
)
def test_an_unknown_name_gives_the_nearest(project, capsys, arguments, expected):
    assert expected in refused(capsys, *arguments)
    assert sorted(path.name for path in project.iterdir()) == ["images", "params.yaml"]


def test_an_unknown_metric_gives_the_nearest(project, capsys):
    with (project / "params.yaml").open("a") as file:
        file.write("evaluate: {sample: {metrics: [psnr-rgb]}}\n")
        file.write("datasets: {gopro: {offline: {draws: 1, test_draws: 1, max_side: 128}}}\n")
    assert main(["build", "gopro", "--jobs", "1"]) == 0
    capsys.readouterr()
    message = refused(capsys, "evaluate", "input-gopro")
    assert "'psnr-rgb'" in message and "psnr-rgb8" in message
    assert not (project / "out").exists()


OFFICIAL = ("--originals", ".")


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("gopro", "--option", "max_side=8"), "datasets.gopro.offline.max_side: found 8, expected a whole number of "),
        (("gopro", "--option", "step=.inf"), "--option step: not YAML: the number .inf; expected a finite one"),
        (
            ("gopro", *OFFICIAL, "--option", "response=log"),
            "datasets.gopro.originals.response: found 'log', expected '",
        ),
        (
            ("gopro", *OFFICIAL, "--option", "partial=true"),
            "gopro.originals.partial: not an option of a dataset; to use ",
        ),
        (("gopro", *OFFICIAL, "--option", "root=x"), "gopro.originals.root: not an option of a dataset; give the f"),
        (("visdrone", *OFFICIAL, "--option", "prt=det"), ".prt: unknown argument; the nearest are: part\n"),
        (("visdrone", "--option", "generator=rfrr"), "datasets.visdrone.offline.generator: found 'rfrr'; the nearest"),
        (
            ("places2", *OFFICIAL, "--option", "num_train=abc"),
            "originals.num_train: found 'abc', expected int or null\n",
        ),
        (("places2", *OFFICIAL, "--option", "masks=5"), "originals.masks: found 5, expected str or null (a number to "),
        (("places2", *OFFICIAL, "--option", "resolution=256"), 'it is "256", and in a shell \'resolution="256"\')'),
        (("canon-dp", "--option", "camera_set=[1]"), "offline.camera_set: found [1], expected int or null\n"),
        (("gopro", "--option", "x=[1"), "--option x: not YAML: while parsing a flow sequence did not find expected"),
        (("gopro", "--option", "x=2020-13-45"), "--option x: not YAML: a value that its type does not allow"),
        (("gopro", "--option", "draws"), "--option: found 'draws', expected NAME=VALUE"),
        (("gopro", "--partial"), "--partial: the stand-in of gopro is never incomplete; give the official files with"),
    ],
)
def test_a_wrong_dataset_option_is_named_with_its_place(project, capsys, arguments, expected):
    message = refused(capsys, "build", *arguments)
    assert expected in message and message.count("params.yaml: datasets.") == message.count(f"datasets.{arguments[0]}.")
    assert not (project / "data").exists()


def test_partial_in_params_yaml_is_refused_with_the_command_to_use_instead(project, capsys):
    with (project / "params.yaml").open("a") as file:
        file.write("datasets: {gopro: {originals: {partial: true}}}\n")
    assert refused(capsys, "build", "gopro", "--originals", ".").endswith(
        "params.yaml: datasets.gopro.originals.partial: not an option of a dataset; to use fewer files than the "
        "official count, build by hand: python -m bench build gopro --originals DIR --partial\n"
    )


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("train", "mrfnet-gopro"), "manifest.parquet: not built yet; run: python -m bench build gopro"),
        (("train", "input-gopro"), "input needs no training; run: python -m bench evaluate input-gopro"),
        (("evaluate", "mrfnet-gopro"), "python -m bench"),
        (("auxiliary", "gopro"), "gopro: no method of a run on it needs auxiliary maps; train at once"),
        (("build", "gopro", "--originals", "none"), "none: no such folder. GOPRO"),
        (("report",), "nothing was scored yet; run: dvc repro"),
        (("dashboard",), "mlflow.db: no runs yet; run: dvc repro"),
    ],
)
def test_a_missing_prerequisite_is_named_with_the_next_step(project, capsys, arguments, expected):
    assert expected in refused(capsys, *arguments)


def test_a_misspelt_key_and_a_missing_file_are_one_message_each(project, capsys):
    (project / "params.yaml").write_text("profile: sample\nrunz: {}\n")
    assert "params.yaml: runz: unknown key; the nearest are: runs" in refused(capsys, "train", "x")
    (project / "params.yaml").unlink()
    assert "params.yaml: no such file; run the command in the project's folder" in refused(capsys, "train", "x")


def test_an_unknown_profile_is_refused(project, capsys):
    assert main(["--profile", "papr", "train", "mrfnet-gopro"]) == 2
    assert "profile: found 'papr', the nearest are: paper" in capsys.readouterr().err


# Lists ----------------------------------------------------------------------------------------------------------------


def test_list_prints_methods_datasets_metrics_and_runs(project, capsys):
    assert main(["list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    first_words = {line.split()[0] for line in lines if line.startswith("  ")}
    assert set(registry.names("methods")) | set(registry.names("datasets")) <= first_words
    assert {"psnr-rgb8", "ssim-gauss11", "lpips-alex", "mrfnet-gopro", "input-gopro"} <= first_words
    assert [line for line in lines if not line.startswith("  ")] == [
        f"methods ({len(registry.names('methods'))})",
        f"datasets ({len(registry.names('datasets'))})",
        next(line for line in lines if line.startswith("metrics (")),
        "runs of profile sample (2)",
    ]


@pytest.mark.parametrize(
    ("name", "address"),
    [
        ("gopro", "https://seungjunnah.github.io/Datasets/gopro"),
        ("visdrone", "https://github.com/VisDrone/VisDrone-Dataset"),
        ("places2", "places2.csail.mit.edu/download.html"),
        ("paris-streetview", "github.com/pathak22/context-encoder"),
        ("canon-dp", "github.com/Abdullah-Abuolaim/defocus-deblurring-dual-pixel"),
        ("kohler", "https://webdav.tuebingen.mpg.de/pixel/benchmark4camerashake/"),
    ],
)
def test_the_list_of_datasets_has_the_address_of_each(capsys, name, address):
    assert main(["list", "datasets"]) == 0
    line = next(line for line in capsys.readouterr().out.splitlines() if line.startswith(f"  {name} "))
    assert line.endswith(f"  {address}")


@pytest.mark.parametrize("what", ["methods", "datasets", "metrics"])
def test_lists_of_entries_need_no_parameters(tmp_path, monkeypatch, capsys, what):
    monkeypatch.chdir(tmp_path)
    assert main(["list", what]) == 0
    assert capsys.readouterr().out.startswith(f"{what} (")


# Settings -------------------------------------------------------------------------------------------------------------


def test_settings_merge_defaults_method_and_run_in_the_profile(project, capsys):
    (project / "params.yaml").write_text(
        "profile: sample\n"
        "defaults: {paper: {train: {lr: 1.0e-4, epochs: 50}}, sample: {train: {steps: 300}}}\n"
        "recipes: {mrfnet: {sample: {network: {channels: 12}}}}\n"
        "runs: {deblur: {mrfnet-gopro: {method: mrfnet, dataset: gopro, train: {lr: 2.0e-3},\n"
        "                               paper: {train: {epochs: 70}}}}}\n"
    )
    assert main(["settings", "mrfnet-gopro"]) == 0
    sample = yaml.safe_load(capsys.readouterr().out)
    assert (sample["task"], sample["network"]) == ("deblur", {"channels": 12})
    assert (sample["train"]["lr"], sample["train"]["steps"]) == (2e-3, 200)
    assert main(["--profile", "paper", "settings", "mrfnet-gopro"]) == 0
    paper = yaml.safe_load(capsys.readouterr().out)
    assert (paper["network"], paper["train"]["lr"], paper["train"]["epochs"]) == ({}, 2e-3, 70)


def test_settings_write_the_files_that_stages_depend_on(project, capsys):
    """An edit changes the files of the runs that use it; an edit of another profile changes none."""
    text = """\
profile: sample
threads: 2
evaluate: {paper: {metrics: [mae], timing_repeats: 9}, sample: {timing_repeats: 3}}
recipes: {mrfnet: {paper: {train: {lr: 1.0e-4}}, sample: {train: {lr: 2.0e-3}}}}
runs: {deblur: {a: {method: mrfnet, dataset: gopro}, b: {method: dmphn, dataset: gopro, train: {steps: 7}}}}
baselines: {c: {method: input, dataset: gopro}}
tour: {runs: {d: {method: mrfnet, dataset: gopro}}}
"""

    def files(changed: str) -> dict[str, Any]:
        (project / "params.yaml").write_text(changed)
        assert main(["settings", "--out", "settings"]) == 0
        folder = project / "settings"
        paths = folder.rglob("*.yaml")
        return {path.relative_to(folder).as_posix(): yaml.safe_load(path.read_text()) for path in paths}

    first = files(text)
    evaluated = {f"evaluate/{name}.yaml" for name in "abc"}
    assert set(first) == {"train/a.yaml", "train/b.yaml", *evaluated, "report.yaml", "checked.yaml"}
    scored = first["evaluate/c.yaml"]
    assert (scored["evaluation"]["metrics"], scored["evaluation"]["timing_repeats"]) == (["mae"], 3)
    assert [recipe["method"] for recipe in scored["recipes"]] == ["input"]
    a, b = first["train/a.yaml"], first["train/b.yaml"]
    assert (a["threads"], a["train"]["lr"], b["train"]["steps"], b["task"]) == (2, 2e-3, 7, "deblur")
    assert a["code"] != b["code"] and len(a["code"]) == 64
    assert files(text.replace("lr: 1.0e-4", "lr: 3.0e-4").replace("timing_repeats: 9", "timing_repeats: 8")) == first
    longer = files(text.replace("steps: 7", "steps: 8"))
    assert [name for name in first if longer[name] != first[name]] == ["train/b.yaml"]
    fewer = files(text.replace("b: {method: dmphn, dataset: gopro, train: {steps: 7}}", ""))
    assert set(first) - set(fewer) == {"train/b.yaml", "evaluate/b.yaml"}
    assert capsys.readouterr().out == ""


# The package `datasets` -----------------------------------------------------------------------------------------------

IMPORT_ALL = """
import runpy, sys
sys.argv = ["bench", "list", "datasets"]
try:
    runpy.run_module("bench", run_name="__main__")
except SystemExit as end:
    assert not end.code, end.code
import torch, accelerate, mlflow, optuna
from bench.torchvision_shim import make_importable
make_importable()
import lpips
from accelerate import Accelerator
import datasets
print()
print(datasets.__file__)
print(*sorted({name for name in sys.modules if name.split(".")[0] == "datasets"}))
"""


def test_the_package_datasets_is_ours_and_nothing_imports_that_of_hugging_face():
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", IMPORT_ALL], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    *_, file, modules = done.stdout.splitlines()
    assert Path(file) == ROOT / "datasets" / "__init__.py"
    files = [path.relative_to(ROOT).with_suffix("") for path in (ROOT / "datasets").rglob("*.py")]
    ours = {".".join(file.parts).removesuffix(".__init__") for file in files}
    assert set(modules.split()) <= ours

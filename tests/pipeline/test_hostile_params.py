"""A `params.yaml` of somebody else: its names reach no shell and no folder but their own, whatever they hold."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.pipeline.test_pipeline import FILES, ROOT, cloned, stages_of

HOSTILE = ("x; touch RAN; '; touch RAN; '\"; touch RAN; \"$(touch RAN)`touch RAN`", "x\ntouch RAN\n")
"""Names that run a command where a shell reads them as a part of its own text, in quotes or not."""


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the project, with files of the user and of earlier stages."""
    folder = cloned(tmp_path_factory.mktemp("clone"))
    for name in ("originals/photograph.png", "data/sample/gopro/manifest.parquet"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("precious")
    return folder


def repro(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    environment |= {"DVC_NO_ANALYTICS": "1", "PYTHONPATH": str(folder)}
    command = [sys.executable, "-m", "dvc", "repro", *arguments]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.relative_to(ROOT).as_posix())
def test_no_command_of_the_pipeline_holds_a_value_of_params_yaml(file):
    for name, stage in stages_of(file).items():
        assert "${" not in stage["cmd"], name
        assert re.findall(r"\$\w+", stage["cmd"]) in (["$PATH"], ["$PATH", "$DVC_STAGE"]), name
        assert stage["cmd"].count('"$DVC_STAGE"') == stage["cmd"].count("DVC_STAGE"), name


def test_a_hostile_profile_runs_nothing(clone):
    text = (clone / "params.yaml").read_text()
    for hostile in ("sample; touch RAN #", "$(touch RAN)", "../originals"):
        (clone / "params.yaml").write_text(text.replace("profile: sample", f"profile: {hostile!r}", 1))
        done = repro(clone, "-s", "pipeline/data/dvc.yaml:settings")
        assert ("is ignored" if "originals" in hostile else "profile: found") in done.stderr and done.returncode != 0
    (clone / "params.yaml").write_text(text)
    assert not list(clone.rglob("RAN*")) and (clone / "originals" / "photograph.png").is_file()


def test_a_hostile_name_runs_nothing_even_where_an_earlier_stage_has_left_all_its_files(clone):
    """Without the check of `settings`: DVC is told to run this one stage, and finds all that the stage depends on."""
    text = (clone / "params.yaml").read_text()
    values = yaml.safe_load(text)
    values["runs"]["deblur"] = {name: {"method": "mrfnet", "dataset": "gopro"} for name in HOSTILE}
    (clone / "params.yaml").write_text(yaml.safe_dump(values))
    settings = clone / "out" / "sample" / "settings"
    for name in ("checked", *(f"train/{hostile}" for hostile in HOSTILE)):
        (settings / f"{name}.yaml").parent.mkdir(parents=True, exist_ok=True)
        (settings / f"{name}.yaml").write_text("")
    for hostile in HOSTILE:
        done = repro(clone, "-s", f"pipeline/deblur/dvc.yaml:train@{hostile}")
        assert '-m bench train "$DVC_STAGE"' in done.stdout, "the command has not been reached"
        assert "expected ASCII letters" in done.stderr and done.returncode != 0
    (clone / "params.yaml").write_text(text)
    assert not list(clone.rglob("RAN*"))


def test_a_name_that_leads_elsewhere_deletes_nothing(clone):
    """DVC deletes the outputs of a stage before it runs it: out/sample/scores/../../../originals is originals."""
    text = (clone / "params.yaml").read_text()
    for section, address in (("baselines", "baselines/dvc.yaml:evaluate"), ("datasets", "data/dvc.yaml:build")):
        values = yaml.safe_load(text)
        up = "../../../originals" if section == "baselines" else "../../originals"
        values[section] = {up: {"method": "input", "dataset": "gopro"} if section == "baselines" else {}}
        (clone / "params.yaml").write_text(yaml.safe_dump(values))
        assert repro(clone, "-s", f"pipeline/{address}@{up}").returncode != 0
        assert repro(clone, f"pipeline/{address}@{up}").returncode != 0
        assert (clone / "originals" / "photograph.png").read_text() == "precious"
    (clone / "params.yaml").write_text(text)

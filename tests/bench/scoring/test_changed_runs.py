"""Files of a run and of its evaluation that have changed: whoever reads them refuses them and names the file."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pandas as pd
import pytest
import yaml
from PIL import Image
from safetensors.torch import load_file, save_file

from bench.cli.means import print_means
from bench.contracts import DataError
from tests.bench.scoring.toys import image_values
from tests.conftest import Project
from tests.images import flip_byte

RUN = "mrfnet-gopro"


@pytest.fixture
def copy(ready: Project, tmp_path: Path) -> Project:
    """A second project with the trained run, on the same built sets."""
    values = yaml.safe_load((ready.folder / "params.yaml").read_text())
    values["paths"] = {"data": str(ready.folder / "data")}
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(values))
    shutil.copytree(ready.folder / "out" / "sample" / "runs" / RUN, tmp_path / "out" / "sample" / "runs" / RUN)
    return Project(tmp_path)


def file_of(project: Project, name: str, kind: str = "runs") -> Path:
    return project.folder / "out" / "sample" / kind / RUN / name


def test_an_unchanged_run_is_evaluated_with_equal_numbers(ready, copy):
    for project in (ready, copy):
        project.good("evaluate", RUN)
    pd.testing.assert_series_equal(image_values(copy.scores(RUN)), image_values(ready.scores(RUN)))
    files = copy.record(RUN).files
    assert {"scores.parquet", "losses.parquet", "images/median.restored.png"} <= set(files)
    assert files["losses.parquet"] == ready.record(RUN).files["losses.parquet"]


@pytest.mark.parametrize("swapped", [False, True], ids=["one byte", "other weights"])
def test_weights_that_have_changed_are_refused(copy, swapped):
    path = file_of(copy, "weights.safetensors")
    if swapped:
        save_file({name: value + 1 for name, value in load_file(path).items()}, path)
    else:
        flip_byte(path)
    Image.new("RGB", (40, 40)).save(copy.folder / "photo.png")
    (copy.folder / "out" / "sample" / "restored").mkdir()
    for command in (["evaluate", RUN], ["restore", RUN, "photo.png", "--out", "out/sample/restored"]):
        message = copy.bad(*command)
        assert f"{RUN}/weights.safetensors: has changed since it was written: its SHA-256 begins with " in message
        assert f"; restore this file, or make the run {RUN} again" in message
    path.unlink()
    assert "weights.safetensors: missing; restore this file" in copy.bad("evaluate", RUN)


@pytest.mark.parametrize("swapped", [False, True], ids=["one byte", "other losses"])
def test_losses_that_have_changed_are_not_copied(copy, swapped):
    path = file_of(copy, "losses.parquet")
    if swapped:
        losses = pd.read_parquet(path)
        losses.assign(value=losses["value"] / 2).to_parquet(path)
    else:
        flip_byte(path)
    assert "losses.parquet: has changed since it was written" in copy.bad("evaluate", RUN)


def test_a_record_that_was_edited_is_refused(copy):
    path = file_of(copy, "record.json")
    path.write_text(json.dumps(json.loads(path.read_text()) | {"train_seconds": 0.5}))
    assert f"{RUN}/record.json: has changed since it was written" in copy.bad("evaluate", RUN)


def test_raised_scores_are_neither_printed_nor_reported_nor_checked(copy):
    copy.good("evaluate", RUN)
    copy.good("report")
    path = file_of(copy, "scores.parquet", "scores")
    scores = pd.read_parquet(path)
    scores.loc[scores["metric"] == "psnr-rgb8", "value"] += 5
    scores.to_parquet(path, index=False)
    with pytest.raises(DataError, match=r"scores\.parquet: has changed since it was written"):
        print_means(path.parent)
    for command in ("report", "check"):
        assert f"{RUN}/scores.parquet: has changed since it was written" in copy.bad(command)

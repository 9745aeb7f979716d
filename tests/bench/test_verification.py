"""`check --deep`: it reads every recorded file of a profile, counts it, and lists everything that has changed."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import yaml

from tests.bench.search.toys import SEARCH, toy_method
from tests.conftest import PARAMS, Project
from tests.images import flip_byte


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A project with two built sets, one of them with an auxiliary map, a run, two evaluations and a search."""
    folder = tmp_path_factory.mktemp("whole")
    values = yaml.safe_load(PARAMS)
    values["runs"]["all"]["dgfnet-paris"] = {"method": "dgfnet", "dataset": "paris-streetview"}
    values["recipes"]["mrfnet"] = {"sample": {"network": {}, "train": {"lr": 0.05, "weights": {"near": 0.05}}}}
    values["search"] = {"sample": {"trials": 1, "share": 0.5, "rungs": [0.5], "validation": 0.3, "images": 1}}
    values["searches"] = {"all": {"mrfnet-searched": SEARCH}}
    (folder / "params.yaml").write_text(yaml.safe_dump(values))
    project = Project(folder)
    for arguments in (("build", "gopro"), ("build", "paris-streetview"), ("auxiliary", "paris-streetview")):
        project.good(*arguments, "--jobs", "1")
    with toy_method():
        for command in ("search", "train", "evaluate"):
            project.good(command, "mrfnet-gopro")
    project.good("evaluate", "input-gopro")
    return project


@pytest.fixture
def copy(whole: Project, tmp_path: Path) -> Project:
    return Project(Path(shutil.copytree(whole.folder, tmp_path / "copy")))


def deep(project: Project) -> list[str]:
    """The faults that `check --deep` lists."""
    done = project.run("check", "--deep")
    assert done.status == 2 and "Traceback" not in done.err
    first, *faults = done.err.splitlines()
    assert first == (f"sharpbench check: {len(faults)} files or images of packed files are missing or have changed:")
    return [fault.strip() for fault in faults]


def test_everything_is_counted(whole):
    done = whole.run("check", "--deep")
    recorded = [
        path
        for pattern in ("data/sample/**/*", "out/sample/runs/**/*", "out/sample/scores/**/*", "out/sample/search/**/*")
        for path in whole.folder.glob(pattern)
        if path.is_file() and path.name != "manifest.sha256"
    ]
    total = sum(path.stat().st_size for path in recorded)
    assert done.out == f"sample: {len(recorded):,} files, {total:,} bytes: all as they were written\n"
    assert done.status == 2 and "is not a report" in done.err  # none was rendered


DAMAGED = (
    "data/sample/gopro/manifest.parquet", "data/sample/gopro/manifest.sha256", "data/sample/gopro/test/target/*.png",
    "data/sample/gopro/train/blurred/*.png",
    "data/sample/gopro/packed/target.bin", "data/sample/paris-streetview.auxiliary/texture/packed.bin",
    "data/sample/paris-streetview.auxiliary/texture/digests.txt",
    "data/sample/paris-streetview.auxiliary/texture/manifest.json",
    "out/sample/runs/mrfnet-gopro/weights.safetensors", "out/sample/runs/mrfnet-gopro/losses.parquet",
    "out/sample/runs/mrfnet-gopro/record.json", "out/sample/scores/input-gopro/scores.parquet",
    "out/sample/scores/input-gopro/images/median.restored.png", "out/sample/scores/mrfnet-gopro/losses.parquet",
    "out/sample/search/mrfnet-gopro/trials.parquet", "out/sample/search/mrfnet-gopro/winner.yaml",
    "out/sample/search/mrfnet-gopro/study.json",
)  # fmt: skip


@pytest.mark.parametrize("pattern", DAMAGED)
def test_one_changed_byte_anywhere_is_a_fault(copy, pattern):
    path = sorted(copy.folder.glob(pattern))[0]
    flip_byte(path)
    [fault] = deep(copy)
    place = path.relative_to(copy.folder)
    assert str(place.with_suffix("")) in fault
    path.unlink()
    [fault] = deep(copy)
    assert str(place.parent) in fault


def test_all_faults_are_listed(copy):
    kept = [
        pattern for pattern in DAMAGED if not pattern.endswith((".sha256", "manifest.parquet", ".json", "digests.txt"))
    ]
    for pattern in kept:
        flip_byte(sorted(copy.folder.glob(pattern))[0])
    assert len(deep(copy)) == len(kept)

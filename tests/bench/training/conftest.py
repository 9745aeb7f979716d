"""A project with one built dataset, for the tests of the training."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
import yaml

from bench.data import manifest
from bench.data.build import Job, build
from tests.bench.training.toys import SHORT, SUPERVISED

GAN = {
    "method": "edgeconnect",
    "dataset": "places2",
    "network": {"channels": 4, "num_blocks": 1, "critic_channels": 4},
}
LONG = SHORT | {"steps": 200, "augment": ["flip_horizontal", "rotate", "noise"]}
PHASES = SHORT | {"phases": {"edge": 60, "inpaint": 60, "joint": 60}}
RUNS = {
    "plain-undisturbed": SUPERVISED | {"train": LONG},
    "plain-killed": SUPERVISED | {"train": LONG},
    "gan-undisturbed": GAN | {"train": PHASES},
    "gan-killed": GAN | {"train": PHASES},
    "terminated": SUPERVISED | {"train": LONG},
    "short": SUPERVISED | {"train": SHORT | {"steps": 12}},
    "random": GAN | {"train": SHORT | {"phases": {"inpaint": 1}, "random_helpers": True}},
    "shared": SUPERVISED | {"train": SHORT | {"steps": 12, "batch_size": 4, "lr": 1e-4}},
}


@pytest.fixture(scope="package")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with parameters and a built dataset of nine small images."""
    folder = tmp_path_factory.mktemp("project")
    values = {"profile": "sample", "threads": 1, "checkpoint_seconds": 0.05, "runs": {"deblur": RUNS}}
    (folder / "params.yaml").write_text(yaml.safe_dump(values))
    job = Job("places2", None, {"draws": 1, "test_draws": 1}, 0, "sample")
    build(job, folder / "data" / "sample" / "places2", 1)
    return folder


@pytest.fixture
def built(project: Path) -> manifest.BuiltSet:
    return manifest.read(project / "data" / "sample" / "places2")


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)

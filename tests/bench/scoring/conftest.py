"""What tests of scoring share: a project with runs, images that a run restored, and pictures."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.conftest import PARAMS, Project


@pytest.fixture(scope="session")
def ready(tmp_path_factory) -> Project:
    """A project with its sets built and its runs trained: one in truth, the others with weights as they are drawn."""
    folder = tmp_path_factory.mktemp("ready")
    (folder / "params.yaml").write_text(PARAMS)
    project = Project(folder)
    for dataset in ("gopro", "places2", "kohler", "canon-dp"):
        project.good("build", dataset, "--jobs", "1")
    project.good("train", "mrfnet-gopro")
    for name in ("dmphn-places2", "rn-places2", "dpdnet-canon-dp"):
        project.pretend_trained(name)
    return project


@pytest.fixture(scope="session")
def saved(ready, tmp_path_factory) -> Path:
    """The files that `evaluate --save` writes for the trained run."""
    folder = tmp_path_factory.mktemp("saved")
    ready.good("evaluate", "mrfnet-gopro", "--save", folder)
    return folder

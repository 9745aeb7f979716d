"""A project with a searched run of one parameter."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import pytest
import yaml

from tests.bench.search.toys import SEARCH, toy_method
from tests.conftest import PARAMS, Project


@pytest.fixture(scope="package")
def searched(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A project whose one method has one parameter, with its dataset built and its run searched."""
    folder = tmp_path_factory.mktemp("toy")
    values = yaml.safe_load(PARAMS)
    values["recipes"]["mrfnet"] = {"sample": {"network": {}, "train": {"lr": 0.05, "weights": {"near": 0.05}}}}
    values["defaults"]["sample"]["train"] |= {"steps": 100}
    values["search"] = {"sample": {"trials": 7, "share": 0.4, "rungs": [0.5], "validation": 0.3, "images": 4}}
    values["searches"] = {"all": {"mrfnet-searched": SEARCH}}
    (folder / "params.yaml").write_text(yaml.safe_dump(values))
    project = Project(folder)
    project.good("build", "gopro")
    with toy_method():
        project.good("search", "mrfnet-gopro")
    return project


@pytest.fixture
def small(searched: Project) -> Iterator[Project]:
    """The searched project, as the current folder and with the toy in place of its method."""
    with toy_method(), contextlib.chdir(searched.folder):
        yield searched

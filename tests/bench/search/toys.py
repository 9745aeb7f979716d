"""What tests of the search share."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from torch import nn

from bench import registry
from bench.contracts import supervised
from bench.files import read_json
from bench.params import recipes
from bench.params.recipe_schema import MethodRecipe, Recipe, Train
from bench.params.schema import Choice
from bench.search.results import STUDY
from bench.search.space import Space
from bench.search.study import Objective, Plan, work
from bench.tracking import store
from tests.conftest import Project

ROOT = Path(__file__).parents[3]
RANGE = {"low": 0.1, "high": 1.0}


def space_of(**choices: Any) -> Space:
    made = {name.replace("__", "."): Choice.model_validate(value) for name, value in choices.items()}
    return Space({n: (c.low, c.high) for n, c in made.items() if c.low and c.high}, made)


def ranged(*names: str, low: float = 1e-3, high: float = 1e3) -> Space:
    return space_of(**{name: {"low": low, "high": high} for name in names})


def run_study(
    folder: Path, space: Space, defaults: dict[str, float], trials: int, objective: Objective, *, seed: int = 0,
    higher_is_better: bool = True,
) -> None:  # fmt: skip
    work(folder, Plan(space, defaults, trials, higher_is_better, seed), objective)


def recipe(**train: Any) -> Recipe:
    return Recipe(
        name="plain", method="mrfnet", dataset="gopro", task="deblur", row="mrfnet", title="m", profile="sample",
        seed=0, network={}, paper_network={}, train=Train.model_validate(train),
    )  # fmt: skip


class Shift(nn.Module):
    """The input plus a number."""

    def __init__(self, start: float = 0.0):
        super().__init__()
        self.by = nn.Parameter(torch.tensor(start))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.by


def pulls(pred: torch.Tensor, target: torch.Tensor) -> dict[str, torch.Tensor]:
    """`near` wants the truth, `far` something brighter by 0.5."""
    return {"near": (pred - target).square().mean(), "far": (pred - target - 0.5).square().mean()}


TOY = supervised("deblur", Shift, pulls)


SEARCH: dict[str, Any] = {
    "method": "mrfnet", "dataset": "gopro", "of": {"group": "all", "run": "mrfnet-gopro"},
    "weights": {"far": 1.0, "near": {"low": 0.01, "high": 100.0}},
}  # fmt: skip


@contextlib.contextmanager
def toy_method() -> Iterator[None]:
    """Let the method of the name mrfnet be the toy."""
    real = registry.method
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(registry, "method", lambda name: TOY if name == "mrfnet" else real(name))
        patch.setattr(recipes, "method_recipe", lambda name: MethodRecipe.model_validate({}))
        yield


def study_of(project: Project) -> dict[str, Any]:
    """The content of the project's `study.json`."""
    return read_json(project.folder / "out" / "sample" / "search" / "mrfnet-gopro" / STUDY)


def mlflow_runs() -> list[Any]:
    client = store.connect()
    return list(client.search_runs([e.experiment_id for e in client.search_experiments()], max_results=100))


def with_search(project: Project, folder: Path, search: dict[str, Any], **settings: Any) -> Project:
    """A second project with a changed search on the same built dataset."""
    values = yaml.safe_load((project.folder / "params.yaml").read_text())
    values["searches"]["all"]["mrfnet-searched"] = SEARCH | search
    values["search"]["sample"] |= settings
    values["paths"] = {"data": str(project.folder / "data")}
    (folder / "params.yaml").write_text(yaml.safe_dump(values))
    return Project(folder)

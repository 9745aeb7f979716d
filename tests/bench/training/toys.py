"""What tests of the training share: small methods, and trainings of them without a command."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import nn

from bench.contracts import Method, Phase, Player, supervised
from bench.data.batches import Crops
from bench.data.manifest import BuiltSet
from bench.params.recipe_schema import Recipe, Train
from bench.training.checkpoint import FILE, read
from bench.training.loop import Training, prepare
from bench.training.placement import make_accelerator
from bench.training.state import Setup

ROOT = Path(__file__).parents[3]
SHORT = {"batch_size": 2, "crop_size": 32}
SUPERVISED = {"method": "mrfnet", "dataset": "places2", "task": "deblur", "network": {"channels": 4}}
NEVER = 1e9
"""Seconds between two checkpoints of a training that writes one only at its end."""


class Toy(nn.Module):
    """A batch norm and one convolution."""

    def __init__(self, channels: int = 3):
        super().__init__()
        self.norm = nn.BatchNorm2d(3)
        self.conv = nn.Conv2d(3, channels, 3, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.conv(self.norm(x))


def error(pred: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    return (pred - target).square().mean()


TOY = supervised("deblur", Toy, error)


def changed(method: Method, **fields: Any) -> Method:
    """A method with some of its fields replaced."""
    return Method(**{**vars(method), **fields})


def two_phases(second: Phase = TOY.phases["train"]) -> Method:
    """The toy with the phases "one" and "two"."""
    return changed(TOY, phases={"one": TOY.phases["train"], "two": second})


def two_players(critic, generator, updates: int = 1) -> Method:
    """A generator and a critic with the given losses of (networks, batch, outputs)."""

    def networks(channels: int = 3):
        return {"generator": nn.Conv2d(3, 3, 3, padding=1), "critic": nn.Conv2d(3, 1, 3)}

    phase = Phase(
        lambda nets, batch: {"pred": nets["generator"](batch["x"])},
        {"critic": Player(("critic",), critic, updates), "generator": Player(("generator",), generator)},
    )
    return Method(("deblur",), networks, {"train": phase}, lambda nets, batch: nets["generator"](batch["x"]))


def toy_recipe(network: Mapping[str, Any] | None = None, **train: Any) -> Recipe:
    return Recipe(
        name="toy", method="toy", dataset="places2", task="deblur", row="toy", title="toy", profile="sample", seed=0,
        network=dict(network or {}), paper_network={},
        train=Train(**{"batch_size": 2, "crop_size": 24, "steps": 3} | train),
    )  # fmt: skip


def toy_setup(
    built: BuiltSet,
    folder: Path,
    method: Method = TOY,
    checkpoint_seconds: float = NEVER,
    network: Mapping[str, Any] | None = None,
    **train: Any,
) -> Setup:
    recipe = toy_recipe(network, **train)
    crops = Crops(built, "deblur", recipe.train.crop_size, recipe.train.augment, 0)
    folder.mkdir(exist_ok=True)
    accelerator = make_accelerator(recipe.train.precision)
    return Setup(recipe, method, crops, {}, accelerator, folder, checkpoint_seconds, folder.name)


def checkpoint_of(folder: Path) -> dict[str, Any]:
    """What the checkpoint in a folder holds."""
    return read(folder / FILE, torch.device("cpu"))


def toy_training(built: BuiltSet, folder: Path, method: Method = TOY, **options: Any) -> Training:
    """A training that is ready to run, resumed where the folder has a checkpoint."""
    return prepare(toy_setup(built, folder, method, **options))


def weights_of(training: Training) -> dict[str, torch.Tensor]:
    """A copy of all tensors of a training's networks."""
    return {name: value.clone() for name, value in training.state.networks.state_dict().items()}


def command(project: Path, *arguments: str) -> dict[str, Any]:
    """Arguments of `subprocess` for a Python command in a project."""
    environment = {k: v for k, v in os.environ.items() if k not in ("MLFLOW_TRACKING_URI", "SHARPBENCH_PROFILE")}
    environment |= {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    return {"args": [sys.executable, *arguments], "cwd": project, "env": environment, "stderr": subprocess.PIPE}


def train_by_command(project: Path, name: str) -> None:
    done = subprocess.run(**command(project, "-m", "bench", "train", name), stdout=subprocess.PIPE, check=False)
    assert done.returncode == 0, done.stderr.decode()


def losses_of(project: Path, name: str) -> pd.DataFrame:
    """The kept losses of a trained run, without their times."""
    return pd.read_parquet(project / "out" / "sample" / "runs" / name / "losses.parquet").drop(columns="seconds")

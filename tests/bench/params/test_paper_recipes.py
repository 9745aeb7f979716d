"""`profile: paper` starts the full recipe of every trained method.

Real are the recipe as it is resolved (crop, batch, augmentation, losses and their weights, optimisers, schedule,
phases), the format of the built set, and the training itself, from `train` to the weights and the record. Reduced are,
because a test has neither the memory nor the time:

- the data: two synthetic images, a little larger than the crop, in the format of the run's dataset;
- the length: two steps per phase. The learning rates that papers print are checked in the methods' own tests;
- the frozen networks of losses: random weights and few channels, all layers;
- in `test_the_recipe_starts` the networks' width: the method's `tiny` arguments, with the paper's batch, except for
  the methods in `SMALLER_BATCH`, whose smallest networks would take 10 GB with it;
- in `test_the_published_network_starts` the batch: one image, with the paper's network, one step, light methods only.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from safetensors.torch import load_file

from bench import registry, runs
from bench.contracts import Item, Made
from bench.data import auxiliary_build, manifest
from bench.data.build import Job, build
from bench.params import loading, resolving
from bench.record import RECORD, read_record
from bench.training.train import train
from methods.losses import perceptual

ROOT = Path(__file__).parents[3]
PAPER = loading.load(ROOT / "params.yaml", "paper")


def first_runs() -> dict[str, str]:
    """The first run of every trained method, by method."""
    first: dict[str, str] = {}
    for group in PAPER.runs.values():
        for name, run in group.items():
            first.setdefault(run.method.replace("_", "-"), name)
    return first


RUNS = first_runs()
LIGHT = [name for name in ("lmfn", "mrfnet", "dmphn") if name in RUNS]
"""Methods whose published network takes one step of one image in a few seconds on one core."""

SMALLER_BATCH = {"dffnet": 4}
"""Images in a batch where the paper's 16 are too many: three stages, the first of them twice, hold maps at once."""

MARGIN = 16  # pixels that an image is larger than the largest crop


# A small set and short runs -------------------------------------------------------------------------------------------


def picture(fields: tuple[str, ...], side: int, rng: np.random.Generator) -> Made:
    """One synthetic image of every field: waves, an edge and grain, so that no loss is empty; the hole is a square."""
    y, x = np.mgrid[:side, :side] / side
    waves = np.stack([0.5 + 0.3 * np.sin(2 * np.pi * (k * x + y)) for k in (1, 2, 3)], axis=2)
    image = np.where((x > rng.random())[..., None], waves, 1 - waves) + 0.05 * rng.standard_normal((side, side, 3))
    target = (image.clip(0, 1) * 255).astype(np.uint8)
    shifted = {"blurred": 3, "left": -2, "right": 2, "centre": 0}
    images = {name: np.roll(target, shifted[name], axis=1) for name in fields if name in shifted}
    images["target"] = target
    if "mask" in fields:
        images["mask"] = np.zeros((side, side), np.uint8)
        images["mask"][side // 4 : 3 * side // 4, side // 4 : 3 * side // 4] = 255
    return Made(images)


def pictures(fields: tuple[str, ...], side: int) -> list[Item]:
    """The whole set: two training images."""
    make = functools.partial(picture, fields, side)
    return [Item(f"{number}", "train", make, "synthetic", "none") for number in range(2)]


def shortened(name: str, published: bool = False) -> dict[str, Any]:
    """Values added to the run of a method in `params.yaml`; they replace those of the run.

    Args:
        published: the paper's network and one image, instead of the paper's batch and the smallest network.
    """
    method, recipe = registry.method(name), resolving.recipe(PAPER, RUNS[name])
    steps = 1 if published else 2
    length = {"steps": steps}
    if recipe.train.phases:
        length = {"phases": {phase: steps if recipe.train.phases.get(phase) else 0 for phase in method.phases}}
    if method.helpers:
        length["random_helpers"] = True
    if published:
        return {"train": length | {"batch_size": 1}}
    fewer = {"batch_size": SMALLER_BATCH[name]} if name in SMALLER_BATCH else {}
    return {"network": dict(method.tiny), "train": length | fewer}


@pytest.fixture(scope="module")
def project(tmp_path_factory) -> Iterator[Path]:
    """A project with the real params.yaml in the profile `paper`; each run has the changes of `shortened`."""
    folder = tmp_path_factory.mktemp("paper")
    values = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))
    values |= {"profile": "paper", "threads": 1}
    for group in values["runs"].values():
        for name, method in [(run, method) for method, run in RUNS.items() if run in group]:
            both = [(name, shortened(method)), (f"{name}-published", shortened(method, published=True))]
            group |= {key: resolving.merged(values["runs"][_group(name)][name], changed) for key, changed in both}
    (folder / "params.yaml").write_text(yaml.safe_dump(values))
    sides: dict[str, int] = {}
    for name in RUNS.values():
        recipe = resolving.recipe(PAPER, name)
        sides[recipe.dataset] = max(sides.get(recipe.dataset, 0), recipe.train.crop_size + MARGIN)
    real = {name: registry.dataset(name) for name in sides}

    def synthetic(name: str) -> Any:
        entry = real.get(name) or registry_dataset(name)
        return replace(entry, offline=functools.partial(pictures, entry.fields, sides[name])) if name in real else entry

    registry_dataset = registry.dataset
    with pytest.MonkeyPatch.context() as patch, contextlib.chdir(folder):
        patch.setattr(registry, "dataset", synthetic)
        patch.setattr(perceptual, "WIDTHS", (4, 4, 4, 4, 4))
        yield folder


def _group(run: str) -> str:
    return next(name for name, group in PAPER.runs.items() if run in group)


def built_set(name: str) -> manifest.BuiltSet:
    """The synthetic set of a method's run, built once, with the auxiliary maps that the method needs."""
    recipe = resolving.recipe(PAPER, RUNS[name])
    place = Path("data", "paper", recipe.dataset)
    if not (place / manifest.NAME).is_file():
        build(Job(recipe.dataset, None, {}, 0, "paper"), place, 1)
    built = manifest.read(place)
    for key, auxiliary_map in registry.method(name).auxiliary.items():
        auxiliary_build.make(built, key, auxiliary_map, 1)
    return built


def trained(name: str, run: str) -> tuple[dict[str, Any], pd.DataFrame, dict[str, torch.Tensor]]:
    """Train a run; return its record, its losses and its weights."""
    built_set(name)
    folder = train(loading.load(), run)
    return read_record(folder / RECORD), pd.read_parquet(folder / runs.LOSSES), load_file(folder / runs.WEIGHTS)


def check(name: str, run: str, steps: int) -> None:
    """Train a run and compare what it did with what the paper's recipe asks for."""
    method, recipe = registry.method(name), resolving.recipe(PAPER, RUNS[name])
    record, losses, weights = trained(name, run)
    assert record.profile == "paper"
    assert record.missing_losses == ()
    real = recipe.train.model_dump(mode="json")
    changed = {key for key, value in record.train.items() if value != real[key]}
    fewer = run.endswith("-published") or name in SMALLER_BATCH
    assert changed <= {"steps", "phases", "random_helpers"} | ({"batch_size"} if fewer else set())

    wanted = [phase for phase in method.phases if not recipe.train.phases or recipe.train.phases.get(phase)]
    assert list(losses["phase"].unique()) == wanted
    assert np.isfinite(losses["value"]).all()
    for phase in wanted:
        phase_losses = losses[losses["phase"] == phase]
        assert phase_losses["step"].nunique() == steps
        assert set(phase_losses["player"]) == set(method.phases[phase].players)
    helped = {loss for helper in method.helpers.values() for loss in helper.losses if real["weights"].get(loss, 1.0)}
    assert helped <= set(losses["name"]), "every loss of a frozen network takes part"

    torch.manual_seed(recipe.seed)
    network = recipe.network if run.endswith("-published") else {**recipe.network, **method.tiny}
    drawn = torch.nn.ModuleDict(method.networks(**network)).state_dict()
    assert drawn.keys() == weights.keys()
    moving = {net for phase in wanted for player in method.phases[phase].players.values() for net in player.networks}
    moved = {key.split(".")[0] for key, value in drawn.items() if not torch.equal(value, weights[key])}
    assert moved == moving


@pytest.mark.parametrize("name", RUNS)
def test_the_recipe_starts(project, name):
    check(name, RUNS[name], 2)


@pytest.mark.parametrize("name", LIGHT)
def test_the_published_network_starts(project, name):
    check(name, f"{RUNS[name]}-published", 1)

"""A trial: a run in miniature with numbers of its own, trained without some photographs and scored on these."""

from __future__ import annotations

import json
from collections.abc import Mapping
from copy import copy
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bench import runs
from bench.contracts import DataError, Method, ParamsError, UserError
from bench.data import manifest
from bench.data.batches import Crops
from bench.data.manifest import BuiltSet
from bench.params.resolving import find_search, search_settings, weights_folder
from bench.params.schema import Params, Recipe, Search, SearchSettings
from bench.search.space import WEIGHTS, Space, laid_on, present, space_of
from bench.search.study import Attempt
from bench.tasks import find_task
from bench.training.crops import read_crops
from bench.training.device import full_float32, set_threads, tune_allocator

if TYPE_CHECKING:
    import pandas as pd
    from accelerate import Accelerator
    from torch import Tensor, nn

    from bench.scoring.metrics.measure import Metric
    from bench.training.state import Setup, TrainingState

HELD_OUT = 1
"""Tells the draw of the held-out photographs from all other draws of the run's seed."""


# Photographs ----------------------------------------------------------------------------------------------------------


def photographs(rows: pd.DataFrame) -> np.ndarray:
    """Return which photograph each manifest row shows, as text.

    All rows of one source show one photograph. Where scenes have names those of one scene belong together, as frames of
    one film are nearly equal; a name that all sources share is no scene.
    """
    first = rows.drop_duplicates("source").set_index("source")["scene"].fillna("")
    keys = {source: scene or source for source, scene in first.items()}
    keys = keys if len(set(keys.values())) > 1 else {source: source for source in first.index}
    return rows["source"].map(keys).to_numpy(str)


def held_out(rows: pd.DataFrame, share: float, seed: int, where: str) -> tuple[np.ndarray, np.ndarray]:
    """Hold some photographs back, whole ones, at least one, drawn by the seed.

    Returns:
        which rows show nothing else and are validated on, and which show anything of them and are not trained on: an
        image mixed of a held-out photograph and another is of use to neither.

    Raises:
        DataError: there is one photograph alone, or too many images are mixed of several.
    """
    shown = photographs(rows)
    names = np.unique(shown)
    if len(names) < 2:
        raise DataError(
            f"{where}: all {len(rows)} training images are of one photograph, {str(names[0])!r}; a search needs two or "
            "more, to train on some and to score on others"
        )
    count = min(max(1, round(share * len(names))), len(names) - 1)
    chosen = np.random.default_rng([seed, HELD_OUT]).permutation(names)[:count]
    away = some = np.isin(shown, chosen)
    if "other_sources" in rows:  # not in a set that an older version built
        name_of = dict(zip(rows["source"], shown, strict=True))
        others = rows["other_sources"].reset_index(drop=True).map(json.loads).explode().dropna()
        held = others.map(lambda source: name_of.get(source, source)).isin(chosen).groupby(level=0)
        away = some & held.all().reindex(range(len(rows)), fill_value=True).to_numpy(bool)
        some = some | held.any().reindex(range(len(rows)), fill_value=False).to_numpy(bool)
    if not away.any() or some.all():
        raise DataError(
            f"{where}: too many training images are mixed of several photographs: of {len(rows)}, {away.sum()} show "
            f"held-out ones alone and {(~some).sum()} show none of them; build the set with fewer mixed images"
        )
    return away, some


def shown_in_turn(rows: pd.DataFrame, most: int) -> pd.DataFrame:
    """Return at most so many rows: the first of every photograph, then the second of each, and so on."""
    turn = rows.groupby(photographs(rows)).cumcount()
    return rows.iloc[np.argsort(turn.to_numpy(), kind="stable")[:most]]


def without(crops: Crops, left_out: np.ndarray) -> Crops:
    """Return the crops of all images but some; their masks are none of those images' either."""
    kept = np.flatnonzero(~left_out)
    part = copy(crops)
    part.rows, part.shapes = crops.rows.iloc[kept].reset_index(drop=True), crops.shapes[kept]
    part.offsets = {name: np.asarray(offsets)[kept] for name, offsets in crops.offsets.items()}
    part._order = (-1, np.empty(0, int))
    return part


# The run in miniature -------------------------------------------------------------------------------------------------


def miniature(recipe: Recipe, method: Method, share: float, steps_per_epoch: int) -> Recipe:
    """Return the recipe with a share of its steps, in every phase, and with its schedule shortened alike.

    Args:
        steps_per_epoch: of the whole run, whose lengths may be given in epochs.
    """
    from bench.training.phases import phase_steps

    train, schedule = recipe.train, recipe.train.schedule
    steps = phase_steps(recipe, method, steps_per_epoch)
    phases = {name: max(1, round(share * count)) if count else 0 for name, count in steps.items()}
    shorter: dict[str, Any] = {"warmup_steps": round(share * schedule.warmup_steps)}
    if schedule.kind == "step":
        every = schedule.every_steps or (schedule.every_epochs or 1) * steps_per_epoch
        shorter |= {"every_steps": max(1, round(share * every)), "every_epochs": None}
    short = {"phases": phases, "schedule": schedule.model_copy(update=shorter)}
    return recipe.model_copy(update={"train": train.model_copy(update=short)})


# All that trials share ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Case:
    """One validation image: its inputs as the method gets them, its truth (H, W, 3) and its hole (H, W) or None."""

    batch: Mapping[str, Tensor]
    truth: np.ndarray
    mask: np.ndarray | None


@dataclass(frozen=True)
class Shared:
    """What all trials of one search have in common.

    Args:
        recipe: of the base run, whole.
        short: the same in miniature.
        space: what is varied; `own` has the run's own numbers for all of it.
        not_searched: numbers that have no effect here, and why: they stay as they are.
        metric: of the validation images, and how they are judged.
        crops: of the training photographs that are not held out.
        held: names of the held-out photographs.
        helped: the frozen networks that losses look through.
        built, digests, threads: what the result depends on beside the recipe.
    """

    params: Params
    search: Search
    settings: SearchSettings
    recipe: Recipe
    short: Recipe
    method: Method
    space: Space
    own: Mapping[str, float]
    not_searched: Mapping[str, str]
    metric: Metric
    crops: Crops
    cases: tuple[Case, ...]
    held: tuple[str, ...]
    built: BuiltSet
    digests: Mapping[str, str]
    threads: int
    accelerator: Accelerator
    helped: tuple[str, ...] = ()

    @property
    def total_steps(self) -> int:
        """The steps that a trial trains."""
        return sum(self.short.train.phases.values())

    @property
    def rungs(self) -> tuple[int, ...]:
        """The steps after which a trial is scored and may be pruned; its end is none of them."""
        steps = dict.fromkeys(max(1, round(rung * self.total_steps)) for rung in self.settings.rungs)
        return tuple(step for step in steps if step < self.total_steps)


def judge(metric_id: str, task: str, where: str) -> Metric:
    """Return the metric of a search. Raises UserError when it is unknown or cannot judge single images of the task."""
    from bench.scoring.metrics import catalogue

    metric = catalogue.find(metric_id)
    if metric.needs_references or (metric.needs_mask and not find_task(task).has_hole):
        raise ParamsError(f"{where}: metric {metric_id} does not apply to the validation images of {task}")
    return metric


def prepare(params: Params, run: str, trials: int | None = None) -> Shared:
    """Read and check everything that trials need, before the first one.

    Raises:
        ParamsError: a weight that is no loss of the method, a number out of range, a metric that does not apply.
        DataError: the set is not built, or has one training photograph alone.
        UserError: the run needs no training.
    """
    _, search = find_search(params, run)
    recipe, method = runs.resolve(params, run)
    if method.networks is None:
        raise UserError(f"{run}: {recipe.method} needs no training: there is nothing to search")
    where = f"params.yaml: the search of run {run}"
    settings = search_settings(params, search)
    settings = settings if trials is None else settings.model_copy(update={"trials": trials})
    method = runs.settled(method, recipe.network)
    metric = judge(settings.metric, recipe.task, where)
    space = space_of(search)
    for end in (0, 1):
        laid_on(recipe, space.values({name: span[end] for name, span in space.ranges.items()}), where)
    own = {name: present(recipe, name) for name in space.choices}
    built = manifest.read(runs.data_folder(params, recipe.dataset))
    train, crops = recipe.train, read_crops(built, recipe, method)
    away, touched = held_out(crops.rows, settings.validation, recipe.seed, str(built.folder))
    tune_allocator()
    threads = set_threads(params.threads)
    from bench.training.placement import make_accelerator

    accelerator = make_accelerator(train.precision)
    if accelerator.num_processes > 1:
        raise UserError(f"{run}: a trial is trained by one process; start the search by itself, with --jobs N")
    away_rows = shown_in_turn(crops.rows[away], settings.images)
    steps_per_epoch = -(-len(crops) // train.batch_size)
    shared = Shared(
        params, search, settings, recipe, miniature(recipe, method, settings.share, steps_per_epoch), method, space,
        own, {}, metric, without(crops, touched), tuple(_cases(built, away_rows, recipe, method, accelerator.device)),
        tuple(sorted(set(photographs(crops.rows)[away]))), built,
        {key: made.digest for key, made in crops.auxiliary.items()}, threads, accelerator,
    )  # fmt: skip
    return _effective(shared)


def _cases(built: BuiltSet, rows: pd.DataFrame, recipe: Recipe, method: Method, device: Any) -> list[Case]:
    """Read validation images. The auxiliary maps of their inputs are made once, not at each rung."""
    import torch

    from bench.scoring.cases import inputs_of, read_case
    from bench.scoring.restore import prepared

    source = recipe.train.input or inputs_of(recipe.task, built)[0]
    names = find_task(recipe.task).inputs
    found = []
    for row in rows.to_dict("records"):
        case = read_case(built, {str(key): value for key, value in row.items()}, recipe.task, source)
        batch = {name: torch.from_numpy(case.arrays[name]).permute(2, 0, 1)[None].to(device) for name in names}
        found.append(Case(prepared(method, batch), case.truth, case.mask))
    return found


def _effective(shared: Shared) -> Shared:
    """Check the names of weights as a training does, and leave out those whose loss this machine cannot compute."""
    from bench.training.helpers import build_helpers
    from bench.training.phases import absent_phases
    from bench.training.rehearsal import rehearse
    from bench.training.state import initial_state
    from bench.training.weighting import check_weights

    space, recipe, name = shared.space, shared.recipe, shared.recipe.name
    full = laid_on(recipe, space.values({key: high for key, (_, high) in space.ranges.items()}), name)
    frozen, missing = build_helpers(shared.method, full, weights_folder(shared.params))
    # The run's own weights: what is misspelt among the searched ones is to be said of the search.
    setup = _setup(shared, recipe, frozen)
    state = initial_state(setup)
    absent = absent_phases(shared.method, state.trained)
    weights = [key.removeprefix(WEIGHTS) for key in space.choices if key.startswith(WEIGHTS)]
    check_weights(shared.method, weights, rehearse(setup, state), name, absent, "its search: weights")
    reasons = {entry["loss"]: entry["reason"] for entry in missing}
    lost = {key: reasons[last] for key in space.choices if (last := key.rpartition(".")[2]) in reasons}
    varied = {key: span for key, span in space.ranges.items() if key not in lost}
    if not varied:
        raise UserError(f"{name}: no searched weight has an effect: {next(iter(lost.values()))}")
    kept = {key: choice for key, choice in space.choices.items() if key not in lost}
    for key, choice in kept.items():
        if choice.of and WEIGHTS * key.startswith(WEIGHTS) + choice.of in lost:
            raise ParamsError(f"params.yaml: the search of run {name}: {key} is of {choice.of}, which is not searched")
    own = {key: value for key, value in shared.own.items() if key in kept}
    return replace(shared, space=Space(varied, kept), own=own, not_searched=lost, helped=tuple(sorted(frozen)))


def _setup(shared: Shared, recipe: Recipe, frozen: Mapping[str, nn.Module], folder: Path = Path()) -> Setup:
    from bench.training.state import Setup

    seconds = shared.params.checkpoint_seconds
    return Setup(recipe, shared.method, shared.crops, frozen, shared.accelerator, folder, seconds)


# One trial ------------------------------------------------------------------------------------------------------------


def objective(shared: Shared, attempt: Attempt) -> float:
    """Train a trial and return its score: the metric of the validation images, their mean.

    Raises:
        Pruned: by `attempt.report`, at a rung.
        Diverged: a loss or a restored image that is not finite.
    """
    from bench.training.helpers import build_helpers
    from bench.training.loop import prepare as prepare_training

    recipe = laid_on(shared.short, attempt.values, f"trial {attempt.number}")
    recipe = recipe.model_copy(update={"name": f"{recipe.name}: trial {attempt.number}"})
    frozen, _ = build_helpers(shared.method, recipe, weights_folder(shared.params))
    training = prepare_training(_setup(shared, recipe, frozen, attempt.folder))

    def at_rung(total: int) -> None:
        if total in shared.rungs:
            attempt.report(total, score(shared, training.state, recipe.name))

    try:
        return score(shared, training.run(after_step=at_rung), recipe.name)
    finally:
        shared.accelerator.free_memory()


def score(shared: Shared, state: TrainingState, trial: str) -> float:
    """Restore the validation images with the networks as they are now, in float32, and return the metric's mean.

    Raises:
        Diverged: a restored image is not finite.
    """
    from bench.scoring.cases import to_depth
    from bench.scoring.restore import restore
    from bench.training.divergence import Diverged

    networks = [state.networks[name] for name in state.trained]
    method = replace(shared.method, auxiliary={})
    values = []
    for network in networks:
        network.eval()
    try:
        for case in shared.cases:
            height, width = case.truth.shape[:2]
            with full_float32():
                pred = restore(method, state.networks, case.batch)[0, :, :height, :width]
            image = to_depth(pred.permute(1, 2, 0).cpu().numpy(), case.truth.dtype)
            values.append(shared.metric.score(image, case.truth, case.mask))
    except DataError as error:
        raise Diverged(f"{trial}: a restored image: {error}") from None
    finally:
        for network in networks:
            network.train()
    return float(np.mean(values))

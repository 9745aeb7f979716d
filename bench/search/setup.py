"""What all trials of a search have in common: read and checked before the first one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench import folders, runs
from bench.contracts import Method, ParamsError, UserError
from bench.data import manifest
from bench.data.batches import Crops
from bench.data.manifest import BuiltSet
from bench.params.recipe_schema import Recipe
from bench.params.resolving import find_search, search_settings
from bench.params.schema import Params, SearchSettings
from bench.search.held_out import ValidationImage, hold_out, photograph_of, read_validation_images, take_in_turn
from bench.search.space import WEIGHTS, Space, number_of, space_of, with_numbers
from bench.search.study import Plan
from bench.tasks import find_task
from bench.training.crops import read_crops
from bench.training.device import set_threads, tune_allocator

if TYPE_CHECKING:
    from accelerate import Accelerator
    from torch import nn

    from bench.scoring.metrics.measure import Metric
    from bench.training.state import Setup


@dataclass(frozen=True)
class SearchSetup:
    """What all trials of a search have in common."""

    settings: SearchSettings
    """How many trials, how long, judged by what."""
    winner_run: str
    """The run that trains with the numbers of the best trial."""
    recipe: Recipe
    """The run that is searched."""
    short_recipe: Recipe
    """The same with the steps of a trial."""
    method: Method
    """The run's method."""
    space: Space
    """The numbers that trials set."""
    defaults: Mapping[str, float]
    """The run's own values of these numbers."""
    not_searched: Mapping[str, str]
    """Numbers that have no effect on this machine, and why; they keep the run's own values."""
    metric: Metric
    """By which restored validation images are scored."""
    built: BuiltSet
    """The dataset."""
    crops: Crops
    """The training data, without the held-out photographs."""
    images: tuple[ValidationImage, ...]
    """The validation images, those of the held-out photographs."""
    photographs: tuple[str, ...]
    """Names of the held-out photographs."""
    helpers: tuple[str, ...]
    """Names of the frozen networks of losses."""
    weights: Path | None
    """Where files of weights are looked for first."""
    accelerator: Accelerator
    """Device and precision of this process."""
    threads: int
    """Threads of torch."""
    tracking: str
    """Address of the MLflow store; "" for the default."""
    checkpoint_seconds: float
    """Time between two checkpoints of a trial, in seconds."""

    @property
    def total_steps(self) -> int:
        """The steps that a trial trains."""
        return sum(self.short_recipe.train.phases.values())

    @property
    def rungs(self) -> tuple[int, ...]:
        """The steps after which a trial is scored and may be pruned; its end is not among them."""
        steps = dict.fromkeys(max(1, round(rung * self.total_steps)) for rung in self.settings.rungs)
        return tuple(step for step in steps if step < self.total_steps)

    @property
    def higher_is_better(self) -> bool:
        """Whether larger scores are better."""
        return self.metric.better == "higher"

    @property
    def auxiliary_digests(self) -> dict[str, str]:
        """Digests of the auxiliary maps in the batches, by name."""
        return {name: made.digest for name, made in self.crops.auxiliary.items()}

    @property
    def plan(self) -> Plan:
        """What the study searches, and how far."""
        return Plan(self.space, self.defaults, self.settings.trials, self.higher_is_better, self.recipe.seed)

    def training(self, recipe: Recipe, helpers: Mapping[str, nn.Module], folder: Path = Path()) -> Setup:
        """Return what a training of a recipe starts from, on the search's data."""
        from bench.training.state import Setup

        identity = "/".join(folder.parts[-2:])  # the study's folder has its hash in its name
        return Setup(
            recipe, self.method, self.crops, helpers, self.accelerator, folder, self.checkpoint_seconds, identity
        )


def prepare(params: Params, run: str, trials: int | None = None) -> SearchSetup:
    """Read and check everything that trials need.

    Args:
        params: the checked `params.yaml`.
        run: the run to search.
        trials: instead of the number in `params.yaml`.

    Raises:
        ParamsError: an unknown weight, a number out of range, a metric that does not apply.
        DataError: the dataset is not built, or shows only one training photograph.
        UserError: the run needs no training.
    """
    winner_run, search = find_search(params, run)
    recipe, method = runs.resolve(params, run)
    if method.networks is None:
        raise UserError(f"{run}: {recipe.method} needs no training: there is nothing to search")
    where = f"params.yaml: the search of run {run}"
    settings = search_settings(params, search)
    settings = settings if trials is None else settings.model_copy(update={"trials": trials})
    method = runs.settled(method, recipe.network)
    metric = find_metric(settings.metric, recipe.task, where)
    space = space_of(search)
    for end in (0, 1):
        with_numbers(recipe, space.values({name: span[end] for name, span in space.ranges.items()}), where)
    defaults = {name: number_of(recipe, name) for name in space.choices}
    built = manifest.read(folders.data_folder(params, recipe.dataset))
    crops = read_crops(built, recipe, method)
    only_held_out, some_held_out = hold_out(crops.rows, settings.validation, recipe.seed, str(built.folder))
    tune_allocator()
    threads = set_threads(params.threads)
    from bench.training.placement import make_accelerator

    accelerator = make_accelerator(recipe.train.precision)
    if accelerator.num_processes > 1:
        raise UserError(f"{run}: a trial is trained by one process; start the search by itself, with --jobs N")
    shown = take_in_turn(crops.rows[only_held_out], settings.images)
    setup = SearchSetup(
        settings=settings,
        winner_run=winner_run,
        recipe=recipe,
        short_recipe=shortened(recipe, method, settings.share, -(-len(crops) // recipe.train.batch_size)),
        method=method,
        space=space,
        defaults=defaults,
        not_searched={},
        metric=metric,
        built=built,
        crops=crops.subset(~some_held_out),
        images=read_validation_images(built, shown, recipe, method, accelerator.device),
        photographs=tuple(sorted(set(photograph_of(crops.rows)[only_held_out]))),
        helpers=(),
        weights=folders.weights_folder(params),
        accelerator=accelerator,
        threads=threads,
        tracking=params.tracking,
        checkpoint_seconds=params.checkpoint_seconds,
    )
    return _with_effective_numbers(setup)


def find_metric(name: str, task: str, where: str) -> Metric:
    """Return the metric that judges trials.

    Raises:
        UserError: it is unknown.
        ParamsError: it cannot judge single images of the task.
    """
    from bench.scoring.metrics import catalogue

    metric = catalogue.find(name)
    if metric.needs_references or (metric.needs_mask and not find_task(task).has_hole):
        raise ParamsError(f"{where}: metric {name} does not apply to the validation images of {task}")
    return metric


def shortened(recipe: Recipe, method: Method, share: float, steps_per_epoch: int) -> Recipe:
    """Return a recipe with a share of its steps in every phase, and with its schedule shortened likewise.

    Args:
        recipe: of the run.
        method: of the run.
        share: of the steps.
        steps_per_epoch: of the run with all its photographs, for lengths that are given in epochs.
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


def _with_effective_numbers(setup: SearchSetup) -> SearchSetup:
    """Check the names of weights as a training does, and leave out those whose loss this machine cannot compute."""
    from bench.training.helpers import build_helpers

    space, recipe, run = setup.space, setup.recipe, setup.recipe.name
    highest = with_numbers(recipe, space.values({name: high for name, (_, high) in space.ranges.items()}), run)
    helpers, missing = build_helpers(setup.method, highest, setup.weights)
    _check_weight_names(setup, helpers)
    reasons = {entry.loss: entry.reason for entry in missing}
    without_effect = {name: reasons[loss] for name in space.choices if (loss := name.rpartition(".")[2]) in reasons}
    ranges = {name: span for name, span in space.ranges.items() if name not in without_effect}
    if not ranges:
        raise UserError(f"{run}: no searched weight has an effect: {next(iter(without_effect.values()))}")
    choices = {name: choice for name, choice in space.choices.items() if name not in without_effect}
    for name in choices:
        if (base := space.base_of(name)) in without_effect:
            raise ParamsError(f"params.yaml: the search of run {run}: {name} is tied to {base}, which is not searched")
    return replace(
        setup,
        space=Space(ranges, choices),
        defaults={name: value for name, value in setup.defaults.items() if name in choices},
        not_searched=without_effect,
        helpers=tuple(sorted(helpers)),
    )


def _check_weight_names(setup: SearchSetup, helpers: Mapping[str, nn.Module]) -> None:
    """Raise ParamsError for a searched weight whose loss the method does not have.

    The run's own recipe is rehearsed, so that the message is about the search and not about the recipe.
    """
    from bench.training.phases import absent_phases
    from bench.training.rehearsal import rehearse
    from bench.training.state import initial_state
    from bench.training.weighting import check_weights

    training = setup.training(setup.recipe, helpers)
    state = initial_state(training)
    weights = [name.removeprefix(WEIGHTS) for name in setup.space.choices if name.startswith(WEIGHTS)]
    losses, absent = rehearse(training, state), absent_phases(setup.method, state.trained)
    check_weights(setup.method, weights, losses, setup.recipe.name, absent, "its search: weights")

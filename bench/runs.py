"""What a finished run leaves on disk, and how to get its networks back.

A run's folder holds `weights.safetensors` (none without training), `record.json` (all about it) and `losses.parquet`.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench import registry
from bench.contracts import Method, ParamsError, UserError, WeightsError
from bench.data import augment
from bench.params.checks import check_arguments, named
from bench.params.recipe_schema import Recipe
from bench.params.resolving import all_chains, all_runs, recipe
from bench.params.schema import Params
from bench.record import RECORD, Record, read_record
from bench.registry import nearest

if TYPE_CHECKING:
    from torch import nn
from bench.folders import run_folder, scores_folder

WEIGHTS, LOSSES = "weights.safetensors", "losses.parquet"


def resolve(params: Params, name: str) -> tuple[Recipe, Method]:
    """Return a run's recipe, with its task settled and its arguments checked, and its method.

    Raises:
        ParamsError: an unknown run or argument, or a task that the method or the dataset does not serve.
    """
    found = recipe(params, name)
    method = registry.method(found.method)
    tasks = registry.dataset(found.dataset).tasks
    common = [task for task in method.tasks if task in tasks]
    task = found.task or (common[0] if common else "")
    if task not in common:
        raise ParamsError(
            f"params.yaml: run {name}: {found.method} does {', '.join(method.tasks)}, {found.dataset} serves "
            f"{', '.join(tasks)}" + (f", the run asks for {task}" if task else "")
        )
    given = auxiliary_options(params, found.dataset, method)
    found = found.model_copy(
        update={"task": task, "network": given | found.network, "paper_network": given | found.paper_network}
    )
    if method.networks is not None:
        check_arguments(method.networks, found.network, f"params.yaml: run {name}: network")
        _check_train(found, method)
    return found, with_options(method, found.network)


def auxiliary_options(params: Params, dataset: str, method: Method) -> dict[str, Any]:
    """Return the options in params.yaml of a method's auxiliary maps on a dataset: arguments of its networks, by name.

    Raises:
        ParamsError: an option that the map does not have, or of the wrong type.
    """
    found: dict[str, Any] = {}
    for key, stage in params.auxiliary.items():
        if stage.dataset == dataset and stage.map in method.auxiliary:
            where, options = f"params.yaml: auxiliary.{key}.options", method.auxiliary[stage.map].options
            for name in stage.options:
                if name not in options:
                    near = nearest(name, options) or "none"
                    raise ParamsError(f"{where}.{name}: unknown option; the nearest are: {near}")
            check_arguments(method.networks, stage.options, where)
            found |= stage.options
    return found


def with_options(method: Method, arguments: Mapping[str, Any]) -> Method:
    """Return the method with the options of its auxiliary maps taken from these network arguments."""
    if not method.auxiliary:
        return method
    made = {
        key: replace(one_map, options={name: arguments.get(name, value) for name, value in one_map.options.items()})
        for key, one_map in method.auxiliary.items()
    }
    return replace(method, auxiliary=made)


def _check_train(found: Recipe, method: Method) -> None:
    """Check what only the method and the augmentations know: names in a recipe, its crops. Raises ParamsError."""
    players = {player for phase in method.phases.values() for player in phase.players}
    for kind, used, known in (("players", found.train.players, players), ("phases", found.train.phases, method.phases)):
        for name in used:
            if name not in known:
                raise ParamsError(
                    f"params.yaml: run {found.name}: train.{kind}.{name}: {found.method} has none of this name; "
                    f"the nearest are: {nearest(name, known)}"
                )
    if (size := found.train.crop_size) % method.multiple or size < method.min_size:
        raise ParamsError(
            f"params.yaml: run {found.name}: train.crop_size is {size}; {found.method} takes images of sides that are "
            f"multiples of {method.multiple} and at least {method.min_size} pixels"
        )
    with named(f"params.yaml: run {found.name}: train.augment: "):
        for entry in found.train.augment:
            augment.resolve(entry)


@dataclass(frozen=True)
class Trained:
    """A run that can restore: its record, its method, and its networks in eval mode, none without training."""

    record: Record
    method: Method
    networks: nn.ModuleDict


def known(params: Params) -> list[str]:
    """Return the runs that can be evaluated: those of params.yaml and those imported."""
    parent = run_folder(params, "x").parent
    # A process that was killed may have left a folder of a hidden name half filled.
    found = {path.parent.name for path in parent.glob(f"[!.]*/{RECORD}")}
    return sorted(found | set(all_runs(params)))


def check_new_name(params: Params, name: str, option: str) -> None:
    """Check the name of a new run or of predictions.

    Args:
        params: the checked `params.yaml`.
        name: the name.
        option: the option that gave it, for the message.

    Raises:
        ParamsError: `params.yaml` has the name, or a folder cannot have it.
    """
    if name in (*all_runs(params), *all_chains(params), *params.transfers):
        raise ParamsError(
            f"{option}: {name!r} is a run of params.yaml, and nothing replaces its scores but itself: choose another "
            "name"
        )
    # Hidden folders are half-filled ones of killed processes: no list and no report reads them.
    if not re.fullmatch(r"[\w.+-]+", name) or name.startswith((".", "-")):
        raise ParamsError(
            f"{option}: found {name!r}, expected letters, digits and any of . _ + -, and neither . nor - at the start"
        )


def check_free(params: Params, run: str) -> None:
    """Raise UserError when a run or scores with this name exist: they are not replaced silently."""
    scores = scores_folder(params)
    places = [run_folder(params, run), scores / run, *sorted(scores.glob(f"{run}-on-*"))]
    if taken := [str(place) for place in places if place.exists()]:
        raise UserError(f"--name: {run!r} is taken; choose another name, or first delete {', '.join(taken)}")


def load(params: Params, name: str, device: Any = "cpu") -> Trained:
    """Load a finished run.

    Raises:
        UserError: it was not trained yet, or there is no such run.
        WeightsError: the weights do not fit the network or cannot be read.
    """
    place = run_folder(params, name)
    if not (place / RECORD).is_file():
        if name not in known(params):
            raise UserError(f"no run {name!r}; the nearest are: {nearest(name, known(params))}")
        raise UserError(f"{place}: run {name} has not been trained yet; run: python -m bench train {name}")
    record = read_record(place / RECORD)
    method = settled(registry.method(record.method), record.network)
    if method.networks is None:
        return Trained(record, method, no_networks())
    return Trained(record, method, build(method, record.network, place / WEIGHTS, device))


def no_networks() -> nn.ModuleDict:
    """Return the networks of a method without training."""
    from torch import nn

    return nn.ModuleDict()


def settled(method: Method, arguments: Mapping[str, Any]) -> Method:
    """Return the method as it is with these network arguments: its auxiliary maps, and its margin a number or None."""
    method = with_options(method, arguments)
    if not callable(method.margin):
        return method
    taken = inspect.signature(method.margin).parameters
    return replace(method, margin=method.margin(**{name: arguments[name] for name in arguments if name in taken}))


def build(method: Method, arguments: Mapping[str, Any], weights: Path, device: Any) -> nn.ModuleDict:
    """Make a method's networks with the weights of a file, in eval mode. Raises WeightsError when they do not fit."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file
    from torch import nn

    from bench.training.placement import channels_last

    assert method.networks is not None
    networks = nn.ModuleDict(method.networks(**arguments))
    try:
        state = load_file(weights)
    except (OSError, SafetensorError) as error:
        raise WeightsError(f"{weights}: cannot be read ({error})") from None
    fit(networks, state, str(weights))
    return nn.ModuleDict({name: channels_last(net.to(device)).eval() for name, net in networks.items()})


def fit(network: nn.Module, state: Mapping[str, Any], where: str) -> None:
    """Load a state dict, whole and exact. Raises WeightsError naming the first tensors that do not fit."""
    own = network.state_dict()
    missing, extra = [n for n in own if n not in state], [n for n in state if n not in own]
    wrong = [n for n in own if n in state and tuple(own[n].shape) != tuple(state[n].shape)]
    if missing or extra or wrong:
        parts = [
            f"{len(found)} {what}, the first is {found[0]}"
            for what, found in (("tensors are missing", missing), ("are not of this network", extra))
            if found
        ]
        for name in wrong[:1]:
            found, expected = tuple(state[name].shape), tuple(own[name].shape)
            parts.append(f"{len(wrong)} have another shape, the first is {name}: found {found}, expected {expected}")
        raise WeightsError(f"{where}: the weights do not fit: {'; '.join(parts)}")
    network.load_state_dict({name: state[name] for name in own})

"""Runs: their recipes, their folders, and how their networks are loaded.

The folder of a run holds `weights.safetensors`, `record.json` (what is known about it) and `losses.parquet`.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench import registry
from bench.contracts import Method, ParamsError, UserError, WeightsError
from bench.data import augment
from bench.folders import run_folder, scores_folder
from bench.hashes import read_verified
from bench.names import check_name, clash_with
from bench.networks import new_networks
from bench.params.checks import check_arguments, named
from bench.params.recipe_schema import Recipe
from bench.params.resolving import all_chains, all_runs, recipe
from bench.params.schema import Params
from bench.record import RECORD, Record, read_record
from bench.registry import nearest

if TYPE_CHECKING:
    from torch import nn

    from bench.contracts import State

WEIGHTS = "weights.safetensors"
LOSSES = "losses.parquet"


def resolve(params: Params, name: str) -> tuple[Recipe, Method]:
    """Return a run's recipe, with its task settled and its arguments checked, and its method.

    Raises:
        ParamsError: an unknown run or argument, or a task that the method or the dataset does not serve.
    """
    resolved = recipe(params, name)
    method = registry.method(resolved.method)
    served = registry.dataset(resolved.dataset).tasks
    common = [task for task in method.tasks if task in served]
    task = resolved.task or (common[0] if common else "")
    if task not in common:
        raise ParamsError(
            f"params.yaml: run {name}: {resolved.method} does {', '.join(method.tasks)}, {resolved.dataset} serves "
            f"{', '.join(served)}" + (f", the run asks for {task}" if task else "")
        )
    options = auxiliary_options(params, resolved.dataset, method)
    resolved = resolved.model_copy(
        update={
            "task": task,
            "network": options | resolved.network,
            "paper_network": options | resolved.paper_network,
        }
    )
    if method.networks is not None:
        check_arguments(method.networks, resolved.network, f"params.yaml: run {name}: network")
        _check_train(resolved, method)
    return resolved, with_options(method, resolved.network)


def auxiliary_options(params: Params, dataset: str, method: Method) -> dict[str, Any]:
    """Return what `params.yaml` sets for a method's auxiliary maps on a dataset: arguments of its networks, by name.

    Raises:
        ParamsError: an option that the map does not have, or of the wrong type.
    """
    arguments: dict[str, Any] = {}
    for key, stage in params.auxiliary.items():
        if stage.dataset == dataset and stage.map in method.auxiliary:
            where, options = f"params.yaml: auxiliary.{key}.options", method.auxiliary[stage.map].options
            for name in stage.options:
                if name not in options:
                    near = nearest(name, options) or "none"
                    raise ParamsError(f"{where}.{name}: unknown option; the nearest are: {near}")
            check_arguments(method.networks, stage.options, where)
            arguments |= stage.options
    return arguments


def with_options(method: Method, arguments: Mapping[str, Any]) -> Method:
    """Return the method with the options of its auxiliary maps taken from these network arguments."""
    if not method.auxiliary:
        return method
    maps = {}
    for key, auxiliary_map in method.auxiliary.items():
        options = {name: arguments.get(name, default) for name, default in auxiliary_map.options.items()}
        maps[key] = replace(auxiliary_map, options=options)
    return replace(method, auxiliary=maps)


def _check_train(resolved: Recipe, method: Method) -> None:
    """Check what only the method and the augmentations know: names in a recipe, its crops. Raises ParamsError."""
    where, train = f"params.yaml: run {resolved.name}: train", resolved.train
    players = {player for phase in method.phases.values() for player in phase.players}
    for kind, used, known in (("players", train.players, players), ("phases", train.phases, method.phases)):
        for name in used:
            if name not in known:
                raise ParamsError(
                    f"{where}.{kind}.{name}: {resolved.method} has none of this name; the nearest are: "
                    f"{nearest(name, known)}"
                )
    if (size := train.crop_size) % method.multiple or size < method.min_size:
        raise ParamsError(
            f"{where}.crop_size is {size}; {resolved.method} takes images of sides that are multiples of "
            f"{method.multiple} and at least {method.min_size} pixels"
        )
    with named(f"{where}.augment: "):
        for entry in train.augment:
            augment.resolve(entry)


@dataclass(frozen=True)
class Trained:
    """A run that can restore images.

    Args:
        record: what is known about it.
        method: its method, settled for its network arguments.
        networks: in eval mode; empty without training.
    """

    record: Record
    method: Method
    networks: nn.ModuleDict


def known(params: Params) -> list[str]:
    """Return the names of the runs that can be evaluated: those of `params.yaml`, and imported ones."""
    parent = run_folder(params, "x").parent
    # Hidden folders are half-filled ones of killed processes.
    finished = {path.parent.name for path in parent.glob(f"[!.]*/{RECORD}")}
    return sorted(finished | set(all_runs(params)))


def check_new_name(params: Params, name: str, option: str) -> None:
    """Check the name of a new run or of predictions.

    Args:
        params: the checked `params.yaml`.
        name: the name.
        option: the option that gave it, for the message.

    Raises:
        ParamsError: it breaks the rule of names, or a run of `params.yaml` has it, in upper or lower case.
    """
    check_name(name, option)
    if taken := clash_with(name, (*all_runs(params), *all_chains(params), *params.transfers)):
        raise ParamsError(
            f"{option}: {taken!r} is a run of params.yaml, and nothing replaces its scores but itself: choose "
            "another name"
        )


def check_free(params: Params, run: str) -> None:
    """Raise UserError when a run or scores have this name, in upper or lower case: they are not replaced silently."""
    scores = scores_folder(params)
    places = [*sorted(run_folder(params, run).parent.glob("[!.]*")), *sorted(scores.glob("[!.]*"))]
    own_name, elsewhere = run.casefold(), f"{run.casefold()}-on-"
    if taken := [
        str(place)
        for place in places
        if (name := place.name.casefold()) == own_name or (place.parent == scores and name.startswith(elsewhere))
    ]:
        raise UserError(f"--name: {run!r} is taken; choose another name, or first delete {', '.join(taken)}")


def load(params: Params, name: str, device: str = "cpu") -> Trained:
    """Load a finished run.

    Raises:
        UserError: the run has not been trained yet, or does not exist.
        WeightsError: the weights do not fit the network, cannot be read, or have changed since they were written.
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
    return Trained(record, method, build(method, record.network, read_weights(place, record), place / WEIGHTS, device))


def no_networks() -> nn.ModuleDict:
    """Return the networks of a method without training."""
    from torch import nn

    return nn.ModuleDict()


def settled(method: Method, arguments: Mapping[str, Any]) -> Method:
    """Return the method for these network arguments: the options of its auxiliary maps, and its margin as a number.

    Args:
        method: of the registry.
        arguments: of its networks, by name.
    """
    method = with_options(method, arguments)
    if not callable(method.margin):
        return method
    names = inspect.signature(method.margin).parameters
    return replace(method, margin=method.margin(**{name: arguments[name] for name in arguments if name in names}))


def read_weights(folder: Path, record: Record) -> State:
    """Read the weights of a run: the very bytes whose SHA-256 its record has.

    Args:
        folder: of the run.
        record: of the run.

    Raises:
        WeightsError: they are missing, cannot be read, or have changed since they were written.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load

    path = folder / WEIGHTS
    again = f"restore this file, or make the run {record.run} again"
    data = read_verified(path, record.provenance.weights_sha256, again, WeightsError)
    try:
        return load(data)
    except SafetensorError as error:
        raise WeightsError(f"{path}: cannot be read ({error}); {again}") from None


def build(method: Method, arguments: Mapping[str, Any], state: State, where: Path, device: str) -> nn.ModuleDict:
    """Build a method's networks with given weights, in eval mode.

    Args:
        method: with networks.
        arguments: of its networks.
        state: all their tensors by name.
        where: the file of the weights, for messages.
        device: "cpu" or "cuda".

    Raises:
        WeightsError: the weights do not fit.
    """
    from torch import nn

    from bench.training.placement import channels_last

    with named(f"{where}: "):
        networks = nn.ModuleDict(new_networks(method, arguments))
    fit(networks, state, str(where))
    return nn.ModuleDict({name: channels_last(net.to(device)).eval() for name, net in networks.items()})


def fit(network: nn.Module, state: State, where: str) -> None:
    """Load a state dict; every tensor must be there and have its shape.

    Args:
        network: gets the values.
        state: tensors by name.
        where: what the weights are, for the message.

    Raises:
        WeightsError: tensors are missing, unknown or of another shape; the first of each are named.
    """
    expected = network.state_dict()
    missing, unknown = (
        [name for name in expected if name not in state],
        [name for name in state if name not in expected],
    )
    wrong = [name for name in expected if name in state and expected[name].shape != state[name].shape]
    faults = [f"{len(missing)} tensors are missing, the first is {missing[0]}"] if missing else []
    faults += [f"{len(unknown)} are not of this network, the first is {unknown[0]}"] if unknown else []
    if wrong:
        shapes = f"found {tuple(state[wrong[0]].shape)}, expected {tuple(expected[wrong[0]].shape)}"
        faults.append(f"{len(wrong)} have another shape, the first is {wrong[0]}: {shapes}")
    if faults:
        raise WeightsError(f"{where}: the weights do not fit: {'; '.join(faults)}")
    network.load_state_dict({name: state[name] for name in expected})

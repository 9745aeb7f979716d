"""Make a run of existing weights: those that the authors released, or a part of one of our runs, like a stage.

The files are read safely, their tensors get our names, and they must fit the network.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench import folders, registry, runs
from bench.contracts import Method, UserError, WeightsError
from bench.contracts.errors import printable
from bench.data import manifest
from bench.data.manifest import BuiltSet
from bench.files import HAND_OVER_SECONDS, replace_folder, sha256
from bench.networks import new_networks
from bench.params.checks import check_arguments, named
from bench.params.recipe_schema import Recipe, Train
from bench.params.recipes import method_rows, paper_network, recipes_of
from bench.params.schema import Params
from bench.record import RECORD, Kind, Record, Source, files_of, new_record, read_record, write_record
from bench.registry import nearest
from bench.state_files import file_and_part, parts_of, read_state, take_part, weight_files

if TYPE_CHECKING:
    from torch import nn

    from bench.contracts import State


def run_of_file(path: Path) -> Record | None:
    """Return the record of our run whose weights the file FILE or FILE:PART holds; None for any other file."""
    file, _ = file_and_part(path)
    place = file.with_name(RECORD)
    return read_record(place) if file.name == runs.WEIGHTS and place.is_file() else None


def source_run(params: Params, sources: Mapping[str, Path]) -> Record | None:
    """Return the record of our run that all weights are parts of; None where they are the authors'.

    Raises:
        UserError: the run has another profile, or not all files are parts of it.
    """
    first, *others = [run_of_file(path) for path in sources.values()]
    if any(other != first for other in others):
        raise UserError("one import takes the authors' files, or parts of one run: not both, and not of two runs")
    if first is not None and first.profile != params.profile:
        raise UserError(f"{first.run} is a run of profile {first.profile}: import it with --profile {first.profile}")
    return first


def networks_in_use(method: Method, task: str, networks: nn.ModuleDict) -> list[str]:
    """Return the names of the networks that run when one small image is restored; a critic is not among them."""
    import torch

    from bench.scoring.restore import prepared
    from bench.scoring.run_costs import input_shapes

    called: set[str] = set()
    hooks = [net.register_forward_pre_hook(lambda *_, name=name: called.add(name)) for name, net in networks.items()]
    batch = prepared(method, {name: torch.zeros(shape) for name, shape in input_shapes(task, 8, 8).items()})
    with torch.inference_mode():
        method.restore(networks.eval(), batch)
    for hook in hooks:
        hook.remove()
    return [name for name in networks if name in called]


def reference_networks(name: str, arguments: dict[str, Any], sources: dict[str, Path], task: str) -> nn.ModuleDict:
    """Build a method's networks from its authors' files, or from parts of one of our runs.

    Args:
        name: of the method.
        arguments: of its networks.
        sources: a file, a folder or FILE:PART for each network; the key "" means the only one, or the first.
        task: which of the method's tasks; the networks that it runs must all be given.

    Raises:
        UserError: the method has no networks, or no network of this name; a network is given twice or is missing; one
            of our runs is given without a part.
        WeightsError: see `read_state`; tensors that do not fit.
    """
    from torch import nn

    method = registry.method(name)
    if method.networks is None:
        raise UserError(f"{name} needs no training, so it has no weights")
    check_arguments(method.networks, arguments, f"import {name}")
    with named(f"import {name}: "):
        networks = nn.ModuleDict(new_networks(method, arguments))
    given: set[str] = set()
    for key, path in sources.items():
        part = key or next(iter(method.reference))
        if part not in method.reference:
            raise UserError(f"{name} has no network {part!r}; the nearest are: {nearest(part, method.reference)}")
        if part in given:
            raise UserError(f"two files for the network {part!r} of {name}: give NETWORK=FILE for each")
        given.add(part)
        source = run_of_file(path)
        if source is None:
            runs.fit(networks[part], renamed(method, part, read_state(path), path), str(path))
            continue
        try:
            runs.fit(networks[part], part_of_run(path, source), str(path))
        except WeightsError as error:
            raise WeightsError(
                f"{error}; {source.method} has {source.network}, this is {name} with {arguments}: give arguments that "
                "have another name here with --network, as in '{channels: 8}'"
            ) from None
    used = networks_in_use(method, task, networks)
    if missing := [part for part in used if part not in given]:
        raise UserError(
            f"{name} restores with {', '.join(used)}; no weights were given for {', '.join(missing)}: add "
            f"{' '.join(f'{part}=FILE' for part in missing)}"
        )
    return networks


def part_of_run(path: Path, source: Record) -> State:
    """Read a part of the weights of one of our runs, FILE:PART, after comparing the file with the run's record.

    Raises:
        UserError: no part is named, or the file has no such part.
        WeightsError: the file has changed since it was written.
    """
    file, part = file_and_part(path)
    state = runs.read_weights(file.parent, source)
    if not part:
        parts = " or :".join(sorted(parts_of(state)))
        raise UserError(f"{path}: the weights of a run: name a part, as in {path}:{parts}")
    return take_part(state, file, part)


def renamed(method: Method, part: str, state: State, path: Path) -> State:
    """Give a network's tensors our names.

    Raises:
        WeightsError: tensors of the authors' network are missing.
    """
    try:
        return method.reference[part](state)
    except (LookupError, ValueError, TypeError, RuntimeError) as error:
        first = next(iter(state))
        raise WeightsError(
            f"{path}: the weights do not fit: found {len(state)} tensors, the first is {first}, expected those of the "
            f"authors' network {part} ({type(error).__name__}: {error})"
        ) from None


def import_weights(
    params: Params,
    name: str,
    sources: dict[str, Path],
    dataset: str,
    run: str,
    network: Mapping[str, Any] | None = None,
) -> Path:
    """Make a run of existing weights and return its folder.

    A part of one of our runs keeps that run's kind, training settings and provenance, and its title names that run; all
    other weights get the kind "authors' weights".

    Args:
        params: the checked `params.yaml`.
        name: of the method.
        sources: see `reference_networks`.
        dataset: on which the run is scored by default.
        run: name of the new run.
        network: arguments of the networks; those not given are the run's that the part is from, then those of the
            method's `paper` profile.

    Raises:
        UserError: the name is taken or not valid, or the method does not serve the dataset; see `source_run`.
        WeightsError: see `reference_networks`.
    """
    from safetensors.torch import save_file

    runs.check_new_name(params, run, "--name")
    runs.check_free(params, run)
    task = _task_of(name, dataset)
    built = manifest.read(folders.data_folder(params, dataset))
    source = source_run(params, sources)
    recipe = _recipe(params, name, run, built, task, source, sources, network or {})
    networks = reference_networks(name, recipe.network, sources, task)
    record = _record(recipe, built, source, sources)
    state = {key: value.contiguous() for key, value in networks.state_dict().items()}

    def fill(folder: Path) -> None:
        save_file(state, folder / runs.WEIGHTS)
        files = files_of(folder)
        provenance = replace(record.provenance, weights_sha256=files[runs.WEIGHTS])
        write_record(folder / RECORD, replace(record, files=files, provenance=provenance))

    out = folders.run_folder(params, run)
    replace_folder(out, fill, f"importing {run}", HAND_OVER_SECONDS)
    return out


def _task_of(name: str, dataset: str) -> str:
    """Return the first task of a method that the dataset serves. Raises UserError where there is none."""
    tasks, served = registry.method(name).tasks, registry.dataset(dataset).tasks
    common = [task for task in tasks if task in served]
    if not common:
        raise UserError(f"{name} does {', '.join(tasks)}; {dataset} serves {', '.join(served)}")
    return common[0]


def _recipe(
    params: Params,
    name: str,
    run: str,
    built: BuiltSet,
    task: str,
    source: Record | None,
    sources: Mapping[str, Path],
    network: Mapping[str, Any],
) -> Recipe:
    """Return the recipe of an imported run; see `import_weights`."""
    paper = paper_network(params, name.replace("-", "_"))
    arguments = paper | _shared_arguments(registry.method(name), source) | dict(network)
    row, also, title = _names(params, name, run, source, sources)
    return Recipe(
        name=run,
        method=name,
        dataset=built.about["dataset"],
        task=task,
        row=row,
        also=also,
        title=title,
        profile=params.profile,
        seed=params.seed if source is None else source.seed,
        network=arguments,
        paper_network=arguments if source is None else paper,
        train=Train(),
    )


def _shared_arguments(method: Method, source: Record | None) -> dict[str, Any]:
    """Return the network arguments of a run that the method has as well."""
    if source is None or method.networks is None:
        return {}
    known = inspect.signature(method.networks).parameters
    return {key: value for key, value in source.network.items() if key in known}


def _names(
    params: Params, name: str, run: str, source: Record | None, sources: Mapping[str, Path]
) -> tuple[str, tuple[str, ...], str]:
    """Return the row in the published tables, further rows, and the title of an imported run.

    A row of a paper is the whole method, trained as the paper says: a part of one of our runs has its own row.
    """
    if source is not None:
        parts = ", ".join(file_and_part(path)[1] for path in sources.values())
        return run, (), f"{parts} of {source.run}"
    file_name = name.replace("-", "_")
    row, *also = method_rows(recipes_of(params, file_name), file_name)
    return row, tuple(also), f"{row} (authors' weights)"


def _record(recipe: Recipe, built: BuiltSet, source: Record | None, sources: Mapping[str, Path]) -> Record:
    """Return the record of an imported run, without the hash of its weights."""
    kind: Kind = "authors' weights" if source is None else source.kind
    record = new_record(recipe, registry.method(recipe.method), built, kind)
    record = replace(record, sources={printable(file.name): sha256(file) for file in _files(sources)})
    if source is None:
        return record
    return replace(
        record,
        train=source.train,
        steps=source.steps,
        train_seconds=source.train_seconds,
        missing_losses=source.missing_losses,
        random_helpers=source.random_helpers,
        provenance=replace(source.provenance, mlflow_run=""),
        part_of=Source(source.run, source.provenance.weights_sha256, source.provenance.mlflow_run),
    )


def _files(sources: Mapping[str, Path]) -> list[Path]:
    """Return every file that is imported."""
    files: list[Path] = []
    for path, _ in map(file_and_part, sources.values()):
        files += weight_files(path) if path.is_dir() else [path]
    return files

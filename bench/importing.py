"""Make a run of weights that are there: the authors' released ones, or a part of a run of ours, one of its stages say.

They are read safely, their tensors are named as ours, and they are checked to fit.
"""

from __future__ import annotations

import inspect
import re
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench import registry, runs
from bench.contracts import Method, ParamsError, UserError, WeightsError
from bench.data import manifest
from bench.files import read_json, replace_folder, sha256, write_json
from bench.params.checks import check_arguments
from bench.params.recipes import method_rows, paper_network, recipes_of
from bench.params.resolving import all_chains, all_runs
from bench.params.schema import Params, Recipe, Train
from bench.registry import nearest

if TYPE_CHECKING:
    from torch import nn

    from bench.contracts import State


def file_and_part(path: Path) -> tuple[Path, str]:
    """Return a file and the part of it that FILE:PART means; without a part, or where a file has that name, ""."""
    file, _, part = str(path).rpartition(":")
    return (Path(file), part) if file and not path.exists() else (path, "")


def read_state(path: Path) -> dict[str, Any]:
    """Read a state dict from a file, or from a folder of files, whose names come first ("encoder_lv1.conv.weight").

    Torch files are read with `weights_only=True`, `.safetensors` and `.npz` as plain arrays. A file may wrap its state
    dict once, under `state_dict`, `model`, `generator`, `params` or the like. FILE:PART is the tensors of a file whose
    names begin with "PART.", named by what follows.

    Raises:
        WeightsError: missing, empty, damaged, or a pickle that holds more than tensors.
        UserError: no such part; the message has the nearest.
    """
    path, part = file_and_part(path)
    if part:
        whole = read_state(path)
        if found := {name[len(part) + 1 :]: value for name, value in whole.items() if name.startswith(f"{part}.")}:
            return found
        raise UserError(f"{path}: no part {part!r}; the nearest are: {nearest(part, parts_of(whole))}")
    if path.is_dir():
        files = sorted(
            p for p in path.iterdir() if p.suffix in (".pkl", ".pth", ".pt", ".ckpt", ".safetensors", ".npz")
        )
        if not files:
            raise WeightsError(
                f"{path}: no weights in this folder; expected .pth, .pt, .pkl, .safetensors or .npz files"
            )
        return {f"{file.stem}.{name}": value for file in files for name, value in read_state(file).items()}
    if not path.is_file():
        raise WeightsError(f"{path}: no such file")
    if path.stat().st_size == 0:
        raise WeightsError(f"{path}: the file is empty; fetch it again")
    return _unwrapped(_read(path), path)


def parts_of(state: Mapping[str, Any]) -> list[str]:
    """Return what the names of a state dict begin with: the networks, in a run's file."""
    return list(dict.fromkeys(name.partition(".")[0] for name in state))


def own_run(path: Path) -> dict[str, Any]:
    """Return the record of the run of ours whose weights the file FILE or FILE:PART holds; {} for any other file."""
    file, _ = file_and_part(path)
    record = file.with_name(runs.RECORD)
    return read_json(record) if file.name == runs.WEIGHTS and record.is_file() else {}


def _read(path: Path) -> Any:
    import pickle

    import numpy as np
    import torch

    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            return load_file(path)
        if path.suffix == ".npz":
            with np.load(path, allow_pickle=False) as arrays:
                return {name: torch.from_numpy(arrays[name]) for name in arrays.files}
        with warnings.catch_warnings():
            # Of a pickle's protocol; what follows says more.
            warnings.simplefilter("ignore")
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        # torch names a GLOBAL where a pickle would call something; a bare pickle, which it does not read, begins so.
        with path.open("rb") as file:
            if "GLOBAL" in str(error) or file.read(1) == b"\x80":
                raise WeightsError(
                    f"{path}: refused: this pickle holds more than tensors, or is none of torch's, and could run code "
                    "when loaded; save its state dict alone (torch.save(network.state_dict(), ...)) or as .safetensors"
                ) from None
        raise WeightsError(f"{path}: damaged, or not a file of weights; fetch it again") from None
    except Exception as error:  # each format has errors of its own
        told = (str(error).splitlines() or [""])[0]
        raise WeightsError(f"{path}: damaged, or not a file of weights ({type(error).__name__}: {told})") from None


def _unwrapped(state: Any, path: Path) -> dict[str, Any]:
    import torch

    for _ in range(2):
        if isinstance(state, dict) and not any(isinstance(value, torch.Tensor) for value in state.values()):
            inner = [value for value in state.values() if isinstance(value, dict)]
            if len(inner) == 1:
                state = inner[0]
    if not isinstance(state, dict) or not state:
        raise WeightsError(f"{path}: holds {type(state).__name__}, expected a state dict: tensors by name")
    odd = [name for name, value in state.items() if not isinstance(value, torch.Tensor)]
    if odd:
        raise WeightsError(f"{path}: {odd[0]} is no tensor; expected a state dict: tensors by name")
    # Networks saved while on several GPUs carry this prefix.
    return {name.removeprefix("module."): value for name, value in state.items()}


def networks_in_use(method: Method, task: str, networks: nn.ModuleDict) -> list[str]:
    """Return the names of the networks that restoring one small image runs: a critic is none of them."""
    import torch

    from bench.scoring.restore import prepared
    from bench.scoring.run_costs import shapes

    called: set[str] = set()
    hooks = [net.register_forward_pre_hook(lambda *_, name=name: called.add(name)) for name, net in networks.items()]
    batch = prepared(method, {name: torch.zeros(shape) for name, shape in shapes(task, 8, 8).items()})
    with torch.inference_mode():
        method.restore(networks.eval(), batch)
    for hook in hooks:
        hook.remove()
    return [name for name in networks if name in called]


def reference_networks(name: str, arguments: dict[str, Any], sources: dict[str, Path], task: str) -> nn.ModuleDict:
    """Build a method's networks from its authors' files, or from parts of a run of ours.

    Args:
        sources: a file, a folder or FILE:PART for each network; the key "" stands for the only one, or the first.
        task: which of the method's tasks; the networks that it runs must all be given, others may lack.

    Raises:
        UserError: the method has no networks, or no such network; a network is given twice, or not at all; a run of
            ours without a part.
        WeightsError: see `read_state`; tensors that do not fit.
    """
    from torch import nn

    method = registry.method(name)
    if method.networks is None:
        raise UserError(f"{name} needs no training, so it has no weights")
    check_arguments(method.networks, arguments, f"import {name}")
    networks = nn.ModuleDict(method.networks(**arguments))
    given: set[str] = set()
    for key, path in sources.items():
        part = key or next(iter(method.reference))
        if part not in method.reference:
            raise UserError(f"{name} has no network {part!r}; the nearest are: {nearest(part, method.reference)}")
        if part in given:
            raise UserError(f"two files for the network {part!r} of {name}: give NETWORK=FILE for each")
        given.add(part)
        state, own = read_state(path), own_run(path)
        if not own:
            runs.fit(networks[part], renamed(method, part, state, path), str(path))
            continue
        if not file_and_part(path)[1]:
            raise UserError(f"{path}: the weights of a run: say which, as in {path}:{' or :'.join(parts_of(state))}")
        try:
            runs.fit(networks[part], state, str(path))
        except WeightsError as error:
            raise WeightsError(
                f"{error}; {own['method']} was made with {own['network']}, this is {name} with {arguments}: say by "
                "--network what has another name here, as in '{channels: 8}'"
            ) from None
    if lacking := [part for part in networks_in_use(method, task, networks) if part not in given]:
        raise UserError(
            f"{name} restores with {', '.join(networks_in_use(method, task, networks))}; no weights were given for "
            f"{', '.join(lacking)}: add {' '.join(f'{part}=FILE' for part in lacking)}"
        )
    return networks


def renamed(method: Method, part: str, state: State, path: Path) -> State:
    """Give a network's tensors our names. Raises WeightsError when the authors' names are not there."""
    try:
        return method.reference[part](state)
    except (LookupError, ValueError, TypeError, RuntimeError) as error:
        first = next(iter(state))
        raise WeightsError(
            f"{path}: the weights do not fit: found {len(state)} tensors, the first is {first}, expected those of the "
            f"authors' network {part} ({type(error).__name__}: {error})"
        ) from None


def check_new_name(params: Params, name: str, option: str) -> None:
    """Raise ParamsError when params.yaml has the name, or when it cannot be that of a folder."""
    if name in (*all_runs(params), *all_chains(params), *params.transfers):
        raise ParamsError(
            f"{option}: {name!r} is a run of params.yaml, and nothing replaces its scores but itself: take another name"
        )
    # A hidden folder is one that a killed process left half filled: no list and no report reads it.
    if not re.fullmatch(r"[\w.+-]+", name) or name.startswith((".", "-")):
        raise ParamsError(
            f"{option}: found {name!r}, expected letters, digits and any of . _ + -, and neither . nor - at the start"
        )


def check_free(params: Params, run: str) -> None:
    """Raise UserError when a run or scores of this name are there: they are not replaced in silence."""
    scores = runs.scores_folder(params)
    places = [runs.folder(params, run), scores / run, *sorted(scores.glob(f"{run}-on-*"))]
    if there := [str(place) for place in places if place.exists()]:
        raise UserError(f"--name: {run!r} is taken; take another name, or first delete {', '.join(there)}")


def own_source(params: Params, sources: Mapping[str, Path]) -> dict[str, Any]:
    """Return the record of the run of ours that all weights are parts of; {} where they are the authors'.

    Raises:
        UserError: the run is of another profile, or not all are parts of it.
    """
    first, *others = [own_run(path) for path in sources.values()]
    if any(other != first for other in others):
        raise UserError("one import takes the authors' files, or parts of one run: not both, and not of two runs")
    if first and first["profile"] != params.profile:
        raise UserError(
            f"{first['run']} is a run of profile {first['profile']}: import it with --profile {first['profile']}"
        )
    return first


def import_weights(
    params: Params,
    name: str,
    sources: dict[str, Path],
    dataset: str,
    run: str,
    network: Mapping[str, Any] | None = None,
) -> Path:
    """Make weights that are there a run of its own and return its folder.

    A part of a run of ours keeps that run's kind, recipe and provenance, and is titled after it; anything else is
    labelled `authors' weights`. The network's arguments are those of the method's paper profile; for a part, those of
    its run that have the same names are laid on them.

    Args:
        sources: see `reference_networks`.
        network: arguments laid on these.

    Raises:
        UserError: the name is taken or no plain name, or the method does not serve the dataset; see `own_source`.
        WeightsError: see `reference_networks`.
    """
    from safetensors.torch import save_file

    from bench.training.train import about

    check_new_name(params, run, "--name")
    check_free(params, run)
    method, entry = registry.method(name), registry.dataset(dataset)
    common = [task for task in method.tasks if task in entry.tasks]
    if not common:
        raise UserError(f"{name} does {', '.join(method.tasks)}; {dataset} serves {', '.join(entry.tasks)}")
    built = manifest.read(runs.data_folder(params, dataset))
    own = own_source(params, sources)
    file_name = name.replace("-", "_")
    paper = paper_network(params, file_name)
    taken = inspect.signature(method.networks).parameters if method.networks else {}
    carried = {key: value for key, value in own.get("network", {}).items() if key in taken}
    arguments = paper | carried | dict(network or {})
    networks = reference_networks(name, arguments, sources, common[0])
    row, *also = method_rows(recipes_of(params, file_name), file_name)
    title = f"{row} (authors' weights)"
    if own:  # a row of the papers is the whole method, trained for it
        row, also = run, []
        title = f"{', '.join(file_and_part(path)[1] for path in sources.values())} of {own['run']}"
    recipe = Recipe(
        name=run,
        method=name,
        dataset=dataset,
        task=common[0],
        row=row,
        also=tuple(also),
        title=title,
        profile=params.profile,
        seed=own.get("seed", params.seed),
        network=arguments,
        paper_network=paper if own else arguments,
        train=Train(),
    )
    record = about(recipe, method, built, own.get("kind", "authors' weights"))
    if own:
        record |= {key: own[key] for key in ("train", "steps", "train_seconds", "missing_losses", "random_helpers")}
        record["part_of"] = {"run": own["run"], "mlflow_run": own["provenance"]["mlflow_run"]}
        record["provenance"] = own["provenance"] | {"mlflow_run": ""}
    record["sources"] = {
        str(file.name): sha256(file)
        for path, _ in map(file_and_part, sources.values())
        for file in (sorted(p for p in path.iterdir() if p.is_file()) if path.is_dir() else [path])
    }
    state = {name: value.contiguous() for name, value in networks.state_dict().items()}

    def fill(folder: Path) -> None:
        save_file(state, folder / runs.WEIGHTS)
        record["provenance"]["weights_sha256"] = sha256(folder / runs.WEIGHTS)
        write_json(folder / runs.RECORD, record)

    out = runs.folder(params, run)
    replace_folder(out, fill)
    return out

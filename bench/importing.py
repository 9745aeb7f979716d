"""Make a run of the authors' released weights: read them safely, name their tensors as ours, check that they fit."""

from __future__ import annotations

import re
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench import registry, runs
from bench.contracts import Method, ParamsError, UserError, WeightsError
from bench.data import manifest
from bench.files import replace_folder, sha256, write_json
from bench.params import Params, Recipe, Train, all_runs, check_arguments
from bench.registry import nearest

if TYPE_CHECKING:
    from torch import nn

    from bench.contracts import State


def read_state(path: Path) -> dict[str, Any]:
    """Read a state dict from a file, or from a folder of files, whose names come first ("encoder_lv1.conv.weight").

    Torch files are read with `weights_only=True`, `.safetensors` and `.npz` as plain arrays. A file may wrap its state
    dict once, under `state_dict`, `model`, `generator`, `params` or the like.

    Raises:
        WeightsError: missing, empty, damaged, or a pickle that holds more than tensors.
    """
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
    """Build a method's networks from its authors' files, in eval mode.

    Args:
        sources: a file or folder for each network; the key "" stands for the only one, or the first.
        task: which of the method's tasks; the networks that it runs must all be given, others may lack.

    Raises:
        UserError: the method has no networks, or no such network; a network is given twice, or not at all.
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
        runs.fit(networks[part], renamed(method, part, read_state(path), path), str(path))
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
    if name in (*all_runs(params), *params.chains, *params.transfers):
        raise ParamsError(
            f"{option}: {name!r} is a run of params.yaml, and nothing replaces its scores but itself: take another name"
        )
    if name in (".", "..") or not re.fullmatch(r"[\w.+-]+", name) or name.startswith("-"):
        raise ParamsError(f"{option}: found {name!r}, expected letters, digits and any of . _ + -")


def import_weights(params: Params, name: str, sources: dict[str, Path], dataset: str, run: str) -> Path:
    """Make the authors' checkpoint a run of its own, labelled `authors' weights`; return its folder.

    Raises:
        UserError: the name is taken or no plain name, or the method does not serve the dataset.
        WeightsError: see `reference_networks`.
    """
    from safetensors.torch import save_file

    from bench.training.train import about

    check_new_name(params, run, "--name")
    method, entry = registry.method(name), registry.dataset(dataset)
    common = [task for task in method.tasks if task in entry.tasks]
    if not common:
        raise UserError(f"{name} does {', '.join(method.tasks)}; {dataset} serves {', '.join(entry.tasks)}")
    built = manifest.read(runs.data_folder(params, dataset))
    paper = (params.methods.get(name.replace("-", "_")) or {}).get("paper")
    arguments = dict(paper.network) if paper else {}
    networks = reference_networks(name, arguments, sources, common[0])
    same = [run.rows for run in all_runs(params).values() if run.rows and run.method.replace("_", "-") == name]
    row, *also = same[0] if same else (name.replace("_", "-"),)
    recipe = Recipe(
        name=run,
        method=name,
        dataset=dataset,
        task=common[0],
        row=row,
        also=tuple(also),
        title=f"{row} (authors' weights)",
        profile=params.profile,
        seed=params.seed,
        network=arguments,
        paper_network=arguments,
        train=Train(),
    )
    record = about(recipe, method, built, "authors' weights")
    record["sources"] = {
        str(file.name): sha256(file)
        for path in sources.values()
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

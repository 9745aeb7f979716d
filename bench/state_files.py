"""Read state dicts from files of many formats, safely: no file can run code when it is read."""

from __future__ import annotations

import pickle
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from bench.contracts import UserError, WeightsError
from bench.registry import nearest

if TYPE_CHECKING:
    from torch import Tensor

SUFFIXES = (".pkl", ".pth", ".pt", ".ckpt", ".safetensors", ".npz")


def file_and_part(path: Path) -> tuple[Path, str]:
    """Split FILE:PART; the part is "" where there is none, or where a file has the whole name."""
    file, _, part = str(path).rpartition(":")
    return (Path(file), part) if file and not path.exists() else (path, "")


def read_state(path: Path) -> dict[str, Tensor]:
    """Read a state dict from a file, or from a folder of files, whose names come first ("encoder_lv1.conv.weight").

    Torch files are read with `weights_only=True`, `.safetensors` and `.npz` as plain arrays. A file may wrap its state
    dict once, under `state_dict`, `model`, `generator`, `params` or the like. FILE:PART is the tensors of a file whose
    names begin with "PART.", under the rest of their names.

    Raises:
        WeightsError: missing, empty, damaged, or a pickle that holds more than tensors.
        UserError: the file has no such part; the message has the nearest.
    """
    path, part = file_and_part(path)
    if part:
        return take_part(read_state(path), path, part)
    if path.is_dir():
        files = sorted(file for file in path.iterdir() if file.suffix in SUFFIXES)
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


def take_part(state: Mapping[str, Tensor], path: Path, part: str) -> dict[str, Tensor]:
    """Return the tensors whose names begin with "PART.", under the rest of their names.

    Args:
        state: all tensors of a file.
        path: of the file, for the message.
        part: its name.

    Raises:
        UserError: the file has no such part; the message has the nearest.
    """
    chosen = {name[len(part) + 1 :]: value for name, value in state.items() if name.startswith(f"{part}.")}
    if not chosen:
        raise UserError(f"{path}: no part {part!r}; the nearest are: {nearest(part, parts_of(state))}")
    return chosen


def parts_of(state: Mapping[str, Tensor]) -> list[str]:
    """Return the first parts of a state dict's names: in the file of a run the networks.

    >>> parts_of({"generator.conv.weight": 0, "generator.conv.bias": 0, "critic.conv.weight": 0})
    ['generator', 'critic']
    """
    return list(dict.fromkeys(name.partition(".")[0] for name in state))


def _read(path: Path) -> object:
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
            warnings.simplefilter("ignore")  # about the protocol of a pickle; the error below tells more
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        # torch names a GLOBAL where a pickle would call something; a pickle that is not of torch begins with 0x80.
        with path.open("rb") as file:
            if "GLOBAL" in str(error) or file.read(1) == b"\x80":
                raise WeightsError(
                    f"{path}: refused: this pickle holds more than tensors, or was not written by torch, and could run "
                    "code when loaded; save its state dict alone (torch.save(network.state_dict(), ...)) or as "
                    ".safetensors"
                ) from None
        raise WeightsError(f"{path}: damaged, or not a file of weights; fetch it again") from None
    except Exception as error:  # each format raises other errors
        message = (str(error).splitlines() or [""])[0]
        raise WeightsError(f"{path}: damaged, or not a file of weights ({type(error).__name__}: {message})") from None


def _unwrapped(content: object, path: Path) -> dict[str, Tensor]:
    """Return the state dict in a file's content, without the mappings around it. Raises WeightsError."""
    import torch

    for _ in range(2):
        if isinstance(content, dict) and not any(isinstance(value, torch.Tensor) for value in content.values()):
            inner = [value for value in content.values() if isinstance(value, dict)]
            if len(inner) == 1:
                content = inner[0]
    if not isinstance(content, dict) or not content:
        raise WeightsError(f"{path}: holds {type(content).__name__}, expected a state dict: tensors by name")
    others = [name for name, value in content.items() if not isinstance(value, torch.Tensor)]
    if others:
        raise WeightsError(f"{path}: {others[0]} is not a tensor; expected a state dict: tensors by name")
    # Networks that were saved while on several GPUs have this prefix.
    return {name.removeprefix("module."): value for name, value in content.items()}

"""Read state dicts from files of many formats, safely: which state dict of a file is meant, and the names in it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.contracts import UserError, WeightsError
from bench.data.image_folders import is_foreign
from bench.registry import nearest
from bench.state_formats import check_tensors, read_content

if TYPE_CHECKING:
    from torch import Tensor

SUFFIXES = (".pth.tar", ".pkl", ".pth", ".pt", ".ckpt", ".bin", ".safetensors", ".npz", ".h5", ".hdf5", ".keras")
"""Endings of the files of weights in a folder. A file that is named may have any ending: its content counts."""
MOST_LEVELS = 3
"""Mappings around a state dict that are looked into."""


def file_and_part(path: Path) -> tuple[Path, str]:
    """Split FILE:PART; the part is "" where there is none, or where a file has the whole name."""
    file, _, part = str(path).rpartition(":")
    return (Path(file), part) if file and not path.exists() else (path, "")


def read_state(path: Path) -> dict[str, Tensor]:
    """Read a state dict from a file, or from a folder of files, whose names come first ("encoder_lv1.conv.weight").

    A file may be a whole training checkpoint: the state dict in it is found under any name (`state_dict`, `model`,
    `generator`, `params`) among optimisers, schedulers and counters. Where it holds several, as with an EMA copy,
    FILE:PART names one of them. FILE:PART is also the tensors whose names begin with "PART.", under the rest of their
    names. The prefixes of DataParallel ("module.") and torch.compile ("_orig_mod.") are taken off.

    Raises:
        WeightsError: missing, empty, or several state dicts; see `read_content` and `check_tensors`.
        UserError: the file has no such part; the message has the nearest.
    """
    path, part = file_and_part(path)
    if path.is_dir():
        files = weight_files(path)
        if not files:
            raise WeightsError(f"{path}: no weights in this folder; expected files that end in {', '.join(SUFFIXES)}")
        whole = {f"{stem_of(file)}.{name}": value for file in files for name, value in read_state(file).items()}
        return take_part(whole, path, part) if part else whole
    if not path.is_file():
        raise WeightsError(f"{path}: no such file")
    if path.stat().st_size == 0:
        raise WeightsError(f"{path}: the file is empty; fetch it again")
    state = _chosen(_state_dicts(read_content(path), path), path, part)
    check_tensors(path, state)
    return state


def weight_files(folder: Path) -> list[Path]:
    """Return the files of weights in a folder in name order, without hidden ones (._NAME of macOS)."""
    names = (file for file in folder.iterdir() if file.is_file() and not is_foreign(file.name))
    return sorted(file for file in names if file.name.lower().endswith(SUFFIXES))


def stem_of(file: Path) -> str:
    """Return the name of a file of weights without its ending.

    >>> stem_of(Path("encoder_lv1.pkl")), stem_of(Path("best.pth.tar"))
    ('encoder_lv1', 'best')
    """
    ending = next((ending for ending in SUFFIXES if file.name.lower().endswith(ending)), "")
    return file.name[: len(file.name) - len(ending)]


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


def _state_dicts(content: object, path: Path) -> dict[str, Mapping[str, Tensor]]:
    """Return the state dicts in a file's content by their place, "params_ema"; "" where the content is one itself.

    Raises:
        WeightsError: there is none.
    """
    if not isinstance(content, Mapping) or not content:
        raise WeightsError(f"{path}: holds {type(content).__name__}, expected a state dict: tensors by name")
    if _is_state_dict(content):
        return {"": content}
    nested = _nested(content, "", MOST_LEVELS, set())
    if not nested:
        first = next((name for name, value in content.items() if not _is_tensor(value)), next(iter(content)))
        raise WeightsError(f"{path}: {first} is not a tensor; expected a state dict: tensors by name")
    return nested


def _nested(content: Mapping[Any, Any], prefix: str, levels: int, seen: set[int]) -> dict[str, Mapping[str, Tensor]]:
    """Return the state dicts in a mapping by their place.

    Args:
        content: the mapping.
        prefix: its own place, "" or "models.".
        levels: how many further levels are looked into.
        seen: mappings that were looked into: a pickle can hold one many times, also within itself.
    """
    states: dict[str, Mapping[str, Tensor]] = {}
    for key, value in content.items():
        optimiser = isinstance(value, Mapping) and "param_groups" in value
        if not isinstance(value, Mapping) or optimiser or id(value) in seen:
            continue
        if _is_state_dict(value):
            states[f"{prefix}{key}"] = value
        elif levels > 1:
            seen.add(id(value))
            states |= _nested(value, f"{prefix}{key}.", levels - 1, seen)
    return states


def _is_state_dict(value: Mapping[Any, Any]) -> bool:
    """Return whether a mapping holds tensors by name, and some are weights: not the states of random generators."""
    pairs = value.items()
    return all(isinstance(name, str) and _is_tensor(part) for name, part in pairs) and any(
        part.is_floating_point() and part.dim() for part in value.values()
    )


def _is_tensor(value: object) -> bool:
    import torch

    return isinstance(value, torch.Tensor)


def _chosen(states: Mapping[str, Mapping[str, Tensor]], path: Path, part: str) -> dict[str, Tensor]:
    """Return the state dict that FILE:PART means.

    Raises:
        WeightsError: there are several, and none is named; see `_plain`.
        UserError: the file has no such part.
    """
    if part in states:
        return _plain(states[part], path)
    for name, state in states.items():
        if name and part.startswith(f"{name}."):
            return take_part(_plain(state, path), path, part[len(name) + 1 :])
    if len(states) == 1:
        (state,) = (_plain(state, path) for state in states.values())
        return take_part(state, path, part) if part else state
    if part:
        raise UserError(f"{path}: no part {part!r}; the nearest are: {nearest(part, states)}")
    first = next(iter(states))
    raise WeightsError(
        f"{path}: holds {len(states)} state dicts: {', '.join(states)}; name the one that you mean, as in "
        f"{path}:{first}"
    )


def _plain(state: Mapping[str, Tensor], path: Path) -> dict[str, Tensor]:
    """Return a state dict without the prefixes of wrappers, and without the counter of torch's averaged models.

    Raises:
        WeightsError: two tensors then have one name.
    """
    averaged = "n_averaged" in state and all(name.startswith("module.") for name in state if name != "n_averaged")
    plain = {plain_name(name): value for name, value in state.items() if not (averaged and name == "n_averaged")}
    if len(plain) < len(state) - averaged:
        names = [plain_name(name) for name in state]
        twice = next(name for name in names if names.count(name) > 1)
        raise WeightsError(f"{path}: two tensors are named {twice}, with and without a prefix; save the network again")
    return plain


def plain_name(name: str) -> str:
    """Return a tensor's name without the prefixes of DataParallel, and of torch.compile at any place.

    >>> plain_name("_orig_mod.module.conv.weight"), plain_name("encoder._orig_mod.conv.weight")
    ('conv.weight', 'encoder.conv.weight')
    """
    words = [word for word in name.split(".") if word != "_orig_mod"]
    while len(words) > 1 and words[0] == "module":
        words = words[1:]
    return ".".join(words)

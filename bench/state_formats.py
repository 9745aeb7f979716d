"""Formats of weight files, told apart by their content, not by their names. No file can run code when it is read.

What a file claims to hold is compared with its size before memory is taken: weights hardly compress, so a small file of
large tensors is a bomb or damaged.
"""

from __future__ import annotations

import argparse
import contextlib
import mmap
import pickle
import re
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.contracts import WeightsError

if TYPE_CHECKING:
    from torch import Tensor

EXPANSION = 16
"""The tensors of a file take at most this number of times its size, and ALLOWANCE more: zeros compress well, and tied
tensors are stored once."""
ALLOWANCE = 64 * 2**20
"""Bytes, for small files."""
HDF5 = b"\x89HDF\r\n\x1a\n"
ZIP = b"PK\x03\x04"
OTHERS = {
    b"\x1f\x8b": "a gzip archive; unpack it (gunzip)",
    b"BZh": "a bzip2 archive; unpack it",
    b"\xfd7zXZ": "an xz archive; unpack it",
    b"7z\xbc\xaf": "a 7z archive; unpack it",
    b"Rar!": "a RAR archive; unpack it",
    b"version https://git-lfs": "a pointer of Git LFS in place of the weights; fetch them (git lfs pull)",
    b"<!doctype": "a web page in place of the weights; fetch them again, in a browser if they are behind a form",
    b"<html": "a web page in place of the weights; fetch them again, in a browser if they are behind a form",
}
"""What other files begin with, in lower case, and what to do."""
TO_NPZ = (
    'python -c "import h5py, numpy; w = {{}}; h5py.File({source!r}).visititems(lambda k, v: w.update({{k: v[()]}}) if '
    "isinstance(v, h5py.Dataset) and v.dtype.kind == 'f' else None); numpy.savez({target!r}, **w)\""
)
"""The command, for an environment with h5py, that turns a Keras file into what `read_content` takes."""


def read_content(path: Path) -> object:
    """Read what a file of weights holds, usually a mapping; torch files are read with `weights_only=True`.

    Raises:
        WeightsError: damaged, of another format, a pickle that holds more than tensors, or entries that take far more
            memory than the file.
    """
    try:
        with path.open("rb") as file:
            head = file.read(512)
        _refuse_others(path, head)
        if head.startswith(ZIP):
            return _read_zip(path)
        if head[8:9] == b"{" and int.from_bytes(head[:8], "little") <= path.stat().st_size:
            from safetensors.torch import load_file

            return load_file(path)
        return _read_torch(path)
    except WeightsError:
        raise
    except pickle.UnpicklingError as error:
        raise _unpickling_error(path, str(error)) from None
    except Exception as error:  # each format raises other errors
        message = (str(error).splitlines() or [""])[0]
        raise WeightsError(f"{path}: damaged, or not a file of weights ({type(error).__name__}: {message})") from None


def _refuse_others(path: Path, head: bytes) -> None:
    """Raise WeightsError for a file that is known by its first bytes and holds no weights that can be read."""
    if head.startswith(HDF5):
        command = TO_NPZ.format(source=str(path), target=f"{path.stem}.npz")
        raise WeightsError(
            f"{path}: found an HDF5 file, as Keras writes, expected torch, .safetensors or .npz; turn it into .npz in "
            f"an environment with h5py: {command}"
        )
    for start, advice in OTHERS.items():
        if head[: len(start)].lower() == start.lower():
            raise WeightsError(f"{path}: damaged, or not a file of weights: found {advice}")
    if head[257:262] == b"ustar":
        raise WeightsError(f"{path}: damaged, or not a file of weights: found a tar archive; unpack it")


def _read_zip(path: Path) -> object:
    """Read a zip file: torch's own format, or numpy's."""
    import numpy as np
    import torch

    with zipfile.ZipFile(path) as archive:
        entries = archive.infolist()
    names = [entry.filename for entry in entries]
    total, size = sum(entry.file_size for entry in entries), path.stat().st_size
    if any(name == "data.pkl" or name.endswith("/data.pkl") for name in names):
        if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries):
            raise WeightsError(f"{path}: refused: its entries are compressed, which torch never does; fetch it again")
        if total > size:
            raise WeightsError(f"{path}: refused: its entries take {total} bytes, the file has {size}; fetch it again")
        return _read_torch(path)
    if names and all(name.endswith(".npy") for name in names):
        check_memory(path, total)
        with np.load(path, allow_pickle=False) as arrays:
            return {name: torch.from_numpy(arrays[name]) for name in arrays.files}
    what = "a Keras file, whose model.weights.h5 is HDF5" if "model.weights.h5" in names else "a zip archive"
    raise WeightsError(f"{path}: damaged, or not a file of weights: found {what}; unpack it")


def _read_torch(path: Path) -> object:
    import torch

    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        # Of what torch lets a pickle call, only this takes and fills memory of any size.
        if content.find(b"\nbytearray\n") >= 0:
            raise WeightsError(f"{path}: refused: it makes byte arrays, which no state dict needs; save the state dict")
    with warnings.catch_warnings(), torch.serialization.safe_globals(_harmless()):
        warnings.simplefilter("ignore")  # about the protocol of a pickle; the errors tell more
        return torch.load(path, map_location="cpu", weights_only=True)


def _harmless() -> list[Any]:
    """Return classes that training checkpoints often hold besides tensors, and that only hold values."""
    import numpy as np

    with contextlib.suppress(AttributeError):  # before numpy 2 it has another name
        scalar = np._core.multiarray.scalar  # type: ignore[attr-defined]
        kinds = [type(np.dtype(kind)) for kind in ("f8", "f4", "i8", "i4", "?")]
        return [argparse.Namespace, scalar, (scalar, "numpy.core.multiarray.scalar"), np.dtype, *kinds]
    return [argparse.Namespace]


def _unpickling_error(path: Path, message: str) -> WeightsError:
    """Return the error for a pickle that torch refuses."""
    # torch names a GLOBAL where a pickle would call something; a pickle that is not of torch begins with 0x80.
    with path.open("rb") as file:
        other = file.read(1) == b"\x80"
    if "GLOBAL" not in message and not other:
        return WeightsError(f"{path}: damaged, or not a file of weights; fetch it again")
    match = re.search(r"GLOBAL ([\w.]+)", message)
    what = f"this pickle holds {match[1]}" if match else "this pickle was not written by torch"
    return WeightsError(
        f"{path}: refused: {what}, more than tensors, and could run code when loaded; where it comes from, save its "
        "state dict alone (torch.save(network.state_dict(), ...)) or as .safetensors"
    )


def check_memory(path: Path, needed: int) -> None:
    """Raise WeightsError where the tensors of a file would take far more memory than the file has bytes.

    Args:
        path: of the file.
        needed: bytes of all its tensors.
    """
    size = path.stat().st_size
    if needed > EXPANSION * size + ALLOWANCE:
        raise WeightsError(
            f"{path}: refused: its tensors would take {needed / 2**20:.0f} MiB, the file has {size / 2**20:.1f} MiB; "
            f"weights take at most {EXPANSION} times their file; fetch it again"
        )


def check_tensors(path: Path, state: Mapping[str, Tensor]) -> None:
    """Raise WeightsError for tensors without values of their own: not dense, or far larger than what is stored.

    Args:
        path: of the file.
        state: the tensors that are used.
    """
    import torch

    for name, value in state.items():
        if value.layout != torch.strided or value.device.type != "cpu" or value.is_quantized:
            kind = "a quantised" if value.is_quantized else f"a {value.layout} {value.device.type}"
            raise WeightsError(f"{path}: {name} is {kind} tensor, expected a dense one; save it as a plain tensor")
    check_memory(path, sum(value.numel() * value.element_size() for value in state.values()))

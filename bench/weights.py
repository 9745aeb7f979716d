"""The files of other people's network weights that some losses and scores look through, and how they are found.

Nothing is downloaded and nothing is loaded here: a file is looked for by name, and taken only if its SHA-256 begins
with the digits that stand at the end of its public name.
"""

from __future__ import annotations

import difflib
import functools
import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

from bench.contracts import UserError, WeightsError


@dataclass(frozen=True)
class WeightFile:
    """One public file of weights.

    Args:
        title: what it holds, for messages.
        url: the full address of the public file; its last part is the file's name, which ends in the first eight digits
            of its SHA-256.
        mebibytes: its size as its publisher states it, 2^20 bytes; for the reader, not checked.
    """

    title: str
    url: str
    mebibytes: float

    @property
    def name(self) -> str:
        """The file's name, as published; other programs look for the same."""
        return self.url.rsplit("/", 1)[1]

    @property
    def sha256(self) -> str:
        """The first digits of its SHA-256."""
        return self.name.removesuffix(".pth").rsplit("-", 1)[1]


KNOWN: dict[str, WeightFile] = {
    "vgg16": WeightFile("VGG-16, ImageNet", "https://download.pytorch.org/models/vgg16-397923af.pth", 527.8),
    "vgg19": WeightFile("VGG-19, ImageNet", "https://download.pytorch.org/models/vgg19-dcbb9e9d.pth", 548.1),
    "alexnet": WeightFile("AlexNet, ImageNet", "https://download.pytorch.org/models/alexnet-owt-7be5be79.pth", 233.1),
    "squeezenet": WeightFile(
        "SqueezeNet 1.1, ImageNet", "https://download.pytorch.org/models/squeezenet1_1-b8a52dc0.pth", 4.7
    ),
    "inception-fid": WeightFile(
        "Inception v3 of the TensorFlow FID",
        "https://github.com/toshas/torch-fidelity/releases/download/v0.2.0/weights-inception-2015-12-05-6726825d.pth",
        91.2,
    ),
}


def known(key: str) -> WeightFile:
    """What is known of the file `key`. Raises UserError with the nearest keys."""
    if key not in KNOWN:
        near = difflib.get_close_matches(key, KNOWN) or list(KNOWN)
        raise UserError(f"no weights {key!r}; the nearest are: {', '.join(near)}")
    return KNOWN[key]


def shared_folder() -> Path:
    """Where torch keeps downloaded weights: $TORCH_HOME/hub/checkpoints, by default ~/.cache/torch/hub/checkpoints."""
    cache = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    home = os.environ.get("TORCH_HOME") or os.path.join(cache, "torch")
    return Path(home).expanduser() / "hub" / "checkpoints"


def find(key: str, folder: Path | None = None) -> Path | None:
    """The verified file of the weights `key`; None where it is in neither place, and `explain` says what to do.

    Args:
        key: of `KNOWN`.
        folder: the folder that the user names, looked in first; then comes `shared_folder()`.
    Raises:
        UserError: for an unknown key.
        WeightsError: when `folder` is no folder, or a file of the right name has another SHA-256.
    """
    file = known(key)
    if folder is not None and not folder.is_dir():
        raise WeightsError(f"{folder}: no such folder; it was named as the place of network weights")
    for place in [shared_folder()] if folder is None else [folder, shared_folder()]:
        path = place / file.name
        if path.is_file():
            verify(path, file)
            return path
    return None


def verify(path: Path, file: WeightFile) -> None:
    """Raise WeightsError unless the SHA-256 of `path` begins with the digits in the public file's name."""
    about = path.stat()
    found = digest(path, about.st_size, about.st_mtime_ns)
    if not found.startswith(file.sha256):
        raise WeightsError(
            f"{path}: its SHA-256 begins with {found[: len(file.sha256)]}, that of the published file with "
            f"{file.sha256} ({about.st_size / 2**20:.1f} MiB found, about {file.mebibytes} MiB published): it is "
            f"damaged or another file. Delete it and fetch {file.url}"
        )


@functools.lru_cache
def digest(path: Path, size: int, changed: int) -> str:
    """The SHA-256 of a file, in hexadecimal digits; computed once while its size and its time of change stay."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def explain(key: str, folder: Path | None = None) -> str:
    """One sentence on what to fetch, where to put it and what then, for weights that `find` did not find."""
    file = known(key)
    shared = str(shared_folder()).replace(str(Path.home()), "~", 1)
    places = f"{folder} or {shared}" if folder is not None else shared
    return (
        f"the weights {key!r} ({file.title}) are not on this machine: fetch {file.url} "
        f"(about {file.mebibytes} MiB, SHA-256 {file.sha256}...) and put it, under this name, into {places}; "
        "network-weights/README.md says what `dvc repro` then does"
    )

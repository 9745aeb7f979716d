"""Files with the weights of published networks that some losses and metrics use, and where they are looked for.

Nothing is downloaded and nothing is loaded here. A file is found by its name and accepted only if its SHA-256 starts
with the digits at the end of its published name.
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
    """A published file of weights.

    Args:
        title: name of the network and its training data, for messages.
        url: address of the file; its last part is the file's name, which ends in the first eight digits of its SHA-256.
        mebibytes: size stated by the publisher, in 2^20 bytes; information for the user, not checked.
    """

    title: str
    url: str
    mebibytes: float

    @property
    def name(self) -> str:
        """The published name of the file, which other programs look for, too."""
        return self.url.rsplit("/", 1)[1]

    @property
    def sha256(self) -> str:
        """The first eight digits of its SHA-256."""
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
    """Return the file of a key of KNOWN. Raises UserError with the nearest keys."""
    if key not in KNOWN:
        near = difflib.get_close_matches(key, KNOWN) or list(KNOWN)
        raise UserError(f"no weights {key!r}; the nearest are: {', '.join(near)}")
    return KNOWN[key]


def shared_folder() -> Path:
    """Return torch's folder of weights: $TORCH_HOME/hub/checkpoints, default ~/.cache/torch/hub/checkpoints."""
    cache = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    home = os.environ.get("TORCH_HOME") or os.path.join(cache, "torch")
    return Path(os.path.expanduser(home)) / "hub" / "checkpoints"  # pathlib's fails for a user without a home


def find(key: str, folder: Path | None = None) -> Path | None:
    """Return the verified file with the weights of a network, or None if it is missing; then see `explain`.

    Args:
        key: of `KNOWN`.
        folder: the user's folder, searched first, before `shared_folder()`.

    Raises:
        UserError: an unknown key.
        WeightsError: `folder` is not a folder, or a file with the right name has another SHA-256.
    """
    file = known(key)
    if folder is not None and not folder.is_dir():
        raise WeightsError(f"{folder}: no such folder of network weights")
    for place in [shared_folder()] if folder is None else [folder, shared_folder()]:
        path = place / file.name
        if path.is_file():
            verify(path, file)
            return path
    return None


def verify(path: Path, file: WeightFile) -> None:
    """Raise WeightsError unless the SHA-256 of `path` starts with the digits in the published name."""
    status = path.stat()
    sha256 = digest(path, status.st_size, status.st_mtime_ns)
    if not sha256.startswith(file.sha256):
        raise WeightsError(
            f"{path}: its SHA-256 begins with {sha256[: len(file.sha256)]}, that of the published file with "
            f"{file.sha256} ({status.st_size / 2**20:.1f} MiB found, about {file.mebibytes} MiB published): it is "
            f"damaged or another file. Delete it and fetch {file.url}"
        )


@functools.lru_cache
def digest(path: Path, size: int, changed: int) -> str:
    """Return the SHA-256 of a file in hexadecimal; cached while its size and time of change remain the same."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def explain(key: str, folder: Path | None = None) -> str:
    """Return one sentence for missing weights: what to fetch, where to put it, and what to do then."""
    file = known(key)
    shared = str(shared_folder()).replace(os.path.expanduser("~"), "~", 1)
    places = f"{folder} or {shared}" if folder is not None else shared
    return (
        f"the weights {key!r} ({file.title}) are not on this machine: fetch {file.url} "
        f"(about {file.mebibytes} MiB, SHA-256 {file.sha256}...) and put it, under this name, into {places}; "
        "see network-weights/README.md for what `dvc repro` then does"
    )

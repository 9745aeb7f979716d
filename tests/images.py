"""Images that tests read."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from bench.data import built_images
from bench.files import sha256


def read_png(path: Path) -> np.ndarray:
    """Read a PNG file with whatever content it has."""
    return built_images.read_png(path, sha256(path))


def flip_byte(path: Path, place: int = -1) -> None:
    """Change one byte of a file.

    Args:
        path: of the file.
        place: of the byte; -1 for the middle.
    """
    data = bytearray(path.read_bytes())
    data[place if place >= 0 else len(data) // 2] ^= 1
    path.write_bytes(data)

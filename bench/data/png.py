"""PNG files of built sets: lossless, 8 or 16 bits, RGB or one channel."""

from __future__ import annotations

import hashlib
from pathlib import Path

import cv2
import numpy as np

from bench.contracts import DataError
from bench.files import replacing


def write_png(path: Path, image: np.ndarray) -> str:
    """Write an image, read it back, and return the file's SHA-256.

    Args:
        image: uint8 or uint16, RGB (H, W, 3) or (H, W).

    Raises:
        DataError: what was read back is not what was written.
        UserError: the disk is full or the folder cannot be written.
    """
    if image.dtype not in (np.uint8, np.uint16):
        raise TypeError(f"{path}: images are stored as uint8 or uint16, not {image.dtype}")
    pixels = cv2.cvtColor(image, cv2.COLOR_RGB2BGR) if image.ndim == 3 else image
    # Level 1 takes half the time of the default for 3 % more bytes.
    data = cv2.imencode(".png", pixels, [cv2.IMWRITE_PNG_COMPRESSION, 1])[1].tobytes()
    with replacing(path) as temporary:
        temporary.write_bytes(data)
    digest = hashlib.sha256(data).hexdigest()
    if hashlib.sha256(path.read_bytes()).hexdigest() != digest:
        raise DataError(f"{path}: what was read back differs from what was written; check the disk")
    return digest


def read_png(path: Path) -> np.ndarray:
    """Read a PNG of a built set: RGB (H, W, 3) or (H, W), in its own depth. Raises DataError when it cannot."""
    image = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    if image is None:
        state = "damaged" if path.is_file() else "missing"
        raise DataError(f"{path}: {state}; build the dataset again, or check a folder by: python -m bench verify")
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB) if image.ndim == 3 else image


def as_float(image: np.ndarray) -> np.ndarray:
    """Turn uint8 or uint16 into float32 in [0, 1]; one channel gets an axis of its own: (H, W, C)."""
    image = image[..., None] if image.ndim == 2 else image
    return image.astype(np.float32) / np.float32(np.iinfo(image.dtype).max)

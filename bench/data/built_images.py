"""The PNG files of a built dataset, written and read by the engine alone: lossless, 8 or 16 bits, RGB or one channel.

Image files that a user brings are read by `bench.data.user_images`, which converts or refuses what is unusual.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from bench.contracts import DataError
from bench.files import replacing
from bench.hashes import digest, read_verified

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
PNG_COMPRESSION = 1  # of 9: half the time of OpenCV's default for 3 % more bytes

Chunk = tuple[bytes, bytes]
"""Name and data of a chunk of a PNG."""


def write_png(path: Path, image: np.ndarray, chunks: Sequence[Chunk] = ()) -> str:
    """Write an image, read the file back, and return its SHA-256.

    Args:
        path: of the new file; missing folders are created.
        image: uint8 or uint16, RGB (H, W, 3) or (H, W).
        chunks: what `colour_description` found in the file that it was made from.

    Raises:
        DataError: the bytes read back differ from the bytes written.
        UserError: the disk is full or the folder cannot be written.
    """
    import cv2

    if image.dtype not in (np.uint8, np.uint16):
        raise TypeError(f"{path}: found {image.dtype}, expected uint8 or uint16")
    pixels = cv2.cvtColor(image, cv2.COLOR_RGB2BGR) if image.ndim == 3 else image
    data = cv2.imencode(".png", pixels, [cv2.IMWRITE_PNG_COMPRESSION, PNG_COMPRESSION])[1].tobytes()
    data = with_chunks(data, chunks)
    with replacing(path) as temporary:
        temporary.write_bytes(data)
    if path.read_bytes() != data:
        raise DataError(f"{path}: what was read back differs from what was written; check the disk")
    return digest(data)


def with_chunks(png: bytes, chunks: Sequence[Chunk]) -> bytes:
    """Return a PNG file with chunks added in front of its pixels."""
    end = len(PNG_SIGNATURE) + 25  # of IHDR, which is always the first chunk
    added = [
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data)) for name, data in chunks
    ]
    return b"".join((png[:end], *added, png[end:]))


def read_png(path: Path, sha256: str) -> np.ndarray:
    """Read a PNG of a built dataset: RGB (H, W, 3) or (H, W), uint8 or uint16 as stored.

    Args:
        path: of the file.
        sha256: recorded when it was written; the bytes that are decoded must have it.

    Raises:
        DataError: the file is missing or has changed.
    """
    import cv2

    data = read_verified(path, sha256, "build the dataset again")
    image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if image is None:
        raise DataError(f"{path}: not a PNG file; build the dataset again")
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB) if image.ndim == 3 else image


def as_float(image: np.ndarray) -> np.ndarray:
    """Convert uint8 or uint16, (H, W, C) or (H, W), to float32 (H, W, C) in [0, 1].

    >>> as_float(np.array([[0, 51, 255]], np.uint8))[..., 0].tolist()
    [[0.0, 0.20000000298023224, 1.0]]
    """
    image = image[..., None] if image.ndim == 2 else image
    return image.astype(np.float32) / np.float32(np.iinfo(image.dtype).max)

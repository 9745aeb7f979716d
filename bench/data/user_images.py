"""Read image files that a user brings: official datasets, photographs to restore, predictions to score, masks.

Converted on purpose:
- grey (8 or 16 bits): the value is copied to three channels;
- palette and bilevel: looked up as RGB;
- EXIF orientation: applied, so that the first row is the top of the picture as a person sees it;
- CMYK JPEG: to RGB by Pillow's formula, R = (255 - C)(255 - K) / 255, without the file's colour profile;
- an alpha channel that is opaque everywhere: dropped.

No colour profile is applied anywhere: the stored values are used. All other files are refused with one message: a file
that is missing, empty, truncated or damaged, neither PNG, JPEG nor TIFF, of another bit depth than requested, or with
transparent pixels. A PNG's checksums and a JPEG's length are verified. A JPEG has no checksum, so changed bytes in it
can remain unnoticed.

The PNG files that a build has written are read by `bench.data.built_images`.
"""

from __future__ import annotations

import io
import struct
import warnings
import zlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from PIL import Image, TiffImagePlugin

from bench.contracts import DataError

EXTENSIONS = (".png", ".jpg", ".jpeg", ".tif", ".tiff")
FORMATS = ("PNG", "JPEG", "MPO", "TIFF")  # Pillow's names, by content; MPO is a JPEG with two pictures, from cameras
ORIENTATION = 274  # EXIF tag
BITS_PER_SAMPLE = 258  # TIFF tag
DECODING_ERRORS = (OSError, SyntaxError, ValueError, EOFError, struct.error, zlib.error)  # Pillow's, on damaged files


def describe(folder: Path, most: int = 8) -> str:
    """List at most `most` names in `folder`, or in its nearest parent that exists, for an error message."""
    while not folder.is_dir() and folder != folder.parent:
        folder = folder.parent
    names = sorted(path.name + "/" * path.is_dir() for path in folder.iterdir() if not path.name.startswith("."))
    more = f", and {len(names) - most} more" if len(names) > most else ""
    return f"{folder} holds: {', '.join(names[:most]) + more if names else 'nothing'}"


def require_folder(folder: Path) -> Path:
    """Return `folder`. Raises DataError when it is missing, with the content of its nearest existing parent."""
    if not folder.is_dir():
        raise DataError(
            f"{folder}: no such folder; {describe(folder)}. Check the path and that the archive is unpacked"
        )
    return folder


def list_images(folder: Path) -> list[Path]:
    """List the image files in `folder`, without its sub-folders, in name order.

    Selected by extension, in upper or lower case: .png, .jpg, .jpeg, .tif, .tiff. Hidden files and others (Thumbs.db)
    are skipped.

    Raises:
        DataError: the folder is missing.
    """
    return sorted(
        path
        for path in require_folder(folder).iterdir()
        if path.suffix.lower() in EXTENSIONS and not path.name.startswith(".")
    )


def read_bytes(path: Path) -> bytes:
    """Read a file's bytes. Raises DataError when it is missing, a folder, empty, or not readable."""
    try:
        if not path.is_file():
            raise DataError(f"{path}: no such file; {describe(path.parent)}. Fetch or unpack the missing file")
        data = path.read_bytes()
    except OSError as error:
        raise DataError(
            f"{path}: found a file that cannot be read ({error.strerror}), expected an image; change its rights or "
            "fetch it again"
        ) from error
    if not data:
        raise DataError(f"{path}: found a file of 0 bytes, expected an image; fetch or unpack it again")
    return data


def bit_depth(data: bytes, picture: Image.Image) -> int:
    """Return the bits per value of an opened picture. Pillow's mode does not tell: it opens 16-bit RGB PNG as 8-bit."""
    if picture.format == "PNG":
        return data[24]  # the bit depth field of IHDR, which is always the first chunk
    if isinstance(picture, TiffImagePlugin.TiffImageFile):
        return int(np.max(picture.tag_v2.get(BITS_PER_SAMPLE, 1)))
    return 8


def upright(image: np.ndarray, orientation: int) -> np.ndarray:
    """Turn (H, W, ...) pixels upright by EXIF's orientation, 1 to 8; other values change nothing.

    >>> upright(np.array([[1, 2], [3, 4]]), 6).tolist()  # stored on its left side: turned by 90 degrees clockwise
    [[3, 1], [4, 2]]
    """
    if orientation in (5, 6, 7, 8):
        image = image.swapaxes(0, 1)
    if orientation in (2, 3, 6, 7):
        image = image[:, ::-1]
    if orientation in (3, 4, 7, 8):
        image = image[::-1]
    return np.ascontiguousarray(image)


def decode_8bit(picture: Image.Image) -> np.ndarray:
    """Return the pixels of a picture of at most 8 bits: (H, W, 3), or (H, W, 4) if it can be transparent."""
    picture.load()
    return np.asarray(picture.convert("RGBA" if picture.has_transparency_data else "RGB"))


def decode_16bit(data: bytes) -> np.ndarray:
    """Return the pixels of a 16-bit PNG: (H, W, 3) or (H, W, 4) uint16, RGB. OpenCV decodes: Pillow gives 8 bits."""
    import cv2

    image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if image is None or image.dtype != np.uint16:
        raise ValueError("OpenCV cannot decode it as 16 bits")
    if image.ndim == 2:
        return np.repeat(image[..., None], 3, axis=2)
    return image[..., [2, 1, 0, *range(3, image.shape[2])]]


def read_rgb(path: Path, bits: int | None = 8) -> np.ndarray:
    """Read an image file as RGB, converted or refused as the module's docstring lists.

    Args:
        path: a PNG, JPEG or TIFF file.
        bits: the required depth: 8 (or less) or 16; None accepts both. 16 bits are read from PNG files only.

    Returns:
        (H, W, 3), uint8 for 8 bits, uint16 for 16 bits.

    Raises:
        DataError: with the path, what was found, what was expected and what to do.
    """
    data = read_bytes(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow warns of large pictures and of damaged metadata
            with Image.open(io.BytesIO(data)) as picture:
                kind, depth = picture.format, bit_depth(data, picture)
                _check_format(path, kind, depth, bits)
                picture.verify()  # a PNG's checksums; the picture must then be opened again
            with Image.open(io.BytesIO(data)) as picture:
                image = decode_16bit(data) if depth == 16 else decode_8bit(picture)
                orientation = picture.getexif().get(ORIENTATION, 1)  # after decoding: Pillow turns a TIFF by itself
    except Image.UnidentifiedImageError as error:
        raise DataError(
            f"{path}: found no readable image, expected a whole PNG, JPEG or TIFF; fetch it again"
        ) from error
    except (*DECODING_ERRORS, Image.DecompressionBombError) as error:
        raise DataError(
            f"{path}: found a truncated or damaged file ({error}), expected a whole image; fetch or unpack it again"
        ) from error
    return upright(_without_alpha(path, image), orientation)


def _check_format(path: Path, kind: str | None, depth: int, bits: int | None) -> None:
    """Raise DataError for another file format or bit depth than `read_rgb` was asked for."""
    if kind not in FORMATS:
        raise DataError(f"{path}: found a {kind} file, expected PNG, JPEG or TIFF; convert it without loss")
    if depth > 16 or (bits is not None and (depth > 8) != (bits == 16)):
        raise DataError(
            f"{path}: found {depth} bits per value, expected {bits or '8 or 16'}; take the files as "
            f"their authors published them, or ask for {16 if depth == 16 else 8} bits if the dataset has that option"
        )
    if depth == 16 and kind != "PNG":
        raise DataError(f"{path}: found a 16-bit {kind} file, expected a 16-bit PNG; convert it without loss")


def _without_alpha(path: Path, image: np.ndarray) -> np.ndarray:
    """Drop an opaque alpha channel. Raises DataError when a pixel is transparent."""
    opaque = np.iinfo(image.dtype).max
    if image.shape[2] == 4 and image[..., 3].min() < opaque:
        raise DataError(
            f"{path}: found an alpha channel down to {image[..., 3].min()}, expected an opaque image ({opaque} "
            "everywhere); flatten it on the background that you want"
        )
    return image[..., :3]


def read_mask(path: Path) -> np.ndarray:
    """Read a mask file: pixels of 128 and above are hole.

    Returns:
        (H, W) uint8, 255 = hole, 0 = known.

    Raises:
        DataError: as for `read_rgb`, and for a picture in colour.
    """
    image = read_rgb(path)
    if (image != image[..., :1]).any():
        raise DataError(f"{path}: found a colour picture, expected a black and white mask; check the path of the masks")
    return np.where(image[..., 0] >= 128, 255, 0).astype(np.uint8)


def image_size(path: Path) -> tuple[int, int]:
    """Return (H, W) of an image file in its upright position, from its header alone.

    Raises:
        DataError: the file is missing, empty, or neither PNG, JPEG nor TIFF. Damage after the header is not noticed.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(path) as picture:
                width, height = picture.size
                if picture.format not in FORMATS:
                    raise DataError(
                        f"{path}: found a {picture.format} file, expected PNG, JPEG or TIFF; convert it without loss"
                    )
                # `getexif` of a PNG without EXIF data would decode the whole picture.
                has_exif = picture.format != "PNG" or "exif" in picture.info
                turned = has_exif and picture.getexif().get(ORIENTATION, 1) in (5, 6, 7, 8)
                return (width, height) if turned else (height, width)
    except (*DECODING_ERRORS, Image.DecompressionBombError) as error:
        read_bytes(path)  # raises first when the file is missing or empty
        raise DataError(
            f"{path}: found no readable image header ({error}), expected an image; fetch it again"
        ) from error


def check_sizes(name: str, sizes: Mapping[str, tuple[int, ...]]) -> None:
    """Check that images of one sample are of one size.

    Args:
        name: the sample, for the message.
        sizes: (H, W, ...) by field or file name.

    Raises:
        DataError: with all sizes.
    """
    if len({tuple(size[:2]) for size in sizes.values()}) > 1:
        listed = ", ".join(f"{field} {size[1]}x{size[0]}" for field, size in sizes.items())
        raise DataError(
            f"{name}: found different sizes (width x height): {listed}; expected one size; replace the wrong file"
        )


def same_size(name: str, images: Mapping[str, np.ndarray]) -> None:
    """Check that images of one sample, (H, W) or (H, W, C) by field, are of one size, as `check_sizes` does."""
    check_sizes(name, {field: image.shape for field, image in images.items()})

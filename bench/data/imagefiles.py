"""Reading image files: one way in for every dataset, and one clear message for every file that cannot be used.

Accepted and converted on purpose:
- grey (8 or 16 bits): the value is copied to three channels;
- palette and bilevel: looked up as RGB;
- EXIF orientation: applied, so that rows run down the picture as a person sees it;
- CMYK JPEG: to RGB by Pillow's arithmetic, R = (255 - C)(255 - K) / 255, without the file's colour profile;
- an alpha channel that is opaque everywhere: dropped.

No colour profile is applied anywhere: the stored values are the values. Everything else is refused: a file that is
missing, empty, truncated or damaged, that is no PNG, JPEG or TIFF, that has another bit depth than asked, or that is
transparent somewhere. A PNG's checksums and a JPEG's length are verified; a JPEG has no checksum, so that changed bytes
inside it can pass.
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
FORMATS = ("PNG", "JPEG", "MPO", "TIFF")  # by content, as Pillow names them; MPO: a camera's JPEG of two pictures
ORIENTATION = 274  # the EXIF tag
BITS_PER_SAMPLE = 258  # the TIFF tag
UNREADABLE = (OSError, SyntaxError, ValueError, EOFError, struct.error, zlib.error)  # what Pillow raises on bad files


def describe(folder: Path, most: int = 8) -> str:
    """Say what lies in `folder`, or in the nearest of its parents that exists, for an error message."""
    while not folder.is_dir() and folder != folder.parent:
        folder = folder.parent
    names = sorted(path.name + "/" * path.is_dir() for path in folder.iterdir() if not path.name.startswith("."))
    more = f", and {len(names) - most} more" if len(names) > most else ""
    return f"{folder} holds: {', '.join(names[:most]) + more if names else 'nothing'}"


def require_folder(folder: Path) -> Path:
    """Return `folder`. Raises DataError with what the nearest existing parent holds when it is missing."""
    if not folder.is_dir():
        raise DataError(
            f"{folder}: no such folder; {describe(folder)}. Check the path and that the archive is unpacked"
        )
    return folder


def list_images(folder: Path) -> list[Path]:
    """List the image files of `folder` (not of its sub-folders) in name order.

    Taken by extension, in any case: .png, .jpg, .jpeg, .tif, .tiff. Hidden and other files (Thumbs.db) are skipped.

    Raises:
        DataError: when the folder is missing; the message names what the nearest existing parent holds.
    """
    return sorted(
        path
        for path in require_folder(folder).iterdir()
        if path.suffix.lower() in EXTENSIONS and not path.name.startswith(".")
    )


def read_bytes(path: Path) -> bytes:
    """Read a whole file. Raises DataError when it is missing, a folder, empty, or may not be read."""
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
    """Bits of each value of an opened picture; Pillow's own mode does not tell (16-bit RGB PNG opens as 8-bit RGB)."""
    if picture.format == "PNG":
        return data[24]  # the bit depth field of IHDR, which is always the first chunk
    if isinstance(picture, TiffImagePlugin.TiffImageFile):
        return int(np.max(picture.tag_v2.get(BITS_PER_SAMPLE, 1)))
    return 8


def upright(image: np.ndarray, orientation: int) -> np.ndarray:
    """Turn (H, W, ...) pixels as EXIF's orientation 1..8 demands; other values leave them."""
    if orientation in (5, 6, 7, 8):
        image = image.swapaxes(0, 1)
    if orientation in (2, 3, 6, 7):
        image = image[:, ::-1]
    if orientation in (3, 4, 7, 8):
        image = image[::-1]
    return np.ascontiguousarray(image)


def decode_8bit(picture: Image.Image) -> np.ndarray:
    """Pixels of an opened Pillow picture of up to 8 bits: (H, W, 3), or (H, W, 4) where it can be transparent."""
    picture.load()
    return np.asarray(picture.convert("RGBA" if picture.has_transparency_data else "RGB"))


def decode_16bit(data: bytes) -> np.ndarray:
    """Pixels of a 16-bit PNG: (H, W, 3) or (H, W, 4) uint16, red first. Through OpenCV: Pillow would drop to 8 bits."""
    import cv2

    image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if image is None or image.dtype != np.uint16:
        raise ValueError("OpenCV cannot decode it as 16 bits")
    if image.ndim == 2:
        return np.repeat(image[..., None], 3, axis=2)
    return image[..., [2, 1, 0, *range(3, image.shape[2])]]


def read_rgb(path: Path, bits: int | None = 8) -> np.ndarray:
    """Read one image file as RGB, converted or refused as the module's docstring lists.

    Args:
        bits: the depth that the file must have: 8 (or less) or 16; None takes either. 16 bits are read from PNG files.

    Returns:
        (H, W, 3), uint8 for 8 bits, uint16 for 16 bits.

    Raises:
        DataError: with the path, what was found, what was expected and what to do.
    """
    data = read_bytes(path)
    try:
        with warnings.catch_warnings():
            # Pillow only warns of large pictures and of broken metadata; the pixels are what counts here.
            warnings.simplefilter("ignore")
            with Image.open(io.BytesIO(data)) as check:
                kind, depth = check.format, bit_depth(data, check)
                if kind not in FORMATS:
                    raise DataError(f"{path}: found a {kind} file, expected PNG, JPEG or TIFF; convert it without loss")
                check.verify()  # a PNG's checksums; it spoils the object, hence the second opening
            if depth > 16 or (bits is not None and (depth > 8) != (bits == 16)):
                raise DataError(
                    f"{path}: found {depth} bits per value, expected {bits or '8 or 16'}; take the files as "
                    "their authors published them, or ask for "
                    f"{16 if depth == 16 else 8} bits where the dataset has that option"
                )
            if depth == 16 and kind != "PNG":
                raise DataError(f"{path}: found a 16-bit {kind} file, expected a 16-bit PNG; convert it without loss")
            with Image.open(io.BytesIO(data)) as picture:
                image = decode_16bit(data) if depth == 16 else decode_8bit(picture)
                orientation = picture.getexif().get(ORIENTATION, 1)  # after decoding: Pillow turns a TIFF by itself
    except Image.UnidentifiedImageError as error:
        raise DataError(
            f"{path}: found no readable image, expected a whole PNG, JPEG or TIFF; fetch it again"
        ) from error
    except (*UNREADABLE, Image.DecompressionBombError) as error:
        raise DataError(
            f"{path}: found a truncated or damaged file ({error}), expected a whole image; fetch or unpack it again"
        ) from error
    if image.shape[2] == 4:
        opaque = np.iinfo(image.dtype).max
        if image[..., 3].min() < opaque:
            raise DataError(
                f"{path}: found an alpha channel down to {image[..., 3].min()}, expected an opaque image ({opaque} "
                f"everywhere); flatten it on the background you mean"
            )
        image = image[..., :3]
    return upright(image, orientation)


def read_mask(path: Path) -> np.ndarray:
    """Read a mask file: values of at least half of full white are hole.

    Returns:
        (H, W) uint8, 255 = hole, 0 = known.

    Raises:
        DataError: as `read_rgb`, and when the picture is coloured.
    """
    image = read_rgb(path)
    if (image != image[..., :1]).any():
        raise DataError(f"{path}: found a colour picture, expected a black and white mask; check the path of the masks")
    return np.where(image[..., 0] >= 128, 255, 0).astype(np.uint8)


def image_size(path: Path) -> tuple[int, int]:
    """Return (H, W) of an image file, turned upright, from its header alone.

    Raises:
        DataError: when the file is missing, empty or no PNG, JPEG or TIFF. Damage behind the header is not seen.
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
                # Asking a PNG without EXIF for it would decode the whole picture.
                known = picture.format != "PNG" or "exif" in picture.info
                turned = known and picture.getexif().get(ORIENTATION, 1) in (5, 6, 7, 8)
                return (width, height) if turned else (height, width)
    except (*UNREADABLE, Image.DecompressionBombError) as error:
        read_bytes(path)  # its message, when the file is missing or empty
        raise DataError(
            f"{path}: found no readable image header ({error}), expected an image; fetch it again"
        ) from error


def check_sizes(name: str, sizes: Mapping[str, tuple[int, ...]]) -> None:
    """Check that the (H, W) of what belongs together are equal. Raises DataError with all of them."""
    if len({tuple(size[:2]) for size in sizes.values()}) > 1:
        found = ", ".join(f"{field} {size[1]}x{size[0]}" for field, size in sizes.items())
        raise DataError(
            f"{name}: found different sizes (width x height): {found}; expected one size; replace the wrong file"
        )


def same_size(name: str, images: Mapping[str, np.ndarray]) -> None:
    """Check that the images of one sample have one height and width.

    Args:
        name: the sample, as the message shall call it.
        images: (H, W) or (H, W, C) by field, or by file name.

    Raises:
        DataError: with every field's size.
    """
    check_sizes(name, {field: image.shape for field, image in images.items()})

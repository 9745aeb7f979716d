"""Read image files that a user brings: official datasets, photographs to restore, predictions to score, masks.

Converted on purpose:
- grey (8 or 16 bits): the value is copied to three channels;
- palette and bilevel: looked up as RGB;
- EXIF orientation: applied, so that the first row is the top of the picture as a person sees it;
- CMYK JPEG: to RGB by Pillow's formula, R = (255 - C)(255 - K) / 255, without the file's colour profile;
- an alpha channel that is opaque everywhere: dropped;
- a JPEG with further pictures (MPO: previews, the second view of a 3D camera, the gain map of a telephone): the first
  one is read, which is the one that viewers show;
- a TIFF whose further pictures are marked as reduced copies or masks of the first: the first one is read.

Colour profiles are not applied: training and scoring use the stored values. `bench.data.colour_profiles` carries the
profile of a photograph into its restored PNG.

All other files are refused with one message: a file that is missing, empty, truncated or damaged, neither PNG, JPEG nor
TIFF, of another bit depth than requested, with transparent pixels, or with more than MAX_PIXELS; raw files of cameras,
whose first picture is a thumbnail; animated PNGs and TIFFs of several pages. A PNG's checksums and a JPEG's length are
verified. A JPEG has no checksum, so changed bytes in it can remain unnoticed.

Folders are listed by `bench.data.image_folders`. The PNG files that a build has written are read by
`bench.data.built_images`.
"""

from __future__ import annotations

import io
import struct
import warnings
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import Image, TiffImagePlugin

from bench.contracts import DataError
from bench.data.image_folders import describe

FORMATS = ("PNG", "JPEG", "MPO", "TIFF")  # Pillow's names, by content
MAX_PIXELS = 200_000_000
"""The largest picture that is read: `restore` needs about 65 bytes per pixel with a mask, 13 GB; Telea's method twice
that. Telephones take 200 million pixels."""
RAW_EXTENSIONS = frozenset(
    {
        ".3fr", ".arw", ".cr2", ".cr3", ".crw", ".dcr", ".dng", ".erf", ".fff", ".iiq", ".kdc", ".mef", ".mos", ".mrw",
        ".nef", ".nrw", ".orf", ".pef", ".raf", ".raw", ".rw2", ".rwl", ".sr2", ".srf", ".srw", ".x3f",
    }
)  # fmt: skip
"""Extensions of cameras' raw files, in lower case."""
ORIENTATION = 274  # EXIF and TIFF tag
DNG_VERSION = 50706  # TIFF tags, up to PAGE_KIND
BITS_PER_SAMPLE = 258
WIDTH, HEIGHT = 256, 257
PAGE_KIND = 254  # NewSubfileType, whose bits are REDUCED, PAGE and MASK
OLD_PAGE_KIND = 255  # 2 is a reduced copy
REDUCED, MASK = 1, 4
HOLE = 128
"""The smallest value of a mask file that marks a hole, half of 255."""
DECODING_ERRORS = (
    OSError, SyntaxError, ValueError, TypeError, LookupError, ArithmeticError, EOFError, struct.error, zlib.error,
)  # fmt: skip
"""What Pillow raises for damaged files."""


@contextmanager
def _opened(path: Path) -> Iterator[BinaryIO]:
    """Open an image file. Raises DataError when it is missing, empty, not readable, or named as a camera's raw file."""
    if path.suffix.lower() in RAW_EXTENSIONS:
        raise _raw_file(path)
    try:
        if not path.is_file():
            raise DataError(f"{path}: no such file; {describe(path.parent)}. Fetch or unpack the missing file")
        file = path.open("rb")
    except OSError as error:
        raise DataError(
            f"{path}: found a file that cannot be read ({error.strerror}), expected an image; change its rights or "
            "fetch it again"
        ) from error
    with file:
        if not file.read(1):
            raise DataError(f"{path}: found a file of 0 bytes, expected an image; fetch or unpack it again")
        file.seek(0)
        yield file


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
    return decode_rgb(read_image_bytes(path), path, bits)


def read_image_bytes(path: Path) -> bytes:
    """Return the bytes of an image file. Raises DataError when they cannot be read."""
    with _opened(path) as file, decoding(path):
        return file.read()


def decode_rgb(data: bytes, path: Path, bits: int | None = 8) -> np.ndarray:
    """Do what `read_rgb` does, for bytes that were read already.

    Args:
        data: the content of the file.
        path: of the file, for messages.
        bits: as for `read_rgb`.
    """
    with decoding(path):
        with Image.open(io.BytesIO(data)) as picture:
            depth = _check_picture(path, picture, data, bits)
            picture.verify()  # a PNG's checksums; the picture must then be opened again
        with Image.open(io.BytesIO(data)) as picture:
            image = decode_16bit(data) if depth == 16 else decode_8bit(picture)
            orientation = _orientation(picture, io.BytesIO(data))  # after decoding: Pillow turns a TIFF by itself
    return upright(_without_alpha(path, image), orientation)


@contextmanager
def decoding(path: Path) -> Iterator[None]:
    """Turn what Pillow raises for files that are no images or damaged into DataError, and leave its limit to us."""
    limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of damaged metadata
            yield
    except Image.UnidentifiedImageError as error:
        raise DataError(
            f"{path}: found no readable image, expected a whole PNG, JPEG or TIFF; fetch it again, or convert it "
            "without loss if it is of another format (HEIC, camera raw)"
        ) from error
    except DECODING_ERRORS as error:
        raise DataError(
            f"{path}: found a truncated or damaged file ({error}), expected a whole image; fetch or unpack it again"
        ) from error
    finally:
        Image.MAX_IMAGE_PIXELS = limit


def _check_picture(path: Path, picture: Image.Image, head: bytes, bits: int | None) -> int:
    """Return the bit depth of an opened file. Raises DataError for a file that `read_rgb` refuses by its header.

    Args:
        path: the file, for messages.
        picture: the opened file, nothing decoded.
        head: its first 32 bytes or more.
        bits: see `read_rgb`.
    """
    if picture.format not in FORMATS:
        raise DataError(f"{path}: found a {picture.format} file, expected PNG, JPEG or TIFF; convert it without loss")
    if isinstance(picture, TiffImagePlugin.TiffImageFile):
        _check_pages(path, picture, head)
    elif picture.format == "PNG" and getattr(picture, "is_animated", False):
        raise DataError(
            f"{path}: found an animated PNG, expected one picture; save the frame that you mean as its own file"
        )
    depth = bit_depth(head, picture)
    _check_depth(path, picture.format, depth, bits)
    width, height = picture.size
    if width * height > MAX_PIXELS:
        raise DataError(
            f"{path}: found {width}x{height} pixels, {width * height / 1e6:.0f} million, expected at most "
            f"{MAX_PIXELS / 1e6:.0f} million, which need 13 GB of memory; cut or reduce it"
        )
    return depth


def _check_pages(path: Path, picture: TiffImagePlugin.TiffImageFile, head: bytes) -> None:
    """Raise DataError for a TIFF that is a raw file, begins with a thumbnail, or has several pages."""
    if DNG_VERSION in picture.tag_v2 or head[8:10] == b"CR":  # Canon's CR2
        raise _raw_file(path)
    if _whole_tag(picture, PAGE_KIND) & REDUCED or _whole_tag(picture, OLD_PAGE_KIND) == 2:
        raise DataError(
            f"{path}: found a thumbnail: its first picture is marked as a reduced copy of another one, as in cameras' "
            "raw files; expected the picture itself; develop or save it as a PNG or TIFF of one picture"
        )
    pages = 1
    for page in range(1, getattr(picture, "n_frames", 1)):
        picture.seek(page)
        pages += not _whole_tag(picture, PAGE_KIND) & (REDUCED | MASK)
    picture.seek(0)
    if pages > 1:
        raise DataError(
            f"{path}: found a TIFF of {pages} pages, expected one picture; save the page that you mean as its own file"
        )


def _whole_tag(picture: TiffImagePlugin.TiffImageFile, tag: int) -> int:
    """Return a tag of a TIFF that is a whole number; 0 where it is missing or none."""
    value = picture.tag_v2.get(tag, 0)
    return value if isinstance(value, int) else 0


def _raw_file(path: Path) -> DataError:
    return DataError(
        f"{path}: found a camera's raw file, whose readable picture is a thumbnail; expected PNG, JPEG or TIFF; "
        "develop it to 8 or 16 bits first (darktable, RawTherapee, the camera's own program)"
    )


def _orientation(picture: Image.Image, file: BinaryIO) -> int:
    """Return EXIF's orientation of an opened picture, 1 where it has none.

    Pillow decodes a whole PNG to look for metadata behind the pixels, so the chunks of a PNG are looked through first.

    Args:
        picture: the opened file.
        file: the same file.
    """
    if picture.format == "PNG" and not _png_may_be_turned(file):
        return 1
    return picture.getexif().get(ORIENTATION, 1)


def _png_may_be_turned(file: BinaryIO) -> bool:
    """Return whether a PNG has a chunk that can hold an orientation, before or behind its pixels."""
    file.seek(8)  # behind the signature
    while len(header := file.read(8)) == 8 and header[4:] != b"IEND":
        start = file.tell()
        if header[4:] == b"eXIf":
            return True
        if header[4:] in (b"tEXt", b"zTXt", b"iTXt"):
            keyword = file.read(32).partition(b"\0")[0]
            if keyword in (b"Raw profile type exif", b"XML:com.adobe.xmp"):
                return True
        file.seek(start + int.from_bytes(header[:4]) + 4)  # and the checksum
    return False


def _check_depth(path: Path, kind: str, depth: int, bits: int | None) -> None:
    """Raise DataError for another bit depth than `read_rgb` was asked for."""
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
    """Read a mask file: pixels of HOLE (128) and above are hole, so the grey edges of a JPEG are decided by halves.

    Returns:
        (H, W) uint8, 255 = hole, 0 = known.

    Raises:
        DataError: as for `read_rgb`, and for a picture in colour, and a mask without a hole or without a known pixel.
    """
    image = read_rgb(path)
    if (image != image[..., :1]).any():
        raise DataError(f"{path}: found a colour picture, expected a black and white mask; check the path of the masks")
    values = image[..., 0]
    smallest, largest = int(values.min()), int(values.max())
    if largest < HOLE:
        advice = {0: "paint the hole white", 1: "multiply its values by 255"}.get(largest, "paint the hole with 255")
        raise DataError(
            f"{path}: found a mask without a hole: its largest value is {largest}, and values from {HOLE} on are hole; "
            f"expected 0 for known pixels and 255 for the hole; {advice}"
        )
    if smallest >= HOLE:
        raise DataError(
            f"{path}: found a mask that is all hole: its smallest value is {smallest}, and values from {HOLE} on are "
            "hole; expected 0 for known pixels and 255 for the hole; paint the known pixels black"
        )
    return np.where(values >= HOLE, 255, 0).astype(np.uint8)


def image_size(path: Path, bits: int | None = None) -> tuple[int, int]:
    """Return (H, W) of an image file in its upright position, as `read_rgb` returns it, from its header alone.

    Args:
        path: a PNG, JPEG or TIFF file.
        bits: the required depth, as for `read_rgb`.

    Raises:
        DataError: the file is missing, empty, or one that `read_rgb` refuses by its header. Damage after the header is
            not noticed.
    """
    with _opened(path) as file, decoding(path):
        head = file.read(32)
        file.seek(0)
        with Image.open(file) as picture:
            _check_picture(path, picture, head, bits)
            width, height = picture.size
            if isinstance(picture, TiffImagePlugin.TiffImageFile):  # versions of Pillow differ: upright or as stored
                width, height = (_whole_tag(picture, tag) for tag in (WIDTH, HEIGHT))
            turned = _orientation(picture, file) in (5, 6, 7, 8)
            return (width, height) if turned else (height, width)


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

"""The colour description of a photograph, carried into its restored PNG.

Nothing is converted: a restored image holds values in the colours of its source (Display P3 of telephones, Adobe RGB of
cameras), so it needs the same profile to be shown in them. What an RGB image cannot carry is told.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from pathlib import Path

from PIL import ExifTags, Image

from bench.data.built_images import PNG_SIGNATURE, Chunk
from bench.data.user_images import DECODING_ERRORS, decoding

COLOUR_CHUNKS = (b"cICP", b"iCCP", b"sRGB", b"gAMA", b"cHRM")
"""Chunks of a PNG that say what its values mean."""
SPACES = {b"CMYK": "CMYK values", b"GRAY": "grey values", b"Lab ": "Lab values"}
"""What a profile that is not for RGB describes, by the four letters in its header."""
ADOBE_RGB = "R03"
"""EXIF's mark of Adobe RGB, with which cameras save the profile itself."""
LOST = "the restored image has the stored values without a profile, so its colours may look different"


@dataclass(frozen=True)
class ColourDescription:
    """What says the meaning of a photograph's values."""

    chunks: tuple[Chunk, ...] = ()
    """It as chunks of a PNG; empty where the file says nothing, which means sRGB, or what cannot be carried."""
    problem: str = ""
    """Why it cannot be carried, in one sentence; "" where it can."""


def colour_description(path: Path) -> ColourDescription:
    """Return the colour description of a PNG, JPEG or TIFF file that `user_images.read_rgb` has accepted."""
    with decoding(path), Image.open(path) as picture:
        chunks = colour_chunks(path) if picture.format == "PNG" else []
        profile = picture.info.get("icc_profile") or b""
        if profile or b"iCCP" in dict(chunks):
            if problem := profile_problem(profile, picture.mode):
                return ColourDescription(problem=f"{path}: {problem}; {LOST}")
            chunks = chunks or [(b"iCCP", b"ICC profile\0\0" + zlib.compress(profile))]
        elif picture.format in ("JPEG", "MPO") and is_adobe_rgb(picture):
            return ColourDescription(problem=f"{path}: is in Adobe RGB by its EXIF data, without a profile; {LOST}")
    return ColourDescription(tuple(chunks))


def is_adobe_rgb(picture: Image.Image) -> bool:
    """Return whether EXIF data mark a JPEG as Adobe RGB; damaged EXIF data mark nothing."""
    try:
        return picture.getexif().get_ifd(ExifTags.IFD.Interop).get(ExifTags.Interop.InteropIndex) == ADOBE_RGB
    except DECODING_ERRORS:
        return False


def profile_problem(profile: bytes, mode: str) -> str:
    """Return why an RGB image cannot carry an ICC profile; "" where it can.

    >>> profile_problem(bytes(16) + b"CMYK" + bytes(16) + b"acsp" + bytes(88), "CMYK")
    'its colour profile is for CMYK values'
    """
    if len(profile) < 128 or profile[36:40] != b"acsp":
        return "its colour profile is damaged"
    space = profile[16:20]
    if space != b"RGB ":
        return f"its colour profile is for {SPACES.get(space, space.decode('ascii', 'replace').strip() + ' values')}"
    return "its colour profile is for RGB, its values are CMYK" if mode == "CMYK" else ""


def colour_chunks(path: Path) -> list[Chunk]:
    """Return the chunks of COLOUR_CHUNKS in a PNG file, which are before its pixels."""
    chunks = []
    with path.open("rb") as file:
        file.seek(len(PNG_SIGNATURE))
        while len(header := file.read(8)) == 8 and header[4:] != b"IDAT":
            data = file.read(int.from_bytes(header[:4]))
            file.seek(4, 1)  # the checksum
            if header[4:] in COLOUR_CHUNKS:
                chunks.append((header[4:], data))
    return chunks

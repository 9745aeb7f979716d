"""What says the colours of a photograph, and how a PNG carries it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import ExifTags, Image, ImageCms, PngImagePlugin

from bench.data.built_images import write_png
from bench.data.colour_profiles import colour_description, profile_problem
from tests.images import read_png

SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
PICTURE = Image.fromarray(np.full((6, 8, 3), 90, np.uint8))


def profile_for(space: bytes) -> bytes:
    """A profile whose header names another kind of values."""
    return SRGB[:16] + space + SRGB[20:]


def carried(source: Path) -> Image.Image:
    """A PNG with the colour description of a file."""
    colour = colour_description(source)
    assert colour.problem == ""
    out = source.parent / "out.png"
    image = np.arange(144, dtype=np.uint8).reshape(6, 8, 3)
    write_png(out, image, colour.chunks)
    assert np.array_equal(read_png(out), image)
    with Image.open(out) as picture:
        picture.verify()  # the checksums
    return Image.open(out)


@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.tif"])
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_an_rgb_profile_is_carried_byte_by_byte(tmp_path, name, mode):
    PICTURE.convert(mode).save(tmp_path / name, icc_profile=SRGB)
    assert carried(tmp_path / name).info["icc_profile"] == SRGB


def test_the_colour_chunks_of_a_png_are_carried(tmp_path):
    info = PngImagePlugin.PngInfo()
    info.add(b"gAMA", (100_000).to_bytes(4, "big"))  # linear light
    info.add(b"cICP", bytes([9, 16, 0, 1]))  # BT.2100 PQ
    info.add_text("Title", "not about colours")
    PICTURE.save(tmp_path / "a.png", pnginfo=info)
    made = carried(tmp_path / "a.png")
    assert made.info["gamma"] == 1.0 and "Title" not in made.info
    assert b"cICP" + bytes([9, 16, 0, 1]) in (tmp_path / "out.png").read_bytes()


def test_without_a_profile_nothing_is_added(tmp_path):
    PICTURE.save(tmp_path / "a.jpg")
    assert colour_description(tmp_path / "a.jpg").chunks == ()
    assert "icc_profile" not in carried(tmp_path / "a.jpg").info


@pytest.mark.parametrize(
    ("mode", "profile", "problem"),
    [
        ("CMYK", profile_for(b"CMYK"), "its colour profile is for CMYK values"),
        ("L", profile_for(b"GRAY"), "its colour profile is for grey values"),
        ("RGB", profile_for(b"Lab "), "its colour profile is for Lab values"),
        ("RGB", profile_for(b"XYZ "), "its colour profile is for XYZ values"),
        ("CMYK", SRGB, "its colour profile is for RGB, its values are CMYK"),
        ("RGB", SRGB[:100], "its colour profile is damaged"),
        ("RGB", SRGB.replace(b"acsp", b"xxxx"), "its colour profile is damaged"),
    ],
)
def test_a_profile_that_an_rgb_image_cannot_carry_is_told(tmp_path, mode, profile, problem):
    PICTURE.convert(mode).save(tmp_path / "a.jpg", icc_profile=profile)
    colour = colour_description(tmp_path / "a.jpg")
    assert colour.chunks == () and profile_problem(profile, mode) == problem
    assert colour.problem.startswith(f"{tmp_path / 'a.jpg'}: {problem}; the restored image has the stored values")


def test_adobe_rgb_of_a_camera_without_a_profile_is_told(tmp_path):
    exif = Image.Exif()
    exif.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.ColorSpace] = 65535
    exif.get_ifd(ExifTags.IFD.Interop)[ExifTags.Interop.InteropIndex] = "R03"
    exif.get_ifd(ExifTags.IFD.Exif)[ExifTags.IFD.Interop] = exif.get_ifd(ExifTags.IFD.Interop)
    PICTURE.save(tmp_path / "a.jpg", exif=exif)
    assert "is in Adobe RGB by its EXIF data, without a profile" in colour_description(tmp_path / "a.jpg").problem

"""Reading a user's image files: what is converted on purpose, what is refused and with which message."""

from __future__ import annotations

import errno
import io
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image, ImageOps

from bench.contracts import DataError
from bench.data.user_images import (
    ORIENTATION,
    check_sizes,
    image_size,
    list_images,
    read_mask,
    read_rgb,
    same_size,
    upright,
)

SAMPLES = Path(__file__).parents[4] / "shared" / "samples"
needs_samples = pytest.mark.skipif(not SAMPLES.is_dir(), reason="the real sample files are not here")


def pixels(height: int = 21, width: int = 34, channels: int = 3, bits: int = 8) -> np.ndarray:
    """Noise over the whole range."""
    dtype = np.uint8 if bits == 8 else np.uint16
    return np.random.default_rng(0).integers(0, 2**bits, (height, width, channels), dtype=dtype)


def encoded(image: Image.Image, kind: str, **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def write(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


def test_rgb_png_is_read_unchanged(tmp_path):
    image = pixels()
    assert np.array_equal(read_rgb(write(tmp_path / "a.png", encoded(Image.fromarray(image), "PNG"))), image)


def test_jpeg_and_tiff_are_read_as_pillow_decodes_them(tmp_path):
    smooth = cv2.resize(pixels(4, 4), (40, 30))
    jpeg = write(tmp_path / "a.jpg", encoded(Image.fromarray(smooth), "JPEG", quality=90))
    assert np.array_equal(read_rgb(jpeg), np.asarray(cv2.imread(str(jpeg)))[..., ::-1])
    tiff = write(tmp_path / "a.tif", encoded(Image.fromarray(smooth), "TIFF"))
    assert np.array_equal(read_rgb(tiff), smooth)


def test_16_bit_png_keeps_its_16_bits(tmp_path):
    image = pixels(bits=16)
    cv2.imwrite(str(tmp_path / "a.png"), image[..., ::-1])
    read = read_rgb(tmp_path / "a.png", bits=16)
    assert read.dtype == np.uint16 and np.array_equal(read, image)
    cv2.imwrite(str(tmp_path / "grey.png"), image[..., 0])
    assert np.array_equal(read_rgb(tmp_path / "grey.png", bits=16), np.repeat(image[..., :1], 3, axis=2))


def test_the_wrong_depth_is_refused(tmp_path):
    cv2.imwrite(str(tmp_path / "16.png"), pixels(bits=16))
    cv2.imwrite(str(tmp_path / "8.png"), pixels())
    with pytest.raises(DataError, match=r"16\.png: found 16 bits per value, expected 8"):
        read_rgb(tmp_path / "16.png")
    with pytest.raises(DataError, match=r"8\.png: found 8 bits per value, expected 16"):
        read_rgb(tmp_path / "8.png", bits=16)
    cv2.imwrite(str(tmp_path / "16.tif"), pixels(bits=16))
    with pytest.raises(DataError, match=r"16-bit TIFF file, expected a 16-bit PNG"):
        read_rgb(tmp_path / "16.tif", bits=16)
    write(tmp_path / "float.tif", encoded(Image.fromarray(np.zeros((9, 9), np.float32)), "TIFF"))
    with pytest.raises(DataError, match=r"float\.tif: found 32 bits"):
        read_rgb(tmp_path / "float.tif")


def test_grey_palette_and_bilevel_become_three_channels(tmp_path):
    image = Image.fromarray(pixels())
    grey = image.convert("L")
    read = read_rgb(write(tmp_path / "grey.png", encoded(grey, "PNG")))
    assert np.array_equal(read, np.repeat(np.asarray(grey)[..., None], 3, axis=2))
    palette = image.quantize(16)
    assert np.array_equal(
        read_rgb(write(tmp_path / "palette.png", encoded(palette, "PNG"))), np.asarray(palette.convert("RGB"))
    )
    assert set(np.unique(read_rgb(write(tmp_path / "1.png", encoded(image.convert("1"), "PNG"))))) == {0, 255}


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("bits", [8, 16])
def test_exif_rotation_is_applied(tmp_path, orientation, bits):
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    image = Image.fromarray(pixels())
    turned = np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(encoded(image, "PNG", exif=exif)))))
    data = encoded(image, "PNG", exif=exif)
    if bits == 16:  # OpenCV writes the pixels, the chunk with the rotation is put in front of them
        body = cv2.imencode(".png", pixels()[..., ::-1].astype(np.uint16) * 257)[1].tobytes()
        start = data.index(b"eXIf") - 4
        chunk = data[start : start + 12 + int.from_bytes(data[start : start + 4], "big")]
        data, turned = body[:33] + chunk + body[33:], turned.astype(np.uint16) * 257
    path = write(tmp_path / "a.png", data)
    assert np.array_equal(read_rgb(path, bits), turned)
    if bits == 16 or data.index(b"eXIf") < data.index(b"IDAT"):
        assert image_size(path) == turned.shape[:2]


def test_an_opaque_alpha_channel_is_dropped_and_a_transparent_one_refused(tmp_path):
    image = pixels(channels=4)
    image[..., 3] = 255
    path = write(tmp_path / "a.png", encoded(Image.fromarray(image), "PNG"))
    assert np.array_equal(read_rgb(path), image[..., :3])
    image[3, 4, 3] = 254
    write(path, encoded(Image.fromarray(image), "PNG"))
    with pytest.raises(DataError, match=r"a\.png: found an alpha channel down to 254, expected an opaque image"):
        read_rgb(path)
    write(path, encoded(Image.fromarray(pixels()).quantize(8), "PNG", transparency=0))
    with pytest.raises(DataError, match="alpha channel down to 0"):
        read_rgb(path)
    deep = pixels(channels=4, bits=16)
    deep[..., 3] = 65535
    cv2.imwrite(str(path), deep)
    assert np.array_equal(read_rgb(path, bits=16), deep[..., [2, 1, 0]])
    deep[0, 0, 3] = 65534
    cv2.imwrite(str(path), deep)
    with pytest.raises(DataError, match="alpha channel down to 65534"):
        read_rgb(path, bits=16)


@pytest.mark.parametrize(
    ("kind", "options"), [("PNG", {}), ("JPEG", {}), ("JPEG", {"progressive": True}), ("TIFF", {})], ids=str
)
def test_a_truncated_file_is_refused_wherever_it_ends(tmp_path, kind, options):
    image = Image.fromarray(cv2.resize(pixels(12, 12), (96, 64)))
    data = encoded(image, kind, **options)
    path = tmp_path / "a.png"
    for length in [*range(1, len(data) - 30, max(1, len(data) // 60)), *range(len(data) - 30, len(data) - 4)]:
        write(path, data[:length])
        with pytest.raises(DataError, match=r"a\.png: found"):
            read_rgb(path)


def test_a_truncated_16_bit_png_is_refused(tmp_path):
    data = cv2.imencode(".png", pixels(bits=16))[1].tobytes()
    for length in (40, len(data) // 2, len(data) - 13):
        with pytest.raises(DataError, match=r"a\.png: found (a truncated or damaged file|no readable image)"):
            read_rgb(write(tmp_path / "a.png", data[:length]), bits=16)


def test_one_changed_bit_anywhere_in_a_png_is_noticed(tmp_path):
    data = encoded(Image.fromarray(pixels()), "PNG")
    for place in range(8, len(data) - 12, 41):  # the last 12 bytes end the file and hold no pixel
        changed = bytearray(data)
        changed[place] ^= 4
        with pytest.raises(DataError):
            read_rgb(write(tmp_path / "a.png", bytes(changed)))


@pytest.mark.parametrize("read", [read_rgb, image_size])
def test_a_file_without_an_image_is_refused(tmp_path, read):
    write(tmp_path / "there.png", b"")
    with pytest.raises(DataError, match=r"gone\.png: no such file; .* holds: there\.png"):
        read(tmp_path / "gone.png")
    with pytest.raises(DataError, match=r"there\.png: found a file of 0 bytes"):
        read(tmp_path / "there.png")
    with pytest.raises(DataError, match="expected"):
        read(write(tmp_path / "page.png", b"<html>not found</html>"))
    with pytest.raises(DataError, match=r"found a GIF file, expected PNG, JPEG or TIFF"):
        read(write(tmp_path / "moving.png", encoded(Image.fromarray(pixels()), "GIF")))


@pytest.mark.parametrize("read", [read_rgb, image_size])
def test_a_file_without_permission_is_refused(tmp_path, monkeypatch, read):
    path = write(tmp_path / "a.png", encoded(Image.fromarray(pixels()), "PNG"))

    def refuse(*args: object) -> None:  # the rights of files do not bind root, who runs this somewhere
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr(Path, "read_bytes", refuse)
    monkeypatch.setattr(Image, "open", refuse)
    with pytest.raises(DataError, match=r"a\.png: found a file that cannot be read \(Permission denied\), expected"):
        read(path)


def test_list_images_takes_images_in_any_case_and_nothing_else(tmp_path):
    for name in ["b.PNG", "a.jpg", "C.JPEG", "d.tif", "e.TIFF", "._a.jpg", ".hidden.png", "Thumbs.db", "list.txt"]:
        write(tmp_path / name, b"x")
    assert [path.name for path in list_images(tmp_path)] == ["C.JPEG", "a.jpg", "b.PNG", "d.tif", "e.TIFF"]


def test_a_missing_folder_is_refused_with_the_content_of_its_parent(tmp_path):
    (tmp_path / "GOPRO_Large").mkdir()
    with pytest.raises(DataError, match=r"train.*: no such folder; .* holds: GOPRO_Large/\. Check the path"):
        list_images(tmp_path / "train" / "blur")


def test_masks_are_binarised_at_half(tmp_path):
    grey = np.array([[0, 127, 128, 255]], np.uint8)
    path = write(tmp_path / "mask.png", encoded(Image.fromarray(grey), "PNG"))
    assert read_mask(path).tolist() == [[0, 0, 255, 255]]
    with pytest.raises(DataError, match="found a colour picture, expected a black and white mask"):
        read_mask(write(tmp_path / "photo.png", encoded(Image.fromarray(pixels()), "PNG")))


def test_unequal_sizes_are_refused_with_all_of_them():
    same_size("pair", {"target": np.zeros((4, 6, 3)), "mask": np.zeros((4, 6))})
    with pytest.raises(DataError, match=r"pair: found different sizes.*target 6x4, blurred 6x5"):
        same_size("pair", {"target": np.zeros((4, 6, 3)), "blurred": np.zeros((5, 6, 3))})
    with pytest.raises(DataError, match="a 2x1, b 1x2"):
        check_sizes("pair", {"a": (1, 2), "b": (2, 1)})


@needs_samples
def test_real_odd_files():
    odd = SAMPLES / "odd"
    assert read_rgb(odd / "exif_rotated_6.jpg").shape == (1200, 1800, 3)
    assert image_size(odd / "exif_rotated_6.jpg") == (1200, 1800)
    with Image.open(odd / "cmyk.jpg") as picture:
        cyan, _, _, black = (np.asarray(channel, np.float64) for channel in picture.split())
    cmyk = read_rgb(odd / "cmyk.jpg")
    assert cmyk.shape == (532, 510, 3)
    assert np.abs(cmyk[..., 0] - (255 - cyan) * (255 - black) / 255).max() <= 1
    grey = read_rgb(odd / "gray8.png")
    assert grey.shape == (500, 500, 3) and (grey == grey[..., :1]).all()
    assert read_rgb(odd / "palette.png").shape == (64, 64, 3)
    deep = read_rgb(odd / "rgb16_linear_rec2020.png", bits=16)
    assert deep.shape == (64, 64, 3) and (deep % 257 != 0).any()  # more than 8 bits of truth
    with pytest.raises(DataError, match="found 16 bits per value, expected 8"):
        read_rgb(odd / "rgb16_linear_rec2020.png")


def test_upright_of_an_unknown_orientation_changes_nothing():
    image = pixels()
    assert np.array_equal(upright(image, 9), image)

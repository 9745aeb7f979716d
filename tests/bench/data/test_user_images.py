"""Reading a user's image files: what is converted on purpose, what is refused and with which message."""

from __future__ import annotations

import errno
import io
import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image, ImageOps, PngImagePlugin, TiffImagePlugin

from bench.contracts import DataError
from bench.data.user_images import ORIENTATION, check_sizes, image_size, read_mask, read_rgb, same_size, upright

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


def turned(orientation: int, image: np.ndarray) -> np.ndarray:
    """An image as Pillow turns it."""
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    return np.asarray(
        ImageOps.exif_transpose(Image.open(io.BytesIO(encoded(Image.fromarray(image), "PNG", exif=exif))))
    )


def moved_exif(data: bytes) -> bytes:
    """A PNG with its eXIf chunk behind the pixels."""
    start = data.index(b"eXIf") - 4
    chunk = data[start : start + 12 + int.from_bytes(data[start : start + 4], "big")]
    return data.replace(chunk, b"")[:-12] + chunk + data[-12:]


def xmp(orientation: int) -> PngImagePlugin.PngInfo:
    info = PngImagePlugin.PngInfo()
    info.add_itxt("XML:com.adobe.xmp", f'<x:xmpmeta tiff:Orientation="{orientation}"/>')
    return info


def in_format(kind: str, image: np.ndarray, exif: Image.Exif) -> bytes:
    """A file with EXIF data."""
    picture, orientation = Image.fromarray(image), exif[ORIENTATION]
    if kind == "MPO":
        return encoded(picture, "MPO", exif=exif, save_all=True, append_images=[picture.resize((20, 10))])
    if kind == "XMP":
        return encoded(picture, "PNG", pnginfo=xmp(orientation))
    if kind == "late":
        return moved_exif(encoded(picture, "PNG", exif=exif))
    if kind == "tiles":
        return encoded(picture, "TIFF", tiffinfo={ORIENTATION: orientation}, compression="tiff_lzw")
    options = {"tiffinfo": {ORIENTATION: orientation}} if kind == "TIFF" else {"exif": exif}
    return encoded(picture, kind, **options)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "late", "XMP", "TIFF", "tiles", "MPO"])
def test_exif_rotation_is_applied_and_the_header_gives_the_same_size(tmp_path, orientation, kind):
    smooth = cv2.resize(pixels(4, 4), (40, 30))
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    path = write(tmp_path / "a.png", in_format(kind, smooth, exif))
    image, expected = read_rgb(path), turned(orientation, smooth)
    assert image.shape == expected.shape and image_size(path) == image.shape[:2]
    lossy = kind in ("JPEG", "MPO")
    assert np.abs(image.astype(int) - expected).mean() < 25 if lossy else np.array_equal(image, expected)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("late", [False, True])
def test_exif_rotation_of_16_bits(tmp_path, orientation, late):
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    data = encoded(Image.fromarray(pixels()), "PNG", exif=exif)
    # OpenCV writes the pixels, the chunk with the rotation is put in front of them or behind them
    body = cv2.imencode(".png", pixels()[..., ::-1].astype(np.uint16) * 257)[1].tobytes()
    start = data.index(b"eXIf") - 4
    chunk = data[start : start + 12 + int.from_bytes(data[start : start + 4], "big")]
    data = body[:-12] + chunk + body[-12:] if late else body[:33] + chunk + body[33:]
    path, expected = write(tmp_path / "a.png", data), turned(orientation, pixels()).astype(np.uint16) * 257
    assert np.array_equal(read_rgb(path, 16), expected) and image_size(path, 16) == expected.shape[:2]


def test_the_header_of_a_png_is_enough_where_nothing_can_turn_it(tmp_path, monkeypatch):
    info = PngImagePlugin.PngInfo()
    info.add_text("Software", "a program")
    path = write(tmp_path / "a.png", encoded(Image.fromarray(pixels()), "PNG", pnginfo=info))
    monkeypatch.setattr(PngImagePlugin.PngImageFile, "load", lambda *_: pytest.fail("the picture was decoded"))
    assert image_size(path) == (21, 34)


# Files of several pictures, raw files, large files --------------------------------------------------------------------


def tiff(*tags: dict[int, int]) -> bytes:
    """A TIFF with a page for each of these sets of tags."""
    buffer = io.BytesIO()
    with TiffImagePlugin.AppendingTiffWriter(buffer, True) as writer:
        for given in tags:
            Image.fromarray(pixels()).save(writer, "TIFF", tiffinfo=given)
            writer.newFrame()
    return buffer.getvalue()


def animated() -> bytes:
    """A PNG of two frames."""
    frames = [Image.fromarray(pixels()), Image.fromarray(255 - pixels())]
    return encoded(frames[0], "PNG", save_all=True, append_images=frames[1:])


@pytest.mark.parametrize("read", [read_rgb, image_size])
@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("scan.tif", tiff({}, {}), "found a TIFF of 2 pages, expected one picture; save the page"),
        ("scan.tif", tiff({}, {254: 1}, {254: 2}), "found a TIFF of 2 pages"),
        ("a.tif", tiff({254: 1}), "found a thumbnail: its first picture is marked as a reduced copy"),
        ("a.tif", tiff({255: 2}, {}), "found a thumbnail"),
        ("a.tif", tiff({50706: 1}), "found a camera's raw file"),
        ("a.DNG", tiff({}), r"a\.DNG: found a camera's raw file, .* develop it to 8 or 16 bits first"),
        ("a.nef", b"anything", r"a\.nef: found a camera's raw file"),
        ("a.png", animated(), "found an animated PNG, expected one picture; save the frame that you mean"),
    ],
)  # fmt: skip
def test_a_file_whose_picture_is_not_clear_is_refused(tmp_path, read, name, data, message):
    with pytest.raises(DataError, match=message):
        read(write(tmp_path / name, data))


def test_a_cr2_file_under_another_name_is_refused(tmp_path):
    """The letters CR are where TIFF leaves the place free."""
    tags = {256: 4, 257: 4, 258: 8, 259: 1, 262: 1, 273: 8 + 8 + 2 + 9 * 12 + 4, 277: 1, 278: 4, 279: 16}
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags.items())
    for mark, expected in ((b"CR\2\0", "found a camera's raw file"), (bytes(4), "")):
        data = b"II*\0" + struct.pack("<I", 16) + mark + bytes(4) + struct.pack("<H", 9) + entries + bytes(4 + 16)
        path = write(tmp_path / "a.tif", data)
        if expected:
            with pytest.raises(DataError, match=expected):
                read_rgb(path)
        else:
            assert read_rgb(path).shape == (4, 4, 3)


def test_a_tiff_without_its_dimensions_is_refused(tmp_path):
    data = tiff({}).replace(struct.pack("<HH", 256, 4), struct.pack("<HH", 5, 4))  # the width under another number
    for read in (read_rgb, image_size):
        with pytest.raises(DataError, match=r"a\.tif: found (no readable image|a truncated or damaged file)"):
            read(write(tmp_path / "a.tif", data))


def test_reduced_copies_and_masks_behind_the_picture_are_ignored(tmp_path):
    path = write(tmp_path / "a.tif", tiff({}, {254: 1}, {254: 4}))
    assert np.array_equal(read_rgb(path), pixels()) and image_size(path) == (21, 34)


def test_the_first_picture_of_an_mpo_is_read(tmp_path):
    smooth = cv2.resize(pixels(4, 4), (40, 30))
    picture = Image.fromarray(smooth)
    data = encoded(picture, "MPO", save_all=True, append_images=[Image.fromarray(255 - smooth)])
    alone = encoded(picture, "JPEG")
    read = read_rgb(write(tmp_path / "a.jpg", data))
    assert np.array_equal(read, read_rgb(write(tmp_path / "b.jpg", alone)))


def png_header(width: int, height: int) -> bytes:
    """A PNG of this size without its pixels."""
    data = bytearray(encoded(Image.fromarray(pixels()), "PNG"))
    data[16:24] = width.to_bytes(4, "big") + height.to_bytes(4, "big")
    data[29:33] = zlib.crc32(data[12:29]).to_bytes(4, "big")
    return bytes(data)


@pytest.mark.parametrize("read", [read_rgb, image_size])
def test_a_picture_above_the_limit_is_refused_with_its_size_and_the_limit(tmp_path, read):
    path = write(tmp_path / "a.png", png_header(30_000, 20_000))
    message = r"a\.png: found 30000x20000 pixels, 600 million, expected at most 200 million, .*; cut or reduce it"
    with pytest.raises(DataError, match=message):
        read(path)


def test_a_picture_of_200_million_pixels_is_within_the_limit(tmp_path):
    assert image_size(write(tmp_path / "a.png", png_header(16_320, 12_240))) == (12_240, 16_320)  # above Pillow's own
    with pytest.raises(Image.DecompressionBombError):  # which is back in force
        Image.open(tmp_path / "a.png")


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

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(DataError, match=r"a\.png: found a file that cannot be read \(Permission denied\), expected"):
        read(path)


def test_masks_are_binarised_at_half(tmp_path):
    grey = np.array([[0, 127, 128, 255]], np.uint8)
    path = write(tmp_path / "mask.png", encoded(Image.fromarray(grey), "PNG"))
    assert read_mask(path).tolist() == [[0, 0, 255, 255]]
    with pytest.raises(DataError, match="found a colour picture, expected a black and white mask"):
        read_mask(write(tmp_path / "photo.png", encoded(Image.fromarray(pixels()), "PNG")))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([0, 0, 0], "without a hole: its largest value is 0, .*; paint the hole white"),
        ([0, 1, 1], "without a hole: its largest value is 1, .*; multiply its values by 255"),
        ([0, 100, 50], "without a hole: its largest value is 100, .*; paint the hole with 255"),
        ([0, 127, 50], "largest value is 127, and values from 128 on are hole"),
        ([255, 255, 255], "that is all hole: its smallest value is 255, .*; paint the known pixels black"),
        ([128, 255, 255], "that is all hole: its smallest value is 128"),
    ],
)
def test_a_mask_of_one_kind_of_pixels_is_refused_with_its_values(tmp_path, values, message):
    path = write(tmp_path / "mask.png", encoded(Image.fromarray(np.array([values], np.uint8)), "PNG"))
    with pytest.raises(DataError, match=rf"mask\.png: found a mask {message}|{message}"):
        read_mask(path)


def test_a_jpeg_mask_with_grey_edges_is_read(tmp_path):
    mask = np.zeros((64, 64), np.uint8)
    mask[20:43, 11:37] = 255
    path = write(tmp_path / "mask.jpg", encoded(Image.fromarray(mask), "JPEG", quality=60))
    assert len(np.unique(read_rgb(path))) > 10
    assert (read_mask(path) != mask).mean() < 0.01


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

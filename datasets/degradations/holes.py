"""Masks of the inpainting datasets, and the square images that they cover: 255 = hole, 0 = known.

Generators follow the codes of the methods that train with them: DeepFill v2 and CA (JiahuiYu/generative_inpainting),
RFR (jingyuanli001/RFR-Inpainting), LBAM (Vious/LBAM_Pytorch), EdgeConnect (knazeri/edge-connect). They draw on 256x256;
on another size their lengths grow with the smaller side (our reading). Mask files are the NVIDIA test masks of Liu et
al., "Image Inpainting for Irregular Holes Using Partial Convolutions", ECCV 2018.

Our reading of the bands of DGFNet's Table 1: hole pixels over all pixels of the mask at the image's size, above the
lower limit and up to the upper one.
"""

from __future__ import annotations

import difflib
import math
import zlib
from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageDraw

from bench.contracts import DataError, ParamsError
from bench.data.user_images import list_images, read_mask

SIDE = 256  # pixels; the image size of the inpainting papers
HOLE = 255
DRAWN = "deepfill"  # what draws an irregular mask where nothing else is said
BANDS = ("20-30", "30-40", "40-50")  # percent of the pixels; DGFNet, Table 1
FILE_BANDS = ("1-10", "10-20", "20-30", "30-40", "40-50", "50-60")  # percent; the classes of the NVIDIA test masks
PLAUSIBLE = (0.005, 0.62)  # hole share of any mask file: 1 to 60 %, and a little more because resizing moves it
MAX_DRAWS = 10_000  # a band that needs more cannot be met

Band = tuple[float, float]
Generator = Callable[[np.random.Generator, int, int], np.ndarray]


# Generators -----------------------------------------------------------------------------------------------------------


def _empty(height: int, width: int) -> np.ndarray:
    return np.zeros((height, width), np.uint8)


def _box(mask: np.ndarray, top: int, left: int, height: int, width: int) -> np.ndarray:
    mask[top : top + height, left : left + width] = HOLE
    return mask


def deepfill(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """DeepFill v2: one to three zigzag strokes of 4 to 11 steps; a hole of 15 % on average.

    The direction of a step swings between both sides of the x axis, by 2 pi / 5 give or take a share of 2 pi / 15 that
    is drawn once a stroke; its length is normal around an eighth of the diagonal; the width is 12 to 39 pixels.
    """
    image, scale = Image.new("L", (width, height)), min(height, width) / SIDE
    pen = ImageDraw.Draw(image)  # as its code; a line of OpenCV is a pixel wider and the mean hole 15.8 %
    reach = math.hypot(height, width) / 8
    for _ in range(rng.integers(1, 4)):
        steps = int(rng.integers(4, 12))
        low, high = 2 * math.pi / 5 + np.array((-1, 1)) * rng.uniform(0, 2 * math.pi / 15, 2)
        points = [(int(rng.integers(width)), int(rng.integers(height)))]
        thickness = max(1, round(int(rng.uniform(12, 40)) * scale))
        for i in range(steps):
            angle = rng.uniform(low, high) * (-1 if i % 2 == 0 else 1)
            length = float(np.clip(rng.normal(reach, reach // 2), 0, 2 * reach))
            x = int(np.clip(points[-1][0] + length * math.cos(angle), 0, width))
            y = int(np.clip(points[-1][1] + length * math.sin(angle), 0, height))
            points.append((x, y))
        pen.line(points, fill=HOLE, width=thickness)
        radius = thickness // 2
        for x, y in points:
            pen.ellipse((x - radius, y - radius, x + radius, y + radius), fill=HOLE)
    return np.array(image)


def rfr(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """RFR: 1 to 15 scribbles of 0 to 25 vertices, steps of 0 to 100 pixels in any direction, each of its own even width
    of 10 to 24 pixels; a hole of 54 % on average."""
    mask, scale = _empty(height, width), min(height, width) / SIDE
    for _ in range(rng.integers(1, 16)):
        x, y = int(rng.integers(width)), int(rng.integers(height))
        for i in range(rng.integers(0, 26)):
            angle = math.radians(int(rng.integers(0, 361))) * (-1 if i % 2 == 0 else 1)
            length = int(rng.integers(0, 101)) * scale
            thickness = max(1, round(int(rng.integers(10, 25)) // 2 * 2 * scale))
            next_x = int(np.clip(x + length * math.sin(angle), 0, width - 1))
            next_y = int(np.clip(y + length * math.cos(angle), 0, height - 1))
            cv2.line(mask, (x, y), (next_x, next_y), HOLE, thickness)
            cv2.circle(mask, (x, y), thickness // 2, HOLE, cv2.FILLED)
            cv2.circle(mask, (next_x, next_y), thickness // 2, HOLE, cv2.FILLED)
            x, y = next_x, next_y
    return mask


def lbam(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """LBAM: 8x8 uniform noise enlarged to 350x350, its values below 0.25, a random 256 crop; blobs, 12 % on average.

    It tries twice for 20 to 30 % and then takes what came. The published files are inverted (white = known); here the
    blobs are the hole, as its loader means it.
    """
    side_y, side_x = round(350 * height / SIDE), round(350 * width / SIDE)
    for _ in range(2):
        noise = cv2.resize(rng.random((8, 8)), (side_x, side_y), interpolation=cv2.INTER_LINEAR)
        top, left = int(rng.integers(side_y - height + 1)), int(rng.integers(side_x - width + 1))
        mask = np.where(noise[top : top + height, left : left + width] < 0.25, HOLE, 0).astype(np.uint8)
        if 0.2 <= ratio_of(mask) <= 0.3:
            break
    return mask


def edgeconnect_box(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """EdgeConnect, mask type 1: a box of half the width and half the height anywhere; 25 % of the pixels."""
    box_height, box_width = height // 2, width // 2
    top, left = int(rng.integers(height - box_height + 1)), int(rng.integers(width - box_width + 1))
    return _box(_empty(height, width), top, left, box_height, box_width)


def ca_box(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """CA: a 128x128 box anywhere, then 0 to 16 pixels less on both sides of each axis: 96 to 128 pixels a side."""
    scale = min(height, width) / SIDE
    side = round(128 * scale)
    top, left = int(rng.integers(height - side)), int(rng.integers(width - side))
    less_y, less_x = (int(rng.integers(0, round(16 * scale) + 1)) for _ in range(2))
    return _box(_empty(height, width), top + less_y, left + less_x, side - 2 * less_y, side - 2 * less_x)


def square(rng: np.random.Generator, height: int, width: int, band: Band = (0.2, 0.5)) -> np.ndarray:
    """One square of side round(sqrt(r H W)), which is round(256 sqrt(r)) at 256x256, r uniform in the band, anywhere.

    Our reading: DGFNet gives ratios of its square masks and no geometry.
    """
    side = min(round(math.sqrt(rng.uniform(*band) * height * width)), height, width)
    top, left = int(rng.integers(height - side + 1)), int(rng.integers(width - side + 1))
    return _box(_empty(height, width), top, left, side, side)


GENERATORS: dict[str, Generator] = {
    "deepfill": deepfill,
    "rfr": rfr,
    "lbam": lbam,
    "edgeconnect-box": edgeconnect_box,
    "ca-box": ca_box,
    "square": square,
}
"""Each takes (generator, height, width) and gives (H, W) uint8 in {0, 255}."""
FREE_FORM = ("deepfill", "rfr", "lbam")
"""The generators of irregular masks; the others draw one box, whose kind is `square`."""


# Bands ----------------------------------------------------------------------------------------------------------------


def ratio_of(mask: np.ndarray) -> float:
    """The share of hole pixels, in [0, 1]."""
    return np.count_nonzero(mask) / mask.size


def parse_band(text: str) -> Band:
    """ "20-30" to (0.2, 0.3). Raises ParamsError when it is no such range."""
    try:
        low, high = (int(part) for part in text.split("-"))
    except (AttributeError, ValueError):
        low, high = 0, 0
    if not 0 <= low < high <= 100:
        raise ParamsError(f"bands: found {text!r}, expected two whole percentages like '20-30', the smaller one first")
    return low / 100, high / 100


def parse_bands(texts: Sequence[str]) -> tuple[str, ...]:
    """Check a list of bands like ["20-30", "30-40"]. Raises ParamsError."""
    if isinstance(texts, str) or not texts:
        raise ParamsError(f"bands: found {texts!r}, expected a list like ['20-30', '30-40']")
    for text in texts:
        parse_band(text)
    return tuple(texts)


def band_name(band: Band) -> str:
    """(0.2, 0.3) to "20-30"."""
    return f"{round(100 * band[0])}-{round(100 * band[1])}"


def draw(
    rng: np.random.Generator, shape: tuple[int, int], generator: str, band: Band, most: int = MAX_DRAWS
) -> tuple[np.ndarray, dict[str, str | float]]:
    """Draw one mask whose hole share lies in the band: redrawn until it does.

    The strokes of `deepfill` are laid over each other until they pass the lower limit, and begun again where they pass
    the upper one: one drawing alone reaches 40 % once in five hundred times. A `square` is drawn for the band.

    Args:
        rng: the image's own generator.
        shape: (H, W).
        generator: a name of GENERATORS.
        band: hole shares, above the first and up to the second.
        most: drawings after which it is given up.

    Returns:
        (H, W) uint8 in {0, 255}, 255 = hole, and what a table tells apart: mask_kind (irregular, or square for a box),
        mask_generator, mask_ratio, mask_band.
    Raises:
        ParamsError: when the generator is unknown, or gives no such mask.
    """
    check_name(generator)
    kind = "irregular" if generator in FREE_FORM else "square"
    mask = _empty(*shape)
    for _ in range(most):
        more = square(rng, *shape, band) if generator == "square" else GENERATORS[generator](rng, *shape)
        mask = np.maximum(mask, more) if generator == "deepfill" else more
        ratio = ratio_of(mask)
        if band[0] < ratio <= band[1]:
            return mask, _condition(kind, generator, ratio, band)
        if ratio > band[1]:
            mask = _empty(*shape)
    raise ParamsError(
        f"bands: no {generator} mask of {shape[0]}x{shape[1]} pixels has a hole share of {band_name(band)} % "
        f"({most:,} were drawn); choose other bands or another generator"
    )


def check_name(generator: str, known: Sequence[str] = tuple(GENERATORS)) -> None:
    """Raise ParamsError with the nearest names unless the generator is one of `known`."""
    if generator not in known:
        near = difflib.get_close_matches(str(generator), known) or known
        raise ParamsError(f"generator: found {generator!r}; the nearest are: {', '.join(near)}")


@lru_cache(maxsize=64)
def check_generator(generator: str, bands: tuple[str, ...], known: tuple[str, ...] = tuple(GENERATORS)) -> None:
    """Raise ParamsError for an unknown generator, and for one that hardly ever reaches one of the bands at 256x256."""
    check_name(generator, known)
    for band in bands:
        draw(np.random.default_rng(0), (SIDE, SIDE), generator, parse_band(band), most=1000)


def _condition(kind: str, generator: str, ratio: float, band: Band) -> dict[str, str | float]:
    return {
        "mask_kind": kind,
        "mask_generator": generator,
        "mask_ratio": round(ratio, 6),
        "mask_band": band_name(band),
    }


# Mask files -----------------------------------------------------------------------------------------------------------


def from_file(path: Path, shape: tuple[int, int], band: Band = PLAUSIBLE) -> np.ndarray:
    """Read a mask and bring it to (H, W): nearest neighbour, so that it stays in {0, 255}; 255 = hole.

    Raises:
        DataError: when its hole share at that size is outside the band; it says so where the inverse would fit.
    """
    mask = read_mask(path)
    if mask.shape != shape:
        mask = cv2.resize(mask, shape[::-1], interpolation=cv2.INTER_NEAREST)
    ratio = ratio_of(mask)
    if not band[0] < ratio <= band[1]:
        found = (
            f"{path}: white covers {ratio:.1%} of the mask, expected more than {band[0]:.1%} and up to {band[1]:.1%}"
        )
        if band[0] < 1 - ratio <= band[1]:
            raise DataError(
                f"{found}; its black covers {1 - ratio:.1%}, so the mask looks inverted: white must be the hole. The "
                "NVIDIA training archive is that way round; take its test archive (mask/testing_mask_dataset)"
            )
        raise DataError(f"{found}; take the file out or check that it is a mask")
    return mask


def split_of(path: Path) -> str:
    """The split that a mask file belongs to, by its name alone: half train, a tenth val, the rest test.

    No mask is in two splits. Our reading: the papers train and test on the same 12,000 files.
    """
    share = zlib.crc32(path.name.encode()) % 10
    return "train" if share < 5 else "val" if share < 6 else "test"


@lru_cache(maxsize=4)
def sorted_files(folder: Path, shape: tuple[int, int]) -> dict[tuple[str, str], tuple[Path, ...]]:
    """Sort a folder of masks by split and by the band of the measured hole share, never by file number.

    Args:
        folder: mask files, in name order; `mask/testing_mask_dataset` of the NVIDIA test archive.
        shape: (H, W) at which the share is measured.

    Returns:
        (split, band) to its files; a combination without files is absent, and so is a file that the size brings just
        outside every band.
    Raises:
        DataError: when there is no file, or one that can be no hole mask or is inverted.
    """
    paths = list_images(folder)
    if not paths:
        raise DataError(f"{folder}: no mask files, expected those of mask/testing_mask_dataset")
    found: dict[tuple[str, str], list[Path]] = {}
    for path in paths:
        ratio = ratio_of(from_file(path, shape))
        for band in FILE_BANDS:
            low, high = parse_band(band)
            if low < ratio <= high:
                found.setdefault((split_of(path), band), []).append(path)
    return {key: tuple(files) for key, files in found.items()}


def folder_or_drawn(
    masks: str | None, generator: str, bands: tuple[str, ...], known: tuple[str, ...] = tuple(GENERATORS)
) -> Path | None:
    """The folder of mask files, or None where `generator`, one of `known`, draws them. Raises ParamsError for both."""
    if not masks:
        check_generator(generator, bands, known)
        return None
    if generator != DRAWN:
        raise ParamsError(f"generator: found {generator!r} beside masks from {masks}, expected one of the two")
    return Path(masks)


def check_folder(folder: Path, shape: tuple[int, int], splits: Sequence[str], bands: Sequence[str]) -> None:
    """Raise DataError where a split has no mask file of a band, ParamsError for a band that files do not have."""
    for band in bands:
        if band not in FILE_BANDS:
            raise ParamsError(f"bands: found {band!r}, mask files are sorted by {', '.join(FILE_BANDS)}")
    files = sorted_files(folder, shape)
    for split in splits:
        if missing := [band for band in bands if (split, band) not in files]:
            raise DataError(
                f"{folder}: no mask of {', '.join(missing)} % for split {split!r} (files are split by name); "
                "add masks or ask for other bands"
            )


def choose(
    rng: np.random.Generator, folder: Path, shape: tuple[int, int], split: str, band: str
) -> tuple[np.ndarray, dict[str, str | float]]:
    """Choose one mask file of a split and a band. Returns what `draw` returns, with the file's name as mask_file.

    Raises DataError when there is none.
    """
    files = sorted_files(folder, shape).get((split, band), ())
    if not files:
        raise DataError(f"{folder}: no mask of {band} % for split {split!r}")
    path = files[int(rng.integers(len(files)))]
    mask = from_file(path, shape, parse_band(band))
    about = _condition("irregular", "file", ratio_of(mask), parse_band(band))
    return mask, about | {"mask_file": path.name}


# Square images --------------------------------------------------------------------------------------------------------


def central_square(image: np.ndarray, side: int = SIDE) -> np.ndarray:
    """Cut the central square out of (H, W, 3) uint8 and bring it to (side, side, 3), bicubic with antialiasing.

    Our reading: the papers do not say how; Pillow's bicubic filter, which widens with the reduction.
    """
    height, width = image.shape[:2]
    short = min(height, width)
    top, left = (height - short) // 2, (width - short) // 2
    cut = image[top : top + short, left : left + short]
    if short == side:
        return np.ascontiguousarray(cut)
    return np.asarray(Image.fromarray(cut).resize((side, side), Image.Resampling.BICUBIC))

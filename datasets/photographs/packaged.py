"""Photographs inside scikit-image and scikit-learn: what the stand-ins of the datasets are made of, without a download.

Split by picture, never by crop. Every array is checked against a recorded SHA-256: a package may exchange a picture
(scikit-image 0.18 exchanged `camera`), and numbers from another picture must not stand in the same table.

The JPEG pictures (china, flower, rocket) are taken at full size. Halving them would remove their block noise, but the
step across the 8-pixel grid is only 1.00 (china), 1.05 (flower) and 1.09 (rocket) times the step elsewhere, and at half
size (320x213) the 256x256 crops that several stand-ins need do not fit.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np

from bench.contracts import DataError, Item, Made, ParamsError

CC0 = "CC0 1.0"
CC_BY = "CC BY 2.0"
MIDDLEBURY = "Middlebury Stereo 2014 (scikit-image states no licence)"

# name: (split, package, licence and credit, SHA-256 of the array's bytes)
PICTURES = {
    "china": (
        "train",
        "scikit-learn",
        f"{CC_BY}, danielbuechele (flickr)",
        "e701459344fd69797154c91add3bb5d70e5ed1a61d8bed889bab3a796104698d",
    ),
    "coffee": (
        "train",
        "scikit-image",
        f"{CC0}, Rachel Michetti",
        "0ce2b51640b9c95f19617f03eabf40c3f0368589cc1ee1190b70966165ac184f",
    ),
    "chelsea": (
        "train",
        "scikit-image",
        f"{CC0}, Stefan van der Walt",
        "416b729128bfb2c3d1eb69bf9b1734a796293abc17939267b2dc94f8a5784031",
    ),
    "rocket": (
        "train",
        "scikit-image",
        "public domain, SpaceX",
        "3d4435cc745752b7f9724df88c6e18817de3ce7e3d2d71c55f85f7831e68f197",
    ),
    "brick": (
        "train",
        "scikit-image",
        CC0,
        "664a145c5253f0d66db1a12776785f0ea35a44cc7447ffc933f6d6118dc58643",
    ),
    "grass": (
        "train",
        "scikit-image",
        CC0,
        "b18dae4c68bf850a7a7b28a29d1846c76be890665117b57fd125fe29c4d4ede6",
    ),
    "gravel": (
        "train",
        "scikit-image",
        CC0,
        "3d51ad45f789cd8b98534b7af6bce774e499ead45421135afd757358c7230009",
    ),
    "flower": (
        "val",
        "scikit-learn",
        f"{CC_BY}, vultilion (flickr)",
        "3202904ed246795bf616c66d7859cd7c6080eff736c6e38dc5cc62779742033f",
    ),
    "astronaut": (
        "test",
        "scikit-image",
        "public domain, NASA",
        "a8c429c18afa7b0fd5673e598d73a21225d94c864a71bbb3885126fdecb41071",
    ),
    "motorcycle_left": (
        "test",
        "scikit-image",
        MIDDLEBURY,
        "ca829467c1d4f427da9c4862ba43829da6ac90afe1f75735e95dba9e3fd9620b",
    ),
    "camera": (
        "test",
        "scikit-image",
        f"{CC0}, Lav Varshney",
        "5cb24482a53416f99052258be2b1ee38cd31c559a70c8a8b321cba231b332e21",
    ),
    "coins": (
        "test",
        "scikit-image",
        "no known copyright restrictions",
        "e080cc03805f1fa70516c3cb84883d4633bda2a1b51841da7c22f3d14c072451",
    ),
}
GREY = ("brick", "grass", "gravel", "camera", "coins")
DISPARITY_SHA256 = "f2c0a477374eb7465e98bca1674c0adb6c536c1c3e05999fb16c68472dc798aa"

# Calibration of the motorcycle pair at 741x500 (skimage.data.stereo_motorcycle): pixels, metres, pixels.
FOCAL, BASELINE, OFFSET = 994.978, 0.193001, 31.086


@dataclass(frozen=True)
class Photograph:
    """One photograph inside an installed package.

    Args:
        name: as its package calls it.
        split: train, val or test.
        source: the package and the picture.
        licence: the terms, with the credit where one is due.
        grey: one channel copied to three.
        load: no arguments to uint8 (H, W, 3), checked. Raises DataError when the package exchanged the picture.
    """

    name: str
    split: str
    source: str
    licence: str
    grey: bool
    load: Callable[[], np.ndarray]


def verified(name: str, package: str, array: np.ndarray, sha256: str) -> np.ndarray:
    """Return `array` when its bytes have the recorded hash. Raises DataError otherwise."""
    found = hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()
    if found != sha256:
        raise DataError(
            f"{package}'s picture {name}: found SHA-256 {found[:16]}... of {array.shape} {array.dtype}, expected "
            f"{sha256[:16]}...; the package exchanged the picture or its decoder: install the version that this "
            f"environment's lock names"
        )
    return array


def load(name: str) -> np.ndarray:
    """Read the photograph `name`: uint8 (H, W, 3), grey copied to three channels. Raises DataError as `verified`."""
    _, package, _, sha256 = PICTURES[name]
    if package == "scikit-learn":
        from sklearn.datasets import load_sample_image

        array = load_sample_image(f"{name}.jpg")
    else:
        from skimage import data

        array = data.stereo_motorcycle()[0] if name == "motorcycle_left" else getattr(data, name)()
    array = verified(name, package, array, sha256)
    return np.repeat(array[..., None], 3, axis=2) if array.ndim == 2 else np.ascontiguousarray(array)


def photographs(split: str) -> list[Photograph]:
    """List the photographs of `split` (train, val or test); nothing is read before their `load` is called."""
    return [
        Photograph(name, split, f"{package}: {name}", licence, name in GREY, partial(load, name))
        for name, (its_split, package, licence, _) in PICTURES.items()
        if its_split == split
    ]


def fill_from_far(values: np.ndarray, valid: np.ndarray) -> np.ndarray:
    """Fill each run of invalid pixels of a row from the farther of its two neighbours.

    What one eye cannot see of a scene lies behind the edge that hides it, so that the far side is the better guess.

    Args:
        values: (H, W) depth, larger is farther; ignored where not valid.
        valid: (H, W) bool; every row has a valid pixel.
    """
    columns = np.arange(values.shape[1])
    last = np.maximum.accumulate(np.where(valid, columns, -1), axis=1)
    after = np.minimum.accumulate(np.where(valid, columns, values.shape[1])[:, ::-1], axis=1)[:, ::-1]
    from_left = np.take_along_axis(values, last.clip(0), axis=1)
    from_right = np.take_along_axis(values, after.clip(max=values.shape[1] - 1), axis=1)
    far = np.maximum(np.where(last >= 0, from_left, -np.inf), np.where(after < values.shape[1], from_right, -np.inf))
    return np.where(valid, values, far)


def motorcycle_depth() -> tuple[np.ndarray, np.ndarray]:
    """The depth of the photograph `motorcycle_left`, from the disparity that comes with it.

    depth = baseline * focal length / (disparity + offset), with the calibration in the docstring of
    `skimage.data.stereo_motorcycle`. The disparity belongs to the left picture: left[y, x] shows what
    right[y, x - disparity[y, x]] shows.

    Returns:
        depth (500, 741) float32 in metres, 2.1 to 5.0, its invalid pixels filled from the far side;
        valid (500, 741) bool, 92.7% true: where the disparity was measured.

    Raises:
        DataError: when the package exchanged the disparity.
    """
    from skimage import data

    disparity = verified("motorcycle disparity", "scikit-image", data.stereo_motorcycle()[2], DISPARITY_SHA256)
    valid = np.isfinite(disparity)
    depth = BASELINE * FOCAL / (np.where(valid, disparity, 0).astype(np.float64) + OFFSET)
    return fill_from_far(depth, valid).astype(np.float32), valid


def random_crop(
    image: np.ndarray, size: tuple[int, int], rng: np.random.Generator, tries: int = 20
) -> tuple[np.ndarray, tuple[int, int]]:
    """Cut a random crop that shows something: drawn again while its grey levels spread by less than 8 (sky).

    Args:
        image: (H, W, 3) uint8.
        size: (h, w) of the crop, at most the image's.
        tries: after so many draws the last one is taken.

    Returns:
        the crop (h, w, 3), and its top and left in pixels.
    """
    for _ in range(tries):
        top = int(rng.integers(image.shape[0] - size[0] + 1))
        left = int(rng.integers(image.shape[1] - size[1] + 1))
        crop = image[top : top + size[0], left : left + size[1]]
        if crop.mean(axis=2).std() >= 8:
            break
    return np.ascontiguousarray(crop), (top, left)


def mix(image: np.ndarray, other: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Make one picture of two: a blend, or, every second time, both side by side along a line through the middle part.

    A handful of photographs shows a network few surroundings; a blend has edges, colours and textures of both.

    Args:
        image: (H, W, 3) uint8.
        other: the same shape; turned by a random right angle, where the picture is square, and mirrored at random.

    Returns:
        (H, W, 3) uint8. A blend takes 30 to 70% of either and has its contrast raised by what the averaging of two
        independent pictures lowers it.
    """
    height, width = image.shape[:2]
    other = np.rot90(other, int(rng.integers(4)) if height == width else 2 * int(rng.integers(2)))
    other = other[:, ::-1] if rng.random() < 0.5 else other
    if rng.random() < 0.5:
        share = rng.uniform(0.3, 0.7)
        blend = share * image.astype(float) + (1 - share) * other
        contrast = (share**2 + (1 - share) ** 2) ** -0.5
        return np.clip(np.round((blend - blend.mean()) * contrast + blend.mean()), 0, 255).astype(np.uint8)
    down, right = np.mgrid[:height, :width]
    angle = rng.uniform(0, 2 * np.pi)
    distance = np.cos(angle) * (right / width - 0.5) + np.sin(angle) * (down / height - 0.5)
    return np.where((distance + rng.uniform(-0.25, 0.25) > 0)[..., None], image, other)


def check_least(name: str, value: float, least: float) -> None:
    """Raise ParamsError unless the option `name` is a number of at least `least`; where that is an int, a whole one."""
    whole = isinstance(least, int)
    if isinstance(value, bool) or not isinstance(value, int if whole else (int, float)) or not least <= value < np.inf:
        raise ParamsError(f"{name}: found {value!r}, expected a {'whole ' * whole}number of at least {least}")


def check_share(name: str, value: float) -> None:
    """Raise ParamsError unless the option `name` is a number in [0, 1]."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= 1:
        raise ParamsError(f"{name}: found {value!r}, expected a number in [0, 1]")


def stand_in(
    draws: int, test_draws: int, maker: Callable[[Photograph, str, int], Callable[[np.random.Generator], Made]]
) -> list[Item]:
    """List a stand-in's items: several draws of every photograph, named after it.

    Args:
        draws: images of each training photograph.
        test_draws: images of each validation and test photograph.
        maker: (photograph, split, number of the draw) to what makes the image.

    Raises:
        ParamsError: for a number below 1.
    """
    check_least("draws", draws, 1)
    check_least("test_draws", test_draws, 1)
    return [
        Item(f"{photo.name}-{draw:03d}", split, maker(photo, split, draw), photo.source, photo.licence)
        for split in ("train", "val", "test")
        for photo in photographs(split)
        for draw in range(draws if split == "train" else test_draws)
    ]

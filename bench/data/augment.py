"""Augmentation: random changes of a training sample, the same for all its fields, drawn from the sample's generator.

A sample is a dict of float32 arrays (H, W, C) in [0, 1]: `blurred` or `x`, `left`, `right`, `centre` and `target` with
three channels, `mask` with one, 1 = hole. An operation returns a new dict and does not change the given arrays.
Auxiliary maps, of any number of channels and any range, follow the images wherever pixels move. Changes of colour leave
them as they are: they were computed once, from the stored colours.

MRFNet (Section IV.B) and DFFNet (Section 4.2) flip, rotate by random angles, exchange channels, change the saturation
and add noise; DMTNet (Section 4.1) flips; LMFN does not augment.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from bench.contracts import ParamsError
from bench.params.checks import check_arguments
from bench.registry import nearest

Sample = dict[str, np.ndarray]
Operation = Callable[..., Sample]

NOISE_FREE = ("target", "mask")
"""The fields without sensor noise."""
COLOUR_OPERATIONS = ("permute_channels", "saturation", "noise")
"""The operations that move no pixel."""


def flip_horizontal(sample: Sample, rng: np.random.Generator) -> Sample:
    """Mirror left and right with probability 1/2. For dual-pixel samples use `swap_views_on_flip`."""
    _refuse_views("flip_horizontal", sample, "swap_views_on_flip")
    return _mirrored(sample, rng)


def flip_vertical(sample: Sample, rng: np.random.Generator) -> Sample:
    """Mirror top and bottom with probability 1/2. Dual-pixel views are not exchanged: they differ along the rows."""
    return {name: image[::-1] for name, image in sample.items()} if rng.random() < 0.5 else sample


def swap_views_on_flip(sample: Sample, rng: np.random.Generator) -> Sample:
    """Mirror left and right with probability 1/2 and exchange the views of a dual-pixel sample.

    The right half of a lens sees the mirrored scene as the left half sees the scene; without the exchange a point
    behind the focus would look like a point in front of it.
    """
    _expect("left" in sample, "swap_views_on_flip", f"fields {', '.join(sample)}", "left and right views: dual-pixel")
    flipped = _mirrored(sample, rng)
    return flipped if flipped is sample else flipped | {"left": flipped["right"], "right": flipped["left"]}


def rotate_right_angles(sample: Sample, rng: np.random.Generator) -> Sample:
    """Rotate by 0, 90, 180 or 270 degrees; a sample that is not square by 0 or 180, so that it keeps its shape."""
    _refuse_views("rotate_right_angles", sample, "swap_views_on_flip and flip_vertical")
    height, width = next(iter(sample.values())).shape[:2]
    turns = int(rng.integers(4)) if height == width else 2 * int(rng.integers(2))
    return {name: np.rot90(image, turns) for name, image in sample.items()}


def rotate(sample: Sample, rng: np.random.Generator, degrees: float = 180.0) -> Sample:
    """Rotate about the centre by an angle uniform in [-degrees, degrees].

    Our reading: bilinear, with a reflected border, so that no black corners are learnt; masks by nearest neighbour, so
    that they stay 0 or 1.
    """
    import cv2

    _refuse_views("rotate", sample, "swap_views_on_flip and flip_vertical")
    _expect(0 <= degrees <= 180, "rotate", f"degrees {degrees}", "0 to 180")
    height, width = next(iter(sample.values())).shape[:2]
    angle = rng.uniform(-degrees, degrees)
    matrix = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), angle, 1.0)

    def turn(name: str, image: np.ndarray) -> np.ndarray:
        flags = cv2.INTER_NEAREST if name == "mask" else cv2.INTER_LINEAR
        # Auxiliary maps can have other numbers of channels; OpenCV then rounds the positions to 1/32 pixel.
        parts = [image] if image.shape[2] in (1, 3) else [np.ascontiguousarray(c) for c in np.moveaxis(image, 2, 0)]
        turned = [
            cv2.warpAffine(part, matrix, (width, height), flags=flags, borderMode=cv2.BORDER_REFLECT_101)
            for part in parts
        ]
        return np.dstack(turned)  # warpAffine drops the axis of a single channel

    return {name: turn(name, image) for name, image in sample.items()}


def permute_channels(sample: Sample, rng: np.random.Generator) -> Sample:
    """Permute red, green and blue at random, equally in all images."""
    order = rng.permutation(3)
    return {name: image if name == "mask" else image[..., order] for name, image in sample.items()}


def saturation(sample: Sample, rng: np.random.Generator, low: float = 0.5, high: float = 1.5) -> Sample:
    """Multiply the saturation of HSV, up to 1, by a factor uniform in [low, high]; hue and value stay.

    Our reading of the papers' "[0, 5]": [0.5, 1.5], as in DeepDeblur, whose text they repeat.

    >>> sample = {"x": np.array([[[0.8, 0.6, 0.4]]], np.float32)}
    >>> [round(float(v), 2) for v in saturation(sample, np.random.default_rng(0), low=0.5, high=0.5)["x"].ravel()]
    [0.8, 0.7, 0.6]
    """
    _expect(0 <= low <= high, "saturation", f"low {low}, high {high}", "0 <= low <= high")
    factor = np.float32(rng.uniform(low, high))

    def scale(image: np.ndarray) -> np.ndarray:
        # Saturation is (maximum - minimum) / maximum: scaling the distances to the maximum scales it.
        # One channel at a time: numpy's max over an axis of three takes ten times as long.
        red, green, blue = (image[..., i] for i in range(3))
        value = np.maximum(np.maximum(red, green), blue)
        spread = value - np.minimum(np.minimum(red, green), blue)
        limit = np.minimum(factor, value / np.maximum(spread, np.finfo(np.float32).tiny))
        return np.stack([value - limit * (value - channel) for channel in (red, green, blue)], axis=2)

    return {name: image if name == "mask" else scale(image) for name, image in sample.items()}


def noise(sample: Sample, rng: np.random.Generator, sigma: float = 1.0) -> Sample:
    """Add Gaussian noise to the inputs; its standard deviation, |N(0, sigma)| grey levels of 255, is drawn per sample.

    Our reading: the papers draw a standard deviation from N(0, 1) without a unit. The noise of each input is
    independent, as for the views of a sensor, and the result is clipped to [0, 1]. `target` and `mask` get none.
    """
    _expect(sigma >= 0, "noise", f"sigma {sigma}", "0 or more")
    deviation = np.float32(abs(rng.normal(0, sigma)) / 255)

    def add(image: np.ndarray) -> np.ndarray:
        return np.clip(image + deviation * rng.standard_normal(image.shape, dtype=np.float32), 0, 1)

    return {name: image if name in NOISE_FREE else add(image) for name, image in sample.items()}


OPERATIONS: dict[str, Operation] = {
    operation.__name__: operation
    for operation in (
        flip_horizontal,
        flip_vertical,
        swap_views_on_flip,
        rotate_right_angles,
        rotate,
        permute_channels,
        saturation,
        noise,
    )
}
"""The operations by their names in recipes."""

OPTIONS = {name: tuple(inspect.signature(operation).parameters)[2:] for name, operation in OPERATIONS.items()}
"""The options of each operation: its arguments after the sample and the generator."""


def apply(
    operations: Sequence[str | Mapping[str, Mapping[str, Any]]],
    sample: Sample,
    rng: np.random.Generator,
    auxiliary: Sequence[str] = (),
) -> Sample:
    """Apply operations in order.

    Args:
        operations: names, or a name with its options: ["flip_horizontal", {"saturation": {"low": 0.5, "high": 1.5}}].
        sample: float32 (H, W, C) in [0, 1] by field.
        rng: the sample's own generator.
        auxiliary: fields of the sample that are auxiliary maps, in any range; operations on colours skip them.

    Returns:
        contiguous arrays by the same fields.

    Raises:
        ParamsError: an unknown operation or option, with the nearest names, or an option out of its range.

    >>> image = np.arange(4, dtype=np.float32).reshape(2, 2, 1)
    >>> apply(["rotate_right_angles"], {"x": image}, np.random.default_rng(0))["x"][..., 0].tolist()
    [[2.0, 0.0], [3.0, 1.0]]
    """
    for entry in operations:
        operation, options = resolve(entry)
        skipped = {name: sample[name] for name in auxiliary} if operation.__name__ in COLOUR_OPERATIONS else {}
        images = {name: image for name, image in sample.items() if name not in skipped}
        sample = {**operation(images, rng, **options), **skipped}
    return {name: np.ascontiguousarray(image) for name, image in sample.items()}


def resolve(entry: str | Mapping[str, Mapping[str, Any]]) -> tuple[Operation, Mapping[str, Any]]:
    """Return an operation and its options. Raises ParamsError as `apply` does."""
    options: Mapping[str, Any] = {}
    if isinstance(entry, str):
        name = entry
    elif isinstance(entry, Mapping) and len(entry) == 1:
        name, options = next(iter(entry.items()))
    else:
        raise ParamsError(f"augmentation: found {entry!r}, expected a name, or one name with its options")
    if name not in OPERATIONS:
        raise ParamsError(
            f"augmentation: unknown operation {name!r}; the nearest are: {nearest(str(name), OPERATIONS)}"
        )
    for option in options or {}:
        if option not in OPTIONS[name]:
            near = nearest(option, OPTIONS[name]) or "none, it has no options"
            raise ParamsError(f"augmentation: {name} has no option {option!r}; the nearest are: {near}")
    check_arguments(OPERATIONS[name], options or {}, f"augmentation: {name}")
    return OPERATIONS[name], options or {}


def _mirrored(sample: Sample, rng: np.random.Generator) -> Sample:
    """Mirror left and right with probability 1/2; otherwise return the sample itself."""
    return {name: image[:, ::-1] for name, image in sample.items()} if rng.random() < 0.5 else sample


def _refuse_views(operation: str, sample: Sample, instead: str) -> None:
    """Raise ParamsError for dual-pixel views: mirrored or rotated without an exchange they fit no scene."""
    _expect("left" not in sample, operation, "left and right views", f"single images; for views use {instead}")


def _expect(condition: bool, operation: str, actual: str, expected: str) -> None:
    """Raise ParamsError for an operation unless a condition holds."""
    if not condition:
        raise ParamsError(f"augmentation: {operation}: found {actual}, expected {expected}")

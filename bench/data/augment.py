"""Random changes of a training sample, each drawn from the sample's own generator and alike for all its fields.

A sample is a dict of float32 arrays (H, W, C) in [0, 1]: `blurred` or `x`, `left`, `right`, `centre` and `target` with
three channels, `mask` with one, 1 = hole. An operation returns a new dict and leaves the given arrays as they are.
Auxiliary maps, of any number of channels and any range, follow the images wherever pixels move. Changes of colour leave
them as they are: they were computed once, from the stored colours.

MRFNet (Section IV.B) and DFFNet (Section 4.2) flip, rotate by random angles, exchange channels, change the saturation
and add noise; DMTNet (Section 4.1) flips; LMFN does nothing of it.
"""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from bench.contracts import ParamsError
from bench.params.checks import check_arguments

Sample = dict[str, np.ndarray]
Operation = Callable[..., Sample]

CLEAN = ("target", "mask")  # fields that no sensor noise reaches
COLOURS = ("permute_channels", "saturation", "noise")  # operations that move no pixel


def flip_horizontal(sample: Sample, rng: np.random.Generator) -> Sample:
    """Mirror left and right, every second time. Dual-pixel samples take `swap_views_on_flip`."""
    _refuse_views("flip_horizontal", sample, "swap_views_on_flip")
    return _mirrored(sample, rng)


def flip_vertical(sample: Sample, rng: np.random.Generator) -> Sample:
    """Mirror top and bottom, every second time. The views of a dual-pixel sensor differ along the rows: they stay."""
    return {name: image[::-1] for name, image in sample.items()} if rng.random() < 0.5 else sample


def swap_views_on_flip(sample: Sample, rng: np.random.Generator) -> Sample:
    """`flip_horizontal` for dual-pixel samples: the mirrored left view takes the right one's place, and the reverse.

    The right half of a lens sees a mirrored scene as the left half saw the scene; without the exchange a point behind
    the focus would look like one before it.
    """
    _expect("left" in sample, "swap_views_on_flip", f"fields {', '.join(sample)}", "left and right views: dual-pixel")
    flipped = _mirrored(sample, rng)
    return flipped if flipped is sample else flipped | {"left": flipped["right"], "right": flipped["left"]}


def rotate_right_angles(sample: Sample, rng: np.random.Generator) -> Sample:
    """Turn by 0, 90, 180 or 270 degrees; a sample that is not square by 0 or 180, so that it keeps its shape."""
    _refuse_views("rotate_right_angles", sample, "swap_views_on_flip and flip_vertical")
    height, width = next(iter(sample.values())).shape[:2]
    turns = int(rng.integers(4)) if height == width else 2 * int(rng.integers(2))
    return {name: np.rot90(image, turns) for name, image in sample.items()}


def rotate(sample: Sample, rng: np.random.Generator, degrees: float = 180.0) -> Sample:
    """Rotate about the centre by an angle uniform in [-degrees, degrees].

    Our reading: bilinear, the border reflected so that no black corner is learnt; a mask by nearest neighbour, so that
    it stays 0 or 1.
    """
    import cv2

    _refuse_views("rotate", sample, "swap_views_on_flip and flip_vertical")
    _expect(0 <= degrees <= 180, "rotate", f"degrees {degrees}", "0 to 180")
    height, width = next(iter(sample.values())).shape[:2]
    angle = rng.uniform(-degrees, degrees)
    matrix = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), angle, 1.0)

    def turn(name: str, image: np.ndarray) -> np.ndarray:
        flags = cv2.INTER_NEAREST if name == "mask" else cv2.INTER_LINEAR
        # OpenCV interpolates other numbers of channels, which auxiliary maps may have, at places rounded to 1/32 pixel.
        parts = [image] if image.shape[2] in (1, 3) else [np.ascontiguousarray(c) for c in np.moveaxis(image, 2, 0)]
        turned = [
            cv2.warpAffine(part, matrix, (width, height), flags=flags, borderMode=cv2.BORDER_REFLECT_101)
            for part in parts
        ]
        return np.dstack(turned)  # it drops the axis of a single channel

    return {name: turn(name, image) for name, image in sample.items()}


def permute_channels(sample: Sample, rng: np.random.Generator) -> Sample:
    """Exchange red, green and blue at random, in every image alike."""
    order = rng.permutation(3)
    return {name: image if name == "mask" else image[..., order] for name, image in sample.items()}


def saturation(sample: Sample, rng: np.random.Generator, low: float = 0.5, high: float = 1.5) -> Sample:
    """Multiply the saturation of HSV by a factor uniform in [low, high]; it ends at 1, hue and value stay.

    Our reading of the papers' "[0, 5]": [0.5, 1.5], as in DeepDeblur, whose text they repeat.
    """
    _expect(0 <= low <= high, "saturation", f"low {low}, high {high}", "0 <= low <= high")
    factor = np.float32(rng.uniform(low, high))

    def scale(image: np.ndarray) -> np.ndarray:
        # HSV's saturation is (value - least) / value: moving all channels to or from the value scales it.
        # Channel by channel: numpy's max over an axis of three takes ten times as long.
        red, green, blue = (image[..., i] for i in range(3))
        value = np.maximum(np.maximum(red, green), blue)
        spread = value - np.minimum(np.minimum(red, green), blue)
        limit = np.minimum(factor, value / np.maximum(spread, np.finfo(np.float32).tiny))
        return np.stack([value - limit * (value - channel) for channel in (red, green, blue)], axis=2)

    return {name: image if name == "mask" else scale(image) for name, image in sample.items()}


def noise(sample: Sample, rng: np.random.Generator, sigma: float = 1.0) -> Sample:
    """Add Gaussian noise to the inputs, its standard deviation |N(0, sigma)| drawn once a sample, in 8-bit grey levels.

    Our reading: the papers draw a standard deviation from N(0, 1) without a unit. Each input has noise of its own, as
    each view of a sensor has, and is clipped to [0, 1], as a sensor is; `target` and `mask` have none.
    """
    _expect(sigma >= 0, "noise", f"sigma {sigma}", "0 or more")
    deviation = np.float32(abs(rng.normal(0, sigma)) / 255)

    def add(image: np.ndarray) -> np.ndarray:
        return np.clip(image + deviation * rng.standard_normal(image.shape, dtype=np.float32), 0, 1)

    return {name: image if name in CLEAN else add(image) for name, image in sample.items()}


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
"""By the names that `params.yaml` uses."""

OPTIONS = {name: tuple(inspect.signature(operation).parameters)[2:] for name, operation in OPERATIONS.items()}


def apply(
    operations: Sequence[str | Mapping[str, Mapping[str, Any]]],
    sample: Sample,
    rng: np.random.Generator,
    auxiliary: Sequence[str] = (),
) -> Sample:
    """Run the named operations in order.

    Args:
        operations: names, or a name with its options: ["flip_horizontal", {"saturation": {"low": 0.5, "high": 1.5}}].
        sample: float32 (H, W, C) in [0, 1] by field.
        rng: the sample's own generator.
        auxiliary: the auxiliary maps of the sample, (H, W, C) in any range; operations on colours leave them alone.

    Returns:
        contiguous arrays by the same fields.
    Raises:
        ParamsError: for an unknown operation or option, with the nearest names, or an option out of its range.
    """
    for entry in operations:
        operation, options = resolve(entry)
        kept = {name: sample[name] for name in auxiliary} if operation.__name__ in COLOURS else {}
        images = {name: image for name, image in sample.items() if name not in kept}
        sample = {**operation(images, rng, **options), **kept}
    return {name: np.ascontiguousarray(image) for name, image in sample.items()}


def resolve(entry: str | Mapping[str, Mapping[str, Any]]) -> tuple[Operation, Mapping[str, Any]]:
    """Find one operation and its options. Raises ParamsError as `apply` does."""
    options: Mapping[str, Any] = {}
    if isinstance(entry, str):
        name = entry
    elif isinstance(entry, Mapping) and len(entry) == 1:
        name, options = next(iter(entry.items()))
    else:
        raise ParamsError(f"augmentation: found {entry!r}, expected a name, or one name with its options")
    if name not in OPERATIONS:
        raise ParamsError(f"augmentation: unknown operation {name!r}; the nearest are: {_nearest(name, OPERATIONS)}")
    for option in options or {}:
        if option not in OPTIONS[name]:
            near = _nearest(option, OPTIONS[name]) or "none, it has no options"
            raise ParamsError(f"augmentation: {name} has no option {option!r}; the nearest are: {near}")
    check_arguments(OPERATIONS[name], options or {}, f"augmentation: {name}")
    return OPERATIONS[name], options or {}


def _nearest(name: str, known: Sequence[str] | Mapping[str, Any]) -> str:
    return ", ".join(difflib.get_close_matches(str(name), list(known)) or list(known))


def _mirrored(sample: Sample, rng: np.random.Generator) -> Sample:
    return {name: image[:, ::-1] for name, image in sample.items()} if rng.random() < 0.5 else sample


def _refuse_views(operation: str, sample: Sample, instead: str) -> None:
    """Views differ along the rows: mirrored or turned as they are, they show a scene that no lens would."""
    _expect("left" not in sample, operation, "left and right views", f"single images; for views use {instead}")


def _expect(fine: bool, operation: str, found: str, expected: str) -> None:
    if not fine:
        raise ParamsError(f"augmentation: {operation}: found {found}, expected {expected}")

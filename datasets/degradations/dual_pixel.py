"""The dual-pixel defocus simulator: the left, right and combined views of a sharp image with depth.

Paper: A. Abuolaim et al., "Learning to Reduce Defocus Blur by Realistically Modeling Dual-Pixel Data", ICCV 2021. Code:
Abdullah-Abuolaim/recurrent-defocus-deblurring-synth-dual-pixel (Apache-2.0), commit 03d592a, whose kernels these equal.
As in the released generator, the kernels are applied to sRGB values, results are rounded to the image's integers, and
each pixel is that of the whole image filtered by the pixel's kernel, without occlusion or soft edges. Lengths of the
lens and of the scene have one unit: the code calls them millimetres but compares them with depths in metres.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import cv2
import numpy as np

from bench.contracts import DataError, ParamsError

FARTHEST = 250.0  # scene units; larger depths are clipped to it
NUM_SLICES = 2000  # equal slices of [0, FARTHEST], before slices with equal kernels are merged
LARGEST_COC = 40  # pixels; the circle of confusion is clipped to it


@dataclass(frozen=True)
class Camera:
    """A thin lens focused at one distance.

    Args:
        focal_length: f, scene units.
        f_number: N, the focal length over the aperture's diameter.
        focus_distance: s, from the lens to the plane in focus, scene units.
        barrel: coefficients a, b, c and d of the radial distortion r_source = r (a r^3 + b r^2 + c r + d).
    """

    focal_length: float
    f_number: float
    focus_distance: float
    barrel: tuple[float, float, float, float]

    @property
    def scale(self) -> float:
        """The circle of confusion at infinity in pixels: m = v D / s, with v = f s / (s - f) and D = f / N."""
        sensor_distance = self.focal_length * self.focus_distance / (self.focus_distance - self.focal_length)
        aperture = self.focal_length / self.f_number
        return sensor_distance * aperture / self.focus_distance


CAMERAS = (
    Camera(4, 6, 5, (0.01, 0.0028, 0.0028, 0.9)),
    Camera(5, 8, 6, (0.008, 0.002, 0.002, 0.92)),
    Camera(7, 5, 8, (-0.0055, -0.0013, -0.0013, 1.009)),
    Camera(10, 13, 12, (-0.007, -0.0036, -0.0036, 1.015)),
    Camera(22, 10, 30, (-0.008, -0.005, -0.005, 1.015)),
)
"""The five camera sets of the released generator."""


class Shape(NamedTuple):
    """The Butterworth high-pass that makes the centre of a kernel darker.

    Args:
        order: n, its steepness.
        cut_off: q, the kernel's width divided by the cut-off radius.
        floor: beta, its smallest value.
    """

    order: int
    cut_off: float
    floor: float


SHAPES = tuple(Shape(n, q, beta) for n in (3, 6, 9) for q in (2.5, 2.0) for beta in (0.1, 0.2))
"""The twelve kernel shapes, in the order of the released generator's sequences."""


class DepthRange(NamedTuple):
    """A range of depth, near <= depth < far, with one circle of confusion.

    Args:
        coc: signed radius of the circle of confusion in pixels, negative in front of the focus.
        near: scene units.
        far: scene units.
    """

    coc: int
    near: float
    far: float


class Kernels(NamedTuple):
    """The kernels of the combined image and of the two views: float64 (K, K), sum 1 each."""

    centre: np.ndarray
    left: np.ndarray
    right: np.ndarray


def circle_of_confusion(depth: np.ndarray, camera: Camera) -> np.ndarray:
    """Return round(m (d - s) / d), the signed circle of confusion in pixels, clipped to [-40, 40].

    Args:
        depth: scene units, above 0.
        camera: the lens.

    >>> circle_of_confusion(np.array([2.5, 5.0, 250.0]), CAMERAS[0]).tolist()  # in front of, in and behind the focus
    [-3, 0, 3]
    """
    coc = camera.scale * (depth - camera.focus_distance) / depth
    return np.clip(np.rint(coc), -LARGEST_COC, LARGEST_COC).astype(np.int64)


@lru_cache(maxsize=16)
def depth_ranges(camera: Camera) -> tuple[DepthRange, ...]:
    """Cut [0, 250] into 2000 slices and merge neighbours with equal circles of confusion at their centres.

    The last range ends slightly above 250, so that it contains depths that are clipped to 250.
    """
    edges = np.arange(NUM_SLICES + 1) / NUM_SLICES * FARTHEST
    coc = circle_of_confusion((edges[:-1] + edges[1:]) / 2, camera)
    starts = np.concatenate(([0], np.flatnonzero(np.diff(coc)) + 1))
    ends = np.concatenate((edges[starts[1:]], [FARTHEST + 0.1]))
    return tuple(DepthRange(int(coc[i]), float(edges[i]), float(end)) for i, end in zip(starts, ends, strict=True))


@lru_cache(maxsize=512)
def kernels(coc: int, shape: Shape, smoothing: int = 7) -> Kernels:
    """Return the kernels of one circle of confusion, to be applied by correlation.

    The combined kernel is a filled disc times a Butterworth high-pass, smoothed. Times a horizontal ramp from 0 to 1 it
    is the left view's kernel for a point behind the focus; for a point in front of it the views change sides.

    Args:
        coc: signed radius in pixels; 0 counts as 1, so that the plane in focus is slightly soft too.
        shape: n, q and beta of the high-pass.
        smoothing: the kernel's width divided by that of the Gaussian, 1 / kappa of the paper.

    >>> left, right = kernels(3, SHAPES[0]).left, kernels(3, SHAPES[0]).right
    >>> float(left.sum().round(9)), bool(np.array_equal(left, kernels(-3, SHAPES[0]).right))
    (1.0, True)
    """
    radius = max(abs(coc), 1)
    width = 2 * radius + 1
    y, x = np.mgrid[-radius : radius + 1, -radius : radius + 1]
    disc = cv2.circle(np.zeros((width, width)), (radius, radius), radius, 1.0, cv2.FILLED)

    ratio = ((x**2 + y**2) / ((width - 1) / shape.cut_off) ** 2) ** shape.order
    high_pass = ratio / (1 + ratio)
    span = (high_pass - high_pass.min()) / (high_pass.max() - high_pass.min())
    pattern = disc * (shape.floor + (1 - shape.floor) * span)

    blur_width = round(width / smoothing) + 1
    blur_width += 1 - blur_width % 2
    pattern = np.pad(pattern, blur_width // 2)
    pattern = cv2.GaussianBlur(pattern, (blur_width, blur_width), 0.3 * ((blur_width - 1) / 2 - 1) + 0.8)

    ramp = pattern * np.linspace(0, 1, pattern.shape[1])
    behind = ramp / ramp.sum()
    in_front = behind[::-1, ::-1]
    left, right = (in_front, behind) if coc < 0 else (behind, in_front)
    result = Kernels(pattern / pattern.sum(), np.ascontiguousarray(left), np.ascontiguousarray(right))
    for kernel in result:
        kernel.flags.writeable = False  # cached, and shared by all callers
    return result


def simulate(image: np.ndarray, depth: np.ndarray, camera: Camera, shape: Shape) -> dict[str, np.ndarray]:
    """Blur a sharp image by its depth: V(p) = sum over depth ranges of [depth(p) in the range] (kernel * image)(p).

    Args:
        image: (H, W, 3) uint8 or uint16, sharp everywhere; the target of the views.
        depth: (H, W), scene units, above 0; clipped to 250.
        camera: the lens; one of CAMERAS.
        shape: of the kernels; one of SHAPES.

    Returns:
        `left`, `right` and `centre`, each of the image's shape and type.

    Raises:
        DataError: depth and image differ in size, or the depth is not finite and above 0.
    """
    if depth.shape != image.shape[:2]:
        raise DataError(f"the depth is {depth.shape}, its image {image.shape[:2]}: both must be (H, W) of one size")
    if not (np.isfinite(depth).all() and depth.min() > 0):
        raise DataError("the depth has values that are not finite or not above 0: fill them before simulating")

    ranges = depth_ranges(camera)
    index = np.searchsorted([depth_range.near for depth_range in ranges], np.minimum(depth, FARTHEST), side="right") - 1
    views = {name: np.zeros_like(image) for name in Kernels._fields}
    for i in np.unique(index):
        inside = index == i
        for name, kernel in zip(Kernels._fields, kernels(ranges[i].coc, shape), strict=True):
            views[name][inside] = cv2.filter2D(image, -1, kernel, borderType=cv2.BORDER_REFLECT_101)[inside]
    return views


def barrel(image: np.ndarray, coefficients: Sequence[float]) -> np.ndarray:
    """Distort radially: the pixel at radius r comes from r (a r^3 + b r^2 + c r + d), r in halves of the shorter side.

    This is an option of the released generator, off by default, for views, combined image and target. Our reading:
    bilinear interpolation (that generator uses ImageMagick's elliptical filter). Pixels from outside the image are
    black, as there.

    Args:
        image: (H, W, 3) uint8 or uint16.
        coefficients: a, b, c and d.

    Returns:
        (H, W, 3) of the image's type.
    """
    a, b, c, d = coefficients
    height, width = image.shape[:2]
    y, x = np.mgrid[:height, :width].astype(np.float64)
    y, x = y - (height - 1) / 2, x - (width - 1) / 2
    r = np.hypot(x, y) / (min(height, width) / 2)
    factor = ((a * r + b) * r + c) * r + d
    map_x, map_y = x * factor + (width - 1) / 2, y * factor + (height - 1) / 2
    return cv2.remap(image, map_x.astype(np.float32), map_y.astype(np.float32), cv2.INTER_LINEAR, borderValue=0)


def draw_depth(rng: np.random.Generator, height: int, width: int, camera: Camera) -> tuple[np.ndarray, dict]:
    """Draw a depth for a photograph without one: a slanted plane or steps, with equal probability.

    Our reading: from half the focus distance to 250, where the circle of confusion goes from -m to nearly +m, so that
    both sides of the focus occur equally. Inverse depth varies along one direction of the image, because both
    m (d - s) / d and the projection of a plane are linear in it.

    Args:
        rng: the item's own generator.
        height: of the photograph, in pixels.
        width: of the photograph, in pixels.
        camera: the lens.

    Returns:
        (H, W) float32 depth in scene units, and the drawn values: `depth` ("plane" or "steps") and `depth_angle` in
        degrees.
    """
    angle = float(rng.uniform(0, 360))
    y, x = np.mgrid[:height, :width]
    along = x * math.cos(math.radians(angle)) + y * math.sin(math.radians(angle))
    along = (along - along.min()) / max(np.ptp(along), 1e-9)
    kind = ("plane", "steps")[int(rng.integers(2))]
    if kind == "plane":
        first, last = rng.uniform(0, 1, 2)
        position = first + (last - first) * along
    else:
        borders = np.sort(rng.uniform(0, 1, int(rng.integers(1, 5))))
        heights = rng.uniform(0, 1, len(borders) + 1)
        position = heights[np.searchsorted(borders, along)]
    far, near = 1 / FARTHEST, 2 / camera.focus_distance
    depth = (1 / (far + (near - far) * position)).astype(np.float32)
    return depth, {"depth": kind, "depth_angle": angle}


def check_camera_set(number: int) -> None:
    """Raise ParamsError unless `number` is a position in CAMERAS."""
    if isinstance(number, bool) or not isinstance(number, int) or not 0 <= number < len(CAMERAS):
        raise ParamsError(f"camera_set: found {number!r}, expected a whole number from 0 to {len(CAMERAS) - 1}")

"""The dual-pixel defocus simulator: a sharp image and its depth to the left, right and combined views.

Paper: A. Abuolaim et al., "Learning to Reduce Defocus Blur by Realistically Modeling Dual-Pixel Data", ICCV 2021. Code:
Abdullah-Abuolaim/recurrent-defocus-deblurring-synth-dual-pixel (Apache-2.0), commit 03d592a, whose kernels these equal.
As the released generator does, the kernels act on the sRGB values, each result is rounded to the image's own integers,
and each pixel takes its value from the whole image filtered by its own kernel: no occlusion, no soft edges.
Lengths of the lens and of the scene share one unit: the code says millimetres but compares them with metres of depth.
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

FARTHEST = 250.0  # scene units; depth beyond it is cut
NUM_SLICES = 2000  # equal slices of [0, FARTHEST] before neighbours of one kernel merge
LARGEST_COC = 40  # pixels


@dataclass(frozen=True)
class Camera:
    """A thin lens focused at one distance.

    Args:
        focal_length: f, scene units.
        f_number: N, the focal length over the aperture's diameter.
        focus_distance: s, from the lens to the plane in focus, scene units.
        barrel: a, b, c, d of the radial distortion r_source = r (a r^3 + b r^2 + c r + d).
    """

    focal_length: float
    f_number: float
    focus_distance: float
    barrel: tuple[float, float, float, float]

    @property
    def scale(self) -> float:
        """Pixels of the circle of confusion at infinity: m = v D / s, with v = f s / (s - f) and D = f / N."""
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
    """The Butterworth high-pass that hollows a kernel out.

    order: n, how steep it is. cut_off: q, the kernel's width over the cut-off radius. floor: beta, its least value.
    """

    order: int
    cut_off: float
    floor: float


SHAPES = tuple(Shape(n, q, beta) for n in (3, 6, 9) for q in (2.5, 2.0) for beta in (0.1, 0.2))
"""The twelve kernel shapes, in the order in which the released generator takes them for its sequences."""


class Layer(NamedTuple):
    """A range of depth, near <= depth < far, that shares one circle of confusion: signed, pixels."""

    coc: int
    near: float
    far: float


class Kernels(NamedTuple):
    """The kernels of the combined image and of the two views, float64 (K, K), each with sum 1."""

    centre: np.ndarray
    left: np.ndarray
    right: np.ndarray


def circle_of_confusion(depth: np.ndarray, camera: Camera) -> np.ndarray:
    """round(m (d - s) / d), pixels, clipped to [-40, 40]; negative in front of the focus. `depth` is positive."""
    coc = camera.scale * (depth - camera.focus_distance) / depth
    return np.clip(np.rint(coc), -LARGEST_COC, LARGEST_COC).astype(np.int64)


@lru_cache(maxsize=16)
def layers(camera: Camera) -> tuple[Layer, ...]:
    """Cut [0, 250] into 2000 slices, take the circle of confusion at the middle of each, merge equal neighbours.

    The last layer ends a little beyond 250, so that depth cut at 250 lies within it.
    """
    edges = np.arange(NUM_SLICES + 1) / NUM_SLICES * FARTHEST
    coc = circle_of_confusion((edges[:-1] + edges[1:]) / 2, camera)
    starts = np.concatenate(([0], np.flatnonzero(np.diff(coc)) + 1))
    ends = np.concatenate((edges[starts[1:]], [FARTHEST + 0.1]))
    return tuple(Layer(int(coc[i]), float(edges[i]), float(end)) for i, end in zip(starts, ends, strict=True))


@lru_cache(maxsize=512)
def kernels(coc: int, shape: Shape, smoothing: int = 7) -> Kernels:
    """The kernels of one circle of confusion, applied by correlation.

    A filled disc times a Butterworth high-pass, smoothed, is the combined kernel; a horizontal ramp from 0 to 1 over
    its columns makes the left one of a point behind the focus, and the two change sides for a point before it.

    Args:
        coc: signed radius in pixels; 0 is taken as 1, so that even the plane in focus is a little soft.
        shape: n, q and beta of the high-pass.
        smoothing: the kernel's width over that of the Gaussian, 1 / kappa of the paper.
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
    before = behind[::-1, ::-1]
    left, right = (before, behind) if coc < 0 else (behind, before)
    made = Kernels(pattern / pattern.sum(), np.ascontiguousarray(left), np.ascontiguousarray(right))
    for kernel in made:
        kernel.flags.writeable = False  # they are shared by all callers
    return made


def simulate(image: np.ndarray, depth: np.ndarray, camera: Camera, shape: Shape) -> dict[str, np.ndarray]:
    """Blur a sharp image by its depth: V(p) = sum over layers of [depth(p) in the layer] (kernel * image)(p).

    Args:
        image: (H, W, 3) uint8 or uint16, sharp everywhere.
        depth: (H, W), scene units, above 0; cut at 250.
        camera: the lens; one of CAMERAS.
        shape: the kernels' shape; one of SHAPES.

    Returns:
        `left`, `right` and `centre`, each of the image's shape and type. `image` is their target.
    Raises:
        DataError: when depth and image differ in size or the depth is not finite and above 0.
    """
    if depth.shape != image.shape[:2]:
        raise DataError(f"the depth is {depth.shape}, its image {image.shape[:2]}: both must be (H, W) of one size")
    if not (np.isfinite(depth).all() and depth.min() > 0):
        raise DataError("the depth has values that are not finite or not above 0: fill them before simulating")

    stack = layers(camera)
    index = np.searchsorted([layer.near for layer in stack], np.minimum(depth, FARTHEST), side="right") - 1
    views = {name: np.zeros_like(image) for name in Kernels._fields}
    for i in np.unique(index):
        inside = index == i
        for name, kernel in zip(Kernels._fields, kernels(stack[i].coc, shape), strict=True):
            views[name][inside] = cv2.filter2D(image, -1, kernel, borderType=cv2.BORDER_REFLECT_101)[inside]
    return views


def barrel(image: np.ndarray, coefficients: Sequence[float]) -> np.ndarray:
    """Distort radially: the pixel at radius r comes from r (a r^3 + b r^2 + c r + d), r in halves of the smaller side.

    The released generator leaves it off unless asked, and then distorts views, combined image and target alike.
    Our reading: bilinear (it resamples by an elliptical filter of ImageMagick); what lies outside is black, as there.
    """
    a, b, c, d = coefficients
    height, width = image.shape[:2]
    y, x = np.mgrid[:height, :width].astype(np.float64)
    y, x = y - (height - 1) / 2, x - (width - 1) / 2
    r = np.hypot(x, y) / (min(height, width) / 2)
    factor = ((a * r + b) * r + c) * r + d
    map_x, map_y = x * factor + (width - 1) / 2, y * factor + (height - 1) / 2
    return cv2.remap(image, map_x.astype(np.float32), map_y.astype(np.float32), cv2.INTER_LINEAR, borderValue=0)


def drawn_depth(rng: np.random.Generator, height: int, width: int, camera: Camera) -> tuple[np.ndarray, dict]:
    """Draw a depth for a photograph that has none: a slanted plane or a flight of steps, by chance.

    Our reading, for photographs without depth: from half the focus distance to 250, where the circle of confusion goes
    from -m to nearly +m, so that both sides of the focus occur equally. Inverse depth, in which m (d - s) / d and the
    projection of a plane are linear, runs along one direction of the image.

    Returns:
        (H, W) float32 depth in scene units, and what was drawn: `depth` ("plane" or "steps"), `depth_angle` (degrees).
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
    """Raise ParamsError unless CAMERAS has a camera of that number."""
    if isinstance(number, bool) or not isinstance(number, int) or not 0 <= number < len(CAMERAS):
        raise ParamsError(f"camera_set: found {number!r}, expected a whole number from 0 to {len(CAMERAS) - 1}")

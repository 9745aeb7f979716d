"""Blur of sharp photographs: by the two kernels of MRFNet's authors, and as the average of frames along a camera path.

- `kernel_blur`, `draw_kernel_blur`: the MATLAB scripts of MRFNet's authors: a Gaussian kernel, then a linear motion
  kernel, each by `imfilter` with 'replicate' and 'conv', rounded to 8 bits in between.
- `average`: DFFNet, eq. 1 (and GOPRO, Nah et al. 2017, eq. 1): the camera's response to the mean of frames over time.
- `camera_path`, `warp_along`: the frames of this average made from one photograph, in place of a 240 fps video.

All randomness comes from the generator argument; drawn values are returned as plain JSON.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from bench.contracts import ParamsError

# Kernels equal to MATLAB's fspecial -----------------------------------------------------------------------------------


def gaussian_kernel(size: int, sigma: float) -> np.ndarray:
    """Return MATLAB's fspecial('gaussian', size, sigma): the sampled Gaussian, 0 below eps times its peak.

    Args:
        size: side in pixels; the centre of an even side is between two pixels.
        sigma: standard deviation in pixels.

    Returns:
        (size, size) float64, sum 1.

    >>> gaussian_kernel(3, 0.5).round(4).tolist()
    [[0.0113, 0.0838, 0.0113], [0.0838, 0.6193, 0.0838], [0.0113, 0.0838, 0.0113]]
    """
    grid = np.arange(size) - (size - 1) / 2
    kernel = np.exp(-(grid[:, None] ** 2 + grid[None, :] ** 2) / (2 * sigma**2))
    kernel[kernel < np.finfo(np.float64).eps * kernel.max()] = 0
    return kernel / kernel.sum()


def motion_kernel(length: float, angle: float) -> np.ndarray:
    """Return MATLAB's fspecial('motion', length, angle): a line of one pixel's width with soft sides and ends.

    A pixel's weight is 1 minus its distance from the line segment, and zero from a distance of 1 on. One half of the
    kernel is computed; the other half is its rotation by 180 degrees.

    Args:
        length: pixels, at least 1; an even length has half weights at both ends.
        angle: degrees, counter-clockwise from the right; modulo 180.

    Returns:
        (h, w) float64, odd sides, sum 1 within rounding.

    >>> motion_kernel(4, angle=0).round(4).tolist()
    [[0.125, 0.25, 0.25, 0.25, 0.125]]
    >>> float(motion_kernel(15, angle=30).sum().round(9))
    1.0
    """
    eps = np.finfo(np.float64).eps
    length = max(1.0, float(length))
    half = (length - 1) / 2
    phi = (angle % 180) / 180 * math.pi
    cos, sin = math.cos(phi), math.sin(phi)
    sign = -1 if cos < 0 else 1  # the columns of the half run towards the upper end of the line
    # The small terms keep the sides exact at 0 and 90 degrees.
    width = math.trunc(half * cos + sign - length * eps)
    height = math.trunc(half * sin + 1 - length * eps)
    x = np.arange(0, width + sign, sign)[None, :].astype(np.float64)
    y = np.arange(0, height + 1)[:, None].astype(np.float64)
    distance = y * cos - x * sin
    beyond = (np.hypot(x, y) >= half) & (np.abs(distance) <= 1)
    past_end = half - np.abs((x + distance * sin) / cos)
    distance = np.where(beyond, np.hypot(distance, past_end), np.abs(distance))
    quarter = np.maximum(1 + eps - distance, 0)
    rows, columns = quarter.shape
    kernel = np.zeros((2 * rows - 1, 2 * columns - 1))
    kernel[:rows, :columns] = quarter[::-1, ::-1]
    kernel[rows - 1 :, columns - 1 :] = quarter
    kernel /= kernel.sum() + eps * length**2
    return kernel[::-1] if cos > 0 else kernel


def convolve(image: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    """Return MATLAB's imfilter(image, kernel, 'replicate', 'conv') in 8 bits: a true convolution, halves rounded up.

    Args:
        image: (H, W, 3) uint8.
        kernel: (h, w); the origin of an even side is the pixel after its centre, as in conv2's 'same'.

    Returns:
        (H, W, 3) uint8.
    """
    import cv2

    anchor = ((kernel.shape[1] - 1) // 2, (kernel.shape[0] - 1) // 2)
    flipped = np.ascontiguousarray(kernel[::-1, ::-1])  # OpenCV's filter is a correlation
    values = cv2.filter2D(image.astype(np.float64), -1, flipped, anchor=anchor, borderType=cv2.BORDER_REPLICATE)
    return to_8bit(values)


def to_8bit(values: np.ndarray) -> np.ndarray:
    """Round halves up, as MATLAB's uint8() does, and clip to [0, 255].

    >>> to_8bit(np.array([-3.0, 1.5, 2.49, 300.0])).tolist()
    [0, 2, 2, 255]
    """
    # The 1e-9 makes the rounding of a half independent of the order of the sum that gave it.
    return np.clip(np.floor(values + 0.5 + 1e-9), 0, 255).astype(np.uint8)


def kernel_blur(image: np.ndarray, kernel_size: int, sigma: float, length: float, angle: float) -> np.ndarray:
    """Blur with a Gaussian kernel and then with a linear motion kernel, rounded to 8 bits in between.

    Args:
        image: (H, W, 3) uint8.
        kernel_size: side of the Gaussian kernel in pixels; 1 changes nothing.
        sigma: standard deviation of the Gaussian in pixels.
        length: of the motion in pixels; 1 changes nothing.
        angle: of the motion in degrees, counter-clockwise from the right.

    Returns:
        (H, W, 3) uint8.

    >>> image = np.zeros((3, 5, 3), np.uint8)
    >>> image[1, 2] = 240
    >>> kernel_blur(image, kernel_size=1, sigma=1.0, length=3, angle=0)[1, :, 0].tolist()
    [0, 80, 80, 80, 0]
    """
    return convolve(convolve(image, gaussian_kernel(kernel_size, sigma)), motion_kernel(length, angle))


def draw_kernel_blur(image: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, dict[str, Any]]:
    """Blur as MRFNet's authors do for VisDrone: `kernel_blur` with drawn values.

    Gaussian size uniform in {1, .., 5} and sigma in {0.1, .., 1.0}; motion length in {5, 10, .., 30} and angle in
    {0, 15, .., 345}. Our reading: their scripts are written for DOTA; there is none for VisDrone, which gets the same.

    Args:
        image: (H, W, 3) uint8.
        rng: the item's own generator.

    Returns:
        the blurred image (H, W, 3) uint8, and the drawn values: kind, and the arguments of `kernel_blur`.
    """
    size = int(rng.integers(1, 6))
    sigma = int(rng.integers(1, 11)) / 10
    length = 5 * int(rng.integers(1, 7))
    angle = 15 * int(rng.integers(24))
    drawn = {"kind": "gaussian, linear motion", "kernel_size": size, "sigma": sigma, "length": length, "angle": angle}
    return kernel_blur(image, size, sigma, length, angle), drawn


# Averages of frames ---------------------------------------------------------------------------------------------------


def average(frames: Iterable[np.ndarray], response: str, gamma: float = 2.2) -> np.ndarray:
    """Blur like a long exposure: the camera's response g to the mean light of M frames (DFFNet, eq. 1).

    Args:
        frames: (H, W, 3) uint8 each, of one size; read one after another.
        response: "linear", g(s) = s: the mean of the stored values (GOPRO's `blur`); "gamma", g(s) = s^(1/gamma): the
            mean of the light that the values represent (GOPRO's `blur_gamma`).
        gamma: 2.2 in both papers.

    Returns:
        (H, W, 3) uint8, halves rounded up.

    Raises:
        ParamsError: for another response.
        ValueError: without frames.

    >>> black, white = np.zeros((1, 1, 3), np.uint8), np.full((1, 1, 3), 255, np.uint8)
    >>> int(average([black, white], "linear")[0, 0, 0]), int(average([black, white], "gamma")[0, 0, 0])
    (128, 186)
    """
    check_response(response)
    exponent = gamma if response == "gamma" else 1.0
    light = (np.arange(256) / 255) ** exponent
    total, count = np.zeros(()), 0
    for frame in frames:
        total = total + light[frame]
        count += 1
    if not count:
        raise ValueError("found no frames, expected at least one")
    return to_8bit((total / count) ** (1 / exponent) * 255)


def check_response(response: str) -> None:
    """Raise ParamsError unless `response` is "linear" or "gamma"."""
    if response not in ("linear", "gamma"):
        raise ParamsError(f"response: found {response!r}, expected 'linear' or 'gamma'")


def camera_path(rng: np.random.Generator, num_frames: int, extent: float) -> tuple[np.ndarray, dict[str, Any]]:
    """Draw the path of a hand-held camera: its position in each frame, with the middle frame at the origin.

    The papers show three parameters (MRFNet and DFFNet, figure 4) and no formula. Our reading: the shaking angle is the
    main direction of the path, the shaking length its length along the curve, and the kernel size the side of the
    square that contains it, all at the image's centre. The path is a cubic: along the angle at a changing speed, across
    it with a quadratic and a cubic term. The camera also rolls about its axis, so that the blur varies over the image.

    Args:
        rng: the item's own generator.
        num_frames: number of positions, at least 2.
        extent: longest path in pixels; the length is uniform in [extent / 4, extent].

    Returns:
        (num_frames, 3) float64: x and y in pixels (right, down) and roll in degrees, all zero in frame
        (num_frames - 1) // 2; and the drawn values: num_frames, kernel_size and length in pixels, angle in degrees, and
        roll in degrees over the whole path.

    >>> path, drawn = camera_path(np.random.default_rng(0), num_frames=7, extent=12)
    >>> path.shape, abs(path[3]).tolist(), 3 <= drawn["length"] <= 12
    ((7, 3), [0.0, 0.0, 0.0], True)
    """
    angle = float(rng.uniform(0, 360))
    length = float(rng.uniform(extent / 4, extent))
    speed, bow, swing = rng.uniform(-0.3, 0.3, 3)
    roll = float(rng.uniform(-0.5, 0.5))
    time = (np.arange(num_frames) - (num_frames - 1) // 2) / (num_frames // 2)  # in [-1, 1], 0 in the middle frame
    along = time + speed * time**2  # strictly increasing, as |speed| < 1/2
    across = bow * time**2 + swing * time**3
    scale = length / np.hypot(np.diff(along), np.diff(across)).sum()
    cos, sin = math.cos(math.radians(angle)), -math.sin(math.radians(angle))  # counter-clockwise; y points down
    x = scale * (along * cos - across * sin)
    y = scale * (along * sin + across * cos)
    drawn = {
        "num_frames": num_frames,
        "kernel_size": math.ceil(max(np.ptp(x), np.ptp(y))) + 1,
        "length": round(length, 3),
        "angle": round(angle, 3),
        "roll": round(roll, 3),
    }
    return np.stack([x, y, roll / 2 * along], axis=1), drawn


def matrices(path: np.ndarray) -> np.ndarray:
    """Convert a path (N, 3) to affine matrices (N, 2, 3): a frame's pixel to the photograph's, about the centre."""
    turn = np.radians(path[:, 2])
    cos, sin = np.cos(turn), np.sin(turn)
    return np.stack([np.stack([cos, -sin, path[:, 0]], axis=1), np.stack([sin, cos, path[:, 1]], axis=1)], axis=1)


def margin(shape: tuple[int, ...], path: np.ndarray) -> int:
    """Return the rim, in whole pixels, that the frames of `path` need of a photograph, with 2 for the interpolation.

    Args:
        shape: (H, W, ...) of the photograph, in pixels.
        path: (N, 3), from `camera_path`.
    """
    height, width = shape[:2]
    corners = np.array([[x, y] for x in (-width / 2, width / 2) for y in (-height / 2, height / 2)])
    turned = matrices(path)
    moved = np.einsum("nij,kj->nki", turned[:, :, :2], corners) + turned[:, None, :, 2] - corners
    return math.ceil(np.abs(moved).max()) + 2


def warp_along(image: np.ndarray, path: np.ndarray) -> list[np.ndarray]:
    """Return what a camera on `path` sees of a flat photograph: one frame per position, by cubic interpolation.

    Frames are smaller than the photograph by the rim that the path needs, so that no border has to be invented. A frame
    at the origin is the inside of the photograph.

    Args:
        image: (H, W, 3) uint8.
        path: (N, 3), from `camera_path`.

    Returns:
        N frames (H - 2m, W - 2m, 3) uint8, m = margin(image.shape, path).

    Raises:
        ParamsError: the path is too long for the photograph.
    """
    import cv2

    m = margin(image.shape, path)
    height, width = image.shape[0] - 2 * m, image.shape[1] - 2 * m
    if height < 1 or width < 1:
        raise ParamsError(
            f"the camera path needs a rim of {m} pixels: found a photograph of {image.shape[1]}x{image.shape[0]}; "
            "use a shorter path or a larger crop"
        )
    to_centre = np.array([[1, 0, -(width - 1) / 2], [0, 1, -(height - 1) / 2], [0, 0, 1]])
    frames = []
    for matrix in matrices(path):
        to_photograph = matrix @ to_centre
        to_photograph[:, 2] += (image.shape[1] - 1) / 2, (image.shape[0] - 1) / 2
        frames.append(
            cv2.warpAffine(image, to_photograph, (width, height), flags=cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP)
        )
    return frames


def expose(
    image: np.ndarray, num_frames: Sequence[int], step: float, response: str, rng: np.random.Generator
) -> tuple[np.ndarray, list[np.ndarray], dict[str, Any]]:
    """Blur a photograph by one exposure of a shaking camera.

    Args:
        image: (H, W, 3) uint8.
        num_frames: possible numbers of frames, of which one is drawn.
        step: longest path, in pixels per frame after the first; above about 2 single frames become visible.
        response: "linear" or "gamma", see `average`.
        rng: the item's own generator.

    Returns:
        the blurred image, its frames in order (frame (N - 1) // 2 is the photograph's inside), and the drawn values.

    Raises:
        ParamsError: the photograph is too small for the path; an unknown response.
    """
    count = int(num_frames[int(rng.integers(len(num_frames)))])
    path, drawn = camera_path(rng, count, step * (count - 1))
    frames = warp_along(image, path)
    return average(frames, response), frames, {"kind": "frame average", **drawn, "response": response}

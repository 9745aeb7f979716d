"""Blur made from sharp photographs: the recipe of MRFNet's authors, and averages of frames along a camera's path.

- `recipe`: MRFNet's authors' scripts (MATLAB): a Gaussian kernel, then a linear motion kernel, `imfilter` with
  'replicate' and 'conv', 8 bits between the two.
- `average`: DFFNet, eq. 1 (and GOPRO, Nah et al. 2017, eq. 1): the camera's response to the time average of frames.
- `camera_path`, `warp_along`: the frames of such an average from one photograph, for want of a 240 fps video.

Everything random comes from the generator that is passed in; what was drawn is returned as plain JSON values.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from bench.contracts import ParamsError

# Kernels, as MATLAB's fspecial makes them -----------------------------------------------------------------------------


def gaussian_kernel(size: int, sigma: float) -> np.ndarray:
    """MATLAB's fspecial('gaussian', size, sigma): samples of the Gaussian, those below eps of the peak set to zero.

    Args:
        size: side in pixels; an even side has its middle between two pixels.
        sigma: standard deviation in pixels.

    Returns:
        (size, size) float64, sum 1.
    """
    grid = np.arange(size) - (size - 1) / 2
    kernel = np.exp(-(grid[:, None] ** 2 + grid[None, :] ** 2) / (2 * sigma**2))
    kernel[kernel < np.finfo(np.float64).eps * kernel.max()] = 0
    return kernel / kernel.sum()


def motion_kernel(length: float, angle: float) -> np.ndarray:
    """MATLAB's fspecial('motion', length, angle): a line of the given length, one pixel wide, with soft sides and ends.

    A pixel's weight is 1 minus its distance from the line, or from the line's end where it lies beyond, and zero
    from a distance of 1 on. One half is computed, the other is its rotation by 180 degrees.

    Args:
        length: pixels, at least 1; an even length has half weights at both ends.
        angle: degrees, counter-clockwise from the right; modulo 180.

    Returns:
        (h, w) float64, odd sides, sum 1 but for rounding.
    """
    eps = np.finfo(np.float64).eps
    length = max(1.0, float(length))
    half = (length - 1) / 2
    phi = (angle % 180) / 180 * math.pi
    cos, sin = math.cos(phi), math.sin(phi)
    sign = -1 if cos < 0 else 1  # the half-kernel's columns run towards the line's upper end
    # The small terms keep the side at 0 and at 90 degrees what it is on paper.
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
    """MATLAB's imfilter(image, kernel, 'replicate', 'conv') on 8 bits: a true convolution, rounded half away from zero.

    Args:
        image: (H, W, 3) uint8.
        kernel: (h, w); the middle of an even side is the pixel behind its centre, as in conv2's 'same'.

    Returns:
        (H, W, 3) uint8.
    """
    import cv2

    anchor = ((kernel.shape[1] - 1) // 2, (kernel.shape[0] - 1) // 2)
    flipped = np.ascontiguousarray(kernel[::-1, ::-1])  # OpenCV's filter is a correlation
    values = cv2.filter2D(image.astype(np.float64), -1, flipped, anchor=anchor, borderType=cv2.BORDER_REPLICATE)
    return to_8bit(values)


def to_8bit(values: np.ndarray) -> np.ndarray:
    """Round halves up, as MATLAB's uint8() does, and clip to [0, 255]."""
    # A value that is a half but for the last bits of its float must not depend on the order of a sum.
    return np.clip(np.floor(values + 0.5 + 1e-9), 0, 255).astype(np.uint8)


def recipe(image: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, dict[str, Any]]:
    """Blur as MRFNet's authors do for VisDrone: Gaussian, then linear motion on top, 8 bits between the two.

    Gaussian size uniform in {1, .., 5} and sigma in {0.1, .., 1.0}; motion length in {5, 10, .., 30} and angle in
    {0, 15, .., 345}. (Their scripts are written for DOTA; our reading: the same for VisDrone, of which there is none.)

    Args:
        image: (H, W, 3) uint8.
        rng: this image's own generator.

    Returns:
        the blurred image (H, W, 3) uint8, and what was drawn: kernel_size (of the Gaussian), sigma and length in
        pixels, angle in degrees.
    """
    size = int(rng.integers(1, 6))
    sigma = int(rng.integers(1, 11)) / 10
    length = 5 * int(rng.integers(1, 7))
    angle = 15 * int(rng.integers(24))
    blurred = convolve(convolve(image, gaussian_kernel(size, sigma)), motion_kernel(length, angle))
    drawn = {"kind": "gaussian, linear motion", "kernel_size": size, "sigma": sigma, "length": length, "angle": angle}
    return blurred, drawn


# Averages of frames ---------------------------------------------------------------------------------------------------


def average(frames: Iterable[np.ndarray], response: str, gamma: float = 2.2) -> np.ndarray:
    """Blur as a long exposure does: the camera's response g to the mean of the light of M frames (DFFNet, eq. 1).

    Args:
        frames: (H, W, 3) uint8 each, of one size; read one after another.
        response: "linear", g(s) = s: the mean of the stored values (GOPRO's `blur`); "gamma", g(s) = s^(1/gamma): the
            mean of the light that the values stand for (GOPRO's `blur_gamma`).
        gamma: 2.2 in both papers.

    Returns:
        (H, W, 3) uint8, rounded half up.

    Raises:
        ParamsError: when the response is neither.
        ValueError: when there is no frame.
    """
    check_response(response)
    exponent = gamma if response == "gamma" else 1.0
    light = (np.arange(256) / 255) ** exponent
    total, count = np.zeros(()), 0
    for frame in frames:
        total = total + light[frame]
        count += 1
    if not count:
        raise ValueError("the average of no frames")
    return to_8bit((total / count) ** (1 / exponent) * 255)


def check_response(response: str) -> None:
    """Raise ParamsError unless `response` is one of the two that `average` knows."""
    if response not in ("linear", "gamma"):
        raise ParamsError(f"response: found {response!r}, expected 'linear' or 'gamma'")


def camera_path(rng: np.random.Generator, num_frames: int, extent: float) -> tuple[np.ndarray, dict[str, Any]]:
    """Draw the path of a shaking hand: where the camera points in each frame, the middle frame at rest in the origin.

    The papers show three parameters (MRFNet and DFFNet, figure 4) and no formula. Our reading: the shaking angle is the
    main direction of the path, the shaking length its length along the curve, and the kernel size the side of the
    square that it covers, all at the image's centre. The path is a cubic: along the angle with a changing speed, across
    it with a bow and an S; the camera rolls about its axis at the same time, so that the blur differs over the image.

    Args:
        rng: this image's own generator.
        num_frames: at least 2.
        extent: the longest path in pixels; the length is uniform in [extent / 4, extent].

    Returns:
        (num_frames, 3) float64: x and y in pixels (right, down) and roll in degrees, all zero in frame
        (num_frames - 1) // 2; and what was drawn: num_frames, kernel_size and length in pixels, angle in degrees, and
        roll in degrees over the path.
    """
    angle = float(rng.uniform(0, 360))
    length = float(rng.uniform(extent / 4, extent))
    speed, bow, swing = rng.uniform(-0.3, 0.3, 3)
    roll = float(rng.uniform(-0.5, 0.5))
    time = (np.arange(num_frames) - (num_frames - 1) // 2) / (num_frames // 2)  # in [-1, 1], zero in the middle frame
    along = time + speed * time**2  # the speed stays above zero: |speed| < 1/2
    across = bow * time**2 + swing * time**3
    scale = length / np.hypot(np.diff(along), np.diff(across)).sum()
    cos, sin = math.cos(math.radians(angle)), -math.sin(math.radians(angle))  # counter-clockwise, while y runs down
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
    """Turn a path (N, 3) into similarities (N, 2, 3): a frame's pixel to the photograph's, both from the centre."""
    turn = np.radians(path[:, 2])
    cos, sin = np.cos(turn), np.sin(turn)
    return np.stack([np.stack([cos, -sin, path[:, 0]], axis=1), np.stack([sin, cos, path[:, 1]], axis=1)], axis=1)


def margin(shape: tuple[int, ...], path: np.ndarray) -> int:
    """The rim that the frames of `path` look beyond, in whole pixels, and 2 more that cubic interpolation reads."""
    height, width = shape[:2]
    corners = np.array([[x, y] for x in (-width / 2, width / 2) for y in (-height / 2, height / 2)])
    turned = matrices(path)
    moved = np.einsum("nij,kj->nki", turned[:, :, :2], corners) + turned[:, None, :, 2] - corners
    return math.ceil(np.abs(moved).max()) + 2


def warp_along(image: np.ndarray, path: np.ndarray) -> list[np.ndarray]:
    """What a camera on `path` sees of a flat photograph: one frame for each of its positions.

    Frames are cut as far inside the photograph as the path needs, equally on all sides, so that no border is invented.
    Cubic interpolation; a frame at rest is the photograph itself.

    Args:
        image: (H, W, 3) uint8.
        path: (N, 3) as `camera_path` gives it.

    Returns:
        N frames (H - 2m, W - 2m, 3) uint8, m = margin(image.shape, path).

    Raises:
        ParamsError: when the path is too long for the photograph.
    """
    import cv2

    m = margin(image.shape, path)
    height, width = image.shape[0] - 2 * m, image.shape[1] - 2 * m
    if height < 1 or width < 1:
        raise ParamsError(
            f"a camera path that needs a rim of {m} pixels: found a photograph of {image.shape[1]}x{image.shape[0]}; "
            f"take a shorter path or a larger crop"
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
        num_frames: the number of frames is drawn among these.
        step: the longest path is so many pixels for each frame after the first; at about 2 no frame stands out.
        response: as `average` takes it.
        rng: this image's own generator.

    Returns:
        the blurred image, its frames in order (frame (N - 1) // 2 is the photograph's inside), and what was drawn.

    Raises:
        ParamsError: when the photograph is too small for the path, or the response unknown.
    """
    count = int(num_frames[int(rng.integers(len(num_frames)))])
    path, drawn = camera_path(rng, count, step * (count - 1))
    frames = warp_along(image, path)
    return average(frames, response), frames, {"kind": "frame average", **drawn, "response": response}

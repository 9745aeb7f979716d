"""Generators of masks, one function each: (generator, height, width) to (H, W) uint8, 255 = hole, 0 = known.

They follow the code of the methods that train with them: DeepFill v2 and CA (JiahuiYu/generative_inpainting), RFR
(jingyuanli001/RFR-Inpainting), LBAM (Vious/LBAM_Pytorch), EdgeConnect (knazeri/edge-connect). Those draw at 256x256;
our reading: at another size all lengths are scaled with the shorter side.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import cv2
import numpy as np
from PIL import Image, ImageDraw

SIDE = 256
"""Side of the images of the inpainting papers, in pixels."""
HOLE = 255
"""The value of hole pixels on disk."""

Band = tuple[float, float]
"""Shares of hole pixels in [0, 1]: above the first, up to the second."""
Generator = Callable[[np.random.Generator, int, int], np.ndarray]


def hole_share(mask: np.ndarray) -> float:
    """Return the share of hole pixels, in [0, 1].

    >>> float(hole_share(np.array([[0, 255], [0, 0]], np.uint8)))
    0.25
    """
    return np.count_nonzero(mask) / mask.size


def _empty(height: int, width: int) -> np.ndarray:
    """Return a mask without a hole."""
    return np.zeros((height, width), np.uint8)


def _box(mask: np.ndarray, top: int, left: int, height: int, width: int) -> np.ndarray:
    """Make a box of the mask a hole."""
    mask[top : top + height, left : left + width] = HOLE
    return mask


def deepfill(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """DeepFill v2: one to three zigzag strokes of 4 to 11 steps; a hole of 15 % on average.

    The direction of the steps alternates between both sides of the x axis, at an angle of 2 pi / 5 plus or minus a part
    of 2 pi / 15 that is drawn per stroke. Their length is normal with a mean of an eighth of the diagonal. The width is
    12 to 39 pixels.
    """
    image, scale = Image.new("L", (width, height)), min(height, width) / SIDE
    pen = ImageDraw.Draw(image)  # as in its code; OpenCV's lines are a pixel wider, for a mean hole of 15.8 %
    mean_length = math.hypot(height, width) / 8
    for _ in range(rng.integers(1, 4)):
        steps = int(rng.integers(4, 12))
        low, high = 2 * math.pi / 5 + np.array((-1, 1)) * rng.uniform(0, 2 * math.pi / 15, 2)
        points = [(int(rng.integers(width)), int(rng.integers(height)))]
        thickness = max(1, round(int(rng.uniform(12, 40)) * scale))
        for i in range(steps):
            angle = rng.uniform(low, high) * (-1 if i % 2 == 0 else 1)
            length = float(np.clip(rng.normal(mean_length, mean_length // 2), 0, 2 * mean_length))
            x = int(np.clip(points[-1][0] + length * math.cos(angle), 0, width))
            y = int(np.clip(points[-1][1] + length * math.sin(angle), 0, height))
            points.append((x, y))
        pen.line(points, fill=HOLE, width=thickness)
        radius = thickness // 2
        for x, y in points:
            pen.ellipse((x - radius, y - radius, x + radius, y + radius), fill=HOLE)
    return np.array(image)


def rfr(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """RFR: 1 to 15 strokes of 0 to 25 steps; a hole of 54 % on average.

    Each step has a length of 0 to 100 pixels, any direction, and an even width of 10 to 24 pixels.
    """
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
    """LBAM: blobs, the values below 0.25 of 8x8 noise enlarged to 350x350 and cropped to 256x256; 12 % on average.

    The first of two drawings is taken if its share is 20 to 30 %, otherwise the second. The published files are
    inverted (white = known); here the blobs are the hole, as in its loader.
    """
    side_y, side_x = round(350 * height / SIDE), round(350 * width / SIDE)
    for _ in range(2):
        noise = cv2.resize(rng.random((8, 8)), (side_x, side_y), interpolation=cv2.INTER_LINEAR)
        top, left = int(rng.integers(side_y - height + 1)), int(rng.integers(side_x - width + 1))
        mask = np.where(noise[top : top + height, left : left + width] < 0.25, HOLE, 0).astype(np.uint8)
        if 0.2 <= hole_share(mask) <= 0.3:
            break
    return mask


def edgeconnect_box(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """EdgeConnect, mask type 1: a box of half the width and half the height at a random place; 25 % of the pixels."""
    box_height, box_width = height // 2, width // 2
    top, left = int(rng.integers(height - box_height + 1)), int(rng.integers(width - box_width + 1))
    return _box(_empty(height, width), top, left, box_height, box_width)


def ca_box(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """CA: a 128x128 box at a random place, reduced by 0 to 16 pixels on both sides of each axis."""
    scale = min(height, width) / SIDE
    side = round(128 * scale)
    top, left = int(rng.integers(height - side)), int(rng.integers(width - side))
    less_y, less_x = (int(rng.integers(0, round(16 * scale) + 1)) for _ in range(2))
    return _box(_empty(height, width), top + less_y, left + less_x, side - 2 * less_y, side - 2 * less_x)


def square(rng: np.random.Generator, height: int, width: int, band: Band = (0.2, 0.5)) -> np.ndarray:
    """One square of side round(sqrt(r H W)) at a random place, r uniform in the band; round(256 sqrt(r)) at 256x256.

    Our reading: DGFNet states the shares of its square masks, not their geometry.
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
"""The generators by name."""
FREE_FORM = ("deepfill", "rfr", "lbam")
"""The generators of irregular masks; the others draw one box."""
DEFAULT_GENERATOR = "deepfill"
"""The generator of irregular masks if an option names no other."""

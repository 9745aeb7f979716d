"""Crops, squares and mixtures of photographs."""

from __future__ import annotations

import numpy as np
from PIL import Image

FLAT = 8
"""Standard deviation of grey levels (of 255) below which a crop shows too little."""


def random_crop(
    image: np.ndarray, size: tuple[int, int], rng: np.random.Generator, tries: int = 20
) -> tuple[np.ndarray, tuple[int, int]]:
    """Crop a random part with some content: draw again while the deviation of its grey levels is below 8 (sky).

    Args:
        image: (H, W, 3) uint8.
        size: (h, w) of the crop, at most the image's.
        rng: the item's own generator.
        tries: number of draws, after which the last one is taken.

    Returns:
        the crop (h, w, 3), and its top and left in pixels.
    """
    for _ in range(tries):
        top = int(rng.integers(image.shape[0] - size[0] + 1))
        left = int(rng.integers(image.shape[1] - size[1] + 1))
        crop = image[top : top + size[0], left : left + size[1]]
        if crop.mean(axis=2).std() >= FLAT:
            break
    return np.ascontiguousarray(crop), (top, left)


def central_square(image: np.ndarray, side: int) -> np.ndarray:
    """Crop the central square of (H, W, 3) uint8 and resize it to (side, side, 3).

    Our reading, where the papers are silent: Pillow's bicubic filter, which is widened when it reduces.

    >>> central_square(np.zeros((300, 400, 3), np.uint8), side=64).shape
    (64, 64, 3)
    """
    height, width = image.shape[:2]
    short = min(height, width)
    top, left = (height - short) // 2, (width - short) // 2
    square = image[top : top + short, left : left + short]
    if short == side:
        return np.ascontiguousarray(square)
    return np.asarray(Image.fromarray(square).resize((side, side), Image.Resampling.BICUBIC))


def mix(image: np.ndarray, other: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Mix two pictures: with probability 1/2 a blend, otherwise both side by side along a random line near the centre.

    A few photographs show a network few combinations; a mixture has edges, colours and textures of both.

    Args:
        image: (H, W, 3) uint8.
        other: the same shape; it is rotated by a random right angle (of 180 degrees if it is not square) and mirrored
            at random.
        rng: the item's own generator.

    Returns:
        (H, W, 3) uint8. A blend has 30 to 70 % of each, and its contrast is raised by the factor that the average of
        two independent pictures lowers it.
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

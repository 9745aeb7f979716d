"""Windows of images: where the error is largest, and the enlarged inside of one."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image

Window = tuple[float, float, float, float]
"""A part of an image as fractions of its sides: left, top, width, height."""


def worst_windows(
    images: Sequence[Image.Image], target: Image.Image, count: int, share: float = 0.25, smallest: int = 1
) -> tuple[Window, ...]:
    """Find the windows of the largest error that do not overlap, the worst first.

    The error is the mean absolute difference to the target over all images, so that no single method decides. An image
    of another size is resized to the target's first. Where no further window fits, fewer than `count` are returned.

    Args:
        images: one or more.
        share: of the image's sides that a window takes.
        smallest: sides of a window in pixels at least; a smaller image is one window.
    """
    width, height = target.size
    w, h = (min(side, max(1, smallest, round(side * share))) for side in (width, height))
    truth = np.asarray(target, np.int64)
    error = np.zeros((height, width), np.int64)
    for image in images:
        same_size = image if image.size == target.size else image.resize(target.size, Image.Resampling.BICUBIC)
        error += np.abs(np.asarray(same_size, np.int64) - truth).sum(axis=2)
    table = np.pad(error.cumsum(0).cumsum(1), ((1, 0), (1, 0)))  # a sum over any window is four look-ups
    sums = table[h:, w:] - table[:-h, w:] - table[h:, :-w] + table[:-h, :-w]
    windows: list[Window] = []
    for _ in range(count):
        top, left = (int(i) for i in np.unravel_index(int(sums.argmax()), sums.shape))
        if sums[top, left] < 0:
            break
        windows.append((left / width, top / height, w / width, h / height))
        sums[max(0, top - h + 1) : top + h, max(0, left - w + 1) : left + w] = -1  # all that overlap this one
    return tuple(windows)


def enlarge(image: Image.Image, window: Window, width: int) -> Image.Image:
    """Cut out a window and resize it to a width in pixels, its own proportion kept.

    Pixels are blended as an image viewer does, so that no method looks sharper because it is shown in blocks.
    """
    image_width, image_height = image.size
    left, top, w, h = window
    box = (left * image_width, top * image_height, (left + w) * image_width, (top + h) * image_height)
    height = max(1, round(width * h * image_height / (w * image_width)))
    return image.resize((width, height), Image.Resampling.BICUBIC, box)

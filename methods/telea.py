"""Telea's inpainting: the hole is filled from its rim inwards by weighted first-order extrapolation, without training.

Paper: A. Telea, "An Image Inpainting Technique Based on the Fast Marching Method", Journal of Graphics Tools 2004. The
code is OpenCV's `inpaint` with INPAINT_TELEA, which works on 8 bits.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np
import torch
from torch import Tensor

from bench.contracts import DataError, untrained

if TYPE_CHECKING:
    from bench.contracts import Batch


def telea(image: np.ndarray, mask: np.ndarray, radius: float = 3.0) -> np.ndarray:
    """Fill the hole of one image.

    Args:
        image: (H, W, 3) uint8, the three channels in any order; values in the hole are ignored.
        mask: (H, W) uint8, 0 where the pixel is known, any other value in the hole.
        radius: of the neighbourhood that each filled pixel is extrapolated from, in pixels; OpenCV's examples use 3.

    Returns:
        (H, W, 3) uint8; known pixels are unchanged.

    Raises:
        DataError: no pixel is known.

    >>> image, mask = np.full((5, 5, 3), 90, np.uint8), np.zeros((5, 5), np.uint8)
    >>> image[2, 2], mask[2, 2] = 0, 255
    >>> telea(image, mask)[2, 2].tolist()
    [90, 90, 90]
    """
    if mask.all():
        raise DataError(f"telea: the mask of {mask.shape[0]}x{mask.shape[1]} pixels is all hole; one must be known")
    return cv2.inpaint(image, mask, radius, cv2.INPAINT_TELEA)


def restore(batch: Batch) -> Tensor:
    """Fill the holes of `x` (N, 3, H, W) in [0, 1] with multiples of 1/255; known pixels stay exact."""
    x, mask = batch["x"], batch["mask"]
    images = (x * 255).round().clamp(0, 255).to("cpu", torch.uint8).permute(0, 2, 3, 1).contiguous().numpy()
    holes = (mask[:, 0] > 0).to("cpu", torch.uint8).numpy()
    filled = np.stack([telea(image, hole) for image, hole in zip(images, holes, strict=True)])
    pred = torch.from_numpy(filled).permute(0, 3, 1, 2).to(x) / 255
    return torch.where(mask > 0, pred, x)


method = untrained(
    ("inpaint", "sharp-inpaint"),
    restore,
    tiling="A photograph of any size is filled as a whole, because a hole is filled from all of its rim.",
    limits=("8 bits: the filled pixels are rounded to multiples of 1/255, as OpenCV's code works on bytes.",),
)

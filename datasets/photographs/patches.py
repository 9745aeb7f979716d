"""Patches of large photographs, and the choice of the sharpest ones, as in DPDNet's code.

Code: Abdullah-Abuolaim/defocus-deblurring-dual-pixel (MIT), commit 7ebf77e.
"""

from __future__ import annotations

import cv2
import numpy as np

SOBEL_SIZES = (3, 7, 11, 15)
"""Kernel sizes of `sharpness`, in pixels."""
FLAT_SHARE = 0.3
"""The share of an image's training patches that is dropped: the flattest."""


def patch_corners(height: int, width: int, patch: int, overlap: float) -> list[tuple[int, int]]:
    """Return (top, left) of the patches that cover an image, row by row; the last ones end at its border.

    Args:
        height: of the image, in pixels.
        width: of the image, in pixels.
        patch: side in pixels.
        overlap: share of the side that neighbours have in common, in [0, 1); the stride is int((1 - overlap) patch).

    >>> patch_corners(height=100, width=150, patch=100, overlap=0.6)
    [(0, 0), (0, 40), (0, 50)]
    """
    stride = int((1 - overlap) * patch)

    def starts(side: int) -> list[int]:
        last = side - patch
        return [*range(0, last, stride), last]

    return [(top, left) for top in starts(height) for left in starts(width)]


def sharpness(patches: list[np.ndarray]) -> np.ndarray:
    """Measure the detail of each patch of one image, relative to the others.

    The Sobel gradient's magnitude is summed over the grey patch, for four kernel sizes. The sums of each size are
    scaled to [0, 1] over the patches, and the four results are multiplied.

    Args:
        patches: N patches (P, P, 3), RGB in their own bit depth.

    Returns:
        (N,) float64 in [0, 1].
    """
    product = np.ones(len(patches))
    grey = [cv2.cvtColor(patch, cv2.COLOR_RGB2GRAY) for patch in patches]
    for size in SOBEL_SIZES:
        sums = np.empty(len(grey))
        for i, image in enumerate(grey):
            across = cv2.Sobel(image, cv2.CV_64F, 1, 0, ksize=size)
            down = cv2.Sobel(image, cv2.CV_64F, 0, 1, ksize=size)
            sums[i] = cv2.magnitude(across, down).sum()
        product *= (sums - sums.min()) / max(np.ptp(sums), np.finfo(np.float64).tiny)
    return product


def num_kept(num_patches: int) -> int:
    """Return how many of an image's N patches are kept: all except int(0.3 N).

    >>> num_kept(15)
    11
    """
    return num_patches - int(FLAT_SHARE * num_patches)


def sharpest_corners(target: np.ndarray, patch: int, overlap: float) -> list[tuple[int, int]]:
    """Return the corners of the patches that are kept for training, all except the flattest, in the original order.

    Args:
        target: (H, W, 3), RGB in its own bit depth.
        patch: as for `patch_corners`.
        overlap: as for `patch_corners`.
    """
    corners = patch_corners(target.shape[0], target.shape[1], patch, overlap)
    energy = sharpness([target[top : top + patch, left : left + patch] for top, left in corners])
    flat = np.argsort(energy, kind="stable")[: len(corners) - num_kept(len(corners))]
    return [corner for i, corner in enumerate(corners) if i not in set(flat.tolist())]

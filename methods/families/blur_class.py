"""The blur-class branch of MRFNet: which of two blurs an image has, where that shows, and what it is trained on.

Paper: "Multipath Refinement Fusion Network for Efficient Image Deblurring" (MRFNet), Section 3.3.3; its sums of maps
are the class activation maps of B. Zhou et al., "Learning Deep Features for Discriminative Localization", CVPR 2016.
No code of it is known. The blurs are those of MRFNet's authors' MATLAB scripts for their data.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from methods.layers.precision import full_precision

READINGS = (
    "The paper prints no layers of the blur classifier: those of `BlurClassifier` are ours.",
    "An image has one class, and each training image of the classifier gets one blur: the authors' data have motion "
    "blur on top of the Gaussian blur, for which there is no class.",
    'G_l of the blur classifier is the average of g_l over all places, as the text\'s "global average pooling" says, '
    "not the sum, which grows with the image.",
    "Eq. 4, the location score, is printed garbled. It is taken of the positive part of a class's weighted maps: the "
    "divisor, a sum over all places, could otherwise be 0.",
    "The text lets class and location choose the kernels and prints no formula: each class's kernels count by its "
    "probability times its location score relative to the largest, which does not depend on the image's size.",
)
"""How the paper was read where it is silent or contradicts itself, in what this file defines."""
CLASSES = ("Gaussian blur", "motion blur")
KERNEL_RADIUS = 15
"""Pixels that the longest motion, of 30, reaches from the middle of its kernel."""

# Labelled training data -----------------------------------------------------------------------------------------------


def gaussian_kernels(sizes: Tensor, sigmas: Tensor) -> Tensor:
    """MATLAB's fspecial('gaussian', size, sigma), each in the middle of a square of zeros.

    Args:
        sizes: sides in pixels, (N,); the middle of an even one is the pixel behind its centre, as in conv2's 'same'.
        sigmas: standard deviations in pixels, (N,).

    Returns:
        (N, 31, 31), each of sum 1.
    """
    at = torch.arange(-KERNEL_RADIUS, KERNEL_RADIUS + 1, device=sizes.device) + (0.5 - 0.5 * (sizes[:, None] % 2))
    line = torch.exp(-(at**2) / (2 * sigmas[:, None] ** 2)) * (at.abs() <= (sizes[:, None] - 1) / 2)
    kernels = line[:, :, None] * line[:, None]
    return kernels / kernels.sum((1, 2), keepdim=True)


def motion_kernels(lengths: Tensor, angles: Tensor) -> Tensor:
    """MATLAB's fspecial('motion', length, angle), each in the middle of a square of zeros.

    Args:
        lengths: pixels, (N,), from 1 to 30.
        angles: degrees, counter-clockwise from the right, (N,).

    Returns:
        (N, 31, 31), each of sum 1.
    """
    axis = torch.arange(-KERNEL_RADIUS, KERNEL_RADIUS + 1, device=lengths.device)
    x, up = axis[None, None], -axis[None, :, None]
    phi = (angles * math.pi / 180)[:, None, None]
    half = ((lengths - 1) / 2)[:, None, None]
    along, across = x * phi.cos() + up * phi.sin(), up * phi.cos() - x * phi.sin()
    # The distance to the line, or from its end's circle on the distance to that end.
    beyond = torch.hypot(across, half - along.abs())
    distance = torch.where(torch.hypot(along, across) >= half - 1e-4, beyond, across.abs())
    kernels = (1 - distance).clamp(min=0)
    return kernels / kernels.sum((1, 2), keepdim=True)


def convolve(images: Tensor, kernels: Tensor) -> Tensor:
    """Convolve each of the images (N, 1, H, W) with its own kernel (N, k, k), the border's pixels repeated outside."""
    images = F.pad(images, (KERNEL_RADIUS,) * 4, mode="replicate")
    with full_precision(images):
        return F.conv2d(images.transpose(0, 1), kernels.flip(1, 2)[:, None], groups=len(kernels)).transpose(0, 1)


@torch.no_grad()
def draw_blurred(sharp: Tensor) -> tuple[Tensor, Tensor]:
    """Blur half of the images by a Gaussian, half by a linear motion, drawn by torch's generator of the CPU.

    The ranges are the authors': Gaussian size uniform in {1, .., 5} and sigma in {0.1, .., 1.0}, motion length in
    {5, 10, .., 30}, all in pixels, and angle in {0, 15, .., 345} degrees. Each image gets one blur.

    Args:
        sharp: (N, 1, H, W) in [0, 1]. A batch of an odd count has one more of either class, by lot.

    Returns:
        the blurred images, of the same shape, and their classes (N,), indices of `CLASSES`.
    """
    count = len(sharp)

    def draw(low: int, high: int, size: int = count) -> Tensor:
        return torch.randint(low, high + 1, (size,), device="cpu")

    labels = (torch.arange(count, device="cpu") + draw(0, 1, 1)) % len(CLASSES)
    gaussian = gaussian_kernels(draw(1, 5), draw(1, 10) / 10)
    motion = motion_kernels(5 * draw(1, 6), 15 * draw(0, 23))
    kernels = torch.where(labels[:, None, None] == CLASSES.index("motion blur"), motion, gaussian)
    return convolve(sharp.float(), kernels.to(sharp.device)), labels.to(sharp.device)


# The classifier -------------------------------------------------------------------------------------------------------


def normalised_gradients(grey: Tensor) -> Tensor:
    """The differences of `grey` (N, 1, H, W) to the next pixel along x and y over their root mean square: (N, 2, H, W).

    So neither brightness nor contrast tells; an image of one colour has none.
    """
    with full_precision(grey):
        padded = F.pad(grey.float(), (0, 1, 0, 1), mode="replicate")
        both = torch.cat([padded[..., :-1, 1:], padded[..., 1:, :-1]], dim=1) - grey.float()
        return both / both.square().mean((1, 2, 3), keepdim=True).sqrt().clamp(min=1e-6)


class BlurClassifier(nn.Module):
    """Scores of each class at each place, from the edge map of an image and the slopes of its grey.

    Learned 7x7 filters, the logarithm of their energy in windows of 16x16 pixels, two 1x1 convolutions: a blur shows in
    how much is left of each direction and fineness, and what it takes away is a difference of logarithms.

    Args:
        channels: number of filters; the layers after them are four times as wide.
    """

    def __init__(self, channels: int):
        super().__init__()
        self.filters = nn.Conv2d(3, channels, 7, padding=3, bias=False)
        self.layers = nn.Sequential(
            nn.Conv2d(channels, 4 * channels, 1), nn.ReLU(), nn.Conv2d(4 * channels, 4 * channels, 1), nn.ReLU()
        )
        self.weights = nn.Conv2d(4 * channels, len(CLASSES), 1, bias=False)

    def forward(self, grey: Tensor, edges: Tensor) -> Tensor:
        """The sums over l of A_l g_l(a, b), (N, 2, H/8, W/8): the last layer's maps g_l, weighted by class.

        Args:
            grey: the image, (N, 1, H, W) in [0, 1], sides multiples of 8.
            edges: its edge map, of the same shape and range.
        """
        filtered = self.filters(torch.cat([normalised_gradients(grey), edges], dim=1)).float()
        energy = F.avg_pool2d(filtered.square(), 16, stride=8, padding=4)
        return self.weights(self.layers(torch.log(energy + 1e-3)))  # 1e-3 of an image's mean energy counts as none


def class_logits(scores: Tensor) -> Tensor:
    """The input of the softmax, the sums over l of A_l G_l: (N, 2, h, w) to (N, 2).

    G_l is the average of g_l over all places. Weighting is linear: the average of the weighted maps is the weighted
    average.
    """
    return scores.float().mean((2, 3))


def location_scores(scores: Tensor) -> Tensor:
    """The location score S of eq. 4: the positive part of a class's score at a place over its sum over all places.

    A class without a positive score has S = 0 everywhere.

    Args:
        scores: (N, 2, h, w).

    Returns:
        the same shape, each map not negative and of sum 1, or 0.
    """
    positive = scores.float().clamp(min=0)
    return positive / positive.sum((2, 3), keepdim=True).clamp(min=1e-6)


def class_shares(scores: Tensor, height: int, width: int) -> Tensor:
    """How much of each class's kernels each pixel gets: its probability Q times S, relative to the largest S.

    Relative to the largest, S does not depend on the size of the image.

    Args:
        scores: (N, 2, h, w).

    Returns:
        (N, 2, height, width) in [0, 1], enlarged bilinearly.
    """
    where = location_scores(scores)
    where = where / where.amax((2, 3), keepdim=True).clamp(min=1e-12)
    share = class_logits(scores).softmax(1)[:, :, None, None] * where
    return F.interpolate(share, size=(height, width), mode="bilinear", align_corners=False)

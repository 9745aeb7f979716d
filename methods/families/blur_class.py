"""The blur-class branch of MRFNet: which of two blurs an image has, where it is visible, and the training data.

Paper: "Multipath Refinement Fusion Network for Efficient Image Deblurring" (MRFNet), Section 3.3.3; its sums of maps
are the class activation maps of B. Zhou et al., "Learning Deep Features for Discriminative Localization", CVPR 2016.
No code of the branch is known. The blurs are those of the MATLAB scripts with which MRFNet's authors made their data.
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
"""The classes, in the order of scores and labels."""
KERNEL_RADIUS = 15
"""Pixels on each side of a kernel's centre: half of the longest motion, which is 30 pixels long."""

# Labelled training data -----------------------------------------------------------------------------------------------


def gaussian_kernels(sizes: Tensor, sigmas: Tensor) -> Tensor:
    """Make the kernels of MATLAB's fspecial('gaussian', size, sigma), each in the middle of a square of zeros.

    Args:
        sizes: sides in pixels, (N,); the middle of an even one is the pixel after its centre, as in conv2's 'same'.
        sigmas: standard deviations in pixels, (N,).

    Returns:
        (N, 31, 31), each of sum 1.

    >>> kernel = gaussian_kernels(torch.tensor([3]), torch.tensor([0.5]))[0]
    >>> [round(value, 4) for value in kernel[15, 14:17].tolist()]
    [0.0838, 0.6193, 0.0838]
    """
    offset = torch.arange(-KERNEL_RADIUS, KERNEL_RADIUS + 1, device=sizes.device) + (0.5 - 0.5 * (sizes[:, None] % 2))
    line = torch.exp(-(offset**2) / (2 * sigmas[:, None] ** 2)) * (offset.abs() <= (sizes[:, None] - 1) / 2)
    kernels = line[:, :, None] * line[:, None]
    return kernels / kernels.sum((1, 2), keepdim=True)


def motion_kernels(lengths: Tensor, angles: Tensor) -> Tensor:
    """Make the kernels of MATLAB's fspecial('motion', length, angle), each in the middle of a square of zeros.

    Args:
        lengths: pixels, (N,), from 1 to 30.
        angles: degrees, counter-clockwise from the right, (N,).

    Returns:
        (N, 31, 31), each of sum 1.

    >>> kernel = motion_kernels(torch.tensor([4]), torch.tensor([0]))[0]
    >>> [round(value, 3) for value in kernel[15, 12:19].tolist()]
    [0.0, 0.125, 0.25, 0.25, 0.25, 0.125, 0.0]
    """
    axis = torch.arange(-KERNEL_RADIUS, KERNEL_RADIUS + 1, device=lengths.device)
    x, up = axis[None, None], -axis[None, :, None]
    phi = (angles * math.pi / 180)[:, None, None]
    half = ((lengths - 1) / 2)[:, None, None]
    along, across = x * phi.cos() + up * phi.sin(), up * phi.cos() - x * phi.sin()
    # The distance to the line, or beyond its ends the distance to the nearer end.
    beyond = torch.hypot(across, half - along.abs())
    distance = torch.where(torch.hypot(along, across) >= half - 1e-4, beyond, across.abs())
    kernels = (1 - distance).clamp(min=0)
    return kernels / kernels.sum((1, 2), keepdim=True)


def convolve(images: Tensor, kernels: Tensor) -> Tensor:
    """Convolve each image (N, 1, H, W) with its own kernel (N, 31, 31); border pixels are repeated outside it."""
    images = F.pad(images, (KERNEL_RADIUS,) * 4, mode="replicate")
    with full_precision(images):
        return F.conv2d(images.transpose(0, 1), kernels.flip(1, 2)[:, None], groups=len(kernels)).transpose(0, 1)


@torch.no_grad()
def draw_blurred(sharp: Tensor) -> tuple[Tensor, Tensor]:
    """Blur half of the images by a Gaussian and half by a linear motion, drawn from torch's CPU generator.

    The ranges are the authors': Gaussian size uniform in {1, .., 5} and sigma in {0.1, .., 1.0}, motion length in
    {5, 10, .., 30}, all in pixels, and angle in {0, 15, .., 345} degrees. Each image gets one blur.

    Args:
        sharp: (N, 1, H, W) in [0, 1]. With an odd N one class, drawn at random, has one image more.

    Returns:
        the blurred images, of the same shape, and their labels (N,), indices of `CLASSES`.
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
    """Return the differences to the next pixel along x and y, divided by their root mean square per image.

    They do not depend on brightness and contrast. For a constant image they are 0.

    Args:
        grey: (N, 1, H, W).

    Returns:
        (N, 2, H, W) float32.

    >>> [round(value, 4) for value in normalised_gradients(torch.tensor([[[[1.0, 3.0]]]])).flatten().tolist()]
    [2.0, 0.0, 0.0, 0.0]
    """
    with full_precision(grey):
        padded = F.pad(grey.float(), (0, 1, 0, 1), mode="replicate")
        both = torch.cat([padded[..., :-1, 1:], padded[..., 1:, :-1]], dim=1) - grey.float()
        return both / both.square().mean((1, 2, 3), keepdim=True).sqrt().clamp(min=1e-6)


class BlurClassifier(nn.Module):
    """Scores of each class at each place, from the edge map of an image and the gradients of its grey.

    Learned 7x7 filters, the logarithm of their energy in windows of 16x16 pixels, and 1x1 convolutions. A blur reduces
    the energy of some directions and frequencies by a factor, which is a difference of logarithms.

    Args:
        channels: number of filters; the layers after them have four times as many channels.
    """

    def __init__(self, channels: int):
        super().__init__()
        self.filters = nn.Conv2d(3, channels, 7, padding=3, bias=False)
        self.layers = nn.Sequential(
            nn.Conv2d(channels, 4 * channels, 1), nn.ReLU(), nn.Conv2d(4 * channels, 4 * channels, 1), nn.ReLU()
        )
        self.weights = nn.Conv2d(4 * channels, len(CLASSES), 1, bias=False)

    def forward(self, grey: Tensor, edges: Tensor) -> Tensor:
        """Return the sums over l of A_l g_l(a, b): the maps g_l of the last layer, weighted by class.

        Args:
            grey: the image, (N, 1, H, W) in [0, 1], sides multiples of 8.
            edges: its edge map, of the same shape and range.

        Returns:
            (N, 2, H/8, W/8).
        """
        filtered = self.filters(torch.cat([normalised_gradients(grey), edges], dim=1)).float()
        energy = F.avg_pool2d(filtered.square(), 16, stride=8, padding=4)
        return self.weights(self.layers(torch.log(energy + 1e-3)))  # energies far below 1e-3 of the mean count as 0


def class_logits(scores: Tensor) -> Tensor:
    """Return the sums over l of A_l G_l, the input of the softmax: (N, 2, h, w) to (N, 2).

    G_l is the average of g_l over all places. Weighting is linear, so the average of the weighted maps is the weighted
    average.

    >>> class_logits(torch.tensor([[[[1.0, 3.0]], [[0.0, 2.0]]]])).tolist()
    [[2.0, 1.0]]
    """
    return scores.float().mean((2, 3))


def location_scores(scores: Tensor) -> Tensor:
    """Return the location score S of eq. 4: a class's score at a place divided by its sum over all places.

    Only positive scores count; a class without any has S = 0 everywhere.

    Args:
        scores: (N, 2, h, w).

    Returns:
        the same shape, each map at least 0 and of sum 1, or 0.

    >>> location_scores(torch.tensor([[[[1.0, 3.0]], [[-1.0, 0.0]]]])).tolist()
    [[[[0.25, 0.75]], [[0.0, 0.0]]]]
    """
    positive = scores.float().clamp(min=0)
    return positive / positive.sum((2, 3), keepdim=True).clamp(min=1e-6)


def class_shares(scores: Tensor, height: int, width: int) -> Tensor:
    """Return the share of each class's kernels in each pixel: the probability Q of the class times S / max S.

    Relative to its maximum, S does not depend on the size of the image.

    Args:
        scores: (N, 2, h, w).
        height: of the result, in pixels.
        width: of the result, in pixels.

    Returns:
        (N, 2, height, width) in [0, 1], enlarged bilinearly.
    """
    relative = location_scores(scores)
    relative = relative / relative.amax((2, 3), keepdim=True).clamp(min=1e-12)
    share = class_logits(scores).softmax(1)[:, :, None, None] * relative
    return F.interpolate(share, size=(height, width), mode="bilinear", align_corners=False)

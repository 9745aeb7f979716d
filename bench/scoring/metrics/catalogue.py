"""Scores of a restored image against the truth, each by an id that names one convention completely.

Images are RGB (H, W, 3) or grey (H, W): uint8, uint16, or floats in [0, 1]. A restored float image may overshoot
[0, 1], the truth may not. A grey image counts as three equal channels. A mask is (H, W), 255 (or 1) = hole.

Sources, where a docstring names none: SSIM: Wang et al., "Image quality assessment: from error visibility to structural
similarity", IEEE TIP 2004. Dual-pixel tables: Abuolaim and Brown, ECCV 2020, code
Abdullah-Abuolaim/defocus-deblurring-dual-pixel. CA: Yu et al., CVPR 2018, answers of JiahuiYu/generative_inpainting.
EdgeConnect: Nazeri et al., ICCV workshops 2019, code knazeri/edge-connect. Koehler et al., "Recording and playback of
camera shake", ECCV 2012, and its evaluation scripts; multi-scale SSIM: Wang et al., Asilomar 2003, as the package
MeTriX MuX of those scripts computes it.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from functools import partial

from bench.contracts import DataError, UserError
from bench.scoring.metrics.errors import (
    l1_relative,
    l2_relative,
    mae,
    mae_edgeconnect,
    mae_hole,
    mse,
    psnr_channels,
    psnr_float,
    psnr_grey,
    psnr_rgb8,
    psnr_rgb8_hole,
    psnr_y,
)
from bench.scoring.metrics.kohler import mssim_kohler, psnr_kohler, ssim_kohler
from bench.scoring.metrics.measure import Image, Metric, NotMeasured, Undefined
from bench.scoring.metrics.ssim import ssim_gauss11, ssim_matlab_rgb, ssim_uniform7, ssim_y

# The table of metrics -------------------------------------------------------------------------------------------------

PSNR = partial(Metric, title="PSNR", unit="dB", better="higher", decimals=2)
SSIM = partial(Metric, title="SSIM", unit="", better="higher", decimals=4)
ERROR = partial(Metric, title="MAE", unit="", better="lower", decimals=4)

METRICS: dict[str, Metric] = {
    metric.id: metric
    for metric in (
        PSNR(
            id="psnr-rgb8",
            compute=psnr_rgb8,
            protocol="RGB rounded to 8 bits, one MSE over pixels and channels, peak 255; the mean of images. "
            "MATLAB's psnr of saved images; DeepDeblur and most inpainting code within 0.01 dB.",
        ),
        PSNR(
            id="psnr-float",
            compute=psnr_float,
            protocol="RGB floats in [0, 1], float64, one MSE over pixels and channels, peak 1; the mean of images, "
            "which have their dataset's depth, as a saved file has: 16 bits in DPDD. DPDNet and the dual-pixel tables.",
        ),
        PSNR(
            id="psnr-y",
            title="PSNR (Y)",
            compute=psnr_y,
            protocol="Y of BT.601 in [16, 235] from 8-bit RGB, not rounded, peak 255. Usual in super-resolution.",
        ),
        PSNR(
            id="psnr-channels",
            title="PSNR (channel mean)",
            compute=psnr_channels,
            protocol="8-bit RGB, a PSNR a channel, peak 255, then the mean of the three.",
        ),
        PSNR(
            id="psnr-grey",
            title="PSNR (grey)",
            compute=psnr_grey,
            protocol="8-bit RGB turned grey by 0.2989, 0.5870, 0.1140 and rounded, peak 255. MATLAB's rgb2gray, psnr.",
        ),
        PSNR(
            id="psnr-rgb8-hole",
            title="PSNR (hole)",
            region="hole",
            compute=psnr_rgb8_hole,
            protocol="psnr-rgb8 over the hole's pixels alone.",
        ),
        SSIM(
            id="ssim-gauss11",
            compute=ssim_gauss11,
            protocol="8-bit RGB, Gaussian window 11x11 sigma 1.5, population covariance, valid area, the mean of "
            "channels. Wang's own; DeepDeblur-PyTorch; scikit-image with gaussian_weights.",
        ),
        SSIM(
            id="ssim-uniform7",
            title="SSIM (7x7)",
            compute=ssim_uniform7,
            protocol="RGB floats, uniform window 7x7, sample covariance, valid area, the mean of channels. "
            "scikit-image's default; DPDNet and the dual-pixel tables.",
        ),
        SSIM(
            id="ssim-y",
            title="SSIM (Y)",
            compute=ssim_y,
            protocol="Y of BT.601 in [16, 235], Gaussian window 11x11 sigma 1.5, valid area, range 255. Usual in "
            "super-resolution.",
        ),
        SSIM(
            id="ssim-matlab-rgb",
            title="SSIM (MATLAB, RGB)",
            compute=ssim_matlab_rgb,
            protocol="8-bit RGB as a volume, Gaussian 11x11x11 sigma 1.5, repeated borders: MATLAB's ssim given an RGB "
            "array. SRN, LMFN's and MRFNet's evaluation scripts.",
        ),
        ERROR(
            id="mae",
            compute=mae,
            protocol="The mean absolute error over pixels and channels of RGB floats in [0, 1]. DPDNet; the L1 of "
            "inpainting papers that print about 0.01.",
        ),
        ERROR(
            id="mse",
            title="MSE",
            decimals=5,
            compute=mse,
            protocol="The mean squared error over pixels and channels of RGB floats in [0, 1].",
        ),
        ERROR(
            id="mae-hole",
            title="MAE (hole)",
            region="hole",
            compute=mae_hole,
            protocol="mae over the hole's pixels alone.",
        ),
        ERROR(
            id="l1-relative",
            title="relative L1",
            unit="%",
            decimals=2,
            compute=l1_relative,
            protocol="The sum of absolute differences by the sum of the truth, RGB. CA's authors.",
        ),
        ERROR(
            id="l2-relative",
            title="relative L2",
            unit="%",
            decimals=2,
            compute=l2_relative,
            protocol="The sum of squared differences by the sum of the squared truth, RGB. CA's authors.",
        ),
        ERROR(
            id="mae-edgeconnect",
            title="MAE (EdgeConnect)",
            compute=mae_edgeconnect,
            protocol="Grey images, the sum of absolute differences by the sum of result and truth. EdgeConnect's "
            "evaluation script; about half of l1-relative / 100.",
        ),
        PSNR(
            id="psnr-kohler",
            title="PSNR (fitted, aligned, best frame)",
            many_targets=True,
            compute=psnr_kohler,
            protocol="Intensity fitted, whole-pixel shift, 0.299/0.587/0.114 luma of 8-bit RGB, peak 255, the best of "
            "all reference frames. Koehler's evaluation script; several dB above plain PSNR.",
        ),
        SSIM(
            id="ssim-kohler",
            title="SSIM (fitted, aligned, best frame)",
            many_targets=True,
            compute=ssim_kohler,
            protocol="Fitted and aligned as psnr-kohler, then SSIM with the Gaussian window on luma, the best of all "
            "reference frames.",
        ),
        SSIM(
            id="mssim-kohler",
            title="MSSIM (fitted, aligned, best frame)",
            many_targets=True,
            compute=mssim_kohler,
            protocol="Fitted and aligned as psnr-kohler, then multi-scale SSIM on luma, the best of all reference "
            "frames. The MSSIM of Koehler's evaluation script.",
        ),
    )
}


def find(metric_id: str) -> Metric:
    """The metric of that id. Raises UserError with the nearest ids."""
    if metric_id not in METRICS:
        near = difflib.get_close_matches(metric_id, METRICS, n=4, cutoff=0.4) or sorted(METRICS)
        raise UserError(f"no metric {metric_id!r}; the nearest are: {', '.join(near)}")
    return METRICS[metric_id]


def best_references(ids: Iterable[str], pred: Image, references: Iterable[Image]) -> dict[str, tuple[float, int]]:
    """Score one image against many reference frames, each read once: the best value and its frame, from 0, by id.

    Raises:
        UserError: for an unknown id.
        DataError: when there is no reference frame, or one does not match the image.
    """
    metrics = [find(metric_id) for metric_id in ids]
    best: dict[str, tuple[float, int]] = {}
    for place, frame in enumerate(references):
        for metric in metrics:
            value = metric.compute(pred, frame)
            sign = 1 if metric.better == "higher" else -1
            if metric.id not in best or sign * value > sign * best[metric.id][0]:
                best[metric.id] = (value, place)
    if metrics and not best:
        raise DataError(
            f"{', '.join(metric.id for metric in metrics)}: the image has no reference frames to score against"
        )
    return best


def best_reference(metric: Metric, pred: Image, references: Iterable[Image]) -> tuple[float, int]:
    """The best value of `metric` over the reference frames, and that frame's place from 0."""
    return best_references([metric.id], pred, references)[metric.id]


def compute_all(
    ids: Iterable[str],
    pred: Image,
    target: Image,
    mask: Image | None = None,
    references: Iterable[Image] = (),
) -> dict[str, float | NotMeasured]:
    """Score one restored image by several metrics: by id the value, or why the formula has none for these images.

    Args:
        ids: of `METRICS`; all are looked up before the first is computed.
        pred: (H, W, 3) or (H, W); uint8, uint16, or floats in [0, 1].
        target: the same shape.
        mask: (H, W), 255 (or 1) = hole; for the metrics of the hole.
        references: the frames of the metrics that take the best of many; read once.
    Raises:
        UserError: for an unknown id.
        DataError: when the images cannot be compared, or what a metric needs is missing.
    """
    metrics = [find(metric_id) for metric_id in ids]
    many = [metric.id for metric in metrics if metric.many_targets]
    found: dict[str, float | NotMeasured] = {}
    try:
        found |= {name: value for name, (value, _) in best_references(many, pred, references).items()}
    except Undefined as error:  # for one of them: they all begin by fitting the intensity
        found |= {name: NotMeasured(name, str(error)) for name in many}
    for metric in metrics:
        if not metric.many_targets:
            try:
                found[metric.id] = metric.compute(pred, target, mask)
            except Undefined as error:
                found[metric.id] = NotMeasured(metric.id, str(error))
    return {metric.id: found[metric.id] for metric in metrics}

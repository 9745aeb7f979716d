"""PSNR, SSIM and errors: known answers, scikit-image, and the DPDD values of DPDNet's own formulas."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from scipy.ndimage import convolve1d, gaussian_filter
from scipy.signal import convolve2d
from skimage import data
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from bench.contracts import DataError, UserError
from bench.scoring.metrics import catalogue, errors, kohler, measure, ssim, values

GOLDEN = Path(__file__).parents[2] / "golden"
PHOTOGRAPHS = [
    "astronaut",
    "chelsea",
    "coffee",
    "rocket",
    "hubble_deep_field",
    "immunohistochemistry",
    "camera",
    "brick",
    "coins",
    "grass",
]
GAUSSIAN = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}


def photograph(name: str) -> np.ndarray:
    return getattr(data, name)()[:300, :331]


def noisy(image: np.ndarray, seed: int = 0) -> np.ndarray:
    return values.quantise(image / 255 + np.random.default_rng(seed).normal(0, 0.06, image.shape))


@pytest.fixture(scope="module")
def pair() -> tuple[np.ndarray, np.ndarray]:
    target = data.astronaut()[100:300, 100:317]
    return noisy(target), target


# Known answers --------------------------------------------------------------------------------------------------------


def test_an_error_of_a_tenth_everywhere_is_20_db():
    target = np.full((20, 30, 3), 0.5)
    values = catalogue.compute_all(["psnr-float", "mae", "mse", "l1-relative", "l2-relative"], target + 0.1, target)
    assert values == pytest.approx({"psnr-float": 20, "mae": 0.1, "mse": 0.01, "l1-relative": 20, "l2-relative": 4})


def test_an_error_of_one_level_is_48_13_db_in_every_8_bit_psnr():
    target = np.full((20, 30, 3), 100, np.uint8)
    values = catalogue.compute_all(["psnr-rgb8", "psnr-channels", "psnr-grey"], target + np.uint8(1), target)
    assert values == pytest.approx(dict.fromkeys(values, 20 * np.log10(255)))
    # In Y one level of grey is 219 / 255 of a level.
    assert errors.psnr_y(target + np.uint8(1), target) == pytest.approx(20 * np.log10(255 * 255 / 219))


@pytest.mark.parametrize("name", sorted(catalogue.METRICS))
def test_equal_images_have_the_best_score(name: str):
    image = data.astronaut()[:170, :180]
    mask = np.zeros((170, 180), np.uint8)
    mask[40:80, 50:90] = 255
    metric = catalogue.METRICS[name]
    best = {"dB": np.inf, "": 1.0 if metric.better == "higher" else 0.0, "%": 0.0}[metric.unit]
    assert metric.score(image, image, mask) == pytest.approx(best)


def test_channel_mean_and_joint_psnr_differ():
    target = np.full((16, 16, 3), 100, np.uint8)
    pred = target + np.array([1, 2, 4], np.uint8)
    assert errors.psnr_rgb8(pred, target) == pytest.approx(10 * np.log10(255**2 / 7))
    assert errors.psnr_channels(pred, target) == pytest.approx(20 * np.log10(255) - 10 * np.log10(1 * 4 * 16) / 3)


def test_colours_weigh_as_stated():
    white, black = np.full((12, 12, 3), 255, np.uint8), np.zeros((12, 12, 3), np.uint8)
    assert values.luma(white)[0, 0] == pytest.approx(235)
    assert values.luma(black)[0, 0] == 16
    red = black.copy()
    red[..., 0] = 255
    assert values.luma(red)[0, 0] == pytest.approx(81.481)
    assert values.grey(red)[0, 0] == 76
    assert kohler.full_luma(red)[0, 0] == pytest.approx(76.245)
    assert (values.luma(white[..., 0]) == values.luma(white)).all()


def test_the_mae_of_edgeconnect_is_half_of_the_relative_l1_of_a_grey_image():
    target = np.full((16, 16), 100, np.uint8)
    values = catalogue.compute_all(["mae-edgeconnect", "l1-relative"], target + np.uint8(10), target)
    assert values == pytest.approx({"mae-edgeconnect": 10 / 210, "l1-relative": 10})


def test_only_the_hole_counts():
    target = np.full((20, 20, 3), 100, np.uint8)
    pred = target.copy()
    pred[:10] += 50
    pred[12:15, 12:16] += 10
    mask = np.zeros((20, 20), np.uint8)
    mask[12:15, 12:18] = 255  # 18 pixels, 12 of them wrong by 10
    ids = ["psnr-rgb8-hole", "mae-hole"]
    expected = {"psnr-rgb8-hole": 10 * np.log10(255**2 / (100 * 12 / 18)), "mae-hole": 10 / 255 * 12 / 18}
    for same in (mask, mask > 0, (mask > 0).astype(np.float32)):
        assert catalogue.compute_all(ids, pred, target, same) == pytest.approx(expected)
    grey = catalogue.compute_all(ids, pred[..., 0], target[..., 0], mask)
    assert grey == pytest.approx(expected)


def test_quantise_clips_and_rounds_half_to_even():
    image = np.array([[-0.2, 0.5 / 255, 1.5 / 255, 2.5 / 255, 0.4999, 1.7]])
    before = image.copy()
    assert values.quantise(image).tolist() == [[0, 0, 2, 2, 127, 255]]
    assert (image == before).all()
    assert values.quantise(image.astype(np.float32)).dtype == np.uint8
    levels = np.arange(256, dtype=np.uint16)[None]
    assert (values.quantise(levels * 257) == levels).all()
    assert (values.quantise(values.unit(levels.astype(np.uint8))) == levels).all()


@pytest.mark.parametrize("name", sorted(catalogue.METRICS))
def test_a_grey_image_counts_as_three_equal_channels(name: str):
    target = data.camera()[100:270, 100:280]
    pred = noisy(target)
    mask = np.zeros((170, 180), np.uint8)
    mask[40:80, 50:90] = 255
    metric = catalogue.METRICS[name]
    colour = metric.score(*(np.repeat(image[..., None], 3, axis=2) for image in (pred, target)), mask)
    if name == "psnr-grey":
        expected = pytest.approx(colour, abs=2e-3)  # the weights sum to 0.9999, so some levels round down
    elif name == "ssim-matlab-rgb":
        expected = pytest.approx(colour, abs=1e-9)  # equal planes mix to themselves
    else:
        expected = pytest.approx(colour, rel=1e-9)
    assert metric.score(pred, target, mask) == expected
    assert metric.score(pred[:, ::-1], target[:, ::-1], mask[:, ::-1]) == pytest.approx(colour, abs=2e-3)


def test_bit_depths_agree():
    target = photograph("chelsea")
    pred = noisy(target)
    ids = ["psnr-rgb8", "psnr-float", "ssim-gauss11", "ssim-uniform7", "mae"]
    expected = catalogue.compute_all(ids, pred, target)
    assert catalogue.compute_all(ids, pred.astype(np.uint16) * 257, target / 255) == pytest.approx(expected)
    assert catalogue.compute_all(ids, pred / 255, target.astype(np.uint16) * 257) == pytest.approx(expected)


# Other implementations ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", PHOTOGRAPHS)
def test_psnr_and_ssim_equal_scikit_images(name: str):
    target = photograph(name)
    pred = noisy(target)
    axis = {"channel_axis": -1} if target.ndim == 3 else {}
    expected = {
        "psnr-rgb8": peak_signal_noise_ratio(target, pred),
        "psnr-float": peak_signal_noise_ratio(target / 255, pred / 255, data_range=1),
        "ssim-gauss11": structural_similarity(target, pred, **axis, **GAUSSIAN),
        "ssim-uniform7": structural_similarity(target, pred, **axis),
        "ssim-y": structural_similarity(values.luma(target), values.luma(pred), data_range=255, **GAUSSIAN),
    }
    assert catalogue.compute_all(expected, pred, target) == pytest.approx(expected, abs=1e-6)


def test_ssim_is_symmetric_and_sees_the_kind_of_error(pair):
    pred, target = pair
    assert ssim.ssim_gauss11(pred, target) == pytest.approx(ssim.ssim_gauss11(target, pred), abs=1e-12)
    brighter = values.quantise(target / 255 * 0.9 + 0.05)
    assert ssim.ssim_gauss11(brighter, target) > ssim.ssim_gauss11(pred, target)


def test_matlabs_volume_is_a_three_dimensional_convolution(pair):
    pred, target = (image.astype(float) for image in pair)
    taps = np.exp(-(np.arange(-5, 6) ** 2) / (2 * 1.5**2))
    taps /= taps.sum()

    def window(image: np.ndarray) -> np.ndarray:
        for axis in range(3):
            image = convolve1d(image, taps, axis, mode="nearest")
        return image

    mean_x, mean_y = window(pred), window(target)
    var_x, var_y = window(pred**2) - mean_x**2, window(target**2) - mean_y**2
    both = window(pred * target) - mean_x * mean_y
    c1, c2 = 2.55**2, 7.65**2
    expected = (2 * mean_x * mean_y + c1) * (2 * both + c2) / ((mean_x**2 + mean_y**2 + c1) * (var_x + var_y + c2))
    assert ssim.ssim_matlab_rgb(*pair) == pytest.approx(expected.mean(), abs=1e-9)


def test_one_pair_in_every_convention():
    """The table of conventions: one photograph and its blurred copy, SSIM from 0.90 to 0.95 by convention alone."""
    target = data.astronaut()
    pred = gaussian_filter(target / 255, (1.2, 1.2, 0))
    in_8_bits, cut_off = values.quantise(pred), (pred * 255).astype(np.uint8)
    assert errors.psnr_float(pred, target) == pytest.approx(28.239, abs=5e-4)
    assert errors.psnr_rgb8(pred, target) == pytest.approx(28.235, abs=5e-4)
    assert errors.psnr_rgb8(cut_off, target) == pytest.approx(28.226, abs=5e-4)
    assert ssim.ssim_gauss11(pred, target) == pytest.approx(0.9002, abs=5e-5)
    assert ssim.ssim_uniform7(in_8_bits, target) == pytest.approx(0.9086, abs=5e-5)
    assert ssim.ssim_matlab_rgb(pred, target) == pytest.approx(0.9495, abs=5e-5)
    lumas = kohler.full_luma(in_8_bits.astype(float)), kohler.full_luma(target.astype(float))
    assert ssim.structural_similarity(*lumas, ssim.gaussian_window, 255) == pytest.approx(0.9104, abs=5e-5)


def test_the_values_of_dpdnets_formulas(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.syspath_prepend(GOLDEN)
    from case import load

    from tests.golden_runners.dpdd_metrics import RUNNERS

    case = load("dpdd-metrics")
    assert RUNNERS["dpdd-metrics"](case) == pytest.approx(case.about["values"]["float64"], rel=1e-9)
    assert RUNNERS["dpdd-metrics"](case) == pytest.approx(case.about["values"]["float32"], rel=1e-6)


# Koehler --------------------------------------------------------------------------------------------------------------


def moved(image: np.ndarray, rows: int, columns: int, height: int = 170, width: int = 181) -> np.ndarray:
    """A view of the picture that starts `rows` lower and `columns` further right."""
    return image[60 + rows : 60 + rows + height, 60 + columns : 60 + columns + width]


@pytest.mark.parametrize(("rows", "columns"), [(0, 0), (3, -5), (-4, 0), (-2, -6), (7, 2)])
def test_alignment_undoes_a_shift_and_an_intensity(rows: int, columns: int):
    scene = data.astronaut() // 2
    frame = moved(scene, 0, 0)
    pred = moved(scene, rows, columns) * np.uint8(2)
    assert kohler.shift(pred.astype(float), frame.astype(float)) == (rows, columns)
    fitted, kept = kohler.align(pred, frame)
    # The script sums over the images before it aligns them, so the factor is only nearly 1/2.
    factor = (frame.astype(float) * pred).sum() / (pred.astype(float) ** 2).sum()
    inside = kept.any(axis=2)
    assert (fitted[~inside] == 0).all()
    assert np.allclose(fitted[inside], kept[inside] * 2 * factor)
    assert inside.sum() <= (170 - abs(rows)) * (181 - abs(columns))
    assert kohler.psnr_kohler(pred, frame) > errors.psnr_rgb8(pred, frame) + 5


def test_kohlers_scores_after_alignment_are_those_of_luma(pair):
    pred, target = pair
    z, x = pred.astype(float), target.astype(float)
    z *= (x * z).sum() / (z * z).sum()
    z, x = kohler.full_luma(z), kohler.full_luma(x)
    assert kohler.psnr_kohler(pred, target) == pytest.approx(peak_signal_noise_ratio(x, z, data_range=255))
    assert kohler.ssim_kohler(pred, target) == pytest.approx(structural_similarity(x, z, data_range=255, **GAUSSIAN))


def test_multi_scale_ssim_is_the_product_of_its_parts():
    """Computed a second way: two-dimensional windows, means of M, V and R as Wang et al. 2003 write them."""
    target = data.astronaut()[100:290, 100:317]
    pred = noisy(target)
    taps = np.exp(-(np.arange(-5, 6) ** 2) / (2 * 1.5**2))
    window = np.outer(taps, taps) / taps.sum() ** 2
    half = [-0.023849465019560, -0.110624404418440, 0.377402855612830]
    wavelet = np.array([0.037828455507260, *half, 0.852698679008890, *half[::-1], 0.037828455507260])
    wavelet = np.outer(wavelet, wavelet) / wavelet.sum() ** 2

    x, y = (kohler.full_luma(image) for image in kohler.align(pred, target))
    luminances, contrasts, structures = [], [], []
    for _ in range(5):
        mean_x, mean_y, xx, yy, xy = (convolve2d(i, window, "valid") for i in (x, y, x * x, y * y, x * y))
        deviation_x, deviation_y = np.sqrt(xx - mean_x**2), np.sqrt(yy - mean_y**2)
        product = deviation_x * deviation_y
        luminances.append(((2 * mean_x * mean_y + 2.55**2) / (mean_x**2 + mean_y**2 + 2.55**2)).mean())
        contrasts.append(((2 * product + 7.65**2) / (deviation_x**2 + deviation_y**2 + 7.65**2)).mean())
        structures.append(((xy - mean_x * mean_y + 7.65**2 / 2) / (product + 7.65**2 / 2)).mean())
        x, y = (convolve2d(i, wavelet, "same", boundary="symm")[::2, ::2] for i in (x, y))
    powers = np.array([0.0448, 0.2856, 0.3001, 0.2363, 0.1333])
    expected = luminances[-1] ** 0.1333 * np.prod(np.array(contrasts) ** powers * np.array(structures) ** powers)
    assert kohler.mssim_kohler(pred, target) == pytest.approx(expected, abs=1e-9)
    assert kohler.mssim_kohler(pred, target) > kohler.ssim_kohler(pred, target)  # noise is gone at coarse scales


def test_the_best_frame_counts_and_each_frame_is_read_once(pair):
    pred, target = pair
    frames = [noisy(target, 5), noisy(target, 6), target, noisy(target, 7)]
    best = catalogue.best_references(["psnr-kohler", "mae"], pred, iter(frames))
    assert best == {"psnr-kohler": kohler.psnr_kohler(pred, target), "mae": errors.mae(pred, target)}
    read: list[int] = []
    values = catalogue.compute_all(
        ["psnr-rgb8", "psnr-kohler", "ssim-kohler"],
        pred,
        target,
        references=(read.append(n) or frame for n, frame in enumerate(frames)),
    )
    assert read == [0, 1, 2, 3]
    assert values == {
        "psnr-rgb8": errors.psnr_rgb8(pred, target),
        "psnr-kohler": kohler.psnr_kohler(pred, target),
        "ssim-kohler": kohler.ssim_kohler(pred, target),
    }


# Bad input ------------------------------------------------------------------------------------------------------------


def test_an_unknown_metric_is_reported_with_the_nearest_ids():
    with pytest.raises(UserError, match=r"no metric 'psnr-rgb'; the nearest are: .*psnr-rgb8"):
        catalogue.compute_all(["psnr-rgb"], np.zeros((20, 20)), np.zeros((20, 20)))


IMAGE = np.full((20, 20, 3), 0.5)


@pytest.mark.parametrize(
    ("name", "pred", "target", "mask", "message"),
    [
        ("psnr-rgb8", IMAGE[:19], IMAGE, None, r"\(19, 20, 3\), the truth \(20, 20, 3\)"),
        ("mae", IMAGE[..., :2], IMAGE[..., :2], None, r"expected \(H, W\) or \(H, W, 3\)"),
        ("mae", np.where(np.arange(20)[:, None, None] == 3, np.nan, IMAGE), IMAGE, None, "60 values that are NaN"),
        ("mae", IMAGE, IMAGE * 255, None, r"reaches from 127.5 to 127.5: expected floats in \[0, 1\]"),
        ("mae", IMAGE.astype(int), IMAGE, None, "type int64"),
        ("ssim-gauss11", IMAGE[:10], IMAGE[:10], None, "20x10 pixels: SSIM needs sides of 11"),
        ("mssim-kohler", IMAGE, IMAGE, None, "sides of 161"),
        ("psnr-kohler", IMAGE * 0, IMAGE, None, "black throughout"),
        ("l1-relative", IMAGE, IMAGE * 0, None, "black throughout: l1-relative"),
        ("mae-hole", IMAGE, IMAGE, None, "needs the image's mask"),
        ("mae-hole", IMAGE, IMAGE, np.zeros((20, 20), np.uint8), "has no hole"),
        ("mae-hole", IMAGE, IMAGE, np.full((20, 20), 128, np.uint8), "other values"),
        ("psnr-rgb8-hole", IMAGE, IMAGE, np.ones((20, 19), np.uint8), r"the mask is \(20, 19\)"),
    ],
)
def test_images_that_cannot_be_compared_are_refused(name, pred, target, mask, message):
    with pytest.raises(DataError, match=message):
        catalogue.METRICS[name].score(pred, target, mask)


def test_a_formula_without_a_value_gives_a_reason_and_leaves_the_other_metrics():
    black = np.zeros((20, 20), np.uint8)
    scores = catalogue.compute_all(["mae", "l1-relative", "mae-hole"], IMAGE, IMAGE * 0, black)
    assert scores == {
        "mae": 0.5,
        "l1-relative": measure.NotMeasured(
            "l1-relative", "the truth is black throughout: l1-relative divides by its sum"
        ),
        "mae-hole": measure.NotMeasured("mae-hole", "the mask has no hole: a score of the hole has no pixels"),
    }
    fitted = catalogue.compute_all(["psnr-kohler", "mse", "ssim-kohler"], IMAGE * 0, IMAGE, references=[IMAGE])
    assert list(fitted) == ["psnr-kohler", "mse", "ssim-kohler"] and fitted["mse"] == 0.25
    for name in ("psnr-kohler", "ssim-kohler"):
        assert isinstance(fitted[name], measure.NotMeasured) and "black throughout" in fitted[name].reason
    with pytest.raises(DataError, match="expected one shape"):
        catalogue.compute_all(["mae"], IMAGE[:19], IMAGE)


def test_a_score_of_the_best_frame_needs_frames():
    with pytest.raises(DataError, match="psnr-kohler: the image has no reference frames"):
        catalogue.compute_all(["psnr-kohler"], IMAGE, IMAGE)


def test_every_metric_declares_its_protocol_and_what_it_needs():
    assert len(catalogue.METRICS) == 19
    for name, metric in catalogue.METRICS.items():
        assert metric.id == name
        assert metric.title and metric.protocol and not metric.protocol.endswith(".")
        assert not metric.notes or metric.notes.endswith(".")
        assert metric.version >= 1
        assert metric.needs_mask == name.endswith("-hole")
        assert metric.needs_references == name.endswith("-kohler")


def test_the_module_needs_no_torch_and_no_pandas():
    code = "import sys, bench.scoring.metrics.catalogue; print(sorted({'torch', 'pandas'} & set(sys.modules)))"
    root = Path(__file__).parents[3]
    assert (
        subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True).stdout
        == "[]\n"
    )


def test_a_metric_without_a_score_cannot_be_made():
    with pytest.raises(TypeError, match=r"abstract method '?score'?"):
        measure.Metric(id="a", title="a", unit="", better="lower", decimals=1, protocol="none")

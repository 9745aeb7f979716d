"""RTV smoothing: the authors' results, values by hand, the texture of a masked image, and the images refused."""

from __future__ import annotations

import numpy as np
import pytest
from skimage import data

from bench.contracts import DataError, ParamsError
from methods.auxiliary import rtv
from methods.auxiliary.rtv import edge_weights, gaussian_window, smooth, texture_of_masked, texture_of_target

IMAGE = data.astronaut()[100:300, 100:260] / 255


def test_the_authors_program_agrees_within_a_millionth(golden) -> None:
    """Stricter than the bound of the golden cases: for every pixel, not for the norm."""
    if not (golden / "rtv.npz").is_file():
        pytest.skip("the folder has no rtv")
    case = dict(np.load(golden / "rtv.npz"))
    image = case["image"][0].transpose(1, 2, 0)
    hole = case["mask"][0, 0] > 0
    results = {
        "smooth": smooth(image, 0.01, 3.0, 0.02, 4),
        "smooth_structureflow": smooth(image),
        "smooth_masked": smooth(image, hole=hole),
    }
    for name, result in results.items():
        assert np.abs(result.transpose(2, 0, 1) - case[name][0]).max() < 1e-6, name


def test_the_windows_are_those_of_the_authors_code() -> None:
    assert [len(gaussian_window(sigma)) for sigma in (3.0, 1.5, 0.75, 0.5)] == [15, 9, 5, 3]
    near = np.exp(-2.0)
    assert gaussian_window(0.5) == pytest.approx(np.array([near, 1, near]) / (1 + 2 * near))


def test_edge_weights_of_a_step_by_hand() -> None:
    """Two even halves, 0.2 apart: the weight across the step is 1 / (0.2 x the window's central entry x 0.2)."""
    image = np.zeros((20, 40, 3))
    image[:, 20:] = 0.2
    right, down = edge_weights(image, 1.5, 0.001, None)
    central = gaussian_window(1.5)[4]
    assert right[10, 19] == pytest.approx(1 / (0.2 * 0.2 * central))
    assert right[10, 5] == pytest.approx(1e6)
    assert down[10, 5] == pytest.approx(1e6)
    assert down[10, 19] == pytest.approx(1 / (0.2 * 0.001))  # the gradient of a pixel counts in both directions
    assert right[:, -1].max() == 0
    assert down[-1].max() == 0


def test_an_even_image_has_no_texture_and_a_pattern_has() -> None:
    assert np.abs(smooth(np.full((20, 30, 3), 0.4)) - 0.4).max() < 1e-9
    rows, columns = np.indices((64, 64))
    step = np.where(columns < 32, 0.3, 0.7)
    pattern = 0.05 * (-1.0) ** (rows + columns)
    image = np.repeat((step + pattern)[..., None], 3, axis=2)
    structure = smooth(image)
    assert structure.mean() == pytest.approx(image.mean())  # the system's rows sum to 1
    assert np.abs(structure[:, :, 0] - step)[:, [5, 20, 45, 60]].max() < 0.02
    assert np.abs((image - structure)[..., 0] - pattern)[:, [5, 20, 45, 60]].max() < 0.02


def test_the_texture_of_a_masked_image_is_known_away_from_the_hole() -> None:
    target = IMAGE[:64, :64].astype(np.float32)
    mask = np.zeros((64, 64, 1), dtype=np.float32)
    mask[20:40, 24:44] = 1
    masked = texture_of_masked(target * (1 - mask), mask)
    assert masked.dtype == np.float32
    assert masked[18:42, 22:46].max() == masked[18:42, 22:46].min() == 0
    assert np.abs(masked[17, 22:46]).max() > 0
    assert np.array_equal(masked, texture_of_masked(target, mask))  # values in the hole do not matter
    far = np.abs(masked - texture_of_target(target))[:, 56:]
    assert far.max() < 0.02


def test_the_options_of_the_auxiliary_map_are_the_parameters_of_the_smoothing() -> None:
    target, mask = IMAGE[:32, :24].astype(np.float32), np.zeros((32, 24, 1), dtype=np.float32)
    mask[8:14, 8:14] = 1
    texture, other = rtv.TEXTURE, {"lam": 0.03, "sigma": 2.0, "eps": 0.002, "iterations": 2}
    assert texture.options.keys() == other.keys()
    assert np.array_equal(texture.of_target(target, **texture.options), texture.of_target(target))
    expected = target - smooth(target, 0.03, 2.0, 0.002, 2)
    assert np.array_equal(texture.of_target(target, **other), expected.astype(np.float32))
    for name, value in other.items():
        option = {name: value}
        assert np.abs(texture.of_target(target, **option) - texture.of_target(target)).max() > 1e-4, name
        assert np.abs(texture.of_input(target, mask, **option) - texture.of_input(target, mask)).max() > 1e-4, name


def test_the_auxiliary_map_keeps_the_contract() -> None:
    target = IMAGE[:32, :24].astype(np.float32)
    texture = rtv.TEXTURE.of_target(target)
    assert (texture.dtype, texture.shape) == (np.float32, (32, 24, 3))
    assert np.array_equal(rtv.TEXTURE.of_input(target, np.zeros((32, 24, 1), dtype=np.float32)), texture)
    assert rtv.__file__.endswith(rtv.TEXTURE.module)


@pytest.mark.parametrize(
    ("image", "hole", "message"),
    [
        (np.zeros((7, 9, 3)), None, r"shape \(7, 9, 3\); expected .* at least 8"),
        (np.zeros((9, 9)), None, r"expected \(H, W, 3\)"),
        (np.full((9, 9, 3), np.nan), None, "values nan to nan; expected"),
        (np.full((9, 9, 3), 1.5), None, "values 1.5 to 1.5; expected"),
        (np.zeros((9, 9, 3), dtype=np.uint8), None, "type uint8; .* divide 8 bits by 255"),
        (np.zeros((9, 9, 3)), np.zeros((8, 9), dtype=bool), r"the hole is \(8, 9\) bool"),
        (np.zeros((9, 9, 3)), np.zeros((9, 9)), "float64"),
    ],
)
def test_an_image_or_hole_of_the_wrong_shape_type_or_range_is_refused(image, hole, message) -> None:
    with pytest.raises(DataError, match=message):
        smooth(image, hole=hole)


@pytest.mark.parametrize("wrong", [{"lam": 0}, {"sigma": -1}, {"eps": 0}, {"iterations": 0}, {"eps": 1e-9}])
def test_parameters_out_of_range_are_refused(wrong) -> None:
    with pytest.raises(ParamsError, match=f"{next(iter(wrong))} "):
        smooth(np.zeros((8, 8, 3)), **wrong)


def test_a_mask_of_another_shape_is_refused() -> None:
    with pytest.raises(DataError, match=r"expected \(H, W, 1\)"):
        texture_of_masked(np.zeros((9, 9, 3), dtype=np.float32), np.zeros((9, 9), dtype=np.float32))

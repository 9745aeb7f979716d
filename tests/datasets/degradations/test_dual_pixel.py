"""The dual-pixel simulator: kernels and depth ranges of the released generator, compositing against plain loops."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest

from bench.contracts import DataError, ParamsError
from datasets.degradations import dual_pixel

GOLDEN = Path(__file__).parents[2] / "golden"
SAMPLES = Path(__file__).parents[4] / "shared" / "samples"
COCS = (-40, -12, -3, -1, 0, 1, 2, 5, 9, 40)


def photograph(height: int = 40, width: int = 52, dtype: type = np.uint8) -> np.ndarray:
    return np.random.default_rng(0).integers(0, np.iinfo(dtype).max, (height, width, 3), dtype=dtype, endpoint=True)


# Lens and depth ranges -----------------------------------------------------------------------------------------------


def test_the_scales_are_those_of_the_thin_lens_by_hand():
    # v = f s / (s - f), D = f / N, m = v D / s; camera set 2: v = 56, D = 1.4, m = 56 * 1.4 / 8.
    assert [camera.scale for camera in dual_pixel.CAMERAS] == pytest.approx([8 / 3, 3.125, 9.8, 50 / 13, 6.05])


def test_the_circle_of_confusion_is_signed_rounded_and_clipped():
    depth = np.array([8.0, 4.0, 16.0, 250.0, 0.1])
    # m (d - s) / d with m = 9.8, s = 8: 0, -9.8, 4.9, 9.49, -774.
    assert dual_pixel.circle_of_confusion(depth, dual_pixel.CAMERAS[2]).tolist() == [0, -10, 5, 9, -40]


def test_depth_ranges_equal_the_released_generators():
    golden = json.loads((GOLDEN / "dual-pixel-kernels.json").read_text())["layers"]
    for number, camera in enumerate(dual_pixel.CAMERAS):
        expected = golden[f"set_{number}"]["layers"]
        assert [list(depth_range) for depth_range in dual_pixel.depth_ranges(camera)] == expected
    assert [len(dual_pixel.depth_ranges(camera)) for camera in dual_pixel.CAMERAS] == [19, 22, 38, 31, 45]


# Kernels ------------------------------------------------------------------------------------------------------------


def test_kernels_equal_the_released_generators():
    about = json.loads((GOLDEN / "dual-pixel-kernels.json").read_text())
    golden = np.load(GOLDEN / "dual-pixel-kernels.npz")
    for entry in about["arguments"]:
        shape = dual_pixel.Shape(entry["order"], entry["cut_off_factor"], entry["beta"])
        made = dual_pixel.kernels(entry["coc"], shape, entry["smooth_strength"])
        for name, kernel in made._asdict().items():
            expected = golden[f"{name}_{entry['index']}"]
            assert np.linalg.norm(kernel - expected) < 1e-12 * np.linalg.norm(expected)


@pytest.mark.parametrize("coc", COCS)
@pytest.mark.parametrize("shape", dual_pixel.SHAPES)
def test_the_views_halved_add_up_to_the_combined_kernel(coc, shape):
    centre, left, right = dual_pixel.kernels(coc, shape)
    assert np.allclose((left + right) / 2, centre, rtol=0, atol=1e-15)
    assert np.array_equal(left, right[:, ::-1])
    for kernel in (centre, left, right):
        assert kernel.sum() == pytest.approx(1) and kernel.min() >= 0


def test_the_views_change_sides_in_front_of_the_focus():
    behind, before = dual_pixel.kernels(5, dual_pixel.SHAPES[0]), dual_pixel.kernels(-5, dual_pixel.SHAPES[0])
    assert np.array_equal(behind.left, before.right) and np.array_equal(behind.right, before.left)
    columns = np.arange(behind.left.shape[1]) - behind.left.shape[1] // 2
    assert (behind.left.sum(axis=0) * columns).sum() > 0  # the left view's weight is on the right, by correlation


def test_the_plane_in_focus_has_a_radius_of_one_pixel():
    assert all(
        np.array_equal(a, b)
        for a, b in zip(
            dual_pixel.kernels(0, dual_pixel.SHAPES[3]), dual_pixel.kernels(1, dual_pixel.SHAPES[3]), strict=True
        )
    )


def test_there_are_twelve_shapes_in_the_released_order():
    assert len(set(dual_pixel.SHAPES)) == 12
    assert dual_pixel.SHAPES[:5] == ((3, 2.5, 0.1), (3, 2.5, 0.2), (3, 2.0, 0.1), (3, 2.0, 0.2), (6, 2.5, 0.1))


# Views --------------------------------------------------------------------------------------------------------------


def reflected(index: int, side: int) -> int:
    period = 2 * (side - 1)
    index = abs(index) % period
    return period - index if index >= side else index


def by_loops(
    image: np.ndarray, depth: np.ndarray, camera: dual_pixel.Camera, shape: dual_pixel.Shape
) -> dict[str, np.ndarray]:
    """The simulator written out: each pixel from the whole image, with the kernel of its depth slice."""
    height, width = depth.shape
    views = {name: np.zeros(image.shape) for name in ("centre", "left", "right")}
    for y in range(height):
        for x in range(width):
            middle = (math.floor(min(depth[y, x], 249.999) / 0.125) + 0.5) * 0.125
            coc = round(max(-40, min(40, camera.scale * (middle - camera.focus_distance) / middle)))
            for name, kernel in dual_pixel.kernels(coc, shape)._asdict().items():
                reach = kernel.shape[0] // 2
                rows = [reflected(y + i, height) for i in range(-reach, reach + 1)]
                columns = [reflected(x + i, width) for i in range(-reach, reach + 1)]
                window = image[np.ix_(rows, columns)].astype(np.float64)
                views[name][y, x] = np.rint((window * kernel[..., None]).sum(axis=(0, 1)))
    return views


@pytest.mark.parametrize("number", [0, 2])
def test_the_views_equal_plain_loops(number):
    image, camera = photograph(18, 23), dual_pixel.CAMERAS[number]
    depth = np.random.default_rng(1).uniform(camera.focus_distance / 2, 60, image.shape[:2])
    depth[0, :3] = 250, 300, 1000  # cut at 250
    views = dual_pixel.simulate(image, depth, camera, dual_pixel.SHAPES[4])
    for name, expected in by_loops(image, depth, camera, dual_pixel.SHAPES[4]).items():
        difference = np.abs(views[name].astype(int) - expected)
        assert difference.max() <= 1 and (difference > 0).mean() < 0.01  # a half in floats of 32 bits
        assert views[name].dtype == np.uint8


def test_the_combined_image_is_the_mean_of_the_views_within_rounding():
    image = photograph()
    depth, _ = dual_pixel.draw_depth(np.random.default_rng(0), *image.shape[:2], dual_pixel.CAMERAS[2])
    views = {
        name: view.astype(float)
        for name, view in dual_pixel.simulate(image, depth, dual_pixel.CAMERAS[2], dual_pixel.SHAPES[0]).items()
    }
    assert np.abs((views["left"] + views["right"]) / 2 - views["centre"]).max() <= 1


def test_a_point_moves_apart_in_the_views_by_its_depth():
    image = np.zeros((41, 41, 3), np.uint8)
    image[20, 20] = 255
    columns = np.arange(41)

    def shift(depth: float) -> float:
        views = dual_pixel.simulate(image, np.full((41, 41), depth), dual_pixel.CAMERAS[2], dual_pixel.SHAPES[0])
        left, right = (views[name][..., 0].sum(axis=0).astype(float) for name in ("left", "right"))
        return (right @ columns) / right.sum() - (left @ columns) / left.sum()

    assert shift(4.4) < -1 and shift(30.0) > 1  # before and behind the focus, 8
    assert abs(shift(8.0)) < abs(shift(4.4))


def test_16_bits_are_rounded_to_16_bits():
    image = photograph(24, 24, np.uint16)
    views = dual_pixel.simulate(image, np.full((24, 24), 3.0), dual_pixel.CAMERAS[0], dual_pixel.SHAPES[0])
    assert views["left"].dtype == np.uint16 and views["left"].max() > 255


@pytest.mark.parametrize("bad", [np.nan, np.inf, 0.0, -1.0])
def test_a_wrong_depth_is_refused(bad):
    depth = np.full((40, 52), 3.0)
    depth[5, 5] = bad
    with pytest.raises(DataError, match="not finite or not above 0"):
        dual_pixel.simulate(photograph(), depth, dual_pixel.CAMERAS[0], dual_pixel.SHAPES[0])


def test_a_depth_of_another_size_is_refused():
    with pytest.raises(DataError, match=r"the depth is \(52, 40\), its image \(40, 52\)"):
        dual_pixel.simulate(photograph(), np.ones((52, 40)), dual_pixel.CAMERAS[0], dual_pixel.SHAPES[0])


# Distortion, radial mask, drawn depth -------------------------------------------------------------------------------


def test_no_distortion_is_the_image():
    assert np.array_equal(dual_pixel.barrel(photograph(), (0, 0, 0, 1)), photograph())


def test_the_distortion_reads_each_pixel_at_its_polynomial():
    height, width = 60, 80
    y, x = np.mgrid[:height, :width]
    ramp = np.stack([3 * x, 3 * y, x + y], axis=2).astype(np.uint8)
    for camera in dual_pixel.CAMERAS:
        a, b, c, d = camera.barrel
        made = dual_pixel.barrel(ramp, camera.barrel).astype(float)
        for row, column in ((10, 12), (30, 40), (45, 70)):
            dy, dx = row - 29.5, column - 39.5
            r = math.hypot(dy, dx) / 30
            factor = a * r**3 + b * r**2 + c * r + d
            assert made[row, column, 0] == pytest.approx(3 * (39.5 + dx * factor), abs=0.7)
            assert made[row, column, 1] == pytest.approx(3 * (29.5 + dy * factor), abs=0.7)


@pytest.mark.parametrize("number", range(5))
def test_a_drawn_depth_is_on_both_sides_of_the_focus(number):
    camera = dual_pixel.CAMERAS[number]
    kinds, cocs = set(), []
    for seed in range(30):
        depth, about = dual_pixel.draw_depth(np.random.default_rng(seed), 30, 40, camera)
        assert depth.shape == (30, 40) and depth.dtype == np.float32
        assert camera.focus_distance / 2 * 0.999 <= depth.min() and depth.max() <= 250.001
        kinds.add(about["depth"])
        cocs.append(dual_pixel.circle_of_confusion(depth, camera))
        if about["depth"] == "steps":
            assert len(np.unique(depth)) <= 5
        else:  # a plane: inverse depth is linear, so its second differences vanish
            assert np.abs(np.diff(1 / depth.astype(float), n=2, axis=1)).max() < 1e-6
    assert kinds == {"plane", "steps"}
    assert np.min(cocs) < 0 < np.max(cocs) and np.abs(cocs).max() <= round(camera.scale)


@pytest.mark.parametrize("bad", [-1, 5, 1.0, True, "0"])
def test_a_wrong_camera_set_is_refused(bad):
    with pytest.raises(ParamsError, match="expected a whole number from 0 to 4"):
        dual_pixel.check_camera_set(bad)


@pytest.mark.skipif(not SAMPLES.is_dir(), reason="no sample files")
def test_a_real_depth_blurs_what_is_out_of_focus_most():
    from PIL import Image

    image = np.asarray(Image.open(SAMPLES / "rgbd_nyu" / "274.jpg"))[::2, ::2]
    depth = np.load(SAMPLES / "rgbd_nyu" / "274_depth_m.npy").astype(np.float64)[::2, ::2]
    camera = dual_pixel.CAMERAS[2]
    views = dual_pixel.simulate(image, depth * camera.focus_distance / np.median(depth), camera, dual_pixel.SHAPES[0])
    coc = np.abs(dual_pixel.circle_of_confusion(depth * camera.focus_distance / np.median(depth), camera))
    difference = np.abs(views["centre"].astype(float) - image).mean(axis=2)
    assert difference[coc >= 3].mean() > 1.5 * difference[coc <= 1].mean()

"""Blur: kernels against MATLAB's printed values and against definitions, averages of frames, camera paths."""

from __future__ import annotations

import json

import numpy as np
import pytest
from scipy import signal

from bench.contracts import ParamsError
from datasets.degradations.blur import (
    average,
    camera_path,
    convolve,
    draw_kernel_blur,
    expose,
    gaussian_kernel,
    kernel_blur,
    margin,
    matrices,
    motion_kernel,
    to_8bit,
    warp_along,
)


def noise(height: int = 60, width: int = 80, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def smooth(height: int = 120, width: int = 150) -> np.ndarray:
    """Waves of 20 pixels and more, which cubic interpolation reproduces within one grey level."""
    y, x = np.mgrid[:height, :width]
    waves = [128 + 60 * np.sin(2 * np.pi * (x * a + y * b)) for a, b in ((0.03, 0.01), (0.0, 0.05), (0.04, -0.02))]
    return to_8bit(np.stack(waves, axis=2))


def at(y: np.ndarray, x: np.ndarray) -> np.ndarray:
    """The waves of `smooth` between its pixels."""
    return np.stack(
        [128 + 60 * np.sin(2 * np.pi * (x * a + y * b)) for a, b in ((0.03, 0.01), (0.0, 0.05), (0.04, -0.02))], axis=2
    )


# Kernels: values printed by MATLAB


def test_gaussian_kernel_of_matlab():
    expected = [[0.0113, 0.0838, 0.0113], [0.0838, 0.6193, 0.0838], [0.0113, 0.0838, 0.0113]]
    assert np.allclose(gaussian_kernel(3, 0.5), expected, atol=5e-5)
    assert np.allclose(gaussian_kernel(2, 0.7), 0.25)
    assert np.array_equal(gaussian_kernel(5, 0.1)[2], [0, 0, 1, 0, 0])  # exp(-50) of the peak is below eps


def test_motion_kernel_of_matlab():
    assert np.allclose(motion_kernel(9, 0), np.full((1, 9), 1 / 9))
    assert np.allclose(motion_kernel(9, 90), np.full((9, 1), 1 / 9))
    assert np.allclose(motion_kernel(10, 0), [[0.05] + [0.1] * 9 + [0.05]])
    expected = [[0, 0.0754, 0.1883], [0.0754, 0.3215, 0.0754], [0.1883, 0.0754, 0]]
    assert np.allclose(motion_kernel(3, 45), expected, atol=5e-5)
    assert np.allclose(motion_kernel(3, 135), np.fliplr(expected), atol=5e-5)


def test_a_motion_kernel_measures_distances_from_a_line():
    """By the definition alone: a pixel's weight is 1 minus its distance from the line segment."""
    length, angle = 15, 30
    kernel = motion_kernel(length, angle)
    rows, columns = kernel.shape
    y, x = np.mgrid[: rows // 2 * 2 + 1, : columns // 2 * 2 + 1]
    y, x = rows // 2 - y, x - columns // 2  # y upwards, as for angles
    direction = np.array([np.cos(np.radians(angle)), np.sin(np.radians(angle))])
    along = x * direction[0] + y * direction[1]
    distance = np.abs(y * direction[0] - x * direction[1])
    inside = np.hypot(x, y) < (length - 1) / 2
    weight = np.maximum(1 - distance, 0)
    assert np.allclose(kernel[inside] / kernel.max(), weight[inside], atol=1e-6)
    assert (kernel[np.abs(along) > (length + 1) / 2 + 1e-9] < 0.02 * kernel.max()).all()


@pytest.mark.parametrize("length", range(5, 31, 5))
def test_motion_kernels_sum_to_one_and_are_point_symmetric(length):
    for angle in range(0, 360, 15):
        kernel = motion_kernel(length, angle)
        assert kernel.sum() == pytest.approx(1, abs=1e-9)
        assert np.array_equal(kernel, kernel[::-1, ::-1])
        assert kernel.shape[0] % 2 == kernel.shape[1] % 2 == 1
        assert np.allclose(kernel, motion_kernel(length, angle + 180))


@pytest.mark.parametrize("shape", [(1, 1), (2, 2), (3, 5), (4, 3), (31, 21)])
def test_convolve_is_matlabs_conv_with_a_replicated_border(shape):
    image, kernel = noise(), np.random.default_rng(1).random(shape)
    kernel /= kernel.sum()
    h, w = shape
    padded = np.pad(image.astype(np.float64), ((h, h), (w, w), (0, 0)), mode="edge")
    full = np.stack([signal.convolve(padded[..., c], kernel, method="direct") for c in range(3)], axis=2)
    first = h + int(np.ceil((h + 1) / 2)) - 1, w + int(np.ceil((w + 1) / 2)) - 1  # the first pixel of conv2's 'same'
    expected = full[first[0] : first[0] + 60, first[1] : first[1] + 80]
    assert np.array_equal(convolve(image, kernel), to_8bit(expected))


def test_a_true_convolution_flips_the_kernel():
    image = np.zeros((5, 5, 3), np.uint8)
    image[2, 2] = 100
    kernel = np.array([[0, 0, 0], [0, 0, 1.0], [0, 0, 0]])
    assert convolve(image, kernel)[2, 3, 0] == 100  # a kernel's right neighbour moves light to the right


def test_halves_are_rounded_up():
    assert to_8bit(np.array([-3, 0.49, 0.5, 1.5, 2.5, 254.5, 300])).tolist() == [0, 0, 1, 2, 3, 255, 255]


# Blur by two kernels


def test_values_are_drawn_from_the_authors_sets_and_returned():
    drawn = [draw_kernel_blur(noise(12, 12), np.random.default_rng(seed))[1] for seed in range(400)]
    assert {d["kernel_size"] for d in drawn} == {1, 2, 3, 4, 5}
    assert {d["sigma"] for d in drawn} == {0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0}
    assert {d["length"] for d in drawn} == {5, 10, 15, 20, 25, 30}
    assert {d["angle"] for d in drawn} == set(range(0, 360, 15))
    assert json.loads(json.dumps(drawn)) == drawn


def test_the_blur_is_that_of_the_returned_values():
    image = noise()
    blurred, drawn = draw_kernel_blur(image, np.random.default_rng(5))
    again, _ = draw_kernel_blur(image, np.random.default_rng(5))
    values = {name: drawn[name] for name in ("kernel_size", "sigma", "length", "angle")}
    assert np.array_equal(blurred, kernel_blur(image, **values))
    assert np.array_equal(blurred, again)
    assert np.array_equal(
        draw_kernel_blur(np.full_like(image, 77), np.random.default_rng(5))[0], np.full_like(image, 77)
    )


# Averages


def test_average_of_black_and_white_by_response():
    frames = [np.zeros((2, 2, 3), np.uint8), np.full((2, 2, 3), 255, np.uint8)]
    assert (average(frames, "linear") == 128).all()  # 127.5, half up
    assert (average(frames, "gamma") == round(255 * 0.5 ** (1 / 2.2))).all()  # 186
    assert (average(iter(frames), "gamma", gamma=1.0) == 128).all()


def test_average_of_equal_frames_is_the_frame():
    image = noise()
    for response in ("linear", "gamma"):
        assert np.array_equal(average([image] * 7, response), image)


def test_average_linear_is_the_rounded_mean():
    frames = [noise(seed=seed) for seed in range(8)]
    total = np.sum(np.stack(frames), axis=0, dtype=np.int64)
    assert np.array_equal(average(frames, "linear"), (2 * total + 8) // 16)


def test_bad_averages():
    with pytest.raises(ParamsError, match="response: found 'srgb', expected 'linear' or 'gamma'"):
        average([noise()], "srgb")
    with pytest.raises(ValueError, match="found no frames"):
        average([], "linear")


# Paths


@pytest.mark.parametrize("num_frames", [2, 7, 8, 15])
def test_a_path_is_at_the_origin_in_its_middle_and_has_the_returned_length(num_frames):
    for seed in range(50):
        path, drawn = camera_path(np.random.default_rng(seed), num_frames, 20)
        assert path.shape == (num_frames, 3)
        assert path[(num_frames - 1) // 2].tolist() == [0, 0, 0]
        steps = np.hypot(*np.diff(path[:, :2], axis=0).T)
        assert steps.sum() == pytest.approx(drawn["length"], abs=1e-3)
        assert 5 <= drawn["length"] <= 20
        assert drawn["kernel_size"] == np.ceil(np.ptp(path[:, :2], axis=0).max()) + 1
        assert steps.min() > 0.1 * steps.max()  # it never stops
        assert np.ptp(path[:, 2]) <= 0.7
        assert json.loads(json.dumps(drawn)) == drawn


def test_the_shaking_angle_is_the_direction_of_the_path():
    for seed in range(50):
        path, drawn = camera_path(np.random.default_rng(seed), 13, 24)
        ahead = path[-1, :2] - path[0, :2]
        angle = np.degrees(np.arctan2(-ahead[1], ahead[0]))  # y points down
        assert abs((angle - drawn["angle"] + 180) % 360 - 180) < 25  # the cubic term turns the ends a little


def test_a_shift_by_whole_pixels_is_a_crop():
    image = noise()
    path = np.array([[-3, 2, 0], [0, 0, 0], [5, -1, 0.0]])
    m = margin(image.shape, path)
    assert m == 7
    for frame, (x, y, _) in zip(warp_along(image, path), path.astype(int), strict=True):
        assert np.array_equal(frame, image[m + y : 60 - m + y, m + x : 80 - m + x])


def test_frames_follow_the_similarity_of_the_path():
    image = smooth()
    path = np.array([[2.3, -1.6, 3.0], [0, 0, 0], [-4.5, 3.25, -2.0]])
    m = margin(image.shape, path)
    for frame, matrix in zip(warp_along(image, path), matrices(path), strict=True):
        height, width = frame.shape[:2]
        assert (height, width) == (120 - 2 * m, 150 - 2 * m)
        y, x = np.mgrid[:height, :width].astype(np.float64)
        x, y = x - (width - 1) / 2, y - (height - 1) / 2
        source_x = matrix[0, 0] * x + matrix[0, 1] * y + matrix[0, 2] + (150 - 1) / 2
        source_y = matrix[1, 0] * x + matrix[1, 1] * y + matrix[1, 2] + (120 - 1) / 2
        error = np.abs(frame - at(source_y, source_x))
        assert error.max() < 2.5 and error.mean() < 0.6


def test_frames_need_no_border():
    """Frames of a white photograph are white: a black border would be visible."""
    for seed in range(20):
        path, _ = camera_path(np.random.default_rng(seed), 13, 24)
        frames = warp_along(np.full((90, 140, 3), 255, np.uint8), path)
        assert min(frame.min() for frame in frames) == 255


def test_a_photograph_too_small_for_its_path_is_refused():
    with pytest.raises(ParamsError, match="found a photograph of 20x20; use a shorter path"):
        warp_along(noise(20, 20), np.array([[0, 0, 0], [12, 0, 0.0]]))


def test_an_exposure_is_the_average_of_its_frames():
    image = noise(100, 120)
    blurred, frames, drawn = expose(image, range(7, 14), 2.0, "gamma", np.random.default_rng(3))
    again = expose(image, range(7, 14), 2.0, "gamma", np.random.default_rng(3))
    assert np.array_equal(blurred, average(frames, "gamma"))
    assert np.array_equal(blurred, again[0]) and drawn == again[2]
    assert len(frames) == drawn["num_frames"] and drawn["length"] <= 2 * (len(frames) - 1)
    middle, m = frames[(len(frames) - 1) // 2], (100 - blurred.shape[0]) // 2
    assert np.array_equal(middle, image[m:-m, m:-m])
    drawn_counts = {
        expose(noise(70, 70), range(7, 14), 0.5, "linear", np.random.default_rng(seed))[2]["num_frames"]
        for seed in range(60)
    }
    assert drawn_counts == set(range(7, 14))

"""The augmentation: one draw for all fields, values that are known, and clear words for a wrong name."""

from __future__ import annotations

import time
from pathlib import Path

import cv2
import numpy as np
import pytest

from bench.contracts import ParamsError
from bench.data import augment
from bench.params import loading, resolving

SIZE = 24


def sample(height: int = SIZE, width: int = SIZE, *names: str) -> dict[str, np.ndarray]:
    """Make equal images and a mask that is the green channel above one half: a common draw keeps both relations."""
    image = np.random.default_rng(7).random((height, width, 3), dtype=np.float32)
    made = {name: image.copy() for name in names or ("blurred", "target")}
    return made | {"mask": (image[..., 1:2] > 0.5).astype(np.float32)}


@pytest.mark.parametrize("name", ["flip_horizontal", "flip_vertical", "rotate_right_angles", "swap_views_on_flip"])
def test_a_geometric_draw_is_the_same_for_every_field(name):
    given = sample(SIZE, SIZE, *(("left", "right") if name == "swap_views_on_flip" else ("blurred",)), "target")
    results = set()
    for seed in range(40):
        made = augment.apply([name], given, np.random.default_rng(seed))
        results.add(made["target"].tobytes())
        assert all(np.array_equal(made[field], made["target"]) for field in made if field != "mask")
        assert np.array_equal(made["mask"], (made["target"][..., 1:2] > 0.5).astype(np.float32))
        assert sorted(made["target"].ravel()) == sorted(given["target"].ravel())
    assert len(results) == (4 if name == "rotate_right_angles" else 2)


@pytest.mark.parametrize("name", ["flip_horizontal", "rotate_right_angles", "rotate"])
def test_dual_pixel_views_are_not_mirrored_or_turned_without_an_exchange(name):
    given = sample(SIZE, SIZE, "left", "right", "target")
    with pytest.raises(ParamsError, match=rf"{name}: found left and right views, .*for views use swap_views_on_flip"):
        augment.apply([name], given, np.random.default_rng(0))


@pytest.mark.parametrize("profile", ["paper", "sample", "tour"])
def test_every_dual_pixel_run_exchanges_the_views_that_it_mirrors(profile):
    loaded = loading.load(Path(__file__).parents[3] / "params.yaml", profile)
    given = sample(SIZE, SIZE, "left", "right", "target")
    runs = [
        name for name, run in resolving.all_runs(loaded).items() if run.dataset == "canon-dp" and run.method != "input"
    ]
    assert len(runs) > 7
    for name in runs:
        augment.apply(resolving.recipe(loaded, name).train.augment, given, np.random.default_rng(0))


def test_the_flips_are_mirrors():
    given = sample()
    mirrors = {
        "flip_horizontal": {given["target"].tobytes(), given["target"][:, ::-1].tobytes()},
        "flip_vertical": {given["target"].tobytes(), given["target"][::-1].tobytes()},
    }
    for name, expected in mirrors.items():
        made = {augment.apply([name], given, np.random.default_rng(seed))["target"].tobytes() for seed in range(20)}
        assert made == expected


def test_half_of_the_samples_are_flipped():
    given = {"target": np.zeros((1, 2, 3), np.float32)}
    given["target"][0, 0] = 1
    rng = np.random.default_rng(0)
    flips = sum(augment.apply(["flip_horizontal"], given, rng)["target"][0, 1, 0] for _ in range(1000))
    assert 440 < flips < 560


def test_a_flipped_dual_pixel_sample_has_its_views_exchanged():
    rng = np.random.default_rng(1)
    given = {name: rng.random((4, 6, 3), dtype=np.float32) for name in ("left", "right", "target")}
    for seed in range(12):
        made = augment.apply(["swap_views_on_flip"], given, np.random.default_rng(seed))
        if np.array_equal(made["target"], given["target"]):
            assert all(np.array_equal(made[name], given[name]) for name in given)
        else:
            assert np.array_equal(made["left"], given["right"][:, ::-1])
            assert np.array_equal(made["right"], given["left"][:, ::-1])


def test_a_sample_that_is_not_square_keeps_its_shape_and_is_turned_by_half_circles():
    given = sample(8, 12)
    made = {
        augment.apply(["rotate_right_angles"], given, np.random.default_rng(s))["target"].tobytes() for s in range(9)
    }
    assert made == {given["target"].tobytes(), given["target"][::-1, ::-1].tobytes()}


def test_rotation_by_no_angle_is_the_sample_and_a_mask_stays_binary():
    given = sample()
    same = augment.apply([{"rotate": {"degrees": 0}}], given, np.random.default_rng(0))
    assert all(np.allclose(same[name], given[name], atol=1e-6) for name in given)
    turned = augment.apply(["rotate"], given, np.random.default_rng(0))
    assert turned["mask"].shape == given["mask"].shape
    assert set(np.unique(turned["mask"])) <= {0.0, 1.0}
    assert np.array_equal(turned["target"], turned["blurred"])
    assert not np.allclose(turned["target"], given["target"])


def test_rotation_turns_about_the_centre():
    given = {"target": np.zeros((9, 9, 3), np.float32)}
    given["target"][4, 4] = 1
    for seed in range(5):
        turned = augment.apply(["rotate"], given, np.random.default_rng(seed))["target"]
        assert np.allclose(turned[4, 4], 1, atol=0.01)  # OpenCV rounds the place to 1/32 of a pixel


def test_channels_are_permuted_equally_and_the_mask_is_not():
    given = sample()
    orders = set()
    for seed in range(60):
        made = augment.apply(["permute_channels"], given, np.random.default_rng(seed))
        means = made["target"].mean(axis=(0, 1))
        orders.add(tuple(np.argsort(means)))
        assert np.array_equal(made["target"], made["blurred"])
        assert np.array_equal(made["mask"], given["mask"])
    assert len(orders) == 6


@pytest.mark.parametrize("factor", [0.0, 0.5, 1.0, 1.5, 5.0])
def test_saturation_equals_opencvs_hsv(factor):
    given = sample()
    options = {"saturation": {"low": factor, "high": factor}}
    made = augment.apply([options], given, np.random.default_rng(0))
    hsv = cv2.cvtColor(given["target"], cv2.COLOR_RGB2HSV)
    hsv[..., 1] = np.minimum(hsv[..., 1] * factor, 1)
    assert np.allclose(made["target"], cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB), atol=2e-5)
    assert np.array_equal(made["mask"], given["mask"])


def test_saturation_leaves_grey_and_black_alone():
    grey = {"target": np.repeat(np.linspace(0, 1, 12, dtype=np.float32).reshape(3, 4, 1), 3, axis=2)}
    made = augment.apply(["saturation"], grey, np.random.default_rng(0))
    assert np.array_equal(made["target"], grey["target"])


def test_noise_is_in_grey_levels_and_on_the_inputs_alone():
    given = {name: np.full((64, 64, 3), 0.5, np.float32) for name in ("left", "right", "target")}
    deviations = []
    for seed in range(300):
        made = augment.apply(["noise"], given, np.random.default_rng(seed))
        assert np.array_equal(made["target"], given["target"])
        deviations.append(255 * (made["left"] - 0.5).std())
    # The mean of |N(0, 1)| is sqrt(2 / pi), 0.80.
    assert np.mean(deviations) == pytest.approx(0.798, abs=0.1)
    last = [made[name] - 0.5 for name in ("left", "right")]
    assert last[0].std() == pytest.approx(last[1].std(), rel=0.1)
    assert abs(np.corrcoef(last[0].ravel(), last[1].ravel())[0, 1]) < 0.05


def test_noise_stays_in_range():
    made = augment.apply([{"noise": {"sigma": 90.0}}], sample(), np.random.default_rng(3))
    assert made["blurred"].min() == 0 and made["blurred"].max() == 1


def test_one_seed_gives_one_result_and_the_given_arrays_are_not_changed():
    given = sample()
    before = {name: image.copy() for name, image in given.items()}
    everything = [name for name in augment.OPERATIONS if name != "swap_views_on_flip"]
    first, second = (augment.apply(everything, given, np.random.default_rng(5)) for _ in range(2))
    assert all(np.array_equal(first[name], second[name]) for name in given)
    assert all(np.array_equal(given[name], before[name]) for name in given)
    assert all(image.dtype == np.float32 and image.flags.c_contiguous for image in first.values())
    assert all(first[name].min() >= 0 and first[name].max() <= 1 for name in given)


@pytest.mark.parametrize(
    ("operations", "words"),
    [
        (["flip_horizontl"], "unknown operation 'flip_horizontl'; the nearest are: flip_horizontal"),
        ([{"saturation": {"hihg": 2.0}}], "saturation has no option 'hihg'; the nearest are: high"),
        ([{"saturation": {"low": "1e-1"}}], "saturation.low: found '1e-1', expected float like 0.5 (YAML reads"),
        ([{"rotate": {"degrees": None}}], "rotate.degrees: found None, expected float like 180.0"),
        ([{"flip_vertical": {"p": 0.5}}], "flip_vertical has no option 'p'; the nearest are: none, it has no options"),
        ([{"saturation": {"low": 2.0, "high": 1.0}}], "found low 2.0, high 1.0, expected 0 <= low <= high"),
        ([{"rotate": {"degrees": 270}}], "found degrees 270, expected 0 to 180"),
        ([{"noise": {"sigma": -1}}], "found sigma -1, expected 0 or more"),
        ([{"noise": {}, "rotate": {}}], "expected a name, or one name with its options"),
        ([3], "found 3, expected a name"),
    ],
)
def test_a_wrong_name_or_option_is_refused(operations, words):
    with pytest.raises(ParamsError) as error:
        augment.apply(operations, sample(), np.random.default_rng(0))
    assert words in str(error.value)


def test_flips_are_fast():
    given = {name: np.zeros((64, 64, 3), np.float32) for name in ("blurred", "target")}
    rng = np.random.default_rng(0)
    times = []
    for _ in range(300):
        start = time.process_time_ns()
        augment.apply(["flip_horizontal", "flip_vertical"], given, rng)
        times.append(time.process_time_ns() - start)
    assert np.median(times) < 50_000  # nanoseconds; about 5,000 as a rule

"""Statistics of known values, units, and what is read from the scores."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest

from bench.contracts import UserError
from reports.scores import reading, statistics
from reports.tables import formats
from reports.tables.cells import cell_records
from tests.make_scores import Spec
from tests.reports.samples import in_memory, join, line_of, series


def test_the_bootstrap_agrees_with_the_normal_interval():
    values = np.random.default_rng(3).normal(30, 2, 400)
    low, high = statistics.bootstrap(series(values))
    half = 1.96 * values.std(ddof=1) / 20
    assert low == pytest.approx(values.mean() - half, abs=0.1 * half)
    assert high == pytest.approx(values.mean() + half, abs=0.1 * half)
    assert statistics.bootstrap(series(values)) == (low, high)  # seeded
    assert statistics.bootstrap(series([7.0] * 5)) == (7.0, 7.0)


def brute_force(values: np.ndarray) -> tuple[float, float]:
    """The 2.5 % of the n^n ordered draws at both ends."""
    means = np.sort([np.mean(draw) for draw in itertools.product(values, repeat=len(values))])
    place = math.ceil(len(means) * 0.025) - 1
    return float(means[place]), float(means[-1 - place])


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5])
def test_few_images_give_the_interval_over_all_resamples(count):
    for seed in range(5):
        values = np.random.default_rng(seed).normal(30, 2, count)
        assert statistics.bootstrap(series(values)) == pytest.approx(brute_force(values), abs=1e-5)


def test_all_resamples_of_ten_images_with_their_probabilities():
    counts, chances = statistics.all_resamples(10)
    assert counts.shape == (math.comb(19, 10), 10) and counts.dtype == np.uint8
    assert len(np.unique(counts, axis=0)) == len(counts) and set(counts.sum(axis=1).tolist()) == {10}
    assert chances.sum() == 10**10
    assert chances[(counts == 1).all(axis=1)].tolist() == [math.factorial(10)]
    # The count of an image is binomial: 10 draws with a chance of one tenth.
    twice = chances[counts[:, 3] == 2].sum() / 10**10
    assert twice == pytest.approx(math.comb(10, 2) * 0.1**2 * 0.9**8, rel=1e-12)


def test_many_images_give_the_interval_of_a_million_draws():
    values = np.random.default_rng(5).gamma(2.0, 2.0, 12)
    drawn = np.random.default_rng(6).integers(12, size=(1_000_000, 12))
    expected = np.percentile(values[drawn].mean(axis=1), [2.5, 97.5])
    assert statistics.bootstrap(series(values)) == pytest.approx(expected, abs=0.025 * values.std())


def test_the_noise_of_an_interval_of_thirty_images_is_below_a_hundredth_of_their_spread(monkeypatch):
    values = np.random.default_rng(7).normal(30, 2, 30)
    ends = []
    for seed in range(20):
        rng = np.random.default_rng(seed)
        counts = np.apply_along_axis(np.bincount, 1, rng.integers(30, size=(statistics.DRAWS, 30)), minlength=30)
        monkeypatch.setattr(statistics, "drawn_resamples", lambda count, counts=counts: counts.astype(np.uint8))
        ends.append(statistics.bootstrap(series(values)))
    monkeypatch.undo()
    assert np.std(ends, axis=0).max() < 0.01 * values.std()
    assert np.abs(np.subtract(statistics.bootstrap(series(values)), np.mean(ends, axis=0))).max() < 0.02 * values.std()


def test_resamples_of_a_large_test_set_are_bytes_and_counted_right(monkeypatch):
    monkeypatch.setattr(statistics, "CHUNK", 5000)  # several parts
    counts = statistics._draw(1200)
    assert counts.dtype == np.uint8 and counts.shape == (statistics.DRAWS, 1200)
    assert (counts.sum(axis=1, dtype=int) == 1200).all()
    assert counts.mean(axis=0) == pytest.approx(np.ones(1200), abs=0.05)
    assert np.array_equal(counts, statistics._draw(1200))


def test_the_ends_of_an_interval_are_mirror_images():
    values = np.random.default_rng(8).normal(0, 1, 25)
    for count in (4, 25):
        low, high = statistics.bootstrap(series(values[:count]))
        assert statistics.bootstrap(series(-values[:count])) == pytest.approx((-high, -low), abs=1e-6)


def test_intervals_of_perfect_images():
    inf = math.inf
    # One of three is perfect: 8 of 27 draws lack it, and 1 of 27 has the lower of the others only.
    assert statistics.bootstrap(series([20.0, 30.0, inf])) == (20.0, inf)
    assert statistics.bootstrap(series([20.0, 30.0, -inf])) == (-inf, 30.0)
    assert statistics.bootstrap(series([inf, inf])) == (inf, inf)
    assert statistics.bootstrap(series([inf, -inf, 1.0])) == (-inf, inf)
    assert statistics.bootstrap(series([math.nan, 7.0])) == (7.0, 7.0)
    assert all(map(math.isnan, statistics.bootstrap(series([math.nan]))))
    low, high = statistics.bootstrap(series([*range(20, 40), inf]))
    assert 25 < low < 30 and high == inf  # 36 % of the draws lack it


def test_rows_of_one_image_are_drawn_together():
    values = np.random.default_rng(3).normal(30, 2, 50)
    once = statistics.bootstrap(series(values))
    many = statistics.bootstrap(series(np.repeat(values, 6), [f"{i}" for i in range(50) for _ in range(6)]))
    low, high = np.subtract(many, 0)
    assert high - low == pytest.approx(once[1] - once[0], rel=0.15)  # six copies of an image add no information


def test_the_paired_test_sees_a_small_steady_difference():
    hard = np.random.default_rng(0).normal(30, 3, 20)
    noise = np.random.default_rng(1).normal(0, 0.1, 20)
    others = (hard - 0.2 + noise, hard + noise - noise.mean(), hard)
    lower, moved, same = (statistics.against(series(hard), [series(other)])[0] for other in others)
    assert lower < statistics.LEVEL < moved < same == 1
    (few,) = statistics.against(series(hard[:4]), [series(hard[:4] - 1)])
    assert few == 2 / 2**4  # four images cannot distinguish anything at 5 %


def test_a_perfect_image_beats_any_other_in_both_orders():
    perfect, worse = series([math.inf] * 8), series(np.linspace(20, 30, 8))
    assert statistics.differences(perfect, worse).tolist() == [math.inf] * 8
    assert statistics.differences(worse, perfect).tolist() == [-math.inf] * 8
    assert statistics.against(worse, [perfect]) == statistics.against(perfect, [worse]) == [2 / 2**8]
    mixed = series([math.inf, math.inf, 20.0], list("abc")), series([math.inf, 30.0, 21.0], list("abc"))
    gaps = statistics.differences(*mixed)
    assert math.isnan(gaps["a"]) and gaps["b"] == math.inf and gaps["c"] == -1


def test_conditions_of_an_image_that_are_perfect_for_both_are_left_out():
    names = ["a", "a", "b", "b"]
    gaps = statistics.differences(series([math.inf, 22.0, math.inf, 1.0], names), series([math.inf, 21.0, 3, 2], names))
    assert gaps.to_dict() == {"a": 1.0, "b": math.inf}


def test_units():
    assert reading.convert(0.0118, "1", "percent") == pytest.approx(1.18)
    assert reading.convert(34_520_000, "", "M") == pytest.approx(34.52)
    assert reading.convert(1, "MiB", "MB") == pytest.approx(1.048576)
    with pytest.raises(UserError, match="'dB' was found where 's' is printed"):
        reading.convert(1, "dB", "s")


def test_a_cost_is_taken_at_the_printed_size_or_else_the_nearest():
    run = in_memory(Spec("dmphn", "gopro", "deblur", 29, "dmphn", params=2))
    assert reading.measure(run, "macs", {"input": "blurred"}, "256×256").value == 16
    assert reading.measure(run, "macs", {}, "720x1280").size == "1280x720"
    assert reading.measure(run, "macs", {}, "1280x768").size == "1280x720"
    assert reading.measure(run, "seconds", {}).size == "256x256"


def test_conditions_select_rows_and_a_set_metric_has_no_mean():
    run = in_memory(Spec("rfr", "paris-streetview", "inpaint", 29, "rfr"))
    condition = {"input": "sharp", "mask_kind": "square", "mask_band": "30-40"}
    stat = reading.measure(run, "psnr-rgb8", condition)
    rows = run.scores["psnr-rgb8"].query("input == 'sharp' and mask_kind == 'square' and mask_band == '30-40'")
    assert stat.value == pytest.approx(rows["value"].mean())
    assert stat.images is not None and len(stat.images) == 12
    base = run.scores["psnr-rgb8"].iloc[:3].assign(image="", metric="fid", unit="1", value=[1.0, 2.0, 3.0])
    fid = replace(run, scores={**run.scores, "fid": base})
    assert reading.measure(fid, "fid", {"mask_band": "30-40"}).value == 2
    assert "by condition" in reading.measure(fid, "fid", {}).reason


def test_equal_images_give_an_infinite_psnr_and_no_error(recwarn):
    run = in_memory(Spec("dmphn", "gopro", "deblur", 29, "dmphn"))
    run.scores["psnr-rgb8"].iloc[0, run.scores["psnr-rgb8"].columns.get_loc("value")] = math.inf
    shown = join("mrfnet-2", run)
    cell = next(cell for cell in line_of(shown, "dmphn").measured.values() if cell.value == math.inf)
    assert cell.low is not None and 20 < cell.low < 35 and cell.high == math.inf  # a third of the draws lacks the image
    assert f"inf [{cell.low:.2f}, inf]" in formats.markdown(shown)
    assert f"inf,{cell.low!r},inf," in formats.comma_separated(shown) and "inf" in formats.latex(shown)
    assert next(cell["value"] for cell in cell_records(shown)) == "inf"
    assert [str(w.message) for w in recwarn if issubclass(w.category, RuntimeWarning)] == []

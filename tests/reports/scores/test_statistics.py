"""Statistics of scores: the signed-rank test, Holm's correction, paired differences and percentiles."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from scipy.stats import rankdata, wilcoxon

from reports.scores import statistics
from tests.reports.samples import series


@pytest.mark.parametrize("count", [1, 5, 6, 20, 50, 51, 300])
def test_the_signed_rank_test_agrees_with_scipy(count):
    rng = np.random.default_rng(count)
    rows = [rng.normal(0.2, 1, count) for _ in range(4)]
    method = "exact" if count <= statistics.EXACT else "approx"
    expected = [wilcoxon(row, method=method).pvalue for row in rows]
    assert statistics.signed_rank(rows) == pytest.approx(expected, rel=1e-9)


def test_equal_differences_share_their_rank():
    row = np.array([1.0, 1, -1, 2, 2, -3, 0, 4, np.nan, np.inf])
    kept = row[(row != 0) & ~np.isnan(row)]
    ranks = rankdata(np.abs(kept))
    smaller = min(ranks[kept > 0].sum(), ranks[kept < 0].sum())
    sums = [(ranks * signs).sum() for signs in itertools.product((0, 1), repeat=len(kept))]  # all signs
    assert statistics.signed_rank([row])[0] == pytest.approx(2 * np.mean(np.array(sums) <= smaller))
    many = np.random.default_rng(0).integers(-3, 4, 90).astype(float)
    assert statistics.signed_rank([many])[0] == pytest.approx(wilcoxon(many, method="approx").pvalue)
    both = statistics.signed_rank([row, many])  # rows of different lengths at once
    assert both.tolist() == [statistics.signed_rank([row])[0], statistics.signed_rank([many])[0]]


def test_the_smallest_p_value_needs_six_images():
    for count in (statistics.FEWEST - 1, statistics.FEWEST):
        (p,) = statistics.signed_rank([np.arange(1.0, count + 1)])
        assert p == 2 / 2**count and (p < statistics.LEVEL) == (count == statistics.FEWEST)
    assert statistics.signed_rank([np.zeros(9)])[0] == 1


def test_holm_by_hand_and_by_its_definition():
    assert statistics.holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert statistics.holm([0.5, 0.9]).tolist() == [1.0, 1.0] and statistics.holm([]).tolist() == []
    values = np.random.default_rng(1).uniform(0, 0.1, 30)
    count = len(values)
    expected = [
        min(1.0, max((count - sum(values < other)) * other for other in values if other <= value)) for value in values
    ]
    assert statistics.holm(values) == pytest.approx(expected)


def test_conditions_of_an_image_are_one_difference():
    values = np.random.default_rng(3).normal(0, 1, 12)
    names = [f"{i}" for i in range(6) for _ in range(2)]
    gaps = statistics.differences(series(values, names), series(np.zeros(12), names))
    assert gaps.to_numpy() == pytest.approx(values.reshape(6, 2).mean(axis=1)) and list(gaps.index) == list("012345")
    low, high = statistics.bootstrap(gaps)
    assert low < gaps.mean() < high


def test_only_common_images_count_and_rounding_is_no_difference():
    run = series([0.1 + 0.2, 1.0, 5.0], ["a", "b", "c"])
    other = series([0.3, 2.0, math.inf], ["a", "b", "d"])
    assert statistics.differences(run, other).to_dict() == {"a": 0.0, "b": -1.0}
    assert statistics.against(run, [series([1.0], ["z"])]) == [None]  # no image in common, no test
    infinite = series([math.inf, 1.0], ["a", "b"])
    assert math.isnan(statistics.differences(infinite, infinite)["a"])


def test_the_lower_end_is_numpys_percentile_without_interpolation():
    means = np.random.default_rng(0).normal(0, 1, 1000)
    expected = np.percentile(means, 2.5, method="inverted_cdf")
    assert statistics.lower_end(means) == statistics.lower_end(means, np.full(1000, 3)) == expected
    assert statistics.lower_end(np.array([4.0])) == 4.0

"""Statistics over the images of runs: bootstrap intervals, the signed-rank test, Holm's correction, Kendall's tau.

Their unit is the image. The scores of one image under several conditions are not independent: the bootstrap draws them
together, and of their paired differences only the mean counts.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import pandas as pd

DRAWS = 10_000
"""Resamples that the bootstrap draws where it does not enumerate all of them."""
ENUMERATED = 10
"""Up to this number of images the bootstrap enumerates all resamples: C(2n - 1, n), 92,378 for ten images."""
TAIL = 40
"""An end of the 95 % interval leaves one in TAIL resamples, 2.5 %, outside."""
CACHED_IMAGES = 1000
"""Resamples of up to this number of images (10 MB) are kept for eight numbers of images, larger ones for the last."""
CHUNK = 2**22
"""Counts of resamples that are converted to floats at once."""
LEVEL = 0.05
"""Two runs whose corrected p-value is not below it tie."""
FEWEST = 6
"""With fewer images no two-sided signed-rank test can come below LEVEL: its smallest p-value is 2 / 2^n."""
EXACT = 50
"""The p-value is exact up to this number of images, and normal beyond."""
ROUNDING = 1e-12
"""Differences below this share of the values are rounding: means over the same seeds in another order."""


@lru_cache(maxsize=ENUMERATED)
def all_resamples(count: int) -> tuple[np.ndarray, np.ndarray]:
    """Return every different resample of `count` images and its probability, as a whole number.

    >>> counts, chances = all_resamples(2)
    >>> counts.tolist(), chances.tolist()  # one image twice: 1 of 4 each; both images: 2 of 4
    ([[0, 2], [1, 1], [2, 0]], [1, 2, 1])

    Returns:
        (resamples, count) uint8, how often each image is drawn; (resamples,) int64, how many of the count^count equally
        likely ordered draws give it.
    """
    # A resample is a way to put count - 1 bars between `count` stars: the stars between two bars are one image's.
    total = 2 * count - 1
    bars = list(itertools.combinations(range(total), count - 1))
    places = np.full((len(bars), count + 1), (-1, *[0] * (count - 1), total))
    places[:, 1:-1] = np.array(bars, int).reshape(len(bars), count - 1)
    counts = np.diff(places, axis=1) - 1
    factorials = np.array([math.factorial(number) for number in range(count + 1)])
    return counts.astype(np.uint8), factorials[count] // factorials[counts].prod(axis=1)


def drawn_resamples(count: int) -> np.ndarray:
    """Return the seeded resamples of `count` images: (DRAWS, count) uint8, how often each image is drawn.

    >>> drawn_resamples(12).shape, set(drawn_resamples(12).sum(axis=1).tolist())
    ((10000, 12), {12})
    """
    return (_few_drawn if count <= CACHED_IMAGES else _many_drawn)(count)


def _draw(count: int) -> np.ndarray:
    rng = np.random.default_rng(0)
    counts = np.empty((DRAWS, count), np.uint8)  # an image is drawn 256 times with a probability below 1e-500
    step = max(1, CHUNK // count)
    for start in range(0, DRAWS, step):
        lines = min(step, DRAWS - start)
        drawn = rng.integers(count, size=(lines, count))
        drawn += np.arange(lines)[:, None] * count
        counts[start : start + lines] = np.bincount(drawn.ravel(), minlength=lines * count).reshape(lines, count)
    return counts


_few_drawn = lru_cache(maxsize=8)(_draw)
_many_drawn = lru_cache(maxsize=1)(_draw)


@lru_cache(maxsize=512)
def _groups(codes: bytes) -> tuple[np.ndarray, np.ndarray]:
    # Cached, because runs of the same test set have the same codes.
    position = np.unique(np.frombuffer(codes, np.int64), return_inverse=True)[1]
    return position, np.bincount(position).astype(float)


def image_groups(index: pd.Index) -> tuple[np.ndarray, np.ndarray]:
    """Number the images of an index in the order of their names.

    >>> image_groups(pd.Index(["b", "a", "b"]))
    (array([1, 0, 1]), array([1., 2.]))

    Returns:
        (rows,) the number of each row's image, and (images,) the number of rows of each image.
    """
    if not isinstance(index, pd.MultiIndex):
        index = pd.MultiIndex.from_arrays([index])
    return _groups(np.asarray(index.codes[0], np.int64).tobytes())


def bootstrap(images: pd.Series) -> tuple[float, float]:
    """Return the 95 % percentile interval of the mean, with images drawn with replacement.

    Up to ENUMERATED images all resamples are used with their probabilities, so the interval is exact; beyond, DRAWS
    seeded ones. An image that occurs under several conditions is drawn with all its rows, as they are not independent.

    >>> low, high = bootstrap(pd.Series([28.0, 29.0, 30.0, 31.0, 32.0], list("abcde")))
    >>> round(low, 1), round(high, 1)
    (28.8, 31.2)
    >>> bootstrap(pd.Series([28.0, 30.0, math.inf], list("abc")))  # a resample with the last image has an infinite mean
    (28.0, inf)

    Args:
        images: values indexed by image, or by image and condition; nan is left out.

    Returns:
        low and high; both are the value itself for one image, and nan without a value. Where values of both infinite
        signs are drawn together their mean is not known: it counts as -inf for low and as inf for high.
    """
    images = images.dropna()
    if not len(images):
        return math.nan, math.nan
    values = images.to_numpy(float)
    position, rows = image_groups(images.index)
    finite = np.isfinite(values)
    centre = values[finite].mean() if finite.any() else 0.0  # only small deviations pass through float32
    sums = [np.bincount(position, np.where(finite, values - centre, 0.0)), rows]
    if not finite.all():
        sums += [np.bincount(position, values == sign) for sign in (-math.inf, math.inf)]
    chances = None
    if len(rows) <= ENUMERATED:
        counts, chances = all_resamples(len(rows))
    else:
        counts = drawn_resamples(len(rows))
    drawn = _weighted_sums(counts, np.stack(sums, axis=1))
    means = drawn[:, 0] / drawn[:, 1] + centre
    lowest = highest = means
    if not finite.all():
        down, up = drawn[:, 2] > 0, drawn[:, 3] > 0
        lowest = np.where(down, -math.inf, np.where(up, math.inf, means))
        highest = np.where(up, math.inf, np.where(down, -math.inf, means))
    return lower_end(lowest, chances), -lower_end(-highest, chances)


def _weighted_sums(counts: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Return counts @ values, (resamples, columns) float64, converting a part of the counts at a time."""
    step = max(1, CHUNK // counts.shape[1])
    narrow = values.astype(np.float32)
    parts = [counts[start : start + step].astype(np.float32) @ narrow for start in range(0, len(counts), step)]
    return np.concatenate(parts).astype(float)


def lower_end(means: np.ndarray, chances: np.ndarray | None = None) -> float:
    """Return the smallest mean that 2.5 % of the resamples do not exceed.

    >>> lower_end(np.arange(200.0, 0, -1))
    5.0
    >>> lower_end(np.array([3.0, 1.0, 2.0]), np.array([2, 1, 37]))  # 1 has a probability of 1/40, 2.5 %
    1.0

    Args:
        means: (resamples,) the mean of each.
        chances: (resamples,) whole numbers in proportion to the probabilities; None where all are equal.
    """
    if chances is None:
        place = -(-len(means) // TAIL) - 1
        return float(np.partition(means, place)[place])
    order = np.argsort(means)
    reached = np.cumsum(chances[order]) * TAIL >= chances.sum()
    return float(means[order[np.argmax(reached)]])


def differences(run: pd.Series, reference: pd.Series) -> pd.Series:
    """Return the paired differences run - reference by common image, the mean over the image's common conditions.

    >>> index = pd.MultiIndex.from_tuples([("a", "sharp"), ("a", "blurred"), ("b", "sharp")])
    >>> differences(pd.Series([30.0, 28.0, 25.0], index), pd.Series([29.0, 28.0, 27.0], index)).to_dict()
    {'a': 0.5, 'b': -2.0}

    Args:
        run: values indexed by image and condition.
        reference: the same of the other run.

    Returns:
        sorted by name. 0 where they differ by rounding only; inf or -inf where one of them is infinite. A condition
        where both are infinite is left out, and an image without another one is nan.
    """
    values, index = _paired(run, reference)
    names = index.levels[0][np.unique(index.codes[0])]  # type: ignore[attr-defined]
    return pd.Series(values, names)


def _paired(run: pd.Series, reference: pd.Series) -> tuple[np.ndarray, pd.Index]:
    if run.index is not reference.index and not run.index.equals(reference.index):
        frame = pd.concat(
            [side.groupby(level=list(range(side.index.nlevels))).mean() for side in (run, reference)], axis=1
        )
        frame = frame.dropna()
        run, reference = frame.iloc[:, 0], frame.iloc[:, 1]
    a, b = run.to_numpy(float), reference.to_numpy(float)
    both_infinite = np.isinf(a) & (a == b)
    with np.errstate(invalid="ignore"):
        gap = np.where(both_infinite, 0.0, a - b)
        rounding = np.isfinite(gap) & (np.abs(gap) <= ROUNDING * np.maximum(np.abs(a), np.abs(b)))
    gap[rounding] = 0.0
    position, _ = image_groups(run.index)
    with np.errstate(invalid="ignore"):  # an image whose conditions are all infinite for both; inf and -inf
        return np.bincount(position, gap) / np.bincount(position, ~both_infinite), run.index


@lru_cache(maxsize=4096)
def _distribution(doubled: tuple[int, ...]) -> np.ndarray:
    # Cumulative distribution of twice the positive rank sum, if each rank is positive or negative with equal chance.
    chances = np.ones(1)
    for rank in doubled:
        grown = np.zeros(len(chances) + rank)
        grown[: len(chances)] += chances / 2
        grown[rank:] += chances / 2
        chances = grown
    return np.cumsum(chances)


def signed_rank(rows: Sequence[np.ndarray]) -> np.ndarray:
    """Return two-sided p-values of Wilcoxon's signed-rank test, many at once.

    Zero differences are left out (Wilcoxon 1945) and equal ones share their mean rank. Up to EXACT differences the
    distribution over all signs of these ranks is used, beyond it the normal one with its correction for ties, as
    `scipy.stats.wilcoxon(method="approx")`.

    >>> signed_rank([np.array([0.1, 0.2, 0.3, 0.4, 0.5, 0.6]), np.array([-0.1, 0.2, 0.0])]).tolist()
    [0.03125, 1.0]

    Args:
        rows: (images,) paired differences of each test; nan is left out.

    Returns:
        (tests,) p-values in (0, 1]; 1 where every difference is zero.
    """
    from scipy.stats import norm, rankdata

    if not len(rows):
        return np.zeros(0)
    table = np.zeros((len(rows), max(map(len, rows))))
    for line, row in zip(table, rows, strict=True):
        line[: len(row)] = np.nan_to_num(row, nan=0.0, posinf=np.inf, neginf=-np.inf)
    used = table != 0
    counts = used.sum(axis=1)
    ranks = rankdata(np.abs(table), axis=1) - (~used).sum(axis=1, keepdims=True)  # zeros have the lowest ranks
    ranks[~used] = 0
    positive = np.where(table > 0, ranks, 0).sum(axis=1)
    total = counts * (counts + 1) / 2
    smaller = np.minimum(positive, total - positive)
    # The variance over all signs is a quarter of the sum of the squared ranks, ties included.
    spread = np.sqrt((ranks**2).sum(axis=1) / 4)
    p_values = np.ones(len(rows))
    large = counts > EXACT
    p_values[large] = 2 * norm.cdf((smaller[large] - total[large] / 2) / spread[large])
    for i in np.flatnonzero(~large & (counts > 0)):
        doubled = tuple(np.sort(np.rint(2 * ranks[i][used[i]]).astype(int)).tolist())
        p_values[i] = 2 * _distribution(doubled)[round(2 * smaller[i])]
    return np.minimum(p_values, 1.0)


def holm(values: Sequence[float] | np.ndarray) -> np.ndarray:
    """Correct the p-values of one family of tests by Holm's step-down method (Holm 1979).

    >>> holm([0.01, 0.04, 0.03]).tolist()
    [0.03, 0.06, 0.06]

    Args:
        values: (tests,) p-values.

    Returns:
        (tests,) corrected p-values, in the order given, at most 1.
    """
    given = np.asarray(values, float)
    order = np.argsort(given, kind="stable")
    stepped = np.maximum.accumulate(given[order] * np.arange(len(given), 0, -1))
    corrected = np.empty(len(given))
    corrected[order] = np.minimum(stepped, 1.0)
    return corrected


def against(reference: pd.Series, others: Sequence[pd.Series]) -> list[float | None]:
    """Return Holm-corrected p-values of the paired signed-rank tests of several runs against one.

    >>> best = pd.Series([30.0, 31.0, 29.0, 28.0, 32.0, 30.5], list("abcdef"))
    >>> against(best, [best - 1, best, pd.Series([1.0], ["z"])])
    [0.0625, 1.0, None]

    Args:
        reference: values indexed by image and condition.
        others: the same of each other run.

    Returns:
        one value per run; None for a run without an image in common, which is not tested.
    """
    rows = [_paired(other, reference)[0] for other in others]
    tested = [i for i, row in enumerate(rows) if len(row)]
    p_values: list[float | None] = [None] * len(rows)
    for i, value in zip(tested, holm(signed_rank([rows[i] for i in tested])), strict=True):
        p_values[i] = float(value)
    return p_values


def kendall(measured: Sequence[float], printed: Sequence[float]) -> float:
    """Return Kendall's tau-b between two orders of the same rows; nan where one of them is constant.

    >>> round(kendall([1.0, 2.0, 3.0], [20.0, 30.0, 25.0]), 4)  # two of three pairs agree
    0.3333
    """
    from scipy.stats import kendalltau

    return float(kendalltau(measured, printed).statistic)

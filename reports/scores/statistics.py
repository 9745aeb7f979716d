"""Statistics over the images of runs: bootstrap intervals, the signed-rank test, Holm's correction, Kendall's tau.

Their unit is the image. The scores of one image under several conditions are not independent: the bootstrap draws them
together, and of their paired differences only the mean counts.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import pandas as pd

DRAWS = 1000
"""The number of resamplings of the bootstrap."""
LEVEL = 0.05
"""Two runs whose corrected p-value is not below it tie."""
FEWEST = 6
"""With fewer images no two-sided signed-rank test can come below LEVEL: its smallest p-value is 2 / 2^n."""
EXACT = 50
"""The p-value is exact up to this number of images, and normal beyond."""
ROUNDING = 1e-12
"""Differences below this share of the values are rounding: means over the same seeds in another order."""


@lru_cache(maxsize=4)
def draws(count: int) -> np.ndarray:
    """Return the seeded resamplings of `count` images: (DRAWS, count) float32, how often each image is drawn.

    >>> draws(3).shape, set(draws(3).sum(axis=1).tolist())
    ((1000, 3), {3.0})
    """
    rng = np.random.default_rng(0)
    return np.stack([np.bincount(rng.integers(count, size=count), minlength=count) for _ in range(DRAWS)]).astype("f4")


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

    An image that occurs under several conditions is drawn with all its rows, as they are not independent.

    >>> low, high = bootstrap(pd.Series([28.0, 29.0, 30.0, 31.0, 32.0], list("abcde")))
    >>> round(low, 1), round(high, 1)
    (28.8, 31.2)

    Args:
        images: values indexed by image, or by image and condition.

    Returns:
        low and high; both are the value itself for one image, and both are infinite where a value is.
    """
    values = images.to_numpy(float)
    if not np.isfinite(values).all():
        return float(values.mean()), float(values.mean())
    position, counts = image_groups(images.index)
    weights = draws(len(counts))
    centre = values.mean()  # float32 weights: only the small deviations from the mean pass through them
    sums = weights @ np.bincount(position, values - centre)
    low, high = quantiles(sums / (weights @ counts) + centre)
    return low, high


def quantiles(means: np.ndarray) -> tuple[float, float]:
    """Return the 2.5 and the 97.5 percentile of (n,) values, as numpy's `percentile`, in a tenth of its time.

    >>> quantiles(np.arange(201.0))
    (5.0, 195.0)
    """
    places = [share * (len(means) - 1) for share in (0.025, 0.975)]
    around = sorted({math.floor(place) for place in places} | {math.ceil(place) for place in places})
    kept = np.partition(means, around)
    low, high = (
        kept[math.floor(place)] + (kept[math.ceil(place)] - kept[math.floor(place)]) * (place % 1) for place in places
    )
    return float(low), float(high)


def differences(run: pd.Series, reference: pd.Series) -> pd.Series:
    """Return the paired differences run - reference by common image, the mean over the image's common conditions.

    >>> index = pd.MultiIndex.from_tuples([("a", "sharp"), ("a", "blurred"), ("b", "sharp")])
    >>> differences(pd.Series([30.0, 28.0, 25.0], index), pd.Series([29.0, 28.0, 27.0], index)).to_dict()
    {'a': 0.5, 'b': -2.0}

    Args:
        run: values indexed by image and condition.
        reference: the same of the other run.

    Returns:
        sorted by name; nan where both are infinite; 0 where they differ by rounding only.
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
    with np.errstate(invalid="ignore"):  # two infinite values
        gap = a - b
        gap[np.abs(gap) <= ROUNDING * np.abs(a)] = 0.0
    gap[np.isinf(a) & np.isinf(b)] = np.nan
    position, counts = image_groups(run.index)
    return np.bincount(position, gap) / counts, run.index


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

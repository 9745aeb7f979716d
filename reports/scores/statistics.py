"""Statistics over the images of runs: bootstrap intervals, the signed-rank test, Holm's correction, Kendall's tau.

The unit of all of them is the image: what an image scores under several conditions is not independent, so it is drawn
as one, and its paired differences count as one, their mean.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import pandas as pd

DRAWS = 1000
"""Resamplings of the bootstrap."""
LEVEL = 0.05
"""Two runs whose corrected p-value is not below it are tied."""
FEWEST = 6
"""With fewer images no two-sided signed-rank test can come below LEVEL: its smallest p-value is 2 / 2^n."""
EXACT = 50
"""Up to so many images the p-value is exact; beyond, normal."""
ROUNDING = 1e-12
"""Differences below this share of the values are rounding: means over the same seeds in another order."""


@lru_cache(maxsize=4)
def draws(count: int) -> np.ndarray:
    """The seeded resamplings of `count` images: (DRAWS, count) float32, how often each image is drawn."""
    rng = np.random.default_rng(0)
    return np.stack([np.bincount(rng.integers(count, size=count), minlength=count) for _ in range(DRAWS)]).astype("f4")


@lru_cache(maxsize=512)
def _groups(codes: bytes) -> tuple[np.ndarray, np.ndarray]:
    # Runs of the same test set share these: (rows,) the image's place of each row, (images,) its number of rows.
    position = np.unique(np.frombuffer(codes, np.int64), return_inverse=True)[1]
    return position, np.bincount(position).astype(float)


def image_groups(index: pd.Index) -> tuple[np.ndarray, np.ndarray]:
    """The images of an index in the order of their names: (rows,) the image's place, (images,) its number of rows."""
    if not isinstance(index, pd.MultiIndex):
        index = pd.MultiIndex.from_arrays([index])
    return _groups(np.asarray(index.codes[0], np.int64).tobytes())


def bootstrap(images: pd.Series) -> tuple[float, float]:
    """The 95 % percentile interval of the mean, images drawn with replacement.

    An image that occurs under several conditions is drawn with all its rows, as they are not independent.

    Args:
        images: values indexed by image, or by image and condition.

    Returns:
        low and high; both the value itself where there is one image, both infinite where a value is.
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
    """The 2.5 and the 97.5 percentile of (n,) values, as numpy's `percentile` gives them, in a tenth of its time."""
    places = [share * (len(means) - 1) for share in (0.025, 0.975)]
    around = sorted({math.floor(place) for place in places} | {math.ceil(place) for place in places})
    kept = np.partition(means, around)
    found = [
        kept[math.floor(place)] + (kept[math.ceil(place)] - kept[math.floor(place)]) * (place % 1) for place in places
    ]
    return float(found[0]), float(found[1])


def differences(one: pd.Series, other: pd.Series) -> pd.Series:
    """The paired differences one - other of the common images, of each image the mean over its common conditions.

    Args:
        one, other: values indexed by image and condition.

    Returns:
        indexed by image, in the order of the names; nan where both are infinite; 0 where they differ by rounding alone.
    """
    values, index = _paired(one, other)
    names = index.levels[0][np.unique(index.codes[0])]  # type: ignore[attr-defined]
    return pd.Series(values, names)


def _paired(one: pd.Series, other: pd.Series) -> tuple[np.ndarray, pd.Index]:
    if one.index is not other.index and not one.index.equals(other.index):
        frame = pd.concat([side.groupby(level=list(range(side.index.nlevels))).mean() for side in (one, other)], axis=1)
        frame = frame.dropna()
        one, other = frame.iloc[:, 0], frame.iloc[:, 1]
    a, b = one.to_numpy(float), other.to_numpy(float)
    with np.errstate(invalid="ignore"):  # two infinite values
        gap = a - b
        gap[np.abs(gap) <= ROUNDING * np.abs(a)] = 0.0
    gap[np.isinf(a) & np.isinf(b)] = np.nan
    position, counts = image_groups(one.index)
    return np.bincount(position, gap) / counts, one.index


@lru_cache(maxsize=4096)
def _distribution(doubled: tuple[int, ...]) -> np.ndarray:
    # The cumulative distribution of twice the positive rank sum, each rank positive or negative with equal chance.
    chances = np.ones(1)
    for rank in doubled:
        grown = np.zeros(len(chances) + rank)
        grown[: len(chances)] += chances / 2
        grown[rank:] += chances / 2
        chances = grown
    return np.cumsum(chances)


def signed_rank(rows: Sequence[np.ndarray]) -> np.ndarray:
    """Two-sided p-values of Wilcoxon's signed-rank test, many at once.

    Zero differences are left out (Wilcoxon 1945) and equal ones share their mean rank. Up to EXACT differences the
    distribution over all signs of these very ranks is used, beyond it the normal one with its correction for ties, as
    `scipy.stats.wilcoxon(method="approx")`.

    Args:
        rows: of each test (images,) paired differences; nan is left out.

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
    found = np.ones(len(rows))
    large = counts > EXACT
    found[large] = 2 * norm.cdf((smaller[large] - total[large] / 2) / spread[large])
    for i in np.flatnonzero(~large & (counts > 0)):
        doubled = tuple(np.sort(np.rint(2 * ranks[i][used[i]]).astype(int)).tolist())
        found[i] = 2 * _distribution(doubled)[round(2 * smaller[i])]
    return np.minimum(found, 1.0)


def holm(values: Sequence[float] | np.ndarray) -> np.ndarray:
    """Correct the p-values of one family of tests by Holm's step-down method (Holm 1979).

    Args:
        values: (tests,) p-values.

    Returns:
        (tests,) corrected p-values, in the order given, at most 1.
    """
    given = np.asarray(values, float)
    order = np.argsort(given, kind="stable")
    stepped = np.maximum.accumulate(given[order] * np.arange(len(given), 0, -1))
    found = np.empty(len(given))
    found[order] = np.minimum(stepped, 1.0)
    return found


def against(reference: pd.Series, others: Sequence[pd.Series]) -> list[float | None]:
    """Holm-corrected p-values of the paired signed-rank tests of several runs against one.

    Args:
        reference, others: values indexed by image and condition.

    Returns:
        one a run; None where it has no image in common with the reference, which is then no test.
    """
    rows = [_paired(other, reference)[0] for other in others]
    tested = [i for i, row in enumerate(rows) if len(row)]
    found: list[float | None] = [None] * len(rows)
    for i, value in zip(tested, holm(signed_rank([rows[i] for i in tested])), strict=True):
        found[i] = float(value)
    return found


def kendall(measured: Sequence[float], printed: Sequence[float]) -> float:
    """Kendall's tau-b between two orders of the same rows; nan where one of them is constant."""
    from scipy.stats import kendalltau

    return float(kendalltau(measured, printed).statistic)

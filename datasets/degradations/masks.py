"""Masks with a hole share in a given band, and the options of datasets that choose them.

Our reading of the bands of DGFNet's Table 1: hole pixels divided by all pixels of the mask at the image's size, above
the lower limit and up to the upper one.
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from bench.contracts import ParamsError
from datasets.degradations.mask_generators import FREE_FORM, GENERATORS, SIDE, Band, hole_share, square

DEFAULT_BANDS = ("20-30", "30-40", "40-50")
"""The bands of DGFNet's Table 1, in percent."""
MAX_DRAWS = 10_000
"""Drawings of one mask, after which its band counts as impossible."""


def parse_band(text: str) -> Band:
    """Convert a band in percent to shares. Raises ParamsError for another text.

    >>> parse_band("20-30")
    (0.2, 0.3)
    """
    try:
        low, high = (int(part) for part in text.split("-"))
    except (AttributeError, ValueError):
        low, high = 0, 0
    if not 0 <= low < high <= 100:
        raise ParamsError(f"bands: found {text!r}, expected two whole percentages like '20-30', the smaller one first")
    return low / 100, high / 100


def parse_bands(texts: Sequence[str]) -> tuple[str, ...]:
    """Check a list of bands like ["20-30", "30-40"] and return it. Raises ParamsError for another value."""
    if isinstance(texts, str) or not texts:
        raise ParamsError(f"bands: found {texts!r}, expected a list like ['20-30', '30-40']")
    for text in texts:
        parse_band(text)
    return tuple(texts)


def band_name(band: Band) -> str:
    """Convert shares to a band in percent.

    >>> band_name((0.2, 0.3))
    '20-30'
    """
    return f"{round(100 * band[0])}-{round(100 * band[1])}"


def draw_mask(
    rng: np.random.Generator, shape: tuple[int, int], generator: str, band: Band, max_draws: int = MAX_DRAWS
) -> tuple[np.ndarray, dict[str, str | float]]:
    """Draw masks until one has a hole share in the band.

    The strokes of `deepfill` are added to each other until they pass the lower limit, and start again if they pass the
    upper one, because only one of three hundred single drawings reaches 40 %. A `square` is drawn in the band.

    Args:
        rng: the item's own generator.
        shape: (H, W).
        generator: a name of GENERATORS.
        band: the allowed shares.
        max_draws: give up after this number of drawings.

    Returns:
        (H, W) uint8, 255 = hole, 0 = known, and its conditions: mask_kind ("irregular", or "square" for a box),
        mask_generator, mask_ratio and mask_band.

    Raises:
        ParamsError: an unknown generator, or no mask in the band after `max_draws`.
    """
    check_name(generator)
    kind = "irregular" if generator in FREE_FORM else "square"
    mask = np.zeros(shape, np.uint8)
    for _ in range(max_draws):
        drawn = square(rng, *shape, band) if generator == "square" else GENERATORS[generator](rng, *shape)
        mask = np.maximum(mask, drawn) if generator == "deepfill" else drawn
        share = hole_share(mask)
        if band[0] < share <= band[1]:
            return mask, mask_condition(kind, generator, share, band)
        if share > band[1]:
            mask = np.zeros(shape, np.uint8)
    raise ParamsError(
        f"bands: no {generator} mask of {shape[0]}x{shape[1]} pixels has a hole share of {band_name(band)} % "
        f"({max_draws:,} were drawn); choose other bands or another generator"
    )


def check_name(generator: str, known: Sequence[str] = tuple(GENERATORS)) -> None:
    """Raise ParamsError unless the generator is one of `known`."""
    if generator not in known:
        near = difflib.get_close_matches(str(generator), known) or known
        raise ParamsError(f"generator: found {generator!r}; the nearest are: {', '.join(near)}")


@lru_cache(maxsize=64)
def check_generator(generator: str, bands: tuple[str, ...], known: tuple[str, ...] = tuple(GENERATORS)) -> None:
    """Raise ParamsError for a generator that is not in `known`, or that hardly ever reaches one of the bands."""
    check_name(generator, known)
    for band in bands:
        draw_mask(np.random.default_rng(0), (SIDE, SIDE), generator, parse_band(band), max_draws=1000)


def mask_condition(kind: str, generator: str, share: float, band: Band) -> dict[str, str | float]:
    """Return the values by which tables group masks.

    Args:
        kind: "irregular" or "square".
        generator: name of the generator, or "file".
        share: of hole pixels, in [0, 1].
        band: of the mask.
    """
    return {
        "mask_kind": kind,
        "mask_generator": generator,
        "mask_ratio": round(share, 6),
        "mask_band": band_name(band),
    }

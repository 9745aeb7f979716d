"""The items of a stand-in, made from the photographs inside installed packages, and checks of its options."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from bench.contracts import Item, Made, ParamsError
from datasets.photographs.packaged import Photograph, photographs


def check_least(name: str, value: float, least: float) -> None:
    """Raise ParamsError unless an option is a number of at least `least`; a whole number if `least` is an int."""
    whole = isinstance(least, int)
    if isinstance(value, bool) or not isinstance(value, int if whole else (int, float)) or not least <= value < np.inf:
        raise ParamsError(f"{name}: found {value!r}, expected a {'whole ' * whole}number of at least {least}")


def check_share(name: str, value: float) -> None:
    """Raise ParamsError unless an option is a number in [0, 1]."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= 1:
        raise ParamsError(f"{name}: found {value!r}, expected a number in [0, 1]")


def stand_in(
    draws: int, test_draws: int, maker: Callable[[Photograph, str, int], Callable[[np.random.Generator], Made]]
) -> list[Item]:
    """List the items of a stand-in: several images per photograph, named after it.

    Args:
        draws: images per training photograph.
        test_draws: images per validation and test photograph.
        maker: called with (photograph, split, number of the image), returns the item's `make`.

    Raises:
        ParamsError: a number below 1.
    """
    check_least("draws", draws, 1)
    check_least("test_draws", test_draws, 1)
    return [
        Item(f"{photo.name}-{draw:03d}", split, maker(photo, split, draw), photo.source, photo.licence)
        for split in ("train", "val", "test")
        for photo in photographs(split)
        for draw in range(draws if split == "train" else test_draws)
    ]

"""What a dataset is to the engine."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np


@dataclass
class Made:
    """The pixels of one built image and what was drawn to make them.

    Args:
        images: by field: `target` always; `blurred`, `mask`, or `left`, `right` and `centre` by dataset. uint8 or
            uint16 (H, W, 3); `mask` (H, W) uint8 in {0, 255}.
        degradation: what was drawn, plain JSON values: kind, length and sigma in pixels, angle in degrees, ...
        condition: what a table tells apart: scene, mask_kind, mask_ratio (hole share in [0, 1]), mask_band, severity.
        references: further truths to score against, the best one counts (Koehler); in order.
        others: source and licence of each further picture that was mixed in.
    """

    images: dict[str, np.ndarray]
    degradation: dict[str, Any] = field(default_factory=dict)
    condition: dict[str, Any] = field(default_factory=dict)
    references: Iterable[np.ndarray] = ()
    others: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Item:
    """One image that a build will make.

    Args:
        name: unique within its split, usable as a file name.
        split: train, val or test.
        make: the generator of this image's own seed to its pixels. A module-level function or a `functools.partial` of
            one, so that it travels to other processes; it reads its files when it is called, not before.
        source: where the pixels come from: a file relative to the originals' folder, or the package's picture.
        licence: the terms of the source.
        files: the original files read, for their hashes; empty for pictures inside packages.
    """

    name: str
    split: str
    make: Callable[[np.random.Generator], Made]
    source: str
    licence: str
    files: tuple[Path, ...] = ()


@dataclass(frozen=True)
class Dataset:
    """All that the engine knows of a dataset.

    Args:
        title: the name that tables print.
        tasks: which of `bench.tasks.TASKS` its built images serve, by name.
        fields: what every built image has, of target, blurred, mask, left, right, centre.
        originals: (root, partial=..., **options) to the items of the official layout, checked. Raises DataError. With
            `partial` fewer files than the official count pass; nothing else does.
        offline: (**options) to the items of the stand-in from photographs inside installed packages.
        counts: official images by split.
        source: where the originals come from: address, citation, and terms, as a person needs them.
        scoring: "plain", or "best-reference" where the best of several truths counts.
    """

    title: str
    tasks: tuple[str, ...]
    fields: tuple[str, ...]
    originals: Callable[..., list[Item]]
    offline: Callable[..., list[Item]]
    counts: Mapping[str, int]
    source: str
    scoring: str = "plain"

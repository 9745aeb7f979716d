"""The contract of a dataset: the items that a build makes, and the pixels of one item."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np


@dataclass
class Made:
    """The pixels of one item, and the values that were drawn to make them.

    Args:
        images: by field. `target` always; `blurred`, `mask`, or `left`, `right` and `centre` by dataset. uint8 or
            uint16 (H, W, 3); `mask` is (H, W) uint8, 255 = hole, 0 = known.
        degradation: the drawn values as plain JSON: kind, length and sigma in pixels, angle in degrees, ...
        condition: what tables group by: scene, severity, mask_kind, mask_band, mask_ratio (share of hole pixels).
        references: further versions of the target, in order; the best score over them counts (Koehler).
        others: (source, licence) of each further picture that was mixed in.
    """

    images: dict[str, np.ndarray]
    degradation: dict[str, Any] = field(default_factory=dict)
    condition: dict[str, Any] = field(default_factory=dict)
    references: Iterable[np.ndarray] = ()
    others: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Item:
    """One image that a build makes.

    Args:
        name: unique within its split, in lower case too, and valid: `bench.names.as_name` makes one of a file's name.
        split: "train", "val" or "test".
        make: called with the item's own seeded generator, returns its pixels. A module-level function or a
            `functools.partial` of one, so that it can be sent to other processes. It reads files only when called.
        source: origin of the pixels: a file relative to the originals' folder, or a package's picture.
        licence: terms of the source.
        files: the original files it reads, which the manifest lists by hash; empty for pictures inside packages.
    """

    name: str
    split: str
    make: Callable[[np.random.Generator], Made]
    source: str
    licence: str
    files: tuple[Path, ...] = ()


@dataclass(frozen=True)
class Dataset:
    """Everything that the engine knows about a dataset.

    Args:
        title: its name in tables.
        tasks: names of the tasks in `bench.tasks.TASKS` that its built images serve.
        fields: the fields that each item's images have: of target, blurred, mask, left, right and centre.
        originals: called with (root, partial=..., **options), returns the items of the official files after checking
            their layout. Raises DataError for files that differ from the published ones; `partial` accepts fewer files
            than the official count, and no other difference.
        offline: called with (**options), returns the items of the stand-in, made by the same degradation code from
            photographs inside installed packages.
        counts: official number of images by split.
        source: where to get the originals: address, citation and terms.
        scoring: "plain"; "best-reference" if the best score over several references counts.
    """

    title: str
    tasks: tuple[str, ...]
    fields: tuple[str, ...]
    originals: Callable[..., list[Item]]
    offline: Callable[..., list[Item]]
    counts: Mapping[str, int]
    source: str
    scoring: str = "plain"

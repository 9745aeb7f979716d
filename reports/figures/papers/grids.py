"""Visual grids: the same test images as every method of a figure restores them, whole and enlarged."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL.Image import Image

from reports.figures import comparisons
from reports.figures.papers.sheet import Picture, Strip, Window, enlarge, save_sheet, worst_windows
from reports.figures.papers.store import (
    Drawn,
    Entry,
    Store,
    best_dataset,
    datasets_in,
    image_of,
    lacking,
    rows_in,
    standing,
    title_of,
)
from reports.scores.reading import Evaluation

COLUMNS = 8
"""Methods side by side; further ones stand below."""


@dataclass(frozen=True)
class Block:
    """One part of a grid: the methods of one task on one dataset.

    Args:
        rows: the papers' ids of the methods; empty: those of the figure's entry.
        tables: the published tables whose rows are shown where the entry names no method or `rows` is empty.
        dataset: None: the entry's, or the one of the tables' columns on which most methods were run.
        heading: of the part, where a figure has several; "" for none.
    """

    task: str
    rows: tuple[str, ...] = ()
    tables: tuple[str, ...] = ()
    dataset: str | None = None
    heading: str = ""


@dataclass(frozen=True)
class Shown:
    """One test image and what each run makes of it.

    Args:
        whole: label and image of the input, of each run's result and of the target, in this order.
        windows: the parts that are enlarged.
        used: the runs.
    """

    name: str
    whole: tuple[tuple[str, Image], ...]
    windows: tuple[Window, ...]
    used: tuple[Evaluation, ...]


def chosen_image(runs: Sequence[Evaluation], rule: str) -> tuple[str, str] | None:
    """The image of a rule that most runs kept, with its input ("sharp", "blurred"); None where none kept one."""
    entries = [entry for one in runs if (entry := image_of(one, rule))]
    votes = Counter((entry["image"], entry["condition"].get("input", "")) for entry in entries)
    return votes.most_common(1)[0][0] if votes else None


def shown_image(runs: Sequence[Evaluation], rule: str, details: int) -> Shown | None:
    """Read input, restored images and target of the image that most runs kept by a rule; None where none kept one.

    Raises:
        DataError: an image that cannot be read.
    """
    wanted = chosen_image(runs, rule)
    if wanted is None:
        return None
    kept = [(one, entry) for one in runs if (entry := image_of(one, rule))]
    kept = [(one, entry) for one, entry in kept if (entry["image"], entry["condition"].get("input", "")) == wanted]
    folder, first = kept[0][0].folder, kept[0][1]
    given, target = comparisons.read_image(folder / first["input"]), comparisons.read_image(folder / first["target"])
    restored = [
        (str(one.record["title"]), comparisons.read_image(one.folder / entry["restored"])) for one, entry in kept
    ]
    return Shown(
        wanted[0],
        (("input", given), *restored, ("target", target)),
        worst_windows([image for _, image in restored], target, details),
        tuple(one for one, _ in kept),
    )


def across(shown: Shown, heading: str) -> list[Strip]:
    """Methods side by side, each whole above its enlarged details; rows of at most COLUMNS."""
    strips = []
    for first in range(0, len(shown.whole), COLUMNS):
        part = shown.whole[first : first + COLUMNS]
        strips.append(
            Strip(heading if not first else "", tuple(Picture(label, image, shown.windows) for label, image in part))
        )
        strips += [
            Strip("", tuple(Picture("", enlarge(image, window), frame=i) for _, image in part))
            for i, window in enumerate(shown.windows)
        ]
    return strips


def down(shown: Shown, heading: str) -> list[Strip]:
    """Methods below each other, each whole on the left and its enlarged details beside it."""
    return [
        Strip(
            "" if i else heading,
            (
                Picture(label, image, shown.windows),
                *(Picture("", enlarge(image, window), frame=k) for k, window in enumerate(shown.windows)),
            ),
        )
        for i, (label, image) in enumerate(shown.whole)
    ]


def runs_of(block: Block, entry: Entry, store: Store) -> tuple[str, tuple[str, ...], dict[str, Evaluation]]:
    """The dataset of a part, the rows that it should have, and the run of each that was run."""
    rows = block.rows or (rows_in(store.known, block.tables) if block.tables else entry.methods)
    datasets = (block.dataset,) if block.dataset else entry.datasets or datasets_in(store.known, block.tables)
    dataset = best_dataset(store, block.task, rows, datasets)
    return dataset, rows, standing(store, block.task, rows, dataset)


def grid(
    entry: Entry,
    store: Store,
    title: str,
    path: Path,
    *,
    blocks: Sequence[Block],
    rules: Sequence[str] = ("median",),
    details: int = 1,
    below: bool = False,
) -> Drawn | str:
    """Draw a grid of restored images.

    Args:
        rules: the kept images that are shown.
        details: enlarged windows of each, where the input's error is largest.
        below: methods below each other, as the deblurring papers have them; else side by side.

    Returns:
        the figure, or why it cannot be drawn.
    Raises:
        DataError: an image that cannot be read.
    """
    strips: list[Strip] = []
    used: dict[str, Evaluation] = {}
    absent: list[str] = []
    told = []
    for block in blocks:
        dataset, rows, runs = runs_of(block, entry, store)
        absent += lacking(block.task, dataset, [row for row in rows if row not in runs])
        members = list({one.name: one for one in runs.values()}.values())
        for rule in rules:
            shown = shown_image(members, rule, details)
            if shown is None:
                continue
            place = f"{title_of(members[0])}, the {rule} image, {shown.name}"
            heading = f"{block.heading}: {place}" if block.heading else place
            strips += (down if below else across)(shown, heading)
            told.append(f"{shown.name} ({rule})")
            used |= {one.name: one for one in shown.used}
            absent += [f"{one.name}, which kept another {rule} image" for one in members if one not in shown.used]
    if not strips:
        return f"No run of its rows is there ({'; '.join(absent)})."
    boxes = "The coloured box is" if details == 1 else "The coloured boxes are"
    images = list(dict.fromkeys(told))
    text = (
        f"Test image{'s' * (len(images) > 1)} {', '.join(images)}. {boxes} enlarged: where the restored images, on "
        "average over the methods, differ most from the target."
    )
    return Drawn(save_sheet(title, strips, path), text, tuple(used.values()), tuple(dict.fromkeys(absent)))

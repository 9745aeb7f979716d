"""Grids of restored images: the same test images restored by every method of a figure, whole and enlarged."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL.Image import Image

from reports.figures.images import read_image
from reports.figures.naming import dataset_title
from reports.figures.papers.sources import (
    Drawn,
    Entry,
    Sources,
    best_dataset,
    datasets_in,
    image_of,
    missing_rows,
    rows_in,
    runs_of_rows,
)
from reports.figures.sheets import WIDTH, Picture, Strip, save_sheet
from reports.figures.windows import Window, enlarge, worst_windows
from reports.scores.reading import Evaluation

COLUMNS = 8
"""Methods side by side; further methods are below."""


@dataclass(frozen=True)
class Block:
    """One part of a grid: the methods of one task on one dataset."""

    task: str
    """The task's name."""
    rows: tuple[str, ...] = ()
    """The published ids of the methods; empty: the rows of `tables`, or else the methods of the figure's entry."""
    tables: tuple[str, ...] = ()
    """The published tables whose methods and datasets are shown."""
    dataset: str | None = None
    """None: of the entry's or the tables' datasets the one on which most methods were run."""
    heading: str = ""
    """The heading of the part, for a figure with several parts; "" for none."""


@dataclass(frozen=True)
class GridImage:
    """One test image with the results of several runs."""

    name: str
    """The image's name."""
    images: tuple[tuple[str, Image], ...]
    """Label and image: the input, the result of each run, the target."""
    windows: tuple[Window, ...]
    """The parts that are enlarged."""
    runs: tuple[Evaluation, ...]
    """The runs whose results are among the images."""


def image_key(run: Evaluation, rule: str) -> tuple[str, str] | None:
    """The image that a run kept by a rule, and its input ("sharp", "blurred"); None where it kept none."""
    entry = image_of(run, rule)
    return (entry.image, str(entry.condition.get("input", ""))) if entry else None


def read_grid_image(runs: Sequence[Evaluation], rule: str, details: int) -> GridImage | None:
    """Read the image that most runs kept by a rule; None where no run kept one.

    Args:
        details: how many windows are enlarged.

    Raises:
        DataError: an image that cannot be read.
    """
    keys = [key for run in runs if (key := image_key(run, rule))]
    if not keys:
        return None
    chosen = Counter(keys).most_common(1)[0][0]
    kept = [(run, entry) for run in runs if (entry := image_of(run, rule)) and image_key(run, rule) == chosen]
    run, first = kept[0]
    given, target = read_image(run, first.input), read_image(run, first.target)
    restored = [(run.record.title, read_image(run, entry.restored)) for run, entry in kept]
    return GridImage(
        chosen[0],
        (("input", given), *restored, ("target", target)),
        worst_windows([image for _, image in restored], target, details),
        tuple(run for run, _ in kept),
    )


def side_by_side(grid_image: GridImage, heading: str) -> list[Strip]:
    """Methods side by side, each whole above its enlarged windows; rows of at most COLUMNS."""
    strips = []
    for first in range(0, len(grid_image.images), COLUMNS):
        row = grid_image.images[first : first + COLUMNS]
        whole = tuple(Picture(label, image, grid_image.windows) for label, image in row)
        strips.append(Strip("" if first else heading, whole))
        for k, window in enumerate(grid_image.windows):
            enlarged = tuple(Picture("", enlarge(image, window, WIDTH), frame=k) for _, image in row)
            strips.append(Strip("", enlarged))
    return strips


def one_below_another(grid_image: GridImage, heading: str) -> list[Strip]:
    """One method below another, each whole on the left with its enlarged windows on the right."""
    strips = []
    for i, (label, image) in enumerate(grid_image.images):
        enlarged = (Picture("", enlarge(image, window, WIDTH), frame=k) for k, window in enumerate(grid_image.windows))
        strips.append(Strip("" if i else heading, (Picture(label, image, grid_image.windows), *enlarged)))
    return strips


def runs_of_block(block: Block, entry: Entry, sources: Sources) -> tuple[str, list[Evaluation], list[str]]:
    """The dataset of a part, its runs, each once, and the rows that have none."""
    rows = block.rows or (rows_in(sources.published, block.tables) if block.tables else entry.methods)
    datasets = (block.dataset,) if block.dataset else entry.datasets or datasets_in(sources.published, block.tables)
    dataset = best_dataset(sources, block.task, rows, datasets)
    runs = runs_of_rows(sources, block.task, rows, dataset)
    return dataset, list({run.name: run for run in runs.values()}.values()), [row for row in rows if row not in runs]


def grid(
    entry: Entry,
    sources: Sources,
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
        rules: which kept images are shown.
        details: enlarged windows of each, where the error is largest.
        below: one method below another, as in the deblurring papers; else side by side.

    Returns:
        the figure, or why it cannot be drawn.
    Raises:
        DataError: an image that cannot be read.
    """
    strips: list[Strip] = []
    used: dict[str, Evaluation] = {}
    absent: list[str] = []
    names: list[str] = []
    for block in blocks:
        dataset, runs, rows = runs_of_block(block, entry, sources)
        absent += missing_rows(block.task, dataset, rows)
        for rule in rules:
            grid_image = read_grid_image(runs, rule, details)
            if grid_image is None:
                continue
            place = f"{dataset_title(runs[0])}, the {rule} image, {grid_image.name}"
            heading = f"{block.heading}: {place}" if block.heading else place
            strips += (one_below_another if below else side_by_side)(grid_image, heading)
            names.append(f"{grid_image.name} ({rule})")
            used |= {run.name: run for run in grid_image.runs}
            absent += [f"{run.name}, which kept another {rule} image" for run in runs if run not in grid_image.runs]
    if not strips:
        return f"None of its rows has a run ({'; '.join(absent)})."
    boxes = "The coloured box is" if details == 1 else "The coloured boxes are"
    images = list(dict.fromkeys(names))
    text = (
        f"Test image{'s' * (len(images) > 1)} {', '.join(images)}. {boxes} enlarged: where the restored images, on "
        "average over the methods, differ most from the target."
    )
    return Drawn(save_sheet(title, strips, path), text, tuple(used.values()), tuple(dict.fromkeys(absent)))

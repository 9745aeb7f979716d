"""Comparisons of restored images: input, results and target of one test image, whole and in enlarged windows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from bench.record import KeptImage
from bench.tasks import find_task
from reports.figures.images import at_width, read_image
from reports.figures.naming import MAX_RUNS, FigureKey, condition_text, dataset_title, mean_psnr, run_label
from reports.figures.sheets import Picture, Strip, save_sheet
from reports.figures.windows import Window, enlarge, worst_windows
from reports.scores.reading import Evaluation
from reports.tables.runs import join_seeds

WIDTH = 300
"""Width of an image in the figure's files, pixels."""
COLUMNS = 6
"""Images side by side in the figure's files; the next ones are below."""
PAGE_WIDTH = 640
"""Width at most of an image on the page, pixels."""
SMALLEST_WINDOW = 32
"""Sides of an enlarged window at least, pixels."""
BOXES = ("#ff2d55", "#1e90ff")
"""Colours of the first and the second window: red, blue."""
BY_HAND = "by hand"
RULES = {"median": "the median image", "worst": "the worst image", BY_HAND: "chosen by hand"}
"""The kept images that the page shows, by the rule that chose them, and the rule in words."""

Kept = tuple[Evaluation, KeptImage]
"""An evaluation and the record's entry of an image that it kept."""


@dataclass(frozen=True)
class Tile:
    """One image of a comparison."""

    label: str
    """The run's title; "input" or "target"."""
    image: Image.Image
    """As large as the page may show it."""
    details: tuple[Image.Image, ...]
    """The enlarged inside of each window."""
    run: str = ""
    """The evaluation, to whose part of the page the label links; "" for none."""


@dataclass(frozen=True, eq=False)
class Comparison:
    """Input, restored images and target of one test image."""

    title: str
    """Dataset, task and image."""
    tiles: tuple[Tile, ...]
    """The input, the runs, the best first, and the target."""
    windows: tuple[Window, ...]
    """The one or two parts that are enlarged."""
    size: tuple[int, int]
    """Width and height of the images, pixels."""
    left_out: int = 0
    """Further runs that restored this image, left out for lack of room."""


def tile_of(label: str, image: Image.Image, windows: Sequence[Window], run: str = "") -> Tile:
    """An image, at most as wide as the page needs it, with its enlarged windows."""
    smaller = at_width(image, PAGE_WIDTH) if image.width > PAGE_WIDTH else image
    return Tile(label, smaller, tuple(enlarge(image, window, WIDTH) for window in windows), run)


def compare(
    title: str,
    given: Image.Image,
    restored: Sequence[tuple[str, str, Image.Image]],
    target: Image.Image,
    input_run: str = "",
    max_windows: int = 1,
    left_out: int = 0,
) -> Comparison:
    """Compare images of one size.

    Args:
        given: the input.
        restored: label, evaluation and result of each run.
        target: the truth.
        input_run: the evaluation of the unchanged input; "" when there is none.
        max_windows: windows to enlarge, the largest error of the input first.
        left_out: runs that were left out for lack of room.
    """
    windows = worst_windows([given], target, max_windows, smallest=SMALLEST_WINDOW)
    tiles = [tile_of("input", given, windows, input_run)]
    tiles += [tile_of(label, image, windows, run) for label, run, image in restored]
    tiles.append(tile_of("target", target, windows))
    return Comparison(title, tuple(tiles), windows, target.size, left_out)


def save_comparison(comparison: Comparison, path: Path) -> None:
    """Write `path`.png and `path`.svg: each image whole with its boxes, and the enlarged windows below it."""
    strips = []
    for first in range(0, len(comparison.tiles), COLUMNS):
        row = comparison.tiles[first : first + COLUMNS]
        strips.append(Strip("", tuple(Picture(tile.label, tile.image, comparison.windows) for tile in row)))
        for k in range(len(comparison.windows)):
            strips.append(Strip("", tuple(Picture("", tile.details[k], frame=k) for tile in row)))
    save_sheet(comparison.title, strips, path, WIDTH, BOXES)


# The images of runs ---------------------------------------------------------------------------------------------------


def images_to_compare(members: Sequence[Evaluation]) -> list[tuple[str, str, list[Kept]]]:
    """Choose the images to compare: of each rule the one that most evaluations kept, and all that a person chose.

    Returns:
        the rule, a word for the file's name, and the evaluations with their entry.
    """
    chosen = []
    for rule in RULES:
        by_image: dict[tuple[str, str], list[Kept]] = {}
        for evaluation in members:
            for entry in evaluation.record.images:
                if entry.rule == rule:
                    key = (entry.image, condition_text(entry.condition))
                    by_image.setdefault(key, []).append((evaluation, entry))
        most_first = sorted(by_image.values(), key=len, reverse=True)
        for k, kept in enumerate(most_first if rule == BY_HAND else most_first[:1], 1):
            chosen.append((rule, f"{rule.replace(' ', '-')}-{k}" if rule == BY_HAND else rule, kept))
    return chosen


def compare_runs(
    members: Sequence[Evaluation], key: FigureKey, folder: Path
) -> tuple[list[Comparison], set[tuple[str, str]]]:
    """Compare the images that evaluations share: the best runs first, one seed of each, at most MAX_RUNS.

    Returns:
        the comparisons, and (evaluation, image) of all runs that restored the image of one of them.
    """
    comparisons, covered = [], set()
    first_seeds = {group.evaluations[0].name for group in join_seeds(members)}
    for rule, word, kept in images_to_compare(members):
        ranked = sorted(
            (pair for pair in kept if pair[0].name in first_seeds and pair[0].record.method != "input"),
            key=lambda pair: -mean_psnr(pair[0]),
        )
        first, entry = kept[0]
        condition = condition_text(entry.condition)
        title = f"{dataset_title(first)}, {key.task}: {RULES[rule]}, {entry.image}"
        comparison = compare(
            f"{title} ({condition})" if condition else title,
            read_image(first, entry.input),
            [(run_label(run, members), run.name, read_image(run, own.restored)) for run, own in ranked[:MAX_RUNS]],
            read_image(first, entry.target),
            next((run.name for run, _ in kept if run.record.method == "input"), ""),
            max_windows=2 if find_task(key.task).has_views else 1,  # near and far, as in DMTNet's figure 4
            left_out=max(0, len(ranked) - MAX_RUNS),
        )
        save_comparison(comparison, folder / key.file_name(f"images-{word}"))
        comparisons.append(comparison)
        covered |= {(run.name, entry.image) for run, entry in kept}
    return comparisons, covered


def remaining_images(evaluation: Evaluation, covered: set[tuple[str, str]]) -> list[Comparison]:
    """The images of an evaluation that no comparison of several runs covers."""
    return [
        compare(
            f"{dataset_title(evaluation)}: this run's {entry.rule} image, {entry.image}",
            read_image(evaluation, entry.input),
            [(evaluation.record.title, evaluation.name, read_image(evaluation, entry.restored))],
            read_image(evaluation, entry.target),
        )
        for entry in evaluation.record.images
        if entry.rule in RULES and (evaluation.name, entry.image) not in covered
    ]

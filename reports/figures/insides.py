"""Insides of a network: the maps and weights that it makes while it restores one image."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from reports.figures.images import read_image
from reports.figures.naming import dataset_title, run_label
from reports.figures.sheets import Bars, Picture, Sheet, Strip, save_sheet
from reports.scores.reading import Evaluation

WIDTH = 200
"""Width of a tile, pixels."""
COLUMNS = 5
"""Tiles side by side."""

Insides = dict[str, Image.Image | list[float]]
"""The insides of a network by name: maps, or weights (K,)."""


def insides_of(evaluation: Evaluation) -> Insides:
    """The insides that an evaluation kept; empty where its method shows none.

    Raises:
        DataError: an image that cannot be read.
    """
    return {
        inside.name: read_image(evaluation, inside.file) if inside.file else list(inside.values)
        for inside in evaluation.record.insides
    }


def save_insides(insides: Insides, title: str, path: Path) -> Image.Image:
    """Write insides as tiles below their names, `path`.png and `path`.svg, and return the pixels.

    A map smaller than a tile is enlarged without blending its pixels; weights are bars, negative ones in red.
    """
    tiles = [
        Picture(name, inside) if isinstance(inside, Image.Image) else Bars(name, inside)
        for name, inside in insides.items()
    ]
    strips = [Strip("", tuple(tiles[first : first + COLUMNS])) for first in range(0, len(tiles), COLUMNS)]
    return save_sheet(title, strips, path, WIDTH)


def inside_sheet(evaluation: Evaluation, members: Sequence[Evaluation], folder: Path) -> Sheet | None:
    """Draw the insides of one run's network for its median image; None where its method shows none.

    Args:
        members: all runs of its task and dataset, from which its label must differ.

    Raises:
        DataError: an image that cannot be read.
    """
    insides = insides_of(evaluation)
    if not insides:
        return None
    image = next((kept.image for kept in evaluation.record.images if kept.rule == "median"), "")
    title = f"Inside {run_label(evaluation, members)}, {dataset_title(evaluation)}: the median image, {image}"
    file = f"insides-{evaluation.name}"
    return Sheet(title, save_insides(insides, title, folder / file), file)

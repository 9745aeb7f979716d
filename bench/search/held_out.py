"""The photographs that a search keeps out of the training, to score its trials on them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from bench.contracts import DataError, Method
from bench.data.manifest import BuiltSet
from bench.params.recipe_schema import Recipe
from bench.tasks import find_task

if TYPE_CHECKING:
    import pandas as pd
    import torch
    from torch import Tensor

STREAM = 1
"""Added to the run's seed, so that the draw of the photographs differs from all other draws of the run."""


@dataclass(frozen=True)
class ValidationImage:
    """An image of a held-out photograph."""

    batch: Mapping[str, Tensor]
    """Its inputs as the method gets them, (1, C, H, W)."""
    truth: np.ndarray
    """The target as stored, uint8 or uint16 (H, W, 3)."""
    mask: np.ndarray | None
    """The hole, uint8 (H, W) with 255 = hole; None for a task without one."""


def photograph_of(rows: pd.DataFrame) -> np.ndarray:
    """Return the name of the photograph that each manifest row shows.

    All rows of one source show one photograph. Frames of a film are nearly equal: where the scenes have names, all
    sources of a scene are one photograph, unless all sources have the same scene.
    """
    first = rows.drop_duplicates("source").set_index("source")["scene"].fillna("")
    names = {source: scene or source for source, scene in first.items()}
    names = names if len(set(names.values())) > 1 else {source: source for source in first.index}
    return rows["source"].map(names).to_numpy(str)


def hold_out(rows: pd.DataFrame, share: float, seed: int, where: str) -> tuple[np.ndarray, np.ndarray]:
    """Draw whole photographs that are not trained on, at least one.

    An image that is mixed of a held-out photograph and another one is neither validated on nor trained on.

    Args:
        rows: the manifest rows of the training images.
        share: of the photographs to hold out.
        seed: of the run.
        where: the dataset's folder, for messages.

    Returns:
        two arrays of booleans, one value per row: whether it shows held-out photographs only, and whether it shows any
        held-out photograph.

    Raises:
        DataError: there is only one photograph, or too many images are mixed of several.
    """
    shown = photograph_of(rows)
    names = np.unique(shown)
    if len(names) < 2:
        raise DataError(
            f"{where}: all {len(rows)} training images are of one photograph, {str(names[0])!r}; a search needs two or "
            "more, to train on some and to score on others"
        )
    count = min(max(1, round(share * len(names))), len(names) - 1)
    chosen = np.random.default_rng([seed, STREAM]).permutation(names)[:count]
    only = some = np.isin(shown, chosen)
    if "other_sources" in rows:  # not in a dataset that an older version built
        name_of = dict(zip(rows["source"], shown, strict=True))
        others = rows["other_sources"].reset_index(drop=True).map(json.loads).explode().dropna()
        held = others.map(lambda source: name_of.get(source, source)).isin(chosen).groupby(level=0)
        only = some & held.all().reindex(range(len(rows)), fill_value=True).to_numpy(bool)
        some = some | held.any().reindex(range(len(rows)), fill_value=False).to_numpy(bool)
    if not only.any() or some.all():
        raise DataError(
            f"{where}: too many training images are mixed of several photographs: of {len(rows)}, {only.sum()} show "
            f"only held-out ones and {(~some).sum()} show none of them; build the dataset with fewer mixed images"
        )
    return only, some


def take_in_turn(rows: pd.DataFrame, most: int) -> pd.DataFrame:
    """Return at most `most` rows: the first of every photograph, then the second of each, and so on."""
    turn = rows.groupby(photograph_of(rows)).cumcount()
    return rows.iloc[np.argsort(turn.to_numpy(), kind="stable")[:most]]


def read_validation_images(
    built: BuiltSet, rows: pd.DataFrame, recipe: Recipe, method: Method, device: torch.device
) -> tuple[ValidationImage, ...]:
    """Read the images of some manifest rows; the auxiliary maps of their inputs are made here, once per search."""
    import torch

    from bench.scoring.cases import inputs_of, read_case
    from bench.scoring.restore import prepared

    source = recipe.train.input or inputs_of(recipe.task, built)[0]
    names = find_task(recipe.task).inputs
    images = []
    for row in rows.to_dict("records"):
        case = read_case(built, {str(key): value for key, value in row.items()}, recipe.task, source)
        batch = {name: torch.from_numpy(case.arrays[name]).permute(2, 0, 1)[None].to(device) for name in names}
        images.append(ValidationImage(prepared(method, batch), case.truth, case.mask))
    return tuple(images)

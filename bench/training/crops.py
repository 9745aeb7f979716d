"""The training data of a run."""

from __future__ import annotations

from bench.contracts import Method
from bench.data import auxiliary
from bench.data.batches import Crops
from bench.data.manifest import BuiltSet
from bench.params.recipe_schema import Recipe


def read_crops(built: BuiltSet, recipe: Recipe, method: Method) -> Crops:
    """Open the training images of a built dataset, and the auxiliary maps that the method needs, for a run.

    Raises:
        DataError: the dataset does not serve the task, an image is smaller than the crop, or a map is not made yet.
    """
    train = recipe.train
    maps = {name: auxiliary.read(built, name, auxiliary_map) for name, auxiliary_map in method.auxiliary.items()}
    return Crops(built, recipe.task, train.crop_size, train.augment, recipe.seed, train.input or "", maps)

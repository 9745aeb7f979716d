"""Kinds of values in `params.yaml` and recipes, their names and ranges."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from bench.names import fault_of
from bench.tasks import find_task

Profile = Literal["paper", "sample", "tour"]
PROFILES: dict[str, tuple[Profile, ...]] = {
    "paper": ("paper",),
    "sample": ("paper", "sample"),
    "tour": ("paper", "sample", "tour"),
}
"""By profile, the profiles whose values it takes, in order; later values win."""
PATH = Path("params.yaml")
WINNER = "winner.yaml"
"""The file in a search's folder that holds what it found: a part of a recipe."""
STUDY = "study.json"
"""The file there that holds what was searched, how, the result, and the hashes of the other files."""
OWN_METHODS = "methods"
"""The value of `methods` that means the project's own folder alone."""

# Strict: a text or a truth value in the place of a number is a mistake, not a number.
Positive = Annotated[int, Field(gt=0, le=10**9, strict=True)]
Count = Annotated[int, Field(ge=0, le=10**9, strict=True)]
Seed = Annotated[int, Field(ge=0, lt=2**63, strict=True)]
Side = Annotated[int, Field(gt=0, le=2**14, strict=True)]
"""Of an image or a crop, in pixels."""
Few = Annotated[int, Field(gt=0, le=10_000, strict=True)]
"""Images, repeats or processes: each of them takes memory or time."""
Threads = Annotated[int, Field(ge=0, le=1024, strict=True)]
Beta = Annotated[float, Field(ge=0, lt=1, strict=True)]
Fraction = Annotated[float, Field(ge=0, le=1, strict=True)]
Rate = Annotated[float, Field(gt=0, le=1, strict=True)]
Share = Annotated[float, Field(gt=0, lt=1, strict=True)]
PositiveFloat = Annotated[float, Field(gt=0, strict=True)]
Weight = Annotated[float, Field(ge=0, strict=True)]
TEXT_FOR_NUMBER = re.compile(r"[+-]?\d+(\.\d*)?[eE][+-]?\d+")
"""Numbers that PyYAML reads as text, like 1e-4."""


def _valid(name: str) -> str:
    """Raise ValueError for a name that breaks the rule of names."""
    if fault := fault_of(name):
        raise ValueError(fault)
    return name


def _one_line(text: str, longest: int = 1000) -> str:
    """Raise ValueError for a text that is empty, too long, or that no message can show on one line."""
    if not text or len(text) > longest or not text.isprintable():
        raise ValueError(f"expected 1 to {longest:,} printable characters, without a line break")
    return text


def _named_like_its_file(method: str) -> str:
    """Raise ValueError for a method's name with hyphens: `params.yaml` names the file."""
    if "-" in method:
        raise ValueError(f"a method is named like its file here: write {method.replace('-', '_')}")
    return method


def _named_like_its_folder(dataset: str) -> str:
    """Raise ValueError for a dataset's name with underscores: the folder of its built images has hyphens."""
    if "_" in dataset:
        raise ValueError(f"a dataset is named with hyphens: write {dataset.replace('_', '-')}")
    return dataset


TaskName = Annotated[str, AfterValidator(lambda name: find_task(name).name)]
Name = Annotated[str, AfterValidator(_valid)]
"""A name that becomes a file, a folder, an entry of MLflow or a word of a command: see `bench.names`."""
Text = Annotated[str, AfterValidator(lambda text: _one_line(text, 200))]
"""What a table prints."""
RowIds = Annotated[tuple[Text, ...], BeforeValidator(lambda value: (value,) if isinstance(value, str) else value)]
"""Ids of rows of the published tables, one or several: papers list the same method under several names."""
Folder = Annotated[str, AfterValidator(_one_line)]
"""A folder that commands use as it is, wherever it is: no shell ever reads it."""
MethodName = Annotated[Name, AfterValidator(_named_like_its_file)]
DatasetName = Annotated[Name, AfterValidator(_named_like_its_folder)]


class Section(BaseModel):
    """A part of `params.yaml` or of a recipe: unknown keys are refused, values never change."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True, allow_inf_nan=False)

"""What `verify` and `build` share: the job that their options describe, and counts of images in words."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from bench import yaml_input
from bench.contracts import UserError
from bench.contracts.errors import brief

if TYPE_CHECKING:
    from bench.data.build import Job
    from bench.params.schema import Params


def make_job(params: Params, dataset: str, originals: Path | None, partial: bool, options: Sequence[str]) -> Job:
    """Return the build job of a dataset.

    Args:
        dataset: its name; underscores count as hyphens.
        originals: the folder of the official files; None for the default, which is the stand-in or, in the profile
            `paper`, the dataset's folder of originals.
        partial: accept fewer files than the official count.
        options: NAME=VALUE texts, which override the dataset's options of `params.yaml`.

    Raises:
        UserError: an unknown dataset, `partial` for a stand-in, an option that is not NAME=VALUE.
        ParamsError: a wrong option of the dataset.
    """
    from bench import registry
    from bench.data.build import Job
    from bench.params import resolving

    name = dataset.replace("_", "-")
    registry.module_name("datasets", name)
    if originals is None and params.profile == "paper":
        originals = Path(params.paths.originals, name)
    if originals is None and partial:
        raise UserError(
            f"--partial: the stand-in of {name} is never incomplete; give the official files with --originals DIR, or "
            "leave out --partial"
        )
    choices = resolving.dataset_options(params, name, originals is not None) | _parse_options(options)
    return Job(name, originals, choices, params.seed, params.profile, partial)


def _parse_options(texts: Sequence[str]) -> dict[str, object]:
    """Parse NAME=VALUE texts, each value as YAML. Raises UserError for any other text."""
    options = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals:
            raise UserError(f"--option: found {brief(text)}, expected NAME=VALUE, as in resolution=large")
        options[name] = yaml_input.parse(value, f"--option {brief(name)[1:-1]}")
    return options


def counts_text(counts: Mapping[str, int]) -> str:
    """Return the number of images per split in words.

    >>> counts_text({"train": 2103, "test": 1111})
    '2,103 train, 1,111 test'
    """
    return ", ".join(f"{count:,} {split}" for split, count in counts.items()) or "no official count"


def pictures_per_split(images: Iterable[tuple[str, str]]) -> dict[str, int]:
    """Count the pictures that images were made from; official counts are of pictures.

    Args:
        images: split and source picture of each image.

    >>> pictures_per_split([("train", "a.png"), ("train", "a.png"), ("test", "b.png")])
    {'train': 1, 'test': 1}
    """
    sources: dict[str, set[str]] = {}
    for split, source in images:
        sources.setdefault(split, set()).add(source)
    return {split: len(pictures) for split, pictures in sources.items()}


def images_text(images: Sequence[tuple[str, str]]) -> str:
    """Return the number of images per split in words, with that of their pictures where there are fewer.

    Args:
        images: split and source picture of each image.

    >>> images_text([("train", "a.png"), ("train", "a.png"), ("test", "b.png")])
    '2 train (of 1 picture), 1 test'
    """
    parts = []
    for split, pictures in pictures_per_split(images).items():
        count = sum(name == split for name, _ in images)
        fewer = f" (of {pictures:,} picture{'s' * (pictures > 1)})" if count > pictures else ""
        parts.append(f"{count:,} {split}{fewer}")
    return ", ".join(parts)

"""Datasets with mistakes: each is one message with its place."""

from __future__ import annotations

import errno
from pathlib import Path

import numpy as np
import pytest

from bench import registry
from bench.contracts import DataError, Item, Made, ParamsError, UserError
from bench.data import build as building
from bench.data.build import Job, build, items, verify
from tests.bench.data.toys import JOB, swapped


def test_doubled_names_and_no_images_are_refused(toys, tmp_path, monkeypatch):
    with pytest.raises(DataError, match=r"no such folder\. Toys: nowhere: write them yourself"):
        items(Job("toys", tmp_path / "none", {}, 0, "paper"))
    with pytest.raises(DataError, match=r"no image found\. Toys: nowhere"):
        items(Job("toys", tmp_path, {}, 0, "paper"))
    made = registry.dataset("toys").offline()
    swapped(monkeypatch, offline=lambda: [*made, made[0]])
    with pytest.raises(DataError, match=r"two images of split \w+ have the name"):
        items(JOB)


def test_a_misspelt_option_names_the_nearest(toys):
    with pytest.raises(UserError, match=r"datasets\.toys\.offline\.draw: unknown argument; the nearest are: draws"):
        items(Job("toys", None, {"draw": 3}, 0, "sample"))


def out_of_range(draws: int = 4) -> list[Item]:
    raise ParamsError(f"draws: found {draws}, expected 1")


def locked_file(rng: np.random.Generator | None = None) -> Made:
    raise PermissionError(errno.EACCES, "Permission denied", "originals/x.png")


def too_small(rng: np.random.Generator) -> Made:
    raise ParamsError("a camera path: found a photograph of 4x4")


def test_an_error_of_a_dataset_names_its_place(toys, tmp_path, monkeypatch):
    for make, kind, message in (
        (too_small, ParamsError, r"^params\.yaml: datasets\.toys\.offline: train/a: a camera path: found a photograph"),
        (locked_file, DataError, r"^originals/x\.png: cannot be read \(Permission denied\); change its"),
    ):
        swapped(monkeypatch, offline=lambda make=make: [Item("a", "train", make, "", "")])
        for command in (verify, lambda job: build(job, tmp_path / "set", 1)):
            with pytest.raises(kind, match=message):
                command(JOB)
    swapped(monkeypatch, offline=out_of_range)
    with pytest.raises(ParamsError, match=r"^params\.yaml: datasets\.toys\.offline\.draws: found 4, expected 1$"):
        items(JOB)
    swapped(monkeypatch, offline=locked_file)
    with pytest.raises(DataError, match=r"^originals/x\.png: cannot be read"):
        items(JOB)
    assert not (tmp_path / "set").exists()


def test_an_original_that_cannot_be_read_is_one_message(toys, tmp_path, monkeypatch):
    def refuse(path: Path) -> str:
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    swapped(monkeypatch, offline=lambda: [Item("a", "train", missing_mask, "", "", (tmp_path / "x.png",))])
    monkeypatch.setattr(building, "sha256", refuse)
    with pytest.raises(DataError, match=r"x\.png: cannot be read \(Permission denied\)"):
        building._make(JOB, tmp_path, items(JOB)[0])


def missing_mask(rng: np.random.Generator) -> Made:
    return Made({"target": np.zeros((4, 4, 3), np.uint8), "blurred": np.zeros((4, 4, 3), np.uint8)})


def two_sizes(rng: np.random.Generator) -> Made:
    black = np.zeros((4, 4, 3), np.uint8)
    return Made({"target": black, "blurred": black[:3], "mask": black[..., 0]})


@pytest.mark.parametrize(
    ("make", "message"),
    [(missing_mask, "toys: train/a: no mask was made"), (two_sizes, "toys: train/a: the images of one sample differ")],
)
def test_an_item_without_the_promised_images_is_refused(toys, tmp_path, monkeypatch, make, message):
    swapped(monkeypatch, offline=lambda: [Item("a", "train", make, "", "")])
    with pytest.raises(DataError, match=message):
        build(JOB, tmp_path / "set", 1)

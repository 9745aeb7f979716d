"""Scoring files of other programs: the same values as of a run, and what is refused."""

from __future__ import annotations

import shutil
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from bench.data import user_images
from bench.files import sha256
from bench.hashes import digest
from tests.bench.scoring.toys import image_values
from tests.images import read_png


def test_scoring_the_saved_files_gives_the_same_values(ready, saved):
    ready.good("score", saved, "--dataset", "gopro", "--label", "saved")
    ours, theirs = image_values(ready.scores("mrfnet-gopro")), image_values(ready.scores("saved"))
    pd.testing.assert_series_equal(ours, theirs, check_exact=True)
    record = ready.record("saved")
    assert record.kind == "predictions"
    hashes = "".join(sha256(path) for path in sorted(saved.glob("*.png")))
    assert record.provenance.predictions_sha256 == digest(hashes.encode())


@pytest.fixture
def predictions(saved, tmp_path) -> Path:
    return Path(shutil.copytree(saved, tmp_path / "predictions"))


def first(folder: Path) -> Path:
    return min(folder.glob("*.png"))


def test_the_recorded_hash_is_that_of_the_bytes_that_were_scored(ready, predictions, monkeypatch):
    """A file that is changed after it was read does not change the hash of what was scored."""
    before = "".join(sha256(path) for path in sorted(predictions.glob("*.png")))
    read = user_images.read_image_bytes

    def read_and_change(path: Path) -> bytes:
        data = read(path)
        path.write_bytes(data + b"changed")
        return data

    monkeypatch.setattr("bench.scoring.predictions.read_image_bytes", read_and_change)
    ready.good("score", predictions, "--dataset", "gopro", "--label", "changing")
    assert ready.record("changing").provenance.predictions_sha256 == digest(before.encode())


def test_a_missing_prediction(ready, predictions):
    first(predictions).unlink()
    message = ready.bad("score", predictions, "--dataset", "gopro", "--label", "bad")
    assert f"1 of {len(list(predictions.iterdir())) + 1} predictions are missing" in message


def test_a_prediction_of_another_size(ready, predictions):
    path = first(predictions)
    height, width = read_png(path).shape[:2]
    cv2.imwrite(str(path), np.zeros((height, width - 1, 3), np.uint8))
    message = ready.bad("score", predictions, "--dataset", "gopro", "--label", "bad")
    assert f"found {width - 1}x{height} pixels, expected {width}x{height} pixels" in message
    assert path.name in message


@pytest.mark.parametrize("cut", [0, 20, 3000])
def test_a_damaged_prediction(ready, predictions, cut):
    path = max(predictions.glob("*.png"))
    path.write_bytes(path.read_bytes()[:cut])
    message = ready.bad("score", predictions, "--dataset", "gopro", "--label", "bad")
    assert path.name in message
    assert not (ready.folder / "out" / "sample" / "scores" / "bad").exists()


def test_predictions_with_more_bits_with_transparency_or_in_grey(ready, predictions):
    path = first(predictions)
    image = read_png(path)
    cv2.imwrite(str(path), image.astype(np.uint16) * 257)
    assert "found 16 bits per value, the truth has 8" in ready.bad(
        "score", predictions, "--dataset", "gopro", "--label", "bad"
    )
    Image.fromarray(np.dstack([image, np.full(image.shape[:2], 9, np.uint8)])).save(path)
    assert "alpha channel" in ready.bad("score", predictions, "--dataset", "gopro", "--label", "bad")
    Image.fromarray(image[..., 0]).save(path)
    ready.good("score", predictions, "--dataset", "gopro", "--label", "grey")  # three equal channels


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--label", "mrfnet-gopro"), "is a run of params.yaml"),
        (("--label", "dmphn+rn"), "is a run of params.yaml"),
        (("--label", "../up"), "expected ASCII letters"),
        (("--label", ".."), "expected ASCII letters"),
        (("--label", ".mine"), "expected ASCII letters"),
        (("--label", "ok", "--task", "inpaint"), "gopro serves deblur, not 'inpaint'"),
        (("--label", "ok", "--dataset", "gopr"), "the nearest are: gopro"),
        (("--label", "ok", "--dataset", "visdrone"), "not built yet; run: python -m bench build visdrone"),
    ],
)
def test_bad_arguments_of_score_are_refused(ready, saved, arguments, message):
    assert message in ready.bad("score", saved, "--dataset", "gopro", *arguments)


def test_predictions_replace_only_predictions(ready, saved):
    place = ready.folder / "out" / "sample" / "scores" / "input-gopro-on-kohler"
    ready.good("evaluate", "input-gopro", "--on", "kohler")
    before = {path: path.read_bytes() for path in place.rglob("*") if path.is_file()}
    message = ready.bad("score", saved, "--dataset", "gopro", "--label", place.name)
    assert f"--label: out/sample/scores/{place.name} holds scores of the kind 'no training', not of pred" in message
    assert f"choose another label than {place.name!r}" in message
    assert {path: path.read_bytes() for path in place.rglob("*") if path.is_file()} == before
    for _ in range(2):
        ready.good("score", saved, "--dataset", "gopro", "--label", "again")

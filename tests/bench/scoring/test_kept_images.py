"""The test images that an evaluation keeps: by rule, and chosen by a person."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from bench.contracts import ParamsError
from bench.data import manifest
from bench.params.loading import load
from bench.params.resolving import evaluation
from bench.params.schema import Evaluate
from bench.scoring.kept_images import choose_images
from tests.manifests import ABOUT, ROW


def built_set(folder: Path, names: list[str]) -> manifest.BuiltSet:
    """A built set whose inputs get worse from name to name."""
    psnr = np.linspace(30, 20, len(names))
    rows = [ROW | {"name": name, "input_psnr": value} for name, value in zip(names, psnr, strict=True)]
    manifest.write(folder / manifest.NAME, rows, ABOUT)
    return manifest.read(folder)


def test_images_are_chosen_by_rule_and_by_a_person(tmp_path):
    built = built_set(tmp_path, list("abcde"))
    assert choose_images(built, Evaluate(keep_images=3)) == {"c": "median", "e": "worst", "d": "further 1"}
    by_hand = choose_images(built, Evaluate(keep_images=3, images={"gopro": ["a", "e", "d"], "kohler": ["z"]}))
    assert by_hand == {"c": "median", "e": "worst", "d": "by hand", "a": "by hand"}
    with pytest.raises(ParamsError, match=r"images: gopro: no test image 'bb' in .*; the nearest are: b"):
        choose_images(built, Evaluate(images={"gopro": ["bb"]}))


def test_images_by_hand_belong_to_a_profile_and_a_dataset(tmp_path):
    path = tmp_path / "params.yaml"
    path.write_text("{profile: sample, evaluate: {paper: {keep_images: 3, images: {gopro: [x]}}}}")
    assert evaluation(load(path)).images == {} and evaluation(load(path)).keep_images == 3
    assert evaluation(load(path, "paper")).images == {"gopro": ["x"]}
    path.write_text("{profile: sample, evaluate: {sample: {images: {gorpo: [x]}}}}")
    with pytest.raises(ParamsError, match=r"evaluate.sample.images.gorpo: no dataset 'gorpo'; the nearest are: gopro"):
        load(path)

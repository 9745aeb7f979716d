"""What an evaluation keeps of the inside of a network."""

from __future__ import annotations

import contextlib
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from bench.contracts import UserError, supervised
from bench.data import manifest
from bench.data.built_images import as_float
from bench.params import loading
from bench.record import Inside
from bench.runs import Trained
from bench.scoring.kept_images import look_inside
from bench.scoring.restore import prepared
from tests.bench.scoring.toys import Identity, picture
from tests.images import read_png
from tests.make_scores import Spec, record_of

# Rows and insides -----------------------------------------------------------------------------------------------------


def test_a_run_keeps_what_happens_inside_it(ready, saved):
    from bench import runs

    with contextlib.chdir(ready.folder):
        trained = runs.load(loading.load(), "mrfnet-gopro")
    built = manifest.read(ready.folder / "data" / "sample" / "gopro")
    record = ready.record("mrfnet-gopro")
    (median,) = [kept.image for kept in record.images if kept.rule == "median"]
    row = built.split("test").set_index("name").loc[median]
    x = torch.from_numpy(as_float(read_png(built.folder / row["file_blurred"]))).permute(2, 0, 1)[None]
    with torch.inference_mode():
        expected = trained.method.insides(trained.networks, prepared(trained.method, {"x": x}))
    assert [kept.name for kept in record.insides] == list(expected)
    place = ready.folder / "out" / "sample" / "scores" / "mrfnet-gopro"
    for kept, value in zip(record.insides, expected.values(), strict=True):
        kept_image = as_float(read_png(place / kept.file)).transpose(2, 0, 1)
        assert kept_image.shape == value.shape[1:] and np.abs(kept_image - value[0].numpy()).max() <= 0.6 / 255
    assert record.watched == trained.method.watched
    ready.good("evaluate", "input-gopro")
    without = ready.record("input-gopro")
    assert (without.insides, without.watched) == ((), ())


def inside(shown: dict[str, torch.Tensor], folder: Path) -> tuple[Inside, ...]:
    """What is kept of a method that shows this, for an image of 5x7 pixels padded to 8x8."""

    def insides(networks: nn.ModuleDict, batch: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        assert batch["x"].shape == (1, 3, 8, 8)
        return shown

    method = supervised("deblur", Identity, nn.functional.mse_loss, multiple=8, tiling="none", insides=insides)
    trained = Trained(
        replace(record_of(Spec("mine", "gopro", "deblur", 29.0)), run="mine"),
        method,
        nn.ModuleDict(method.networks()).eval(),
    )
    return look_inside(trained, {"x": picture(5, 7)}, folder)


def test_maps_are_files_and_weights_are_numbers(tmp_path):
    grey, colour = torch.tensor([[[[0.0, 0.5, 1.0]]]]), torch.rand(1, 3, 4, 6)
    listed = inside({"Path 1: x": grey, "path 1 (x)": colour, "weights": torch.tensor([0.25, -2.0])}, tmp_path)
    assert listed == (
        Inside("Path 1: x", "images/insides/path-1-x.png", ()),
        Inside("path 1 (x)", "images/insides/path-1-x-2.png", ()),
        Inside("weights", "", (0.25, -2.0)),
    )
    assert read_png(tmp_path / "images" / "insides" / "path-1-x.png").tolist() == [[0, 128, 255]]
    stored = read_png(tmp_path / "images" / "insides" / "path-1-x-2.png")
    assert np.abs(as_float(stored) - colour[0].permute(1, 2, 0).numpy()).max() <= 0.51 / 255


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (torch.rand(1, 2, 4, 4), r"found the shape \(1, 2, 4, 4\), expected \(1, 1 or 3, h, w\)"),
        (torch.rand(2, 3, 4, 4), r"found the shape \(2, 3, 4, 4\)"),
        (torch.full((1, 1, 2, 2), 1.5), r"found values from 1\.5 to 1\.5, expected \[0, 1\]"),
        (torch.full((3,), math.nan), "NaN or infinite"),
    ],
)
def test_an_inside_that_is_neither_an_image_nor_weights_is_refused(tmp_path, value, message):
    with pytest.raises(UserError, match=rf"mine: inside 'map': .*{message}"):
        inside({"map": value}, tmp_path)

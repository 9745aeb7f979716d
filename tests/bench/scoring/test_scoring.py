"""Evaluating, scoring other programs' files, restoring photographs, tiles, and chains, by the commands' own code."""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import json
import math
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from skimage.metrics import peak_signal_noise_ratio
from torch import nn

from bench import registry
from bench.contracts import DataError, ParamsError, UserError, supervised
from bench.data import manifest
from bench.data.built_images import as_float, read_png
from bench.params import loading, resolving
from bench.record import RECORD, Inside, RandomHelper, TrainingSet, read_record, write_record
from bench.runs import Trained, settled
from bench.scoring import photographs
from bench.scoring.cases import inputs_of, read_case, to_depth
from bench.scoring.kept_images import look_inside
from bench.scoring.metrics import catalogue, measure, perceptual
from bench.scoring.plans import find_plan
from bench.scoring.restore import OVERLAP, pad, prepared, restore
from bench.training.device import full_float32
from reports.scores import reading
from tests.conftest import PARAMS, Project
from tests.make_scores import Spec, record_of

ROOT = Path(__file__).parents[3]
KEYS = ["image", "input", "mask_kind", "mask_band", "metric"]


@pytest.fixture(scope="module")
def ready(project):
    """The project with its sets built and its runs trained: one truly, the others as drawn."""
    for dataset in ("gopro", "places2", "kohler", "canon-dp"):
        project.good("build", dataset, "--jobs", "1")
    project.good("train", "mrfnet-gopro")
    for name in ("dmphn-places2", "rn-places2", "dpdnet-canon-dp"):
        project.pretend_trained(name)
    return project


def values(frame: pd.DataFrame) -> pd.Series:
    """The measured values of images by what tells them apart."""
    return frame[frame["image"] != ""].set_index(KEYS)["value"].sort_index()


# Evaluate and score ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def saved(ready, tmp_path_factory) -> Path:
    """What `evaluate --save` writes of the trained run."""
    folder = tmp_path_factory.mktemp("saved")
    ready.good("evaluate", "mrfnet-gopro", "--save", folder)
    return folder


def test_an_evaluation_has_a_row_an_image_and_metric(ready, saved):
    scores, record = ready.scores("mrfnet-gopro"), ready.record("mrfnet-gopro")
    built = manifest.read(ready.folder / "data" / "sample" / "gopro")
    names = set(built.split("test")["name"])
    images = scores[scores["image"] != ""]
    assert set(images["image"]) == names == {path.stem for path in saved.glob("*.png")}
    plain = [m.id for m in catalogue.METRICS.values() if not m.needs_mask and not m.needs_references]
    assert set(images["metric"]) == set(plain) & set(images["metric"]) >= {"psnr-rgb8", "ssim-gauss11", "mae"}
    assert len(images) == len(names) * images["metric"].nunique()
    assert images["value"].notna().all()
    assert set(scores["origin"]) == {"offline photographs"}
    for name in names:
        row = built.split("test").set_index("name").loc[name]
        truth = read_png(built.folder / row["file_target"])
        ours = images.set_index(["image", "metric"]).loc[(name, "psnr-rgb8"), "value"]
        assert ours == pytest.approx(peak_signal_noise_ratio(truth, read_png(saved / f"{name}.png")), abs=1e-9)
    assert record.provenance.manifest_sha256 == built.digest
    assert record.provenance.mlflow_run
    assert record.provenance.weights_sha256
    assert len(record.images) == 2
    place = ready.folder / "out" / "sample" / "scores" / "mrfnet-gopro"
    assert all((place / file).is_file() for kept in record.images for file in (kept.input, kept.restored, kept.target))


def test_costs_stand_in_the_same_table(ready, saved):
    costs = ready.scores("mrfnet-gopro").query("image == ''").set_index("metric")
    count = sum(p.numel() for net in registry.method("mrfnet").networks(channels=4).values() for p in net.parameters())
    assert costs.loc["params-total", "value"] == pytest.approx(count / 1e6)
    assert costs.loc["file-size", "value"] >= 4 * count / 1e6
    assert {"params", "macs", "seconds", "memory"} <= set(costs.index)
    assert (costs.loc[["params", "macs", "seconds"], "value"] > 0).all()
    assert set(costs.loc[["seconds", "memory", "macs"], "size"]) == {"48x32"}


def test_what_cannot_be_measured_says_why(ready, saved):
    """No network of LPIPS is on a machine that fetched none; a person who has it sees values instead."""
    rows = ready.scores("mrfnet-gopro").query("metric == 'lpips-alex'")
    if rows["value"].notna().all():
        pytest.skip("the network of LPIPS is on this machine")
    assert len(rows) == 1
    reason = rows["reason"].iloc[0]
    assert "alexnet" in reason or "not installed" in reason
    assert ready.record("mrfnet-gopro").not_measured["lpips-alex"] == reason


def test_scoring_the_saved_files_gives_the_very_same_values(ready, saved):
    ready.good("score", saved, "--dataset", "gopro", "--label", "saved")
    ours, theirs = values(ready.scores("mrfnet-gopro")), values(ready.scores("saved"))
    pd.testing.assert_series_equal(ours, theirs, check_exact=True)
    record = ready.record("saved")
    assert record.kind == "predictions"
    assert record.provenance.predictions_sha256


def test_both_inputs_of_an_inpainting_run_are_saved_and_scored(ready, tmp_path):
    ready.good("evaluate", "telea-places2", "--save", tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["blurred", "sharp"]
    ready.good("score", tmp_path, "--dataset", "places2", "--label", "holes", "--task", "inpaint")
    ours, theirs = values(ready.scores("telea-places2")), values(ready.scores("holes"))
    assert set(ours.index.get_level_values("input")) == {"sharp", "blurred"}
    pd.testing.assert_series_equal(ours, theirs, check_exact=True)
    assert "psnr-rgb8-hole" in ours.index.get_level_values("metric")
    fid = ready.scores("holes").query("metric == 'fid'")
    assert len(fid)
    assert (fid["value"].notna() | (fid["reason"] != "")).all()


@pytest.fixture
def predictions(saved, tmp_path) -> Path:
    return Path(shutil.copytree(saved, tmp_path / "predictions"))


def first(folder: Path) -> Path:
    return min(folder.glob("*.png"))


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


def test_a_prediction_that_is_deeper_or_transparent_or_grey(ready, predictions):
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
        (("--label", "../up"), "expected letters, digits"),
        (("--label", ".."), "expected letters, digits"),
        (("--label", ".mine"), "expected letters, digits"),
        (("--label", "ok", "--task", "inpaint"), "gopro serves deblur, not 'inpaint'"),
        (("--label", "ok", "--dataset", "gopr"), "the nearest are: gopro"),
        (("--label", "ok", "--dataset", "visdrone"), "not built yet; run: python -m bench build visdrone"),
    ],
)
def test_a_score_that_cannot_be(ready, saved, arguments, message):
    assert message in ready.bad("score", saved, "--dataset", "gopro", *arguments)


def test_predictions_take_the_place_of_predictions_alone(ready, saved):
    place = ready.folder / "out" / "sample" / "scores" / "input-gopro-on-kohler"
    ready.good("evaluate", "input-gopro", "--on", "kohler")
    before = {path: path.read_bytes() for path in place.rglob("*") if path.is_file()}
    message = ready.bad("score", saved, "--dataset", "gopro", "--label", place.name)
    assert f"--label: out/sample/scores/{place.name} holds scores of the kind 'no training', not of pred" in message
    assert f"choose another label than {place.name!r}" in message
    assert {path: path.read_bytes() for path in place.rglob("*") if path.is_file()} == before
    for _ in range(2):
        ready.good("score", saved, "--dataset", "gopro", "--label", "again")


def test_a_folder_that_is_not_there(ready, tmp_path):
    assert "no such folder" in ready.bad("score", tmp_path / "no", "--dataset", "gopro", "--label", "bad")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("mrfnet-gopr",), "the nearest are: mrfnet-gopro"),
        (("mrfnet-gopro", "--on", "gopr0"), "the nearest are: gopro"),
        (("mrfnet-gopro", "--on", "paris-streetview"), "not built yet"),
        (("mrfnet-gopro", "--on", "canon-dp"), "canon-dp serves dual-pixel, not deblur"),
    ],
)
def test_an_evaluation_that_cannot_be(ready, arguments, message):
    assert message in ready.bad("evaluate", *arguments)


def test_values_that_are_no_numbers_are_never_black_pixels():
    image = np.full((2, 2, 3), 0.5, np.float32)
    assert to_depth(image, np.dtype(np.uint8)).tolist() == np.full((2, 2, 3), 128).tolist()
    image[0, 0, 0] = math.nan
    with pytest.raises(DataError, match="NaN or infinite"):
        to_depth(image, np.dtype(np.uint8))


def darkened(ready: Project, folder: Path) -> tuple[Project, str]:
    """A project on the same files, but with the truth of one test image of gopro black; and that image's name."""
    shutil.copy(ready.folder / "params.yaml", folder)
    shutil.copytree(ready.folder / "data" / "sample" / "gopro", folder / "data" / "sample" / "gopro")
    row = manifest.read(folder / "data" / "sample" / "gopro").split("test").iloc[1]
    path = folder / "data" / "sample" / "gopro" / row["file_target"]
    cv2.imwrite(str(path), np.zeros_like(read_png(path)))
    return Project(folder), row["name"]


def test_a_value_that_is_not_defined_is_left_out_and_said_and_no_evaluation_is_lost(ready, tmp_path):
    project, name = darkened(ready, tmp_path)
    project.good("evaluate", "input-gopro")
    scores, record = project.scores("input-gopro"), project.record("input-gopro")
    images = scores[scores["image"] != ""].set_index(["image", "metric"])
    undefined = images[images["value"].isna()]
    assert list(undefined.index) == [(name, "l1-relative"), (name, "l2-relative")]
    assert undefined["reason"].iloc[0] == "the truth is black throughout: l1-relative divides by its sum"
    count = scores["image"].nunique() - 1
    assert record.not_measured["l1-relative"] == (
        f"1 of {count} images, the first is {name}: the truth is black throughout: l1-relative divides by its sum"
    )
    [one] = reading.read(tmp_path / "out" / "sample" / "scores", "sample")
    stat = reading.measure(one, "l1-relative", {})
    known = images["value"].unstack()["l1-relative"].dropna()
    assert stat.images is not None and len(stat.images) == len(known) == count - 1
    assert stat.value == pytest.approx(known.mean())


def test_images_that_a_metric_refuses_are_named(ready, monkeypatch):
    def refuses(*arguments):
        raise DataError("images of 9x9 pixels: SSIM needs sides of 11 or more")

    monkeypatch.setattr(catalogue, "compute_all", refuses)
    name = manifest.read(ready.folder / "data" / "sample" / "kohler").split("test")["name"].iloc[0]
    assert f"evaluate: input-kohler: {name}: images of 9x9 pixels: SSIM needs" in ready.bad("evaluate", "input-kohler")


def test_perceptual_networks_run_where_the_restoring_ones_do_in_float32(ready, monkeypatch):
    from torch.backends import cudnn

    found = []

    def factory(folder: Path | None, device: str) -> measure.NotMeasured:
        found.append((device, cudnn.allow_tf32))
        return measure.NotMeasured("", "a test")

    for name, metric in perceptual.PERCEPTUAL.items():
        monkeypatch.setitem(perceptual.PERCEPTUAL, name, dataclasses.replace(metric, load=factory))
    before = cudnn.allow_tf32
    ready.good("evaluate", "telea-places2")
    assert found == [(ready.record("telea-places2").provenance.evaluated_on, False)] * 2
    with pytest.raises(KeyError), full_float32():
        assert not cudnn.allow_tf32
        raise KeyError
    assert cudnn.allow_tf32 is before


# References, depth and chains -----------------------------------------------------------------------------------------


def test_the_best_of_many_references_counts(ready):
    ready.good("evaluate", "input-kohler")
    scores = ready.scores("input-kohler").set_index(["image", "metric"])["value"]
    built = manifest.read(ready.folder / "data" / "sample" / "kohler")
    for row in built.split("test").to_dict("records"):
        blurred = read_png(built.folder / row["file_blurred"])
        frames = [read_png(built.folder / entry["file"]) for entry in json.loads(row["references"])]
        assert len(frames) in (3, 4)
        for metric in ("psnr-kohler", "ssim-kohler"):
            each = [catalogue.METRICS[metric].compute(blurred, frame) for frame in frames]
            assert scores[row["name"], metric] == pytest.approx(max(each), abs=1e-9)


def test_a_transfer_scores_the_same_weights_on_another_set(ready):
    ready.good("evaluate", "mrfnet-kohler")
    record = ready.record("mrfnet-kohler")
    assert (record.run, record.dataset) == ("mrfnet-gopro", "kohler")
    trained = read_record(ready.folder / "out" / "sample" / "runs" / "mrfnet-gopro" / RECORD)
    assert record.provenance.weights_sha256 == trained.provenance.weights_sha256
    assert set(ready.scores("mrfnet-kohler")["run"]) == {"mrfnet-kohler"}
    place, digest = trained.dataset_title, trained.provenance.manifest_sha256
    assert record.trained_on == (TrainingSet("mrfnet-gopro", "gopro", place, trained.origin, trained.partial, digest),)
    assert record.trained_by == trained.provenance
    assert (trained.dataset, record.partial) == ("gopro", False)
    ready.good("evaluate", "mrfnet-gopro")
    assert ready.record("mrfnet-gopro").trained_on == ()


def test_a_chain_deblurs_then_fills(ready, tmp_path):
    ready.good("evaluate", "dmphn+rn", "--save", tmp_path)
    record = ready.record("dmphn+rn")
    assert (record.run, record.method, record.task) == ("dmphn+rn", "dmphn+rn", "sharp-inpaint")
    assert [part.run for part in record.parts] == ["dmphn-places2", "rn-places2"]
    costs = ready.scores("dmphn+rn").query("metric == 'params-total'")["value"].iloc[0]
    own = [
        sum(p.numel() for net in registry.method(name).networks(**arguments).values() for p in net.parameters())
        for name, arguments in (
            ("dmphn", {"channels": 4}),
            ("rn", {"channels": 8, "num_blocks": 2, "critic_channels": 8}),
        )
    ]
    assert costs == pytest.approx(sum(own) / 1e6)

    from bench import runs

    with contextlib.chdir(ready.folder):
        loaded = loading.load()
        first, second = (runs.load(loaded, name) for name in ("dmphn-places2", "rn-places2"))
    built = manifest.read(ready.folder / "data" / "sample" / "places2")
    row = built.split("test").iloc[0]
    blurred, mask = (
        torch.from_numpy(as_float(read_png(built.folder / row[f"file_{name}"]))).permute(2, 0, 1)[None]
        for name in ("blurred", "mask")
    )
    sharp = restore(first.method, first.networks, {"x": blurred * (1 - mask)})
    expected = restore(second.method, second.networks, {"x": sharp * (1 - mask), "mask": mask})
    found = read_png(tmp_path / "blurred" / f"{row['name']}.png")
    difference = found.astype(int) - to_depth(expected[0].permute(1, 2, 0).numpy(), np.dtype(np.uint8))
    assert np.abs(difference).max() <= 1


def test_sharper_inpainting_is_scored_from_the_blurred_and_from_the_sharp_image(ready, tmp_path):
    ready.good("evaluate", "dmphn+rn", "--save", tmp_path)
    scores, record = ready.scores("dmphn+rn"), ready.record("dmphn+rn")
    images = scores[scores["image"] != ""]
    assert set(images["input"]) == {"blurred", "sharp"}
    assert {kept.condition["input"] for kept in record.images} == {"blurred"}
    psnr = images[images["metric"] == "psnr-rgb8"].groupby("input")["value"].agg(["mean", "count"])
    assert psnr.loc["sharp", "count"] == psnr.loc["blurred", "count"] == images["image"].nunique()
    built = manifest.read(ready.folder / "data" / "sample" / "places2")
    row = built.split("test").iloc[0]
    mask, target = (read_png(built.folder / row[f"file_{name}"]) for name in ("mask", "target"))
    assert inputs_of("sharp-inpaint", built) == ("blurred", "sharp")
    for case in (read_case(built, row.to_dict(), "sharp-inpaint", given) for given in ("sharp", "blurred")):
        whole = target if case.input == "sharp" else read_png(built.folder / row["file_blurred"])
        assert np.array_equal(case.arrays["x"], as_float(whole) * (mask == 0)[..., None])
        assert np.array_equal(case.truth, target)
    ready.good("score", tmp_path, "--dataset", "places2", "--label", "both", "--task", "sharp-inpaint")
    pd.testing.assert_series_equal(values(ready.scores("both")), values(scores), check_exact=True)
    ready.good("score", tmp_path / "blurred", "--dataset", "places2", "--label", "flat", "--task", "sharp-inpaint")
    one = values(ready.scores("flat"))
    assert set(one.index.get_level_values("input")) == {"blurred"}
    pd.testing.assert_series_equal(one, values(scores)[one.index], check_exact=True)


# Rows and insides -----------------------------------------------------------------------------------------------------


def test_a_chain_deblurs_and_then_fills_holes(ready):
    path = ready.folder / "params.yaml"
    text = path.read_text()
    path.write_text(text + "  twice: {first: telea-places2, second: telea-places2, dataset: places2}\n")
    try:
        message = ready.bad("evaluate", "twice")
    finally:
        path.write_text(text)
    assert "twice: found telea-places2 (inpaint) and telea-places2 (inpaint), expected a run that deblurs" in message


def test_on_another_dataset_no_evaluation_takes_the_place_of_the_own_one(tmp_path):
    (tmp_path / "params.yaml").write_text(PARAMS)
    with contextlib.chdir(tmp_path):
        loaded = loading.load()
        found = {
            (name, on): (plan.name, plan.run, plan.dataset, plan.members)
            for name in ("mrfnet-gopro", "mrfnet-kohler", "dmphn+rn")
            for on in ("", "gopro", "kohler", "visdrone", "places2")
            for plan in [find_plan(loaded, name, on)]
        }
        assert find_plan(loaded, "mrfnet-gopro", "kohler").rows == ("mrfnet-gopro-on-kohler",), "no row of a paper"
    both = ("dmphn-places2", "rn-places2")
    assert found["dmphn+rn", ""] == found["dmphn+rn", "places2"] == ("dmphn+rn", "dmphn+rn", "places2", both)
    assert found["dmphn+rn", "visdrone"] == ("dmphn+rn-on-visdrone", "dmphn+rn", "visdrone", both)
    one = ("mrfnet-gopro",)
    assert found["mrfnet-kohler", "kohler"] == ("mrfnet-kohler", "mrfnet-gopro", "kohler", one)
    assert found["mrfnet-kohler", "gopro"] == ("mrfnet-kohler-on-gopro", "mrfnet-gopro", "gopro", one)
    assert found["mrfnet-gopro", "gopro"] == ("mrfnet-gopro", "mrfnet-gopro", "gopro", one)
    assert found["mrfnet-gopro", "kohler"] == ("mrfnet-gopro-on-kohler", "mrfnet-gopro", "kohler", one)


def test_a_run_a_transfer_and_a_chain_may_stand_in_several_rows(tmp_path):
    text = PARAMS.replace("mrfnet-gopro: {method: mrfnet,", "mrfnet-gopro: {as: [mrfnet, dffnet], method: mrfnet,")
    text = text.replace("{run: mrfnet-gopro, dataset", "{as: [one, two], run: mrfnet-gopro, dataset")
    text = text.replace("{first: dmphn-places2,", "{as: three, first: dmphn-places2,")
    (tmp_path / "params.yaml").write_text(text)
    loaded = loading.load(tmp_path / "params.yaml")
    found = resolving.recipe(loaded, "mrfnet-gopro")
    assert (found.row, found.also) == ("mrfnet", ("dffnet",))
    assert (resolving.recipe(loaded, "rn-places2").row, resolving.recipe(loaded, "rn-places2").also) == ("rn", ())
    assert [find_plan(loaded, name).rows for name in ("mrfnet-gopro", "mrfnet-kohler", "dmphn+rn")] == [
        (), ("one", "two"), ("three",),
    ]  # fmt: skip
    (tmp_path / "params.yaml").write_text(text.replace("[mrfnet, dffnet]", "[mrfnet, 7]"))
    with pytest.raises(ParamsError, match=r"mrfnet-gopro\.as\.1: found 7"):
        loading.load(tmp_path / "params.yaml")


def test_a_chain_stands_in_the_rows_that_its_runs_names_make(ready):
    """Its own name in the tables is its parts'; each further name of a part gives a further one."""
    place = ready.folder / "out" / "sample" / "runs" / "rn-places2" / RECORD
    before = place.read_text()
    try:
        helper = RandomHelper("vgg", ("style",))
        write_record(place, replace(read_record(place), also=("region",), random_helpers=(helper,)))
        ready.good("evaluate", "dmphn+rn")
    finally:
        place.write_text(before)
    record = ready.record("dmphn+rn")
    assert record.rows == ("dmphn+rn", "dmphn+region")
    assert record.random_helpers == (helper,)


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
        found = as_float(read_png(place / kept.file)).transpose(2, 0, 1)
        assert found.shape == value.shape[1:] and np.abs(found - value[0].numpy()).max() <= 0.6 / 255
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
def test_an_inside_that_cannot_be_shown(tmp_path, value, message):
    with pytest.raises(UserError, match=rf"mine: inside 'map': .*{message}"):
        inside({"map": value}, tmp_path)


def test_a_dual_pixel_run_is_scored_from_both_views(ready):
    ready.good("evaluate", "dpdnet-canon-dp")
    scores = ready.scores("dpdnet-canon-dp")
    assert set(scores[scores["image"] != ""]["input"]) == {"dual-pixel"}


# Tiles ----------------------------------------------------------------------------------------------------------------


def picture(height: int, width: int) -> torch.Tensor:
    """Smooth waves and a little noise, (1, 3, H, W) in [0, 1]."""
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    waves = torch.stack([0.5 + 0.3 * torch.sin(x / (9 + c) + y / 13) for c in range(3)])[None]
    return (waves + 0.1 * torch.rand(1, 3, height, width)).clamp(0, 1)


@pytest.mark.parametrize("tile", [64, 100, 128])
@pytest.mark.parametrize("name", [n for n in registry.names("methods") if registry.method(n).margin is not None])
def test_tiles_of_a_bounded_method_are_exact(name, tile):
    method = settled(registry.method(name), registry.method(name).tiny)
    torch.manual_seed(0)
    networks = method.networks and nn.ModuleDict(method.networks(**method.tiny)).eval()
    inputs = {"left": picture(300, 420), "right": picture(300, 420)}
    batch = inputs if "deblur" not in method.tasks else {"x": inputs["left"]}
    whole = restore(method, networks, batch)
    tiled = restore(method, networks, batch, whole=0, tile=tile)
    assert tiled.shape == whole.shape
    torch.testing.assert_close(tiled, whole, rtol=0, atol=1e-5)


def test_a_method_without_networks_is_never_cut():
    """A tile of this image would be all hole."""
    x, mask = picture(300, 420), torch.zeros(1, 1, 300, 420)
    mask[..., 20:280, 20:400] = 1
    batch = {"x": x * (1 - mask), "mask": mask}
    telea = registry.method("telea")
    whole = restore(telea, nn.ModuleDict(), batch)
    assert torch.equal(restore(telea, nn.ModuleDict(), batch, whole=0, tile=64), whole)
    assert (whole * mask).max() > 0.1 and torch.equal(whole * (1 - mask), batch["x"])


class Identity(nn.Module):
    """Gives what it gets, and keeps the sizes it was called with."""

    def __init__(self) -> None:
        super().__init__()
        self.sizes: list[tuple[int, int]] = []

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.sizes.append((x.shape[-2], x.shape[-1]))
        return x


@pytest.mark.parametrize("size", [(64, 64), (301, 420), (129, 700), (500, 128)])
@pytest.mark.parametrize("tile", [64, 128])
def test_blended_tiles_have_no_seams(size, tile):
    """Where every window gives the same, their blend is that; where windows differ, no step is in it."""
    method = supervised("deblur", Identity, nn.functional.mse_loss, multiple=16, min_size=32, tiling="blended")
    networks = nn.ModuleDict(method.networks()).eval()
    x = picture(*size)
    pred = restore(method, networks, {"x": x}, whole=0, tile=tile)
    torch.testing.assert_close(pred, x, rtol=0, atol=1e-6)
    sizes = networks["network"].sizes
    assert all(height % 16 == width % 16 == 0 for height, width in sizes)
    assert max(max(pair) for pair in sizes) <= tile + OVERLAP
    assert all(min(pair) >= 32 for pair in sizes)

    levels = itertools.cycle([0.2, 0.6, 0.3, 0.5])
    stepped = dataclasses.replace(method, restore=lambda _, batch: torch.full_like(batch["x"], next(levels)))
    steps = restore(stepped, nn.ModuleDict(), {"x": x}, whole=0, tile=tile)
    for axis in (-1, -2):
        assert steps.diff(dim=axis).abs().max() < 2 * 0.4 / OVERLAP, "a seam is seen"


def test_padding_reflects_and_may_need_to_reflect_twice():
    x = torch.arange(3.0).view(1, 1, 1, 3).expand(1, 1, 2, 3)
    assert pad(x, 8, 1).shape == (1, 1, 8, 8)
    assert pad(x, 8, 1)[0, 0, 0].tolist() == [0, 1, 2, 1, 0, 1, 2, 1]
    assert pad(x, 1, 1) is x
    assert pad(x[..., :1], 4, 1)[0, 0, 0].tolist() == [0, 0, 0, 0]


# A person's own photographs -------------------------------------------------------------------------------------------


@pytest.fixture
def photo(tmp_path) -> Path:
    """A JPEG that lies on its side: 70x50 pixels stored, shown as 50x70 after a quarter turn."""
    pixels = (picture(50, 70)[0].permute(1, 2, 0).numpy() * 255).astype(np.uint8)
    exif = Image.Exif()
    exif[274] = 6
    Image.fromarray(pixels).save(tmp_path / "photo.jpg", exif=exif, quality=95)
    return tmp_path / "photo.jpg"


def test_a_photograph_is_restored_upright_in_its_own_size(ready, photo, tmp_path):
    from bench.data.user_images import read_rgb

    ready.good("restore", "mrfnet-gopro", photo, "--out", tmp_path / "out")
    assert read_png(tmp_path / "out" / "photo.png").shape == (70, 50, 3)
    ready.good("restore", "input-gopro", photo, "--out", tmp_path / "same")
    assert np.array_equal(read_png(tmp_path / "same" / "photo.png"), read_rgb(photo))


@pytest.mark.parametrize(
    ("run", "options", "least", "most"),
    [("mrfnet-gopro", ("--tile", "64"), 0, 1), ("dmphn-places2", ("--precision", "bfloat16"), 1, 3)],
)
def test_tiles_and_bfloat16_on_demand_agree_with_the_whole_in_float32(ready, tmp_path, run, options, least, most):
    """In grey levels; that bfloat16 changes some shows that it is used."""
    pixels = (picture(120, 150)[0].permute(1, 2, 0).numpy() * 255).astype(np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    ready.good("restore", run, tmp_path / "a.png", "--out", tmp_path / "whole")
    ready.good("restore", run, tmp_path / "a.png", "--out", tmp_path / "other", *options)
    pair = [read_png(tmp_path / name / "a.png").astype(int) for name in ("whole", "other")]
    assert least <= np.abs(pair[0] - pair[1]).max() <= most


def test_to_restore_is_to_let_waiting_threads_leave_their_cores(ready, photo, tmp_path):
    """What torch's OpenMP reads when it is imported, and at no other time."""
    code = (
        "import os, sys; seen = []\n"
        "sys.addaudithook(lambda event, about: event == 'import' and about[0] == 'torch'"
        " and seen.append(os.environ.get('OMP_WAIT_POLICY')))\n"
        "from bench.cli.main import main; print(main(sys.argv[1:]), seen[0])"
    )
    command = [sys.executable, "-c", code, "restore", "input-gopro", photo, "--out", tmp_path]
    environment = {name: value for name, value in os.environ.items() if name != "OMP_WAIT_POLICY"}
    done = subprocess.run(command, cwd=ready.folder, env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "0 PASSIVE"


def test_a_hole_is_filled_and_all_else_is_kept(ready, photo, tmp_path):
    from bench.data.user_images import read_rgb

    mask = np.zeros((70, 50), np.uint8)
    mask[20:40, 10:30] = 255
    Image.fromarray(mask).save(tmp_path / "mask.png")
    for run in ("rn-places2", "telea-places2"):
        ready.good("restore", run, photo, "--out", tmp_path / run, "--mask", tmp_path / "mask.png")
        restored = read_png(tmp_path / run / "photo.png")
        assert np.array_equal(restored[mask == 0], read_rgb(photo)[mask == 0])
        assert restored[mask == 255].any()


def test_two_views_are_restored_together(ready, photo, tmp_path):
    right = shutil.copy(photo, tmp_path / "right.jpg")
    ready.good("restore", "dpdnet-canon-dp", photo, "--right", right, "--out", tmp_path / "out")
    assert read_png(tmp_path / "out" / "photo.png").shape == (70, 50, 3)


def test_restoring_refuses_what_it_cannot_do_before_it_begins(ready, photo, tmp_path):
    out = tmp_path / "out"
    other = tmp_path / "other.png"
    Image.new("RGB", (40, 40)).save(other)
    Image.new("L", (40, 40)).save(tmp_path / "mask.png")
    Image.new("L", (50, 70)).save(tmp_path / "fits.png")
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(photo.read_bytes()[:600])
    empty = tmp_path / "empty.png"
    empty.touch()
    refused = {
        ("mrfnet-gopro", tmp_path / "no.jpg"): "no such file",
        ("mrfnet-gopro", photo, broken): "broken.jpg",
        ("mrfnet-gopro", photo, empty): "empty.png: found a file of 0 bytes",
        ("mrfnet-gopro", photo, "--mask", tmp_path / "fits.png"): "it takes no --mask",
        ("mrfnet-gopro", photo, "--right", photo): "it takes no --right",
        ("rn-places2", photo): "give --mask FILE",
        ("rn-places2", photo, "--mask", tmp_path / "mask.png"): "mask.png: 40x40, but",
        ("dpdnet-canon-dp", photo): "give --right",
        ("dpdnet-canon-dp", photo, "--right", other): "other.png: 40x40, but",
        ("dpdnet-canon-dp", photo, "--right", photo, "--right", other): "--right: found 2 for 1 images",
        ("dpdnet-canon-dp", photo, other, "--right", photo): "--right: found 1 for 2 images; give it once per IMAGE",
        ("mrfnet-gopro", photo, shutil.copy(photo, tmp_path / "photo.jpeg")): "have the same name",
        ("mrfnet-gopro", photo, "--tile", "8"): "--tile: found 8, expected 64 pixels or more",
        ("mrfnet-gopr", photo): "the nearest are: mrfnet-gopro",
        ("dmphn+rn", photo): "restore with dmphn-places2, then with rn-places2",
        ("mrfnet-kohler", photo): "restore with mrfnet-gopro",
    }
    for arguments, message in refused.items():
        assert message in ready.bad("restore", *arguments, "--out", out), arguments
    assert not out.exists() or not list(out.iterdir())


def test_no_photograph_is_overwritten(ready, photo, tmp_path):
    neighbour = tmp_path / "photo.png"
    Image.new("RGB", (4, 4), "red").save(neighbour)
    before = neighbour.read_bytes()
    assert "in a folder of the images" in ready.bad("restore", "mrfnet-gopro", photo, "--out", tmp_path)
    mask = tmp_path / "masks" / "photo.png"
    mask.parent.mkdir()
    Image.new("L", (50, 70)).save(mask)
    arguments = ("rn-places2", photo, "--mask", mask, "--out", mask.parent)
    assert "in a folder of the images" in ready.bad("restore", *arguments)
    assert neighbour.read_bytes() == before
    links = tmp_path / "links"  # where a link stands is a folder of the person's too
    links.mkdir()
    (links / "photo.jpg").symlink_to(photo)
    shutil.copy(neighbour, links / "photo.png")
    assert "in a folder of the images" in ready.bad("restore", "mrfnet-gopro", links / "photo.jpg", "--out", links)
    assert (links / "photo.png").read_bytes() == before


def test_an_earlier_result_is_replaced(ready, photo, tmp_path):
    out = tmp_path / "out"
    ready.good("restore", "mrfnet-gopro", photo, "--out", out)
    before = read_png(out / "photo.png")
    ready.good("restore", "input-gopro", photo, "--out", out)
    assert not np.array_equal(read_png(out / "photo.png"), before)
    assert [path.name for path in out.iterdir()] == ["photo.png"]


def test_a_chain_of_the_tour_is_known_by_name(tmp_path):
    tour = "tour: {chains: {dmphn+telea: {first: dmphn-places2, second: telea-places2, dataset: places2}}}\n"
    (tmp_path / "params.yaml").write_text(PARAMS + tour)
    with pytest.raises(UserError, match="made of runs: restore with dmphn-places2, then with telea-places2"):
        photographs._load(loading.load(tmp_path / "params.yaml"), "dmphn+telea", "cpu")


@pytest.mark.slow
def test_a_photograph_of_12_megapixels_fits_into_2_gigabytes(tmp_path):
    """MRFNet at an eighth of its width on 4000x3000 pixels, in a process of its own; the peak is that process's.

    At the paper's width the same command takes 2.8 GB.
    """
    (tmp_path / "params.yaml").write_text(PARAMS)
    project = Project(tmp_path)
    project.good("build", "gopro", "--jobs", "1")
    project.pretend_trained("mrfnet-gopro")
    noise = np.random.default_rng(0).integers(0, 256, (300, 400, 3), dtype=np.uint8)
    Image.fromarray(cv2.resize(noise, (4000, 3000), interpolation=cv2.INTER_CUBIC)).save(tmp_path / "large.jpg")
    # The peak of the command's own memory: what `getrusage` knows of a child begins with the size of its parent.
    program = """
import sys
from bench.cli.main import main
status = main(["restore", "mrfnet-gopro", "large.jpg", "--out", "restored"])
print("peak", next(line for line in open("/proc/self/status") if line.startswith("VmHWM")).split()[1])
sys.exit(status)
"""
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "large.jpg: 4000x3000 is restored in tiles" in done.stdout
    assert read_png(tmp_path / "restored" / "large.png").shape == (3000, 4000, 3)
    assert int(done.stdout.split("peak")[1]) * 1024 < 2e9  # Linux counts in KiB

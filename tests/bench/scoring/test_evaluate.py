"""Evaluations: rows, costs, reasons, references, transfers and chains, by the command's own code."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import math
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from skimage.metrics import peak_signal_noise_ratio

from bench import registry
from bench.contracts import DataError
from bench.data import manifest
from bench.data.built_images import as_float, write_png
from bench.params import loading
from bench.record import RECORD, TrainingSet, read_record
from bench.scoring.cases import inputs_of, read_case, to_depth
from bench.scoring.metrics import catalogue, measure, perceptual
from bench.scoring.restore import restore
from bench.training.device import full_float32
from reports.scores import reading
from tests.bench.scoring.toys import image_values
from tests.conftest import Project
from tests.images import read_png


def test_an_evaluation_has_one_row_per_image_and_metric(ready, saved):
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


def test_costs_are_in_the_same_table(ready, saved):
    costs = ready.scores("mrfnet-gopro").query("image == ''").set_index("metric")
    count = sum(p.numel() for net in registry.method("mrfnet").networks(channels=4).values() for p in net.parameters())
    assert costs.loc["params-total", "value"] == pytest.approx(count / 1e6)
    assert costs.loc["file-size", "value"] >= 4 * count / 1e6
    assert {"params", "macs", "seconds", "memory"} <= set(costs.index)
    assert (costs.loc[["params", "macs", "seconds"], "value"] > 0).all()
    assert set(costs.loc[["seconds", "memory", "macs"], "size"]) == {"48x32"}


def test_what_cannot_be_measured_has_a_reason(ready, saved):
    """No network of LPIPS is on a machine that fetched none; a person who has it sees values instead."""
    rows = ready.scores("mrfnet-gopro").query("metric == 'lpips-alex'")
    if rows["value"].notna().all():
        pytest.skip("the network of LPIPS is on this machine")
    assert len(rows) == 1
    reason = rows["reason"].iloc[0]
    assert "alexnet" in reason or "not installed" in reason
    assert ready.record("mrfnet-gopro").not_measured["lpips-alex"] == reason


def test_both_inputs_of_an_inpainting_run_are_saved_and_scored(ready, tmp_path):
    ready.good("evaluate", "telea-places2", "--save", tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["blurred", "sharp"]
    ready.good("score", tmp_path, "--dataset", "places2", "--label", "holes", "--task", "inpaint")
    ours, theirs = image_values(ready.scores("telea-places2")), image_values(ready.scores("holes"))
    assert set(ours.index.get_level_values("input")) == {"sharp", "blurred"}
    pd.testing.assert_series_equal(ours, theirs, check_exact=True)
    assert "psnr-rgb8-hole" in ours.index.get_level_values("metric")
    fid = ready.scores("holes").query("metric == 'fid'")
    assert len(fid)
    assert (fid["value"].notna() | (fid["reason"] != "")).all()


def test_a_missing_folder_is_refused(ready, tmp_path):
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
def test_bad_arguments_of_evaluate_are_refused(ready, arguments, message):
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
    built = manifest.read(folder / "data" / "sample" / "gopro")
    rows = built.rows.to_dict("records")
    row = [row for row in rows if row["split"] == "test"][1]
    path = built.folder / row["file_target"]
    row["sha256_target"] = write_png(path, np.zeros_like(read_png(path)))
    manifest.write(built.folder / manifest.NAME, rows, built.about)
    return Project(folder), row["name"]


def test_an_undefined_value_is_left_out_with_a_reason_and_the_evaluation_is_kept(ready, tmp_path):
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
    [evaluation] = reading.read(tmp_path / "out" / "sample" / "scores", "sample")
    stat = reading.measure(evaluation, "l1-relative", {})
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

    settings = []

    def factory(folder: Path | None, device: str) -> measure.NotMeasured:
        settings.append((device, cudnn.allow_tf32))
        return measure.NotMeasured("", "a test")

    for name, metric in perceptual.PERCEPTUAL.items():
        monkeypatch.setitem(perceptual.PERCEPTUAL, name, dataclasses.replace(metric, load=factory))
    before = cudnn.allow_tf32
    ready.good("evaluate", "telea-places2")
    assert settings == [(ready.record("telea-places2").provenance.evaluated_on, False)] * 2
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
    sizes = [
        sum(p.numel() for net in registry.method(name).networks(**arguments).values() for p in net.parameters())
        for name, arguments in (
            ("dmphn", {"channels": 4}),
            ("rn", {"channels": 8, "num_blocks": 2, "critic_channels": 8}),
        )
    ]
    assert costs == pytest.approx(sum(sizes) / 1e6)

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
    saved = read_png(tmp_path / "blurred" / f"{row['name']}.png")
    difference = saved.astype(int) - to_depth(expected[0].permute(1, 2, 0).numpy(), np.dtype(np.uint8))
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
    pd.testing.assert_series_equal(image_values(ready.scores("both")), image_values(scores), check_exact=True)
    ready.good("score", tmp_path / "blurred", "--dataset", "places2", "--label", "flat", "--task", "sharp-inpaint")
    blurred_only = image_values(ready.scores("flat"))
    assert set(blurred_only.index.get_level_values("input")) == {"blurred"}
    pd.testing.assert_series_equal(blurred_only, image_values(scores)[blurred_only.index], check_exact=True)


def test_a_dual_pixel_run_is_scored_from_both_views(ready):
    ready.good("evaluate", "dpdnet-canon-dp")
    scores = ready.scores("dpdnet-canon-dp")
    assert set(scores[scores["image"] != ""]["input"]) == {"dual-pixel"}

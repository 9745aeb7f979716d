"""The report: what it says of known scores, and that every number in it leads back to what made it."""

from __future__ import annotations

import html.parser
import json
import math
import runpy
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from bench.contracts import DataError, UserError
from bench.record import MissingLoss, RandomHelper
from reports.figures import insides, losses, naming, sheets, windows
from reports.page import render
from reports.published import printed
from reports.scores import reading, statistics
from reports.scores.measures import MEASURES
from reports.tables import custom, formats, model, overviews, papers, verdicts
from reports.tables.cells import cell_records
from reports.tables.model import Notes
from reports.tables.runs import join_seeds
from tests import make_scores
from tests.make_scores import OFFLINE, Spec

KNOWN = printed.load()


def address(record) -> dict[str, str]:
    """A run as the tracking store knows it."""
    return {"run_id": record.provenance.mlflow_run, "experiment_id": "7"}


def in_memory(spec: Spec, images: int = 12, **means: float) -> reading.Evaluation:
    """An evaluation without files; the mean of a metric (underscores for hyphens) is moved to a known number."""
    frame = make_scores.score_rows(spec, images)
    for name, mean in means.items():
        rows = frame["metric"] == name.replace("_", "-")
        frame.loc[rows, "value"] += mean - frame.loc[rows, "value"].mean()
    found = {str(metric): rows for metric, rows in frame.groupby("metric", sort=False)}
    return reading.Evaluation(Path("nowhere"), make_scores.record_of(spec), found)


def join(table: str, *evaluations: reading.Evaluation) -> model.Table:
    """The published table beside these evaluations."""
    return papers.published_table(KNOWN.tables[table], join_seeds(evaluations), KNOWN)


def line_of(table: model.Table, row: str) -> model.Line:
    """The first line of a row."""
    return next(line for line in table.lines if line.row == row)


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> Path:
    """A few evaluations of every task."""
    root = tmp_path_factory.mktemp("scores")
    kept = (
        "input",
        "mrfnet",
        "deblurgan",
        "mine",
        "telea",
        "rfr",
        "dgfnet",
        "deblurgan+ca",
        "dpdnet",
        "dmtnet-b",
        "dffnet",
    )
    make_scores.write(root, [spec for spec in make_scores.few() if spec.method in kept])
    return root


@pytest.fixture(scope="module")
def report(store, tmp_path_factory) -> tuple[Path, render.Summary]:
    """That store, rendered."""
    out = tmp_path_factory.mktemp("report") / "sample"
    return out, render.render(store, out, profile="sample", resolve=address)


# Published numbers ----------------------------------------------------------------------------------------------------


def test_the_published_files_have_no_faults(tmp_path):
    check = runpy.run_path(str(printed.FOLDER / "check.py"))["check"]
    faults, lines = check(printed.FOLDER)
    assert faults == [] and lines[-1] == "faults 0"
    shutil.copytree(printed.FOLDER, tmp_path, dirs_exist_ok=True)
    text = (tmp_path / "lmfn-1.yaml").read_text(encoding="utf-8")
    (tmp_path / "lmfn-1.yaml").write_text(text.replace('psnr: "31.54"', 'psnr: "31.45"'), encoding="utf-8")
    faults, lines = check(tmp_path)
    assert ["31.45" in fault for fault in faults] == [True] and lines[-2:] == ["faults 1", f"  {faults[0]}"]


def test_every_printed_metric_has_a_protocol_and_every_protocol_a_meaning():
    assert len(KNOWN.tables) == 26
    for table in KNOWN.tables.values():
        for column in table.columns:
            if table.kind != printed.LAYERS:
                protocol = KNOWN.protocols[table.id][column.metric]
                assert {protocol.shown, *protocol.also} <= set(MEASURES)
                assert protocol.why.endswith(".")
    assert KNOWN.tables["dmtnet-1"].rows[3].values["params"] == "34.52M"
    assert KNOWN.same_as == {"dffnet-44-v3": "dffnet", "dffnet-433-v5": "dffnet"}


def test_a_metric_without_a_protocol_is_named(tmp_path):
    text = printed.PROTOCOLS.read_text(encoding="utf-8").replace("  lmfn-4: lmfn\n", "")
    (tmp_path / "protocols.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(DataError, match="table lmfn-4 prints psnr, which has no protocol"):
        printed.load(protocols=tmp_path / "protocols.yaml")


def test_a_protocol_of_an_unknown_metric_is_refused(tmp_path):
    text = printed.PROTOCOLS.read_text(encoding="utf-8").replace("{shown: fid, ", "{shown: fidd, ")
    (tmp_path / "protocols.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(DataError, match=r"protocols\.dgfnet\.fid: no metric 'fidd'; the nearest are: .*fid"):
        printed.load(protocols=tmp_path / "protocols.yaml")


# Statistics -----------------------------------------------------------------------------------------------------------


def series(values, names=None) -> pd.Series:
    """Values of images under one condition."""
    names = [f"{i}" for i in range(len(values))] if names is None else names
    keys = pd.MultiIndex.from_arrays(
        [names, *[[""] * len(values)] * len(reading.CONDITION)], names=["image", *reading.CONDITION]
    )
    return pd.Series(np.asarray(values, float), index=keys)


def test_the_bootstrap_agrees_with_the_normal_interval():
    values = np.random.default_rng(3).normal(30, 2, 400)
    low, high = statistics.bootstrap(series(values))
    half = 1.96 * values.std(ddof=1) / 20
    assert low == pytest.approx(values.mean() - half, abs=0.1 * half)
    assert high == pytest.approx(values.mean() + half, abs=0.1 * half)
    assert statistics.bootstrap(series(values)) == (low, high)  # seeded
    assert statistics.bootstrap(series([7.0] * 5)) == (7.0, 7.0)


def test_rows_of_one_image_are_drawn_together():
    values = np.random.default_rng(3).normal(30, 2, 50)
    once = statistics.bootstrap(series(values))
    many = statistics.bootstrap(series(np.repeat(values, 6), [f"{i}" for i in range(50) for _ in range(6)]))
    low, high = np.subtract(many, 0)
    assert high - low == pytest.approx(once[1] - once[0], rel=0.15)  # six copies of an image tell nothing new


def test_the_paired_test_sees_a_small_steady_difference():
    hard = np.random.default_rng(0).normal(30, 3, 20)
    noise = np.random.default_rng(1).normal(0, 0.1, 20)
    others = (hard - 0.2 + noise, hard + noise - noise.mean(), hard)
    lower, moved, same = (statistics.against(series(hard), [series(other)])[0] for other in others)
    assert lower < statistics.LEVEL < moved < same == 1
    (few,) = statistics.against(series(hard[:4]), [series(hard[:4] - 1)])
    assert few == 2 / 2**4  # four images cannot tell anything at 5 %


def test_units():
    assert reading.convert(0.0118, "1", "percent") == pytest.approx(1.18)
    assert reading.convert(34_520_000, "", "M") == pytest.approx(34.52)
    assert reading.convert(1, "MiB", "MB") == pytest.approx(1.048576)
    with pytest.raises(UserError, match="'dB' was found where 's' is printed"):
        reading.convert(1, "dB", "s")


def test_a_cost_is_taken_at_the_printed_size_or_else_the_nearest():
    one = in_memory(Spec("dmphn", "gopro", "deblur", 29, "dmphn", params=2))
    assert reading.measure(one, "macs", {"input": "blurred"}, "256×256").value == 16
    assert reading.measure(one, "macs", {}, "720x1280").size == "1280x720"
    assert reading.measure(one, "macs", {}, "1280x768").size == "1280x720"
    assert reading.measure(one, "seconds", {}).size == "256x256"


def test_conditions_select_rows_and_a_set_metric_has_no_mean():
    one = in_memory(Spec("rfr", "paris-streetview", "inpaint", 29, "rfr"))
    wanted = {"input": "sharp", "mask_kind": "square", "mask_band": "30-40"}
    stat = reading.measure(one, "psnr-rgb8", wanted)
    rows = one.scores["psnr-rgb8"].query("input == 'sharp' and mask_kind == 'square' and mask_band == '30-40'")
    assert stat.value == pytest.approx(rows["value"].mean())
    assert stat.images is not None and len(stat.images) == 12
    base = one.scores["psnr-rgb8"].iloc[:3].assign(image="", metric="fid", unit="1", value=[1.0, 2.0, 3.0])
    fid = replace(one, scores={**one.scores, "fid": base})
    assert reading.measure(fid, "fid", {"mask_band": "30-40"}).value == 2
    assert "by condition" in reading.measure(fid, "fid", {}).reason


def test_equal_images_give_an_infinite_psnr_and_no_error(recwarn):
    one = in_memory(Spec("dmphn", "gopro", "deblur", 29, "dmphn"))
    one.scores["psnr-rgb8"].iloc[0, one.scores["psnr-rgb8"].columns.get_loc("value")] = math.inf
    shown = join("mrfnet-2", one)
    assert "inf [inf, inf]" in formats.markdown(shown)
    assert next(cell["value"] for cell in cell_records(shown)) == "inf"
    assert [str(w.message) for w in recwarn if issubclass(w.category, RuntimeWarning)] == []


# Tables ---------------------------------------------------------------------------------------------------------------


def real(method: str, psnr: float, row: str | None = None, **means: float) -> reading.Evaluation:
    """A method on the papers' own GOPRO data with known means."""
    spec = make_scores.originals(Spec(method, "gopro", "deblur", psnr, row or method))
    return in_memory(spec, psnr_rgb8=psnr, **means)


def test_printed_means_are_reproduced():
    shown = join("lmfn-1", real("lmfn", 31.54, ssim_matlab_rgb=0.923), real("dmphn", 30.21, ssim_matlab_rgb=0.9345))
    assert line_of(shown, "lmfn").verdict == "reproduced"
    assert shown.verdict == "reproduced" and shown.reason.startswith("2 of 10 rows were run")
    assert line_of(shown, "srn").verdict == "not run"


def test_the_order_alone_can_be_reproduced():
    printed = {row.method: row.numbers for row in KNOWN.tables["lmfn-1"].rows}
    some = ("deepdeblur", "dmphn", "lmfn", "srn")
    apart = [real(name, printed[name]["psnr"] - 5, ssim_matlab_rgb=printed[name]["ssim"] - 0.2) for name in some]
    assert join("lmfn-4", apart[2]).verdict == "not reproduced"
    shown = join("mrfnet-2", *(real(name, psnr) for name, psnr in (("deepdeblur", 20), ("dmphn", 25), ("siun", 26))))
    assert shown.verdict == "order reproduced" and "mean 1.00 over 2 columns" in shown.reason
    shown = join("mrfnet-2", *(real(name, psnr) for name, psnr in (("deepdeblur", 29), ("dmphn", 25), ("siun", 22))))
    assert shown.verdict == "not comparable" and "other metric conventions" in shown.reason
    assert "mean -1.00" in shown.reason
    for head, tau, count in verdicts.orders(
        verdicts.representatives(join("lmfn-1", *apart).lines), join("lmfn-1", *apart).heads
    ):
        assert count == 4 and (tau == pytest.approx(1) or head.id not in ("psnr", "ssim"))


def test_what_differs_is_said_in_numbers():
    shown = join("lmfn-1", real("lmfn", 25.0, ssim_matlab_rgb=0.923))
    line = line_of(shown, "lmfn")
    assert (line.verdict, line.reason) == ("not reproduced", "PSNR 25.00 against 31.54")


def test_a_stand_in_is_never_compared():
    loss = (MissingLoss("perceptual", "no weights"),)
    record = {"reduced": ("channels: 64 -> 16",), "missing_losses": loss, "partial": True}
    shown = join("lmfn-1", in_memory(Spec("lmfn", "gopro", "deblur", 31.54, "lmfn", record=record)))
    line = line_of(shown, "lmfn")
    assert line.verdict == "not comparable"
    assert line.reason == (
        f"because of stand-in data ({OFFLINE}), shorter training (sample profile), partial data, reduced network, "
        "missing weights (loss terms left out)"
    )
    assert shown.title.endswith("measured on offline photographs")
    assert "channels: 64 -> 16" in formats.markdown(
        shown
    ) and "loss perceptual left out: no weights" in formats.markdown(shown)


def test_runs_find_their_row_by_task_dataset_and_condition():
    dffnet = in_memory(Spec("dffnet", "visdrone", "inpaint", 30, "dffnet"))
    sharp, blurred = (join(f"dffnet-4.3.2-{i}", dffnet) for i in (1, 2))
    rows = dffnet.scores["psnr-rgb8"]
    for shown, given in ((sharp, "sharp"), (blurred, "blurred")):
        found = line_of(shown, "dffnet").measured["visdrone-psnr"].value
        assert found == pytest.approx(rows[rows["input"] == given]["value"].mean())
    assert not any(line.group for line in join("dffnet-4.3.1-2", dffnet).lines)
    l1 = line_of(join("dffnet-4.3.2-3", dffnet), "dffnet").measured["visdrone-l1"].value
    relative = dffnet.scores["l1-relative"].query("input == 'sharp'")["value"].mean()
    assert l1 == pytest.approx(relative)  # both in percent
    bands = join("dgfnet-1", in_memory(Spec("rfr", "paris-streetview", "inpaint", 29, "rfr")))
    psnr = [line_of(bands, "rfr").measured[f"psnr-square-{band}"].value for band in make_scores.BANDS]
    assert psnr == sorted(psnr, reverse=True) and psnr[0] - psnr[2] == pytest.approx(4, abs=0.5)


def test_a_table_is_filled_by_runs_of_the_task_that_its_reading_says():
    """DFFNet's tables 4 and 5 of section 4.4 stand among inpainting; we read them as the whole network's."""
    spec = Spec("dffnet", "visdrone", "sharp-inpaint", 30, "dffnet")
    dffnet = in_memory(spec)
    rows = dffnet.scores["psnr-rgb8"]
    for table, given in (("dffnet-4.4-4", "sharp"), ("dffnet-4.4-5", "blurred"), ("dffnet-4.3.3-4", "blurred")):
        shown = join(table, dffnet)
        name = "dffnet-433-v5" if "433" in shown.lines[-1].row else "dffnet-44-v3"  # the rows that equal dffnet
        found = line_of(shown, name).measured["visdrone-psnr"].value
        assert found == pytest.approx(rows[rows["input"] == given]["value"].mean())
        assert shown.task == "sharp-inpaint"
        assert ("Our reading: the rows are the whole DFFNet" in formats.markdown(shown)) == (table != "dffnet-4.3.3-4")
    inpaint = join_seeds([in_memory(Spec("dffnet", "visdrone", "inpaint", 30, "dffnet"))])
    assert papers.published_table(KNOWN.tables["dffnet-4.4-4"], inpaint, KNOWN).verdict == "not run"


def test_a_reading_that_cannot_be(tmp_path):
    text = printed.PROTOCOLS.read_text(encoding="utf-8")
    path = tmp_path / "protocols.yaml"
    path.write_text(
        text.replace("dffnet-4.4-4: {task: sharp-inpaint", "dffnet-4.4-4: {task: sharper"), encoding="utf-8"
    )
    with pytest.raises(DataError, match=r"readings.dffnet-4.4-4: task 'sharper', expected one of deblur"):
        printed.load(protocols=path)
    path.write_text(text.replace("dffnet-4.4-4: {task", "dffnet-4.4-6: {task"), encoding="utf-8")
    with pytest.raises(DataError, match=r"readings.dffnet-4.4-6: no such table; the nearest are: .*dffnet-4.4-4"):
        printed.load(protocols=path)


def test_one_run_fills_every_row_that_it_names():
    record = {"also": ("dffnet-44-v3", "dffnet")}
    one = in_memory(Spec("dffnet", "visdrone", "sharp-inpaint", 30, "dffnet-433-v5", record=record))
    psnr = {}
    for table, row in (
        ("dffnet-4.3.3-4", "dffnet-433-v5"),
        ("dffnet-4.4-5", "dffnet-44-v3"),
        ("dffnet-4.3.3-1", "dffnet"),
    ):
        shown = join(table, one)
        assert [line.row for line in shown.lines if line.group] == [row]
        psnr[row] = line_of(shown, row).measured["visdrone-psnr"].value
        cells = cell_records(shown)
        assert {cell["evaluation"] for cell in cells} == {one.name} and {cell["row"] for cell in cells} == {row}
    assert len(psnr) == 3 and len(set(psnr.values())) == 1
    stage_one = real("mrfnet", 30)
    stage_one = replace(stage_one, record=replace(stage_one.record, also=("dffnet",)))
    shown = join("dffnet-4.3.1-5", stage_one)
    assert [line.row for line in shown.lines if line.group] == ["dffnet"]
    assert line_of(join("mrfnet-5", stage_one), "mrfnet").measured["gopro-psnr"].value == pytest.approx(30)
    seeds = [replace(stage_one, record=replace(stage_one.record, evaluation=f"s{i}", seed=i)) for i in (0, 1)]
    assert len(join_seeds(seeds)) == 1


def test_random_helpers_are_said_wherever_the_run_stands():
    entry = RandomHelper("vgg", ("perceptual", "style"))
    spec = make_scores.originals(Spec("lmfn", "gopro", "deblur", 31.54, "lmfn", record={"random_helpers": (entry,)}))
    one = in_memory(spec, psnr_rgb8=31.54, ssim_matlab_rgb=0.923)
    shown = join("lmfn-1", one)
    text = "losses through a network of random weights: perceptual, style (vgg)"
    assert text in formats.markdown(shown) and text in formats.latex(shown)
    assert text in dict(overviews.overviews(join_seeds([one]))[0].notes).values()
    line = line_of(shown, "lmfn")
    assert (line.verdict, line.reason) == ("not comparable", "because of losses through random weights")


def test_scenes_and_costs_of_the_dual_pixel_table():
    spec = make_scores.originals(Spec("dpdnet", "canon-dp", "dual-pixel", 25.13, "dpdnet", params=34.52))
    line = line_of(join("dmtnet-1", in_memory(spec)), "dpdnet")
    measured = {name: cell.value for name, cell in line.measured.items()}
    assert measured["combined-psnr"] == pytest.approx((measured["indoor-psnr"] + measured["outdoor-psnr"]) / 2)
    assert measured["params"] == 34.52 and line.measured["params"].low is None
    assert line.measured["flops"].detail == "1680x1120"


def test_best_marks_stay_apart_and_ties_are_shown():
    close = [real("dmphn", 30.0), real("srn", 30.01), real("lmfn", 25.0)]
    shown = join("lmfn-1", *close)
    measured = {line.row: line.measured["psnr"] for line in shown.lines if line.group}
    assert [(measured[name].best, measured[name].tie) for name in ("srn", "dmphn", "lmfn")] == [
        (True, False), (False, True), (False, False),
    ]  # fmt: skip
    assert [line.row for line in shown.lines if line.printed["psnr"].best] == ["lmfn"]
    assert [line.row for line in shown.lines if line.printed["time"].best] == ["sv-deconv"]  # lower is better


def test_seeds_are_put_together_and_their_spread_shown():
    specs = [Spec("lmfn", "gopro", "deblur", 29, "lmfn", seed=seed) for seed in (0, 1)]
    one, other = in_memory(specs[0], psnr_rgb8=29.0), in_memory(specs[1], psnr_rgb8=30.0)
    cell = line_of(join("lmfn-1", one, other), "lmfn").measured["psnr"]
    assert cell.value == pytest.approx(29.5) and cell.spread == pytest.approx(math.sqrt(0.5))
    assert cell.images is not None and len(cell.images) == 12
    twice = join_seeds([one, replace(one, record=replace(one.record, evaluation="again"))])
    assert len(twice) == 2  # the same seed is another run


def test_published_text_and_every_remark_stand_in_each_format():
    table = KNOWN.tables["mrfnet-2"]
    shown = join("mrfnet-2", real("dmphn", 30))
    for text, escape in ((formats.markdown(shown), str), (formats.latex(shown), formats.escape)):
        assert all(escape(remark.text) in text for remark in table.remarks)
        assert all(escape(value) in text for row in table.rows for value in row.values.values() if value)
    dmphn = line_of(shown, "dmphn")
    assert dmphn.printed["visdrone-psnr"].marks == (5,) and dmphn.printed["gopro-psnr"].marks == (2,)
    assert dmphn.marks == (1,) and shown.marks == (3, 4)
    frame = pd.read_csv(pd.io.common.StringIO(formats.comma_separated(shown)), dtype=str)
    row = frame[frame["row"] == "dmphn"].iloc[0]
    assert row["gopro-psnr.published"] == "34.21846" and float(row["gopro-psnr.measured"]) == pytest.approx(30)
    assert float(row["gopro-psnr.low"]) < 30 < float(row["gopro-psnr.high"])


def test_an_overview_shows_every_run_and_who_does_not_beat_the_input():
    runs = [
        in_memory(Spec("input", "gopro", "deblur", 25, kind="no training"), psnr_rgb8=25.0),
        in_memory(Spec("deblurgan", "gopro", "deblur", 25, "deblurgan"), psnr_rgb8=24.58),
        in_memory(Spec("mine", "gopro", "deblur", 29), psnr_rgb8=29.0),
    ]
    (shown,) = overviews.overviews(join_seeds(runs))
    assert shown.id == "overview-deblur-gopro-offline-photographs" and OFFLINE in shown.title
    assert [(line.label, line.flag) for line in shown.lines] == [
        ("MINE", ""), ("Input", ""), ("Deblurgan", "below input by 0.42 dB"),
    ]  # fmt: skip
    assert "LPIPS: the weights of AlexNet are not on this machine" in dict(shown.notes).values()
    assert "not measured" in formats.markdown(shown)


def test_inpainting_has_an_overview_an_input_and_psnr_by_mask():
    runs = [
        in_memory(Spec("telea", "paris-streetview", "inpaint", 27, kind="no training", noise=0)),
        in_memory(Spec("ec", "paris-streetview", "inpaint", 26, "ec", noise=0)),
    ]
    found = {table.id.removesuffix("-offline-photographs"): table for table in overviews.overviews(join_seeds(runs))}
    assert set(found) == {
        f"{kind}-inpaint-paris-streetview-{given}"
        for kind in ("overview", "conditions")
        for given in ("sharp", "blurred")
    }
    below = [line.flag for line in found["overview-inpaint-paris-streetview-sharp"].lines]
    assert below[0] == "" and below[1] == "below telea by 1.00 dB"
    assert len(found["conditions-inpaint-paris-streetview-sharp"].heads) == 6


def test_runs_of_one_title_are_told_apart():
    runs = [
        in_memory(Spec("mrfnet", "gopro", "deblur", 29, "mrfnet", seed=seed, named=name, record={"network": {"k": k}}))
        for seed, name, k in ((0, "four", 4), (1, "four-again", 4), (0, "two", 2))
    ] + [in_memory(Spec("lmfn", "gopro", "deblur", 28, "lmfn"))]
    (shown,) = overviews.overviews(join_seeds(runs))
    assert {line.label for line in shown.lines} == {"Mrfnet, four", "Mrfnet, two", "LMFN"}
    assert [naming.run_label(one, runs) for one in runs] == [
        "Mrfnet, four",
        "Mrfnet, four-again",
        "Mrfnet, two",
        "LMFN",
    ]
    assert [naming.run_label(one, runs[:2]) for one in runs[:2]] == ["Mrfnet, seed 0", "Mrfnet, seed 1"]


def test_sharper_inpainting_has_an_overview_an_input():
    one = in_memory(Spec("dffnet", "visdrone", "sharp-inpaint", 27, "dffnet", noise=0))
    found = {table.id: table for table in overviews.overviews(join_seeds([one]))}
    blurred, sharp = (found[f"overview-sharp-inpaint-visdrone-{g}-offline-photographs"] for g in ("blurred", "sharp"))
    assert "sharp-inpaint of blurred images" in blurred.title
    gain = sharp.lines[0].measured["psnr-rgb8"].value - blurred.lines[0].measured["psnr-rgb8"].value
    assert gain == pytest.approx(1.5)  # what the synthetic scores lose to a blurred input


# Tables of one's own --------------------------------------------------------------------------------------------------


def test_the_table_of_paths_shows_what_was_run():
    specs = [
        Spec("mrfnet", "gopro", "deblur", 28.0, "mrfnet-paths2", named="mrfnet-paths2-gopro", params=4.0),
        Spec("mrfnet", "gopro", "deblur", 29.0, "mrfnet", named="mrfnet-gopro", params=6.0),
        Spec("mrfnet", "gopro", "deblur", 30.0, "mrfnet", named="mrfnet-gopro-1", params=6.0, seed=1),
    ]
    runs = join_seeds(in_memory(spec, psnr_rgb8=spec.psnr) for spec in specs)
    (paths,) = [entry for entry in custom.load(KNOWN) if entry.id == "mrfnet-paths"]
    shown = custom.custom_table(paths, runs)
    assert shown is not None
    assert [line.row for line in shown.lines] == list(paths.rows) and len(shown.lines) == 6
    assert [head.id for head in shown.heads] == [
        "psnr-rgb8",
        "ssim-gauss11",
        "mse-training",
        "params",
        "macs",
        "seconds",
    ]
    values = {line.row: line.measured["psnr-rgb8"].value for line in shown.lines}
    assert values["mrfnet-paths2-gopro"] == pytest.approx(28) and values["mrfnet-gopro"] == pytest.approx(29.5)
    assert [line.row for line in shown.lines if line.measured["psnr-rgb8"].best] == ["mrfnet-gopro"]
    assert [line.row for line in shown.lines if line.measured["params"].best] == ["mrfnet-paths2-gopro"]
    text = formats.markdown(shown)
    assert OFFLINE in text.splitlines()[0] and text.count("| not run | not run |") == 8 and "is not reproduced" in text
    assert not shown.verdict and not shown.compares and len(cell_records(shown)) == 3 * 5
    assert custom.custom_table(paths, join_seeds([real("lmfn", 30)])) is None  # nothing of it was run


def test_a_table_under_one_input(tmp_path):
    text = "{id: mine, title: Mine, task: inpaint, dataset: places2, input: blurred, columns: [psnr-rgb8, mae-hole], "
    (tmp_path / "mine.yaml").write_text(text + "rows: [{run: one, label: One}]}")
    spec = Spec("rn", "places2", "inpaint", 28.0, "rn", named="one")
    one = in_memory(spec)
    shown = custom.custom_table(custom.load(KNOWN, tmp_path)[0], join_seeds([one]))
    assert shown is not None
    rows = one.scores["psnr-rgb8"]
    expected = rows[rows["input"] == "blurred"]["value"].mean()
    assert shown.lines[0].measured["psnr-rgb8"].value == pytest.approx(expected)
    assert shown.lines[0].measured["mae-hole"].value is None  # these scores have none, and the table says so
    assert "mae-hole was not part of this evaluation" in formats.markdown(shown)
    with pytest.raises(DataError, match="one is inpaint on places2, expected deblur on gopro"):
        wrong = replace(custom.load(KNOWN, tmp_path)[0], task="deblur", dataset="gopro")
        custom.custom_table(wrong, join_seeds([one]))


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("psnr-rgb8", "psnr-rgb", r"columns: no 'psnr-rgb'; the nearest are: .*psnr-rgb8"),
        ("dataset: gopro", "dataset: gorpo", "dataset: no 'gorpo'; the nearest are: gopro"),
        ("task: deblur", "task: deblurr", "task: no 'deblurr'; the nearest are: deblur"),
        ("title:", "titel:", "titel: unknown field; the nearest are: title"),
        ("task: deblur\n", "", "lacks task"),
        ("id: mrfnet-paths", "id: mrfnet-path", "id: found 'mrfnet-path', expected the file's name"),
        ("mrfnet-paths2-gopro", "mrfnet-paths1-gopro", "rows: mrfnet-paths1-gopro is listed twice"),
        ("label: 1 path}", "labels: 1 path}", "expected run and label"),
        ("task: deblur\n", "task: inpaint\n", "input: found '', expected sharp or blurred"),
        ("task: deblur\n", "task: deblur\ninput: sharp\n", "expected none: deblur has one input"),
        ("task: deblur\n", "task: [\n", "cannot be read as YAML"),
    ],
)
def test_a_table_of_ones_own_that_cannot_be(tmp_path, old, new, message):
    text = (custom.FOLDER / "mrfnet-paths.yaml").read_text(encoding="utf-8")
    assert old in text
    (tmp_path / "mrfnet-paths.yaml").write_text(text.replace(old, new), encoding="utf-8")
    with pytest.raises(DataError, match=message):
        custom.load(KNOWN, tmp_path)


# What cannot be reported ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("link", ["git_commit", "manifest_sha256", "weights_sha256", "packages"])
def test_a_cell_that_does_not_resolve_fails(link):
    one = real("lmfn", 30)
    provenance = replace(one.record.provenance, **{link: {} if link == "packages" else ""})
    with pytest.raises(UserError, match=f"table lmfn-1, row lmfn, column psnr: .* lacks its {link}"):
        join("lmfn-1", replace(one, record=replace(one.record, provenance=provenance)))


def test_a_metric_without_a_version_fails():
    one = real("lmfn", 30)
    one.scores["psnr-rgb8"]["version"] = ""
    with pytest.raises(UserError, match=r"column psnr: .* lacks its metric version"):
        join("lmfn-1", one)


def test_a_run_that_the_store_does_not_know_fails_and_nothing_is_written(store, tmp_path):
    with pytest.raises(UserError, match=r"table overview-\S+, row \S+, column psnr-rgb8: .* lacks its MLflow run"):
        render.render(store, tmp_path / "out", profile="sample", resolve=lambda record: None)
    assert list(tmp_path.iterdir()) == []


def test_bad_stores_are_refused(store, tmp_path):
    with pytest.raises(UserError, match="no evaluation"):
        reading.read(tmp_path, "sample")
    with pytest.raises(DataError, match="profile 'sample' among scores of 'paper'"):
        reading.read(store, "paper")
    copy = tmp_path / "mine"
    shutil.copytree(store / "mine-gopro-deblur", copy / "one")
    (copy / "one" / "scores.parquet").write_bytes(b"PAR1 cut off")
    with pytest.raises(DataError, match=r"scores\.parquet: cannot be read as Parquet"):
        reading.read(copy, "sample")
    record = json.loads((copy / "one" / "record.json").read_text())
    del record["seed"]
    (copy / "one" / "record.json").write_text(json.dumps(record))
    with pytest.raises(DataError, match=r"record\.json: lacks seed"):
        reading.read(copy, "sample")


def test_a_folder_that_is_no_report_is_left_alone(store, tmp_path):
    (tmp_path / "thesis.tex").write_text("mine")
    with pytest.raises(UserError, match="is not a report"):
        render.render(store, tmp_path, profile="sample", resolve=address)
    assert (tmp_path / "thesis.tex").read_text() == "mine"


# Figures and the page -------------------------------------------------------------------------------------------------


def test_the_window_is_where_the_input_has_its_largest_error():
    target = np.full((128, 256, 3), 100, np.uint8)
    given = target.copy()
    given[90:100, 200:210] = 0
    (window,) = windows.worst_windows([Image.fromarray(given)], Image.fromarray(target), 1)
    left, top, w, h = (round(part * side) for part, side in zip(window, (256, 128) * 2, strict=True))
    assert (w, h) == (64, 32)
    assert left <= 200 and left + w >= 210 and top <= 90 and top + h >= 100
    (small,) = windows.worst_windows([Image.fromarray(given[:40])], Image.fromarray(target[:40]), 1, smallest=64)
    assert small[2:] == (0.25, 1.0)  # at least 64 pixels, or the whole side


def test_a_long_curve_is_averaged_and_phases_are_found():
    values = np.arange(10_000.0)
    thinned = losses.thin(values)
    assert len(thinned) == losses.MAX_POINTS and thinned.mean() == pytest.approx(values.mean())
    rows = pd.DataFrame(
        {"step": [1, 2, 3], "phase": ["a", "a", "b"], "player": "g", "name": "l1", "value": [3.0, 2, 1]}
    )
    assert losses.phase_changes(rows) == [(3.0, "b")]
    assert losses.restoring_loss(rows)[1].tolist() == [3, 2, 1]
    watched = rows.assign(name="scale_1", value=7.0)
    assert losses.restoring_loss(pd.concat([watched, rows]), ["scale_1"])[1].tolist() == [3, 2, 1]
    total = rows.assign(name="total", value=4.0)
    assert losses.restoring_loss(pd.concat([watched, rows, total]), ["scale_1"])[1].tolist() == [4, 4, 4]
    critic = rows.assign(player="critic", value=9.0)
    assert losses.restoring_loss(pd.concat([critic, rows]))[1].tolist() == [3, 2, 1]


def test_watched_losses_are_dashed(tmp_path):
    rows = pd.DataFrame(
        [(s, "train", "network", name, 1.0 + s) for s in range(5) for name in ("total", "mse", "scale_1")],
        columns=["step", "phase", "player", "name", "value"],
    )
    losses.draw_run(rows, "Losses", tmp_path / "losses", ["scale_1"])
    text = (tmp_path / "losses.svg").read_text(encoding="utf-8")
    assert "scale_1 (watched)" in text and "mse (watched)" not in text
    assert text.count("stroke-dasharray") == 2  # the curve, and its line in the legend


def test_insides_are_tiles_and_bars(tmp_path):
    small = Image.fromarray(np.array([[0, 255], [128, 0]], np.uint8)).convert("RGB")
    large = Image.fromarray(np.full((100, 400, 3), 77, np.uint8))
    sheet = insides.save_insides({"map": small, "image": large, "weights": [0.5, -1.0]}, "Inside X", tmp_path / "in")
    pixels = np.asarray(sheet).astype(int)
    assert np.array_equal(pixels, np.asarray(Image.open(tmp_path / "in.png").convert("RGB")))
    side, gap = insides.WIDTH, sheets.GAP
    top = gap + 20 + 4 + sheets.LINE  # below the title and a name of one line
    middle = [pixels[top + y * side // 4, gap + x * side // 4].tolist() for y in (1, 3) for x in (1, 3)]
    assert middle == [[0] * 3, [255] * 3, [128] * 3, [0] * 3]  # four squares, enlarged without blending
    edge = pixels[top + side // 4, gap + side // 2 - 2 : gap + side // 2 + 2, 0]
    assert set(edge) == {0, 255}
    second = gap + side + gap
    assert pixels[top + 25, second + side // 2].tolist() == [77] * 3 and sheet.height >= top + side
    assert (pixels[top + 51, second : second + side] == 255).all()  # 200x50: its own shape is kept
    bars = second + side + gap + 18
    lengths = []
    for i in (0, 1):
        row = pixels[top + sheets.LINE * i + sheets.LINE // 2, bars : bars + side - 70]
        lengths.append(int((row.min(axis=1) < 200).sum()))
    assert lengths == [pytest.approx((side - 70) / 2, abs=12), pytest.approx(side - 70, abs=2)]  # a value may follow
    text = (tmp_path / "in.svg").read_text(encoding="utf-8")
    assert all(word in text for word in ("Inside X", "map", "weights", "0.5", "-1"))


class Reader(html.parser.HTMLParser):
    """Collects what a page links to, shows and names."""

    def __init__(self) -> None:
        super().__init__()
        self.ids: list[str] = []
        self.links: list[str] = []
        self.sources: list[str] = []
        self.depth: list[str] = []

    def handle_starttag(self, tag: str, attributes) -> None:
        found = dict(attributes)
        self.ids += [found["id"]] if "id" in found else []
        self.links += [found["href"]] if "href" in found else []
        self.sources += [found["src"]] if "src" in found else []
        if tag not in ("meta", "img", "link", "br"):
            self.depth.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.depth.pop() == tag


def test_the_page_stands_alone_and_every_link_in_it_arrives(report):
    out, summary = report
    text = (out / "index.html").read_text(encoding="utf-8")
    reader = Reader()
    reader.feed(text)
    assert reader.depth == []  # every element is closed
    assert len(reader.ids) == len(set(reader.ids))
    assert {link[1:] for link in reader.links if link.startswith("#")} - set(reader.ids) == {"top"}
    mlflow = "http://127.0.0.1:5000/#/"
    places = ("#", "data:image/", f"{mlflow}experiments/7/runs/", f"{mlflow}compare-runs?")
    assert [link for link in reader.links if not link.startswith(places)] == []
    assert reader.sources and all(source.startswith("data:image/") for source in reader.sources)
    assert "url(" not in text and "@import" not in text
    assert summary.page_bytes == (out / "index.html").stat().st_size < 10_000_000


def test_every_measured_number_of_the_page_is_in_the_cells_with_its_links(report):
    out, summary = report
    cells = json.loads((out / "cells.json").read_text(encoding="utf-8"))
    assert len(cells) == summary.cells > 100
    for cell in cells:
        assert len(cell["mlflow_run"]) == 32 and len(cell["manifest_sha256"]) == 64
        assert cell["metric_version"] == "1" and cell["git_dirty"] is False and len(cell["git_commit"]) == 40
    frame = pd.read_csv(out / "tables" / "mrfnet-2.csv")
    mine = [c for c in cells if c["table"] == "mrfnet-2" and c["row"] == "mrfnet" and c["column"] == "gopro-psnr"]
    assert len(mine) == 2  # two seeds
    assert np.mean([c["value"] for c in mine]) == pytest.approx(
        frame.set_index("row").at["mrfnet", "gopro-psnr.measured"]
    )


def test_the_report_is_complete_and_says_offline_photographs_everywhere(report, store):
    out, summary = report
    rendered = {path.stem for path in (out / "tables").glob("*.md")}
    assert rendered == set(summary.tables)
    assert {"mrfnet-paths", *KNOWN.tables} <= rendered
    assert {summary.tables[name] for name in ("lmfn-3", "lmfn-4")} == {"not run"}  # shown as printed all the same
    for path in (out / "tables").glob("*.md"):
        measured = path.stem not in KNOWN.tables or summary.tables[path.stem] not in ("", "not run")
        assert (OFFLINE in path.read_text(encoding="utf-8").splitlines()[0]) == measured
        assert path.with_suffix(".csv").is_file() and path.with_suffix(".tex").is_file()
    for path in (out / "figures").glob("*.svg"):
        assert OFFLINE in path.read_text(encoding="utf-8") and path.with_suffix(".png").is_file()
    names = {path.stem for path in (out / "figures").glob("*.png")}
    assert {f"{kind}-deblur-gopro-offline-photographs" for kind in ("losses", "parameters", "images-median")} <= names
    assert "losses-run-mine-gopro-deblur" in names
    assert {name for name in names if name.startswith("insides")} == {
        f"insides-{name}"
        for name in (
            "mrfnet-gopro-deblur", "mrfnet-gopro-deblur-s1", "mrfnet-visdrone-deblur", "mrfnet-paths2-gopro",
            "mrfnet-paths3-gopro",
        )
    }  # fmt: skip
    text = (out / "index.html").read_text(encoding="utf-8")
    assert "below input by" in text and summary.below_baseline["overview-deblur-gopro-offline-photographs"]
    assert "MINE" in text and "not run" in text and "the weights of Inception are not on this machine" in text
    assert all(f'id="run-{folder.name}"' in text for folder in store.iterdir())


@pytest.mark.slow
def test_a_hundred_evaluations_make_one_page(tmp_path):
    """As many as all rows of the papers make: links, ids and cells stay right, and the page can still be sent."""
    make_scores.write(tmp_path / "scores", make_scores.many())
    summary = render.render(tmp_path / "scores", tmp_path / "out", profile="sample", resolve=address)
    assert summary.evaluations == len(make_scores.many()) > 100
    assert summary.page_bytes < 20_000_000
    reader = Reader()
    reader.feed((tmp_path / "out" / "index.html").read_text(encoding="utf-8"))
    assert len(reader.ids) == len(set(reader.ids))
    assert {link[1:] for link in reader.links if link.startswith("#")} - set(reader.ids) == {"top"}
    cells = json.loads((tmp_path / "out" / "cells.json").read_text(encoding="utf-8"))
    assert {cell["evaluation"] for cell in cells} == {spec.name for spec in make_scores.many()}


def test_the_page_escapes_what_a_person_named(tmp_path):
    titled = {"title": "<script>alert(1)</script>"}
    make_scores.write(tmp_path / "scores", [Spec("mine", "gopro", "deblur", 29, kind="predictions", record=titled)])
    render.render(tmp_path / "scores", tmp_path / "out", profile="sample", resolve=address)
    first = {path.name: path.read_bytes() for path in (tmp_path / "out").rglob("*") if path.is_file()}
    assert b"<script>alert" not in first["index.html"] and b"&lt;script&gt;alert" in first["index.html"]
    render.render(tmp_path / "scores", tmp_path / "out", profile="sample", resolve=address)  # takes the old one's place
    assert first == {path.name: path.read_bytes() for path in (tmp_path / "out").rglob("*") if path.is_file()}


def test_a_report_needs_no_torch_and_no_tracker():
    heavy = ("torch", "mlflow", "dvc", "matplotlib.pyplot")
    code = f"import sys, reports.page.render; print([name for name in {heavy} if name in sys.modules])"
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_letters_of_notes():
    notes = Notes()
    assert [notes.letter(str(i)) for i in range(28)][-3:] == ["z", "aa", "ab"]

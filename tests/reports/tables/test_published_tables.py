"""The published tables, filled with runs: their rows, verdicts, marks and links."""

from __future__ import annotations

import math
from dataclasses import replace

import pandas as pd
import pytest

from bench.contracts import UserError
from bench.record import MissingLoss, RandomHelper
from reports.tables import formats, overviews, papers, verdicts
from reports.tables.cells import cell_records
from reports.tables.model import Notes
from reports.tables.runs import join_seeds
from tests import make_scores
from tests.make_scores import OFFLINE, Spec
from tests.reports.samples import PUBLISHED, in_memory, join, line_of, real


def test_printed_means_are_reproduced():
    shown = join("lmfn-1", real("lmfn", 31.54, ssim_matlab_rgb=0.923), real("dmphn", 30.21, ssim_matlab_rgb=0.9345))
    assert line_of(shown, "lmfn").verdict == "reproduced"
    assert shown.verdict == "reproduced" and shown.reason.startswith("2 of 10 rows were run")
    assert line_of(shown, "srn").verdict == "not run"


def test_the_order_alone_can_be_reproduced():
    printed = {row.method: row.numbers for row in PUBLISHED.tables["lmfn-1"].rows}
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


def test_a_difference_is_given_in_numbers():
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
        result = line_of(shown, "dffnet").measured["visdrone-psnr"].value
        assert result == pytest.approx(rows[rows["input"] == given]["value"].mean())
    assert not any(line.group for line in join("dffnet-4.3.1-2", dffnet).lines)
    l1 = line_of(join("dffnet-4.3.2-3", dffnet), "dffnet").measured["visdrone-l1"].value
    relative = dffnet.scores["l1-relative"].query("input == 'sharp'")["value"].mean()
    assert l1 == pytest.approx(relative)  # both in percent
    bands = join("dgfnet-1", in_memory(Spec("rfr", "paris-streetview", "inpaint", 29, "rfr")))
    psnr = [line_of(bands, "rfr").measured[f"psnr-square-{band}"].value for band in make_scores.BANDS]
    assert psnr == sorted(psnr, reverse=True) and psnr[0] - psnr[2] == pytest.approx(4, abs=0.5)


def test_a_table_is_filled_by_runs_of_the_task_of_its_reading():
    """DFFNet's tables 4 and 5 of section 4.4 are in the part on inpainting; we read them as the whole network's."""
    spec = Spec("dffnet", "visdrone", "sharp-inpaint", 30, "dffnet")
    dffnet = in_memory(spec)
    rows = dffnet.scores["psnr-rgb8"]
    for table, given in (("dffnet-4.4-4", "sharp"), ("dffnet-4.4-5", "blurred"), ("dffnet-4.3.3-4", "blurred")):
        shown = join(table, dffnet)
        name = "dffnet-433-v5" if "433" in shown.lines[-1].row else "dffnet-44-v3"  # the rows that equal dffnet
        result = line_of(shown, name).measured["visdrone-psnr"].value
        assert result == pytest.approx(rows[rows["input"] == given]["value"].mean())
        assert shown.task == "sharp-inpaint"
        assert ("Our reading: the rows are the whole DFFNet" in formats.markdown(shown)) == (table != "dffnet-4.3.3-4")
    inpaint = join_seeds([in_memory(Spec("dffnet", "visdrone", "inpaint", 30, "dffnet"))])
    assert papers.published_table(PUBLISHED.tables["dffnet-4.4-4"], inpaint, PUBLISHED).verdict == "not run"


def test_one_run_fills_every_row_that_it_names():
    record = {"also": ("dffnet-44-v3", "dffnet")}
    run = in_memory(Spec("dffnet", "visdrone", "sharp-inpaint", 30, "dffnet-433-v5", record=record))
    psnr = {}
    for table, row in (
        ("dffnet-4.3.3-4", "dffnet-433-v5"),
        ("dffnet-4.4-5", "dffnet-44-v3"),
        ("dffnet-4.3.3-1", "dffnet"),
    ):
        shown = join(table, run)
        assert [line.row for line in shown.lines if line.group] == [row]
        psnr[row] = line_of(shown, row).measured["visdrone-psnr"].value
        cells = cell_records(shown)
        assert {cell["evaluation"] for cell in cells} == {run.name} and {cell["row"] for cell in cells} == {row}
    assert len(psnr) == 3 and len(set(psnr.values())) == 1
    stage_one = real("mrfnet", 30)
    stage_one = replace(stage_one, record=replace(stage_one.record, also=("dffnet",)))
    shown = join("dffnet-4.3.1-5", stage_one)
    assert [line.row for line in shown.lines if line.group] == ["dffnet"]
    assert line_of(join("mrfnet-5", stage_one), "mrfnet").measured["gopro-psnr"].value == pytest.approx(30)
    seeds = [replace(stage_one, record=replace(stage_one.record, evaluation=f"s{i}", seed=i)) for i in (0, 1)]
    assert len(join_seeds(seeds)) == 1


def test_random_helpers_are_noted_in_every_table():
    entry = RandomHelper("vgg", ("perceptual", "style"))
    spec = make_scores.originals(Spec("lmfn", "gopro", "deblur", 31.54, "lmfn", record={"random_helpers": (entry,)}))
    run = in_memory(spec, psnr_rgb8=31.54, ssim_matlab_rgb=0.923)
    shown = join("lmfn-1", run)
    text = "losses through a network of random weights: perceptual, style (vgg)"
    assert text in formats.markdown(shown) and text in formats.latex(shown)
    assert text in dict(overviews.overviews(join_seeds([run]))[0].notes).values()
    line = line_of(shown, "lmfn")
    assert (line.verdict, line.reason) == ("not comparable", "because of losses through random weights")


def test_scenes_and_costs_of_the_dual_pixel_table():
    spec = make_scores.originals(Spec("dpdnet", "canon-dp", "dual-pixel", 25.13, "dpdnet", params=34.52))
    line = line_of(join("dmtnet-1", in_memory(spec)), "dpdnet")
    measured = {name: cell.value for name, cell in line.measured.items()}
    assert measured["combined-psnr"] == pytest.approx((measured["indoor-psnr"] + measured["outdoor-psnr"]) / 2)
    assert measured["params"] == 34.52 and line.measured["params"].low is None
    assert line.measured["flops"].detail == "1680x1120"


def test_the_best_are_marked_separately_and_ties_are_shown():
    close = [real("dmphn", 30.0), real("srn", 30.01), real("lmfn", 25.0)]
    shown = join("lmfn-1", *close)
    measured = {line.row: line.measured["psnr"] for line in shown.lines if line.group}
    assert [(measured[name].best, measured[name].tie) for name in ("srn", "dmphn", "lmfn")] == [
        (True, False), (False, True), (False, False),
    ]  # fmt: skip
    assert [line.row for line in shown.lines if line.printed["psnr"].best] == ["lmfn"]
    assert [line.row for line in shown.lines if line.printed["time"].best] == ["sv-deconv"]  # lower is better


def test_seeds_are_joined_and_their_spread_is_shown():
    specs = [Spec("lmfn", "gopro", "deblur", 29, "lmfn", seed=seed) for seed in (0, 1)]
    run, other = in_memory(specs[0], psnr_rgb8=29.0), in_memory(specs[1], psnr_rgb8=30.0)
    cell = line_of(join("lmfn-1", run, other), "lmfn").measured["psnr"]
    assert cell.value == pytest.approx(29.5) and cell.spread == pytest.approx(math.sqrt(0.5))
    assert cell.images is not None and len(cell.images) == 12
    twice = join_seeds([run, replace(run, record=replace(run.record, evaluation="again"))])
    assert len(twice) == 2  # the same seed is another run


def test_published_text_and_every_remark_are_in_each_format():
    table = PUBLISHED.tables["mrfnet-2"]
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


@pytest.mark.parametrize("link", ["manifest_sha256", "weights_sha256", "packages"])
def test_a_cell_that_does_not_resolve_fails(link):
    run = real("lmfn", 30)
    provenance = replace(run.record.provenance, **{link: {} if link == "packages" else ""})
    with pytest.raises(UserError, match=f"table lmfn-1, row lmfn, column psnr: .* lacks its {link}"):
        join("lmfn-1", replace(run, record=replace(run.record, provenance=provenance)))


def test_a_metric_without_a_version_fails():
    run = real("lmfn", 30)
    run.scores["psnr-rgb8"]["version"] = ""
    with pytest.raises(UserError, match=r"column psnr: .* lacks its metric version"):
        join("lmfn-1", run)


def test_the_letters_of_notes():
    notes = Notes()
    assert [notes.letter(str(i)) for i in range(28)][-3:] == ["z", "aa", "ab"]

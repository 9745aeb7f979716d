"""Plots of the papers: the curves and points that they draw are those of the runs."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from reports.figures.papers.builders import PaperFigure
from reports.figures.papers.plots import first_epochs, middle_of_fusion, steps_of_epochs
from reports.scores import reading
from tests.make_scores import Spec, record_files, write


def traced(svg: str) -> list[np.ndarray]:
    """The points of every curve of a chart, in its own pixels with y upwards: (N, 2) each."""
    result = []
    for path in re.findall(r'<path class="s\d" d="(M[^"]+l[^"]+)"', svg):  # those of the legend have no l
        start, _, rest = path[1:].partition("l")
        numbers = [int(number) for number in re.findall(r"-?\d+", rest)]
        steps = np.array([int(number) for number in start.split()] + numbers).reshape(-1, 2)
        result.append(np.cumsum(steps, axis=0) * [1, -1])
    return result


def test_the_curve_that_is_drawn_holds_the_losses(
    evaluations: list[reading.Evaluation], rendered: dict[str, PaperFigure]
):
    figure = next(figure for figure in evaluations if figure.name == "dmphn-gopro-deblur")
    losses = figure.losses()
    assert losses is not None
    totals = losses[(losses["name"] == "total") & (losses["phase"] == "pretrain")].sort_values("step")["value"]
    result = first_epochs(figure)
    assert result is not None
    values = result.values
    assert result.label == "Dmphn, phase pretrain" and result.steps.tolist() == list(range(len(totals)))
    assert np.allclose(values, 100 * totals / totals.iloc[0])
    assert steps_of_epochs(figure) == 2 * 2103 / 8, "two passes over GOPRO's pairs at a batch of 8"
    assert result.share == pytest.approx(len(totals) / (2 * 2103 / 8))
    svg = rendered["mrfnet-fig5"].picture
    assert isinstance(svg, str)
    drawn = traced(svg)[0]  # the first row of the table that was run
    assert len(drawn) == len(values)
    slope, base = np.polyfit(values, drawn[:, 1], 1)
    assert slope > 0 and np.abs(slope * values + base - drawn[:, 1]).max() < 1.01  # a fifth of a pixel
    assert f"{values[-3:].mean():.3g} % at the end" in svg


def test_losses_are_in_percent_of_the_first_and_end_with_the_second_epoch(tmp_path: Path):
    record = {"train": {"batch_size": 701}}
    write(tmp_path, [Spec("dmphn", "gopro", "deblur", 28.0, "dmphn", record=record, named="a")], images=2, steps=3)
    rows = [(step, "network", name, value * share) for step, value in enumerate([2.0, 4.0, 1.0, 3.0, 5.0, 0.5, 9.0])
            for name, share in (("l1", 0.25), ("total", 1.0))]  # fmt: skip
    rows += [(step, "critic", "total", 100.0) for step in range(7)]
    losses = pd.DataFrame(rows, columns=["step", "player", "name", "value"]).assign(phase="train")
    losses.to_parquet(tmp_path / "a" / "losses.parquet")
    record_files(tmp_path / "a")
    run = reading.read(tmp_path, "sample")[0]
    result = first_epochs(run)
    assert result is not None
    assert (result.label, result.steps.tolist(), result.share) == ("Dmphn", [0, 1, 2, 3, 4, 5], 1.0)
    assert result.values.tolist() == [100.0, 200.0, 50.0, 150.0, 250.0, 25.0]


def test_the_change_of_alpha_is_marked_where_it_has_ended(rendered: dict[str, PaperFigure]):
    figure = rendered["dffnet-fig13"]
    assert figure.runs == ("dffnet-places2", "dffnet-no-alpha-places2")
    assert isinstance(figure.picture, str)
    curves = traced(figure.picture)
    assert [len(curve) for curve in curves] == [40, 40], "the two phases that fuse, not the one before"
    for curve, scale in zip(curves, (1.0, 2.0), strict=True):
        values = scale / (11 + np.arange(40))
        slope, base = np.polyfit(values, curve[:, 1], 1)
        assert np.abs(slope * values + base - curve[:, 1]).max() < 1.01
    circle = re.search(r'translate\(([\d.]+) ([\d.]+)\)"><title>switch', figure.picture)
    assert circle is not None
    assert float(circle[1]) * 5 == pytest.approx(curves[0][15, 0], abs=1), "half of the thirty steps that fuse"
    assert -float(circle[2]) * 5 == pytest.approx(curves[0][15, 1], abs=1)
    line = re.search(r'class="phase"[^>]*d="M([\d.]+) 0', figure.picture)
    assert line is not None and float(line[1]) * 5 == pytest.approx(curves[0][30, 0], abs=1)


@pytest.mark.parametrize("every", [1, 28])
def test_the_middle_of_the_fusion_is_counted_in_steps_not_in_kept_ones(every: int):
    steps = np.arange(0, 280, every)
    rows = pd.DataFrame({"step": steps, "phase": np.where(steps < 224, "fuse", "together")})
    assert middle_of_fusion(rows) == 112
    assert middle_of_fusion(rows[rows["phase"] == "fuse"]) == pytest.approx(112, abs=every / 2)


def test_measured_and_published_points_are_different_series(
    evaluations: list[reading.Evaluation], rendered: dict[str, PaperFigure]
):
    figure = rendered["dmtnet-fig1"]
    assert isinstance(figure.picture, str)
    tips = re.findall(r"<title>([^<]+ M, [^<]+ dB)</title>", figure.picture)
    assert "DMTNet-B, published: 24.46 M, 26.63 dB" in tips and "DPDNet [1], published: 34.52 M, 25.13 dB" in tips
    printed = [tip for tip in tips if "published" in tip]
    assert len(printed) == 14, "EBDB and JNB print no parameters"
    run = next(run for run in evaluations if run.name == "dmtnet-canon-dp-dual-pixel")
    psnr = run.scores["psnr-rgb8"]["value"].mean()
    assert f"Dmtnet, measured: 24 M, {psnr:.2f} dB" in tips and len(tips) == 16
    assert "measured on DPDD (offline" in " ".join(re.findall(r">([^<]+)</text>", figure.picture))

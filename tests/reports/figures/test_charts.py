"""Charts: curves, ticks and points are where their values are."""

from __future__ import annotations

import json
import math
import re
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from reports.figures import axes, charts, efficiency, losses, naming, rasterising, severity
from reports.tables.runs import join_seeds
from tests.make_scores import Spec
from tests.reports.samples import PUBLISHED, in_memory


def points_of(path: str) -> np.ndarray:
    """The points of a curve, pixels: (N, 2)."""
    start, _, rest = path.removeprefix("M").partition("l")
    numbers = [int(word) for word in re.findall(r"-?\d+", rest)]
    steps = np.array(numbers).reshape(-1, 2)
    return np.cumsum(np.vstack([[int(word) for word in start.split()], steps]), axis=0) / charts.FINE


def test_a_curve_goes_through_its_points():
    x, y = np.array([0.0, 10, 20, 40]), np.array([3.0, 1.2, -7, 100])
    assert points_of(charts.trace(x, y)) == pytest.approx(np.stack([x, y], axis=1))
    broken = charts.trace(np.arange(5.0), np.array([1, 2, math.nan, 4, 5]))
    assert broken == "M0 5l5 5M15 20l5 5"  # a gap, not a line across it


def test_ticks_are_round_and_few():
    assert axes.linear_ticks(0, 100) == [0, 20, 40, 60, 80, 100]
    assert axes.linear_ticks(24.3, 26.1) == [24.5, 25, 25.5, 26]
    assert axes.linear_ticks(1, 3, whole=True) == [1, 2, 3]
    assert axes.log_ticks(1, 9) == pytest.approx([1, 2, 5]) and axes.log_ticks(3, 8) == pytest.approx(
        [3, 4, 5, 6, 7, 8]
    )
    assert axes.log_ticks(0.1, 1000) == pytest.approx([0.1, 1, 10, 100, 1000])
    assert len(axes.log_ticks(1e-12, 1e6)) <= axes.MAX_TICKS
    for low, high in ((0, 1e-9), (-5, 5), (1e6, 3e9)):
        assert 2 <= len(axes.linear_ticks(low, high)) <= axes.MAX_TICKS


def test_a_chart_is_drawn_where_its_values_are(tmp_path):
    series = [charts.Series("x < y & z", np.array([0.0, 1, 2]), np.array([1.0, 10, 100]))]
    svg = charts.chart("A title", ("step", "loss"), series, log=(False, True), margin=0)
    (path,) = re.findall(r'<path class="s0" d="(M\d[^"]*)"', svg)[:1]
    assert points_of(path)[:, 0] == pytest.approx([0, charts.PLOT_WIDTH / 2, charts.PLOT_WIDTH], abs=0.1)
    assert np.diff(points_of(path)[:, 1]) == pytest.approx([-230 / 2.16] * 2, abs=1)  # equal steps: it is logarithmic
    assert "x &lt; y &amp; z" in svg and 'aria-label="A title"' in svg
    charts.save_chart(svg, tmp_path / "c")
    rasterising.rasterise(tmp_path / "c.svg")
    with Image.open(tmp_path / "c.png") as image:
        pixels = np.asarray(image.convert("RGB")).astype(int)
    assert pixels.shape[1] == charts.WIDTH and pixels[2, -3].tolist() == [255] * 3
    blue = np.abs(pixels - [0x25, 0x63, 0xA8]).sum(axis=2) < 60
    down, across = np.nonzero(blue[: charts.TOP + 230])
    assert across.min() == pytest.approx(charts.LEFT, abs=3) and down.max() - down.min() > 190
    assert (pixels[:20, :80] < 90).any()  # the title: the letters were found


def test_values_that_have_no_logarithm_are_drawn_on_a_linear_axis():
    series = [charts.Series("a", np.array([1.0, 2]), np.array([0.0, 3]))]
    assert charts.chart("t", ("x", "y"), series, log=(True, True)).count("<svg") == 1
    run = charts.Series("a", np.array([5.0]), np.array([math.nan]), look="points")
    assert "translate(nan" not in charts.chart("t", ("x", "y"), [run])


def test_the_pareto_front_of_known_points():
    points = [(1.0, 25.0), (2.0, 24.0), (3.0, 27.0), (4.0, 27.0), (5.0, 28.0), (0.5, 20.0), (5.0, 26.0), (3.0, 27.0)]
    assert efficiency.pareto(points) == [5, 0, 2, 7, 4]
    assert efficiency.pareto([(1.0, 1.0)]) == [0] and efficiency.pareto([]) == []
    rng = np.random.default_rng(0)
    cloud = [(float(x), float(y)) for x, y in rng.uniform(0, 1, (60, 2))]
    beaten = [any(a <= x and b >= y and (a, b) != (x, y) for a, b in cloud) for x, y in cloud]
    assert set(efficiency.pareto(cloud)) == {i for i, lost in enumerate(beaten) if not lost}


def test_the_members_of_the_front_are_ringed(tmp_path):
    measured = [("small", 1.0, 25.0), ("waste", 2.0, 24.0), ("large", 4.0, 27.0)]
    svg = efficiency.draw_costs(measured, [("theirs", 3.0, 26.5)], "PSNR", tmp_path / "p")
    ringed = [re.search("<title>([^<:]*)", part)[1] for part in svg.split("<g transform") if 'class="ring"' in part]  # type: ignore[index]
    assert ringed == ["small", "large"]
    assert "theirs, published" in svg and svg.count('class="front"') == 2  # the line, and its line in the legend


def test_a_run_with_an_infinite_psnr_is_named_and_not_drawn(tmp_path):
    runs = [in_memory(Spec(name, "gopro", "deblur", 29, named=name)) for name in ("one", "two", "perfect")]
    runs[2].scores["psnr-rgb8"]["value"] = math.inf
    key = naming.key_of(runs[0])
    plot, *_ = efficiency.efficiency_plots(join_seeds(runs), key, PUBLISHED, tmp_path)
    assert plot.title.endswith("on GOPRO (offline photographs); not drawn, with an infinite PSNR: Perfect")
    tips = re.findall("<title>([^<]*): ", plot.svg)
    assert tips == ["ONE", "TWO"]


def test_severities_are_assigned_to_groups():
    assert severity.group_of_each(np.array([10.0, 30, 10, 20])).tolist() == [0, 2, 0, 1]  # few values: one group each
    values = np.arange(60.0)
    dealt = severity.group_of_each(values, 6)
    assert np.bincount(dealt).tolist() == [10] * 6 and (np.diff(dealt) >= 0).all()
    tied = severity.group_of_each(np.repeat([1.0, 2, 3], [50, 1, 1]), 2)
    assert len(set(tied[:50])) == 1  # equal severities stay together


def test_quality_by_severity_is_the_mean_of_each_group(tmp_path):
    runs = {
        "one": (np.array([5.0, 5, 10]), np.array([30.0, 32, 20])),
        "two": (np.array([5.0, 10, 10]), np.array([28.0, 21, 23])),
    }
    svg = severity.draw_severities(runs, ("blur length (pixels)", "PSNR (dB)"), "PSNR by blur length", tmp_path / "s")
    tips = re.findall(r"<title>([^<]*images)</title>", svg)
    assert tips == [
        "one: 31 at 5, 2 images", "one: 20 at 10, 1 images", "two: 28 at 5, 1 images", "two: 22 at 10, 2 images",
    ]  # fmt: skip
    assert re.findall(r">(n=\d+)<", svg) == ["n=2", "n=1"]
    assert (tmp_path / "s.svg").is_file()


def test_severities_come_from_the_rows_of_one_input():
    run = in_memory(Spec("rfr", "places2", "inpaint", 29))
    rows = run.scores["psnr-rgb8"]
    lengths, values = severity.severities_of(run, "psnr-rgb8", "length", "blurred") or pytest.fail("no severity")
    chosen = rows[rows["input"] == "blurred"]
    assert lengths.tolist() == [json.loads(text)["length"] for text in chosen["severity"]]
    assert values.tolist() == chosen["value"].tolist()
    assert severity.severities_of(run, "psnr-rgb8", "length", "sharp") is None  # no blur in a sharp input
    holes, _ = severity.severities_of(run, "psnr-rgb8", "mask_ratio", "sharp") or pytest.fail("no hole")
    assert 0.2 <= holes.min() < holes.max() < 0.5
    assert severity.severities_of(run, "fid", "length", "blurred") is None
    assert (
        severity.severities_of(in_memory(Spec("mine", "gopro", "deblur", 29)), "psnr-rgb8", "mask_ratio", "blurred")
        is None
    )


def test_nothing_is_drawn_where_the_severity_does_not_vary(tmp_path):
    run = in_memory(Spec("mine", "gopro", "deblur", 29))
    key = naming.key_of(run)
    names = {path.stem for path in tmp_path.glob("*.svg")}
    severity.severity_plots(join_seeds([run]), key, tmp_path)
    names = {path.stem for path in tmp_path.glob("*.svg")}
    suffix = "deblur-gopro-offline-photographs-blurred"
    assert names == {f"{metric}-by-{kind}-{suffix}" for metric in ("psnr", "ssim") for kind in ("length", "sigma")}
    same = {name: rows.assign(severity='{"length": 5, "sigma": 1}') for name, rows in run.scores.items()}
    assert severity.severity_plots(join_seeds([replace(run, scores=same)]), key, tmp_path) == []


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

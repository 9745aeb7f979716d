"""The paired comparison of runs in a terminal."""

from __future__ import annotations

import math
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from bench.cli.main import main
from bench.contracts import DataError, ParamsError, UserError
from bench.files import temporary
from reports.figures import compare
from tests import make_scores
from tests.make_scores import Spec
from tests.reports.samples import in_memory

ROOT = Path(__file__).parents[2]
NAMES = ["mrfnet-gopro-deblur", "dmphn-gopro-deblur", "siun-gopro-deblur"]


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> Path:
    """Three runs on one dataset, one of another task, and one on another dataset."""
    root = tmp_path_factory.mktemp("scores")
    specs = [spec for spec in make_scores.few() if spec.name in NAMES]
    specs += [Spec("mrfnet", "visdrone", "deblur", 27, "mrfnet", record={"run": "mrfnet-gopro"})]
    specs += [Spec("telea", "paris-streetview", "inpaint", 27, kind="no training")]
    make_scores.write(root, specs, images=8)
    return root


def shifted(name: str, shifts: list[float]):
    """A run whose PSNR is 30 dB plus these numbers, image by image."""
    run = in_memory(Spec(name, "gopro", "deblur", 30, named=name), images=len(shifts))
    run.scores["psnr-rgb8"]["value"] = 30 + np.array(shifts)
    return run


def test_known_differences():
    first = shifted("first", [0.0] * 8)
    better = shifted("better", [1.0, 2, 3, 4, 5, 6, 7, 0])
    worse = shifted("worse", [-1.0, -2, -3, -4, -5, -6, -7, -8])
    (psnr,) = compare.compare([first, better, worse], "psnr-rgb8").metrics
    run, two, three = psnr.runs
    assert (run.run, run.mean, run.interval, run.difference, run.p) == ("first", 30, (30, 30), None, None)
    assert two.mean == 33.5 and two.difference == 3.5 and two.counts("higher") == (7, 0, 1)
    assert three.difference == -4.5 and three.counts("higher") == (0, 8, 0) and three.counts("lower") == (8, 0, 0)
    # All signs are equal: 2 / 2^7 and 2 / 2^8; Holm doubles the smaller.
    assert (two.p, three.p) == (2 / 2**7, 4 / 2**8)
    assert two.difference_interval is not None
    low, high = two.difference_interval
    assert 1.5 < low < 3.5 < high < 5.5
    assert three.images is not None and list(three.images) == [-8, -7, -6, -5, -4, -3, -2, -1]
    assert compare.largest_differences(three.images)[0] == "  -8.0000  0007"


def test_a_run_and_its_copy_have_no_difference():
    run = shifted("one", [0.1, 0.2, 0.3, 0.4])
    copy = replace(run, record=replace(run.record, evaluation="copy"))
    for metric in compare.compare([run, copy]).metrics:
        line = metric.runs[1]
        assert line.difference == 0 and line.p in (None, 1.0)
        assert line.images is None or line.counts("higher") == (0, 0, 4)


def test_perfect_images_are_won_lost_or_tied():
    first, second = (
        shifted("first", [0.0, math.inf, math.inf, 0, 0, 0]),
        shifted("second", [math.inf, math.inf, 0, 1, 2, 3]),
    )
    (psnr,) = compare.compare([first, second], "psnr-rgb8").metrics
    run = psnr.runs[1]
    assert run.counts("higher") == (4, 1, 1) and math.isnan(run.difference)  # inf and -inf have no mean
    assert run.difference_interval == (-math.inf, math.inf)
    assert run.images is not None and list(run.images.index[:2]) == ["0002", "0003"]  # the worst first
    assert [line.split()[0] for line in compare.largest_differences(run.images)] == [
        "-inf", "+inf", "+3.0000", "+2.0000", "+1.0000",
    ]  # fmt: skip
    both = shifted("second", [0.0, math.inf, math.inf, 1, 1, 1])
    line = compare.compare([first, both], "psnr-rgb8").metrics[0].runs[1]
    assert line.counts("higher") == (3, 0, 3) and line.difference == pytest.approx(0.75)  # over the four finite ones
    low, high = line.difference_interval
    assert 0 <= low < 0.75 < high == 1


def test_only_common_images_are_paired_and_costs_have_no_test():
    long, short = shifted("long", [0.0] * 9), shifted("short", [1.0] * 6)
    result = compare.compare([long, short])
    by_id = {metric.id: metric for metric in result.metrics}
    assert by_id["psnr-rgb8"].runs[1].difference == 1 and len(by_id["psnr-rgb8"].runs[1].images) == 6
    assert by_id["params"].runs[1].p is None and by_id["params"].runs[1].difference == 0
    assert list(by_id)[:3] == ["psnr-rgb8", "ssim-gauss11", "mae"] and "6 common images" in result.title
    assert "lpips-alex" not in by_id  # measured in none


def test_inputs_of_a_hole_are_compared_separately():
    runs = [in_memory(Spec(name, "places2", "inpaint", 28, named=name), images=6) for name in ("a", "b")]
    result = compare.compare(runs, "psnr-rgb8")
    assert [metric.name for metric in result.metrics] == ["psnr-rgb8, blurred", "psnr-rgb8, sharp"]
    rows = [run.scores["psnr-rgb8"].query("input == 'sharp'") for run in runs]
    gap = rows[1]["value"].mean() - rows[0]["value"].mean()
    assert result.metrics[1].runs[1].difference == pytest.approx(gap)
    assert len(result.metrics[1].runs[1].images) == 6  # six masks of an image count as one


def test_bars_point_to_both_sides():
    index = pd.Index(["a", "b", "c"])
    left, right, none = compare.bars(pd.Series([-2.0, 1.0, 0.0], index), plain=True)
    half = compare.HALF_WIDTH
    assert left == f"    -2.0000 {'#' * half}|{' ' * half} a"
    assert right == f"    +1.0000 {' ' * half}|{'#' * (half // 2)}{' ' * (half // 2)} b" and "#" not in none
    many = compare.bars(pd.Series(np.arange(100.0), pd.Index([f"{i}" for i in range(100)])), plain=True)
    assert len(many) == compare.MAX_BARS and many[0].endswith("0 and 4 more") and "+2.0000" in many[0]
    infinite = compare.bars(pd.Series([math.inf, 1.0], pd.Index(["a", "b"])), plain=True)
    assert infinite[0].count("#") == half
    assert "█" in compare.bars(pd.Series([1.0], pd.Index(["a"])), plain=False)[0]


def test_evaluations_are_found_by_name_and_by_run_and_dataset(store):
    assert [run.name for run in compare.find(store, "sample", NAMES)] == NAMES
    (moved,) = compare.find(store, "sample", ["mrfnet-gopro"], "visdrone")
    assert moved.name == "mrfnet-visdrone-deblur"


@pytest.mark.parametrize(
    ("names", "metric", "error", "message"),
    [
        (
            ["mrfnet-gopro-debluur", NAMES[1]],
            "",
            UserError,
            r"no evaluation 'mrfnet-gopro-debluur'; the nearest are: mrfn",
        ),
        ([NAMES[0], NAMES[0]], "", UserError, "is named twice"),
        ([NAMES[0]], "", UserError, "a comparison needs two or more"),
        ([NAMES[0], "telea-paris-streetview-inpaint"], "", DataError, "task inpaint, but .* has deblur"),
        ([NAMES[0], "mrfnet-visdrone-deblur"], "", DataError, "dataset visdrone, but .* has gopro"),
        (NAMES, "psnr-rgb", UserError, r"metric 'psnr-rgb': .*the nearest are: .*psnr-rgb8"),
    ],
)
def test_runs_that_cannot_be_compared_are_refused(store, names, metric, error, message):
    with pytest.raises(error, match=message):
        compare.compare(compare.find(store, "sample", names), metric)


def test_runs_without_a_common_image():
    run, other = shifted("one", [0.0] * 4), shifted("other", [0.0] * 4)
    other.scores["psnr-rgb8"]["image"] = [f"else-{i}" for i in range(4)]
    with pytest.raises(DataError, match="no metric has a value of a common image"):
        compare.compare([run, other], "psnr-rgb8")


def test_the_command(store, tmp_path, monkeypatch, capsys):
    (tmp_path / "out" / "sample").mkdir(parents=True)
    (tmp_path / "out" / "sample" / "scores").symlink_to(store)
    params = Path("params.yaml").absolute()
    monkeypatch.chdir(tmp_path)
    common = ["--params", str(params), "--profile", "sample", "compare"]
    assert main([*common, *NAMES, "--out", "plot.png"]) == 0
    text = capsys.readouterr().out
    assert text.isascii()  # no terminal
    assert "deblur on GOPRO (offline photographs), sample profile: 8 common images" in text
    assert "psnr-rgb8: siun-gopro-deblur minus mrfnet-gopro-deblur" in text and "-> plot.png" in text
    assert Image.open("plot.png").size == (1050, 600)
    assert main([*common, *NAMES, "--out", "plot.bmp"]) == 2
    assert "found .bmp, expected one of .png, .svg, .pdf" in capsys.readouterr().err
    with pytest.raises(ParamsError):
        compare.check_output(Path("plot"))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "plot.png"]


def test_the_command_draws_with_the_backend_of_a_notebook_and_removes_what_a_killed_one_left(store, tmp_path):
    (tmp_path / "out" / "sample").mkdir(parents=True)
    (tmp_path / "out" / "sample" / "scores").symlink_to(store)
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    left = temporary(tmp_path / "plot.png").name.replace(str(os.getpid()), str(ended.pid))
    (tmp_path / left).touch()
    environment = os.environ | {"MPLBACKEND": "module://matplotlib_inline.backend_inline", "PYTHONPATH": str(ROOT)}
    common = ["--params", str(ROOT / "params.yaml"), "--profile", "sample", "compare"]
    subprocess.run(
        [sys.executable, "-m", "bench", *common, *NAMES, "--out", "plot.png"], cwd=tmp_path, env=environment,
        check=True, capture_output=True,
    )  # fmt: skip
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "plot.png"]

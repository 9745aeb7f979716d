"""Statistics of known values, units, and what is read from the scores."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from bench.contracts import UserError
from reports.scores import reading, statistics
from reports.tables import formats
from reports.tables.cells import cell_records
from tests.make_scores import Spec
from tests.reports.samples import in_memory, join, series


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
    assert high - low == pytest.approx(once[1] - once[0], rel=0.15)  # six copies of an image add no information


def test_the_paired_test_sees_a_small_steady_difference():
    hard = np.random.default_rng(0).normal(30, 3, 20)
    noise = np.random.default_rng(1).normal(0, 0.1, 20)
    others = (hard - 0.2 + noise, hard + noise - noise.mean(), hard)
    lower, moved, same = (statistics.against(series(hard), [series(other)])[0] for other in others)
    assert lower < statistics.LEVEL < moved < same == 1
    (few,) = statistics.against(series(hard[:4]), [series(hard[:4] - 1)])
    assert few == 2 / 2**4  # four images cannot distinguish anything at 5 %


def test_units():
    assert reading.convert(0.0118, "1", "percent") == pytest.approx(1.18)
    assert reading.convert(34_520_000, "", "M") == pytest.approx(34.52)
    assert reading.convert(1, "MiB", "MB") == pytest.approx(1.048576)
    with pytest.raises(UserError, match="'dB' was found where 's' is printed"):
        reading.convert(1, "dB", "s")


def test_a_cost_is_taken_at_the_printed_size_or_else_the_nearest():
    run = in_memory(Spec("dmphn", "gopro", "deblur", 29, "dmphn", params=2))
    assert reading.measure(run, "macs", {"input": "blurred"}, "256×256").value == 16
    assert reading.measure(run, "macs", {}, "720x1280").size == "1280x720"
    assert reading.measure(run, "macs", {}, "1280x768").size == "1280x720"
    assert reading.measure(run, "seconds", {}).size == "256x256"


def test_conditions_select_rows_and_a_set_metric_has_no_mean():
    run = in_memory(Spec("rfr", "paris-streetview", "inpaint", 29, "rfr"))
    condition = {"input": "sharp", "mask_kind": "square", "mask_band": "30-40"}
    stat = reading.measure(run, "psnr-rgb8", condition)
    rows = run.scores["psnr-rgb8"].query("input == 'sharp' and mask_kind == 'square' and mask_band == '30-40'")
    assert stat.value == pytest.approx(rows["value"].mean())
    assert stat.images is not None and len(stat.images) == 12
    base = run.scores["psnr-rgb8"].iloc[:3].assign(image="", metric="fid", unit="1", value=[1.0, 2.0, 3.0])
    fid = replace(run, scores={**run.scores, "fid": base})
    assert reading.measure(fid, "fid", {"mask_band": "30-40"}).value == 2
    assert "by condition" in reading.measure(fid, "fid", {}).reason


def test_equal_images_give_an_infinite_psnr_and_no_error(recwarn):
    run = in_memory(Spec("dmphn", "gopro", "deblur", 29, "dmphn"))
    run.scores["psnr-rgb8"].iloc[0, run.scores["psnr-rgb8"].columns.get_loc("value")] = math.inf
    shown = join("mrfnet-2", run)
    assert "inf [inf, inf]" in formats.markdown(shown)
    assert next(cell["value"] for cell in cell_records(shown)) == "inf"
    assert [str(w.message) for w in recwarn if issubclass(w.category, RuntimeWarning)] == []

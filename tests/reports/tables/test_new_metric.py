"""A metric that a user adds is scored and printed as it is declared."""

from __future__ import annotations

import importlib
from dataclasses import replace

import numpy as np
import pytest

from bench.scoring.metrics import catalogue
from bench.scoring.metrics.measure import Metric, declared
from bench.scoring.table import ScoreTable
from reports.tables import custom, formats, overviews
from reports.tables.runs import join_seeds
from tests.make_scores import Spec
from tests.reports.samples import custom_file, in_memory

LARGEST_ERROR = """
import numpy as np
from bench.scoring.metrics.measure import Image, ImageMetric
from bench.scoring.metrics.values import in_floats


def largest_error(pred: Image, target: Image) -> float:
    pred1, target1 = in_floats(pred, target)
    return 100 * float(np.abs(pred1 - target1).max())


LARGEST_ERROR = ImageMetric(
    id="largest-error",
    title="largest error",
    unit="%",
    better="lower",
    decimals=1,
    compute=largest_error,
    protocol="the largest absolute error of a pixel, in percent of white",
    overview=15,
)
"""


def test_a_new_metric_is_scored_and_printed_as_it_is_declared(tmp_path, monkeypatch):
    """One file with a function and its declaration, added to the catalogue: no other module knows of it."""
    (tmp_path / "largest_error.py").write_text(LARGEST_ERROR, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    module = importlib.import_module("largest_error")
    for name, metric in declared([module], Metric).items():
        monkeypatch.setitem(catalogue.METRICS, name, metric)

    scores = ScoreTable({})
    target = np.full((12, 12, 3), 0.5)
    for i in range(12):
        values = catalogue.compute_all(["largest-error"], target + 0.1 + i / 500, target)
        scores.add(catalogue.find("largest-error"), values["largest-error"], image=f"{i:04d}", input="blurred")
    evaluation = in_memory(Spec("mine", "gopro", "deblur", 29))
    evaluation = replace(
        evaluation, scores={**evaluation.scores, "largest-error": scores.frame().astype({"version": str})}
    )

    (shown,) = overviews.overviews(join_seeds([evaluation]))
    assert [head.id for head in shown.heads][:3] == ["psnr-rgb8", "largest-error", "ssim-gauss11"]
    cell = shown.lines[0].measured["largest-error"]
    assert cell.value == pytest.approx(11.1)
    number = f"| 11.1 [{cell.low:.1f}, {cell.high:.1f}] |"
    text = formats.markdown(shown)
    assert "| largest error ↓ (%) |" in text and number in text
    assert "- Convention: largest-error: the largest absolute error of a pixel, in percent of white\n" in text

    entry = custom_file(tmp_path, "[{run: " + evaluation.name + ", label: Mine}]", columns="[largest-error]")
    table = custom.custom_table(entry, join_seeds([evaluation]))
    assert table is not None and number in formats.markdown(table)

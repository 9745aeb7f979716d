"""Which cells of a column are best, and which tie with them."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import wilcoxon

from reports.scores import reading, statistics
from reports.tables import formats, model, overviews
from reports.tables.runs import join_seeds
from tests import make_scores
from tests.make_scores import Spec
from tests.reports.samples import in_memory, join, real


def marks(table: model.Table, column: str) -> dict[str, tuple[bool, bool, float | None]]:
    """Best, tie and p of each measured cell of a column."""
    cells = {line.row: line.measured[column] for line in table.lines if line.group}
    return {row: (cell.best, cell.tie, cell.p) for row, cell in cells.items()}


def twin(evaluation: reading.Evaluation, row: str) -> reading.Evaluation:
    """The same scores under another name."""
    return replace(evaluation, record=replace(evaluation.record, evaluation=f"{row}-twin", method=row, row=row))


def test_of_two_infinite_means_more_perfect_images_are_better():
    one_perfect, all_perfect, finite = real("lmfn", 31.0), real("dmphn", 25.0), real("srn", 40.0)
    one_perfect.scores["psnr-rgb8"].iloc[0, one_perfect.scores["psnr-rgb8"].columns.get_loc("value")] = math.inf
    all_perfect.scores["psnr-rgb8"]["value"] = math.inf
    shown = marks(join("lmfn-1", one_perfect, all_perfect, finite), "psnr")
    assert {row: (best, tie) for row, (best, tie, _) in shown.items()} == {
        "lmfn": (False, False), "dmphn": (True, False), "srn": (False, False),
    }  # fmt: skip
    assert shown["lmfn"][2] == shown["srn"][2] == 4 / 2**12  # by Holm: 2 of 2^12 twice, and 2 of 2^11


def test_two_identical_methods_tie():
    lmfn = real("lmfn", 31.0)
    equal = marks(join("lmfn-1", lmfn, twin(lmfn, "dmphn")), "psnr")
    assert sorted(equal.values(), key=str) == [(False, True, 1.0), (False, True, None)]  # none best where all are equal
    with_worse = marks(join("lmfn-1", lmfn, twin(lmfn, "dmphn"), real("srn", 25.0)), "psnr")
    assert with_worse["lmfn"][:2] == with_worse["dmphn"][:2] == (True, True)  # both best by equal values, and tied
    assert with_worse["srn"][:2] == (False, False) and with_worse["srn"][2] < statistics.LEVEL
    text = formats.markdown(join("lmfn-1", lmfn, twin(lmfn, "dmphn"), real("srn", 25.0)))
    assert text.count("**31.00** ≈") == 2


def test_the_test_is_corrected_over_the_column():
    steps, hard = np.arange(1, 13) / 100, np.random.default_rng(5).normal(30, 3, 12)
    unsure = np.where(np.arange(1, 13) == 12, steps, -steps)  # the largest difference is the other way
    gaps = {"lmfn": 0 * steps, "dmphn": -steps, "srn": unsure, "sis": 1.01 * unsure, "deepdeblur": 1.02 * unsure}
    runs = [real(name, 30) for name in gaps]
    for run, gap in zip(runs, gaps.values(), strict=True):
        run.scores["psnr-rgb8"]["value"] = hard + gap
    marked = marks(join("lmfn-1", *runs), "psnr")
    single = wilcoxon(unsure, method="exact").pvalue
    assert single < statistics.LEVEL < 3 * single  # significant as a single test, not as one of three
    assert {row: p for row, (_, _, p) in marked.items()} == pytest.approx(
        {"lmfn": None, "dmphn": 4 * 2 / 2**12} | dict.fromkeys(("srn", "sis", "deepdeblur"), 3 * single)
    )
    assert {row for row, (_, tie, _) in marked.items() if tie} == {"srn", "sis", "deepdeblur"}
    assert {row for row, (best, *_) in marked.items() if best} == {"lmfn"}


def test_few_images_tie_and_the_legend_explains_it():
    runs = [
        in_memory(make_scores.originals(Spec(name, "gopro", "deblur", psnr, name)), images=5)
        for name, psnr in (("lmfn", 31.0), ("dmphn", 25.0))
    ]
    table = join("lmfn-1", *runs)
    assert marks(table, "psnr")["dmphn"] == (False, True, 2 / 2**5)
    assert "corrected over the column by Holm (5 %); fewer than 6 images tell nothing apart" in formats.markdown(table)


def test_a_cost_is_best_but_not_tested():
    marked = marks(join("lmfn-1", real("lmfn", 31.0), real("dmphn", 30.0)), "model-size")
    assert set(marked.values()) == {(False, False, None)}  # equal sizes: none is the best


def test_doing_nothing_is_not_the_cheapest_method():
    specs = [
        Spec("input", "gopro", "deblur", 25.0, kind="no training", params=0.1),
        Spec("lmfn", "gopro", "deblur", 29.0, params=2.0),
        Spec("mine", "gopro", "deblur", 26.0, params=3.0),
    ]
    (shown,) = overviews.overviews(join_seeds(in_memory(spec) for spec in specs))
    seconds = {line.label: line.measured["seconds"] for line in shown.lines}
    assert min(seconds, key=lambda label: seconds[label].value) == "Input"
    assert [label for label, cell in seconds.items() if cell.best] == ["LMFN"]

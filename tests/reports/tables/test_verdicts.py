"""The verdicts of cells, rows and tables, with their reasons."""

from __future__ import annotations

from dataclasses import replace

import pytest
from scipy.stats import kendalltau

from bench.record import MissingLoss, RandomHelper
from reports.figures.papers import captions
from reports.figures.papers.sources import Drawn
from reports.published import printed
from reports.scores import reading
from reports.tables import custom, formats, model, verdicts
from reports.tables.all_tables import all_tables
from reports.tables.cells import cell_records
from reports.tables.model import Head, Measured
from tests.make_scores import OFFLINE
from tests.reports.samples import PUBLISHED, join, line_of, real


def judged(
    value: float, low: float | None, high: float | None, text: str, number: float, used: bool = True
) -> Measured:
    """A measured cell judged against a printed number; `used`: in the paper's convention."""
    evaluation = real("lmfn", 30.0)
    cell = Measured(value, low, high, parts=((evaluation, reading.measure(evaluation, "psnr-rgb8", {}), value),))
    protocol = printed.Protocol("psnr-rgb8", "psnr-rgb8" if used else None, used, "Why.")
    column = PUBLISHED.tables["lmfn-1"].columns[0]
    head = Head("psnr", "PSNR", "", "dB", "higher", "psnr-rgb8", printed=column, protocol=protocol)
    verdicts.judge_cell(cell, model.Printed(text, number), head)
    return cell


def test_a_cell_is_judged_by_its_interval():
    inside = judged(30.0, 29.5, 30.5, "30.4", 30.4)
    assert inside.verdict == "reproduced" and inside.difference == pytest.approx(-0.4)
    assert inside.reason == "30.00 against 30.4, inside the 95 % interval"
    assert judged(30.0, 29.5, 30.5, "30.55", 30.55).verdict == "not reproduced"
    assert judged(30.0, 29.5, 30.5, "30.5", 30.55).verdict == "reproduced"  # half a unit of the last digit
    assert judged(10.0, None, None, "10.1", 10.1).verdict == "reproduced"  # a count, within 1 %
    assert judged(10.0, None, None, "10.300", 10.3).verdict == "not reproduced"
    other = judged(30.0, 29.5, 30.5, "30.0", 30.0, used=False)
    assert (other.verdict, other.difference) == ("not comparable", 0)
    assert other.reason == "because of another metric convention: shown is psnr-rgb8, the paper's is not known"


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"origin": OFFLINE}, f"stand-in data ({OFFLINE})"),
        ({"profile": "sample"}, "shorter training (sample profile)"),
        ({"profile": "sample", "kind": "authors' weights"}, "sample profile"),
        ({"partial": True}, "partial data"),
        ({"reduced": ("channels: 64 -> 16",)}, "reduced network"),
        ({"missing_losses": (MissingLoss("style", "no file"),)}, "missing weights (loss terms left out)"),
        ({"random_helpers": (RandomHelper("vgg", ("style",)),)}, "losses through random weights"),
    ],
)
def test_every_reason_why_a_run_is_not_comparable(changes, reason):
    evaluation = real("lmfn", 31.54, ssim_matlab_rgb=0.923)
    table = join("lmfn-1", replace(evaluation, record=replace(evaluation.record, **changes)))
    line = line_of(table, "lmfn")
    for verdict, text in (
        (line.measured["psnr"].verdict, line.measured["psnr"].reason),
        (line.verdict, line.reason),
        (table.verdict, table.reason.partition(";")[0]),
    ):
        assert (verdict, text) == ("not comparable", f"because of {reason}")
    assert f"LMFN(Ours): not comparable, because of {reason}." in formats.markdown(table)


def test_all_26_tables_are_shown_without_a_run():
    published = [table for table in all_tables([], PUBLISHED, custom.load(PUBLISHED)) if table.compares]
    assert [table.id for table in published] == list(PUBLISHED.tables) and len(published) == 26
    layers = [table for table in published if table.kind == printed.LAYERS]
    assert len(layers) == 3 and {table.verdict for table in layers} == {""}
    for table in published:
        assert table in layers or (table.verdict, {line.verdict for line in table.lines}) == ("not run", {"not run"})
        assert len(table.lines) == len(PUBLISHED.tables[table.id].rows) and cell_records(table) == []
        text = formats.markdown(table)
        assert all(value in text for row in PUBLISHED.tables[table.id].rows for value in row.values.values() if value)
        assert (f"Verdict: not run, none of its {len(table.lines)} rows has a run." in text) == (table not in layers)


def test_kendalls_tau_of_a_table_is_scipys():
    printed = {row.method: row.numbers["psnr"] for row in PUBLISHED.tables["lmfn-1"].rows}
    psnr = {"deepdeblur": 28.0, "srn": 29.0, "dmphn": 27.5, "lmfn": 31.0}
    table = join("lmfn-1", *(real(name, value, ssim_matlab_rgb=0.9) for name, value in psnr.items()))
    taus = {head.id: tau for head, tau, _ in verdicts.orders(verdicts.representatives(table.lines), table.heads)}
    assert taus["psnr"] == pytest.approx(kendalltau(list(psnr.values()), [printed[name] for name in psnr]).statistic)


def test_numbers_without_a_commit_are_shown_and_not_compared():
    run = real("lmfn", 31.54)
    made = replace(run.record.provenance, git_commit="", git_dirty=None)
    before = join("lmfn-1", run)
    assert verdicts.REPRODUCED in {cell.verdict for cell in line_of(before, "lmfn").measured.values()}
    for record in (replace(run.record, provenance=made), replace(run.record, trained_by=made)):
        table = join("lmfn-1", replace(run, record=record))
        line = line_of(table, "lmfn")
        assert {cell.verdict for cell in line.measured.values()} - {""} == {verdicts.NOT_COMPARABLE}
        assert line.verdict == table.verdict == verdicts.NOT_COMPARABLE
        assert line.reason == "because of no commit of the code that made it"
        assert "no commit: the version of the code" in formats.markdown(table)
        drawn = Drawn("", "", used=(replace(run, record=record),))
        assert "The commit of the code is not known." in captions.caveats(drawn)
    assert verdicts.obstacles(run.record) == []

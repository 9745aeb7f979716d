"""The check of reports: a correct report passes, and every fault in a changed one is named."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from bench.cli.main import main
from bench.contracts import DataError
from reports.checks import check, pages
from reports.page import render
from tests import make_scores
from tests.make_scores import Spec
from tests.reports.samples import PUBLISHED, address

SPECS = [
    Spec("input", "gopro", "deblur", 25.0, kind="no training"),
    Spec("mrfnet", "gopro", "deblur", 29.4, "mrfnet"),
    Spec("mrfnet", "gopro", "deblur", 29.5, "mrfnet", seed=1),
    Spec("lmfn", "gopro", "deblur", 28.9, "lmfn", record={"reduced": ("channels: 64 -> 16",)}),
    Spec("dgfnet", "paris-streetview", "inpaint", 29.7, "dgfnet"),
]


def in_experiment_7(run: str) -> str | None:
    """The experiment of a run, in a store that has every run."""
    return "7"


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> Path:
    """A few evaluations."""
    root = tmp_path_factory.mktemp("scores")
    make_scores.write(root, SPECS, images=7)
    return root


@pytest.fixture(scope="module")
def report(store, tmp_path_factory) -> Path:
    """The report of these evaluations."""
    out = tmp_path_factory.mktemp("report") / "sample"
    render.render(store, out, profile="sample", resolve=address)
    return out


def changed(path: Path, old: str, new: str) -> None:
    """Replace the first occurrence of a text in a file."""
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new, 1), encoding="utf-8")


def first_number(report: Path, name: str) -> str:
    """A measured PSNR as the tables write it."""
    cells = json.loads((report / "cells.json").read_text(encoding="utf-8"))
    return f"{next(cell['cell'] for cell in cells if cell['table'] == 'lmfn-1' and cell['row'] == name):.2f}"


def test_a_correct_report_resolves_in_full(report, store):
    runs = []

    def counting(run: str) -> str:
        runs.append(run)
        return "7"

    checked = check.check(report, store, profile="sample", experiment_of=counting)
    cells = json.loads((report / "cells.json").read_text(encoding="utf-8"))
    assert checked.cells == len(cells) > 90 and str(checked).endswith("100 % resolve")
    rows = [row for table in PUBLISHED.tables.values() for row in table.rows]
    printed = [text for row in rows for text in row.values.values() if text]
    assert checked.published == len(printed)
    assert checked.links > checked.cells and checked.numbers > 3 * checked.cells
    assert checked.files == sum(path.is_file() for path in report.rglob("*"))
    assert len(runs) == len(set(runs)) == len(SPECS)  # the store is asked once per run
    assert {cell["evaluation"] for cell in cells} == {spec.name for spec in SPECS}


def test_a_report_of_numbers_without_a_commit_is_rendered_and_checked(tmp_path):
    spec = SPECS[1]
    made = replace(make_scores.record_of(spec).provenance, git_commit="", git_dirty=None)
    make_scores.write(tmp_path / "scores", [SPECS[0], replace(spec, record={"provenance": made})], images=4)
    out = tmp_path / "report"
    render.render(tmp_path / "scores", out, profile="sample", resolve=address)
    check.check(out, tmp_path / "scores", profile="sample", experiment_of=in_experiment_7)
    cells = json.loads((out / "cells.json").read_text(encoding="utf-8"))
    commits = {(cell["evaluation"], cell["git_commit"], cell["git_dirty"]) for cell in cells}
    assert commits == {("input-gopro-deblur", "3f9c" * 10, False), ("mrfnet-gopro-deblur", "", None)}
    page = (out / "index.html").read_text(encoding="utf-8")
    assert "; no commit of 1 runs</dd>" in page and "<dt>commit</dt><dd>no commit</dd>" in page


def change_texts(report: Path) -> None:
    """Put a number that nobody measured into the texts of a table."""
    number = first_number(report, "lmfn")
    for ending in ("md", "tex"):
        changed(report / "tables" / f"lmfn-1.{ending}", number, "31.99")


def change_value(report: Path) -> None:
    """Change the value of a cell."""
    cells = json.loads((report / "cells.json").read_text(encoding="utf-8"))
    cells[0]["value"] += 0.01
    (report / "cells.json").write_text(json.dumps(cells), encoding="utf-8")


def change_link(name: str) -> Callable[[Path], None]:
    """Change a link of a cell to what made it."""

    def change(report: Path) -> None:
        cells = json.loads((report / "cells.json").read_text(encoding="utf-8"))
        cells[3][name] = "0" * 40
        (report / "cells.json").write_text(json.dumps(cells), encoding="utf-8")

    return change


def test_every_kind_of_fault_is_named(report, store, tmp_path, monkeypatch):
    figure = next(path.name for path in (report / "figures").glob("*.svg"))
    cases: list[tuple[Callable[[Path], object], str]] = [
        (change_texts, "tables/lmfn-1.md: is not what the scores and the published numbers give now"),
        (lambda at: None, "tables/lmfn-1.md: the number 31.99 comes from no measurement and from no published value"),
        (change_value, "the scores of dgfnet-paris-streetview-inpaint give"),
        (change_link("git_commit"), "git_commit: found '0000"),
        (change_link("manifest_sha256"), "manifest_sha256: found '0000"),
        (lambda at: changed(at / "tables" / "lmfn-1.csv", "31.54", "31.45"), "found '31.45', published is '31.54'"),
        (lambda at: changed(at / "index.html", 'data-column="psnr" data-v="2', 'data-column="psnr" data-v="3'),
         "is not in both page and CSV"),
        (lambda at: changed(at / "index.html", 'id="run-lmfn-gopro-deblur"', 'id="run-lmfm"'),
         "link #run-lmfn-gopro-deblur: nothing has this id"),
        (lambda at: changed(at / "index.html", "<main", '<img src="https://example.org/a.png"><main'),
         "loads https://example.org/a.png from outside the page"),
        (lambda at: changed(at / "index.html", "<main", '<a href="https://example.org">x</a><main'),
         "leads neither into the report nor to MLflow"),
        (lambda at: changed(at / "index.html", "/#/experiments/7/runs/", "/#/experiments/8/runs/"),
         "the tracking store has no such run in this experiment"),
        (lambda at: changed(at / "index.html", "<td class", "<td>77.123</td><td class"),
         "the number 77.123 comes from no measurement"),
        (lambda at: (at / "figures" / figure).unlink(), "found .png, expected .png and .svg"),
        (lambda at: (at / "tables" / "mrfnet-2.csv").unlink(), "tables/mrfnet-2.csv: cannot be read"),
        (lambda at: changed(at / "summary.json", '"evaluations": 5', '"evaluations": 6'), "found 6, expected 5"),
    ]  # fmt: skip
    copy = tmp_path / "report"
    shutil.copytree(report, copy, copy_function=shutil.copyfile)
    for change, _ in cases:
        change(copy)
    with pytest.raises(DataError, match="faults; render the report again") as error:
        check.check(copy, store, profile="sample", experiment_of=in_experiment_7)
    assert len(str(error.value).splitlines()) == 1 + check.MAX_FAULTS + 1
    monkeypatch.setattr(check, "MAX_FAULTS", 10_000)
    with pytest.raises(DataError) as error:
        check.check(copy, store, profile="sample", experiment_of=in_experiment_7)
    assert [message for _, message in cases if message not in str(error.value)] == []


def test_a_lost_mlflow_run_and_changed_scores_are_faults(report, store, tmp_path):
    with pytest.raises(DataError, match=r"row \S+, column psnr-rgb8: MLflow run \w+ is not in the tracking store"):
        check.check(report, store, profile="sample", experiment_of=lambda run: None)
    shutil.copytree(store, tmp_path / "scores")
    path = tmp_path / "scores" / "lmfn-gopro-deblur" / "scores.parquet"
    rows = pd.read_parquet(path)
    rows.loc[rows["metric"] == "psnr-rgb8", "value"] += 1.0
    rows.to_parquet(path)
    with pytest.raises(DataError, match=r"lmfn-gopro-deblur/scores\.parquet: has changed since it was written"):
        check.check(report, tmp_path / "scores", profile="sample", experiment_of=in_experiment_7)
    make_scores.record_files(path.parent)  # as a second evaluation would
    with pytest.raises(DataError, match="the scores of lmfn-gopro-deblur give"):
        check.check(report, tmp_path / "scores", profile="sample", experiment_of=in_experiment_7)


def test_the_command_names_what_is_missing(tmp_path, monkeypatch, capsys):
    params = Path("params.yaml").absolute()
    monkeypatch.chdir(tmp_path)
    assert main(["--params", str(params), "--profile", "sample", "check", "nothing"]) == 2
    assert "nothing: is not a report (no summary.json); run: python -m bench report" in capsys.readouterr().err


def test_rounded_and_numbers():
    assert {"29.41", "29.4", "29", "29.40988"} <= pages.rounded([29.409876]) and pages.rounded([float("inf")]) == set()
    assert pages.numbers_in("27.31 dB of 256x256 [-0.5]") == {"27.31", "256", "0.5"}

"""The report as a whole: every number in it has a link to what made it, and bad input leaves nothing behind."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from bench.contracts import DataError, UserError
from reports.page import render
from reports.scores import reading
from tests import make_scores
from tests.make_scores import OFFLINE, Spec
from tests.reports.samples import PUBLISHED, Reader, address


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
    """The report of these evaluations, and its summary."""
    out = tmp_path_factory.mktemp("report") / "sample"
    return out, render.render(store, out, profile="sample", resolve=address)


def test_a_run_that_the_tracking_store_lacks_fails_and_nothing_is_written(store, tmp_path):
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
    with pytest.raises(DataError, match=r"one/scores\.parquet: has changed since it was written"):
        reading.read(copy, "sample")
    make_scores.record_files(copy / "one")
    with pytest.raises(DataError, match=r"scores\.parquet: cannot be read as Parquet"):
        reading.read(copy, "sample")
    record = json.loads((copy / "one" / "record.json").read_text())
    del record["seed"]
    (copy / "one" / "record.json").write_text(json.dumps(record))
    with pytest.raises(DataError, match=r"record\.json: lacks seed"):
        reading.read(copy, "sample")


def test_a_folder_with_other_files_is_left_alone(store, tmp_path):
    (tmp_path / "thesis.tex").write_text("mine")
    with pytest.raises(UserError, match="is not a report"):
        render.render(store, tmp_path, profile="sample", resolve=address)
    assert (tmp_path / "thesis.tex").read_text() == "mine"


@pytest.mark.parametrize(
    ("files", "is_report"),
    [
        (["figures/a.png", "figures/a.svg"], True),
        (["index.html", "cells.json", "tables/mrfnet-2.md", "tables/mrfnet-2.tex", "tables/mrfnet-2.html"], True),
        (["tables/mrfnet-2.csv", "figures/a.svg"], True),
        (["figures/a.png", "thesis.tex"], False),
        (["figures/a.png", "figures/photographs/b.png"], False),
        (["tables/mrfnet-2.md", "tables/notes.txt"], False),
        (["index.html", "style.css"], False),
        (["tables"], False),
    ],
)
def test_what_is_left_of_a_report_is_replaced_and_nothing_else(tmp_path, files, is_report):
    for name in files:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    with nullcontext() if is_report else pytest.raises(UserError, match="is not a report"):
        render.refuse_other_files(tmp_path)


def test_every_measured_number_of_the_page_is_in_the_cells_with_its_links(report):
    out, summary = report
    cells = json.loads((out / "cells.json").read_text(encoding="utf-8"))
    assert len(cells) == summary.cells > 100
    assert summary.page_bytes == (out / "index.html").stat().st_size < 10_000_000
    for cell in cells:
        assert len(cell["mlflow_run"]) == 32 and len(cell["manifest_sha256"]) == 64
        assert cell["metric_version"] == "1" and cell["git_dirty"] is False and len(cell["git_commit"]) == 40
    frame = pd.read_csv(out / "tables" / "mrfnet-2.csv")
    chosen = [c for c in cells if c["table"] == "mrfnet-2" and c["row"] == "mrfnet" and c["column"] == "gopro-psnr"]
    assert len(chosen) == 2  # two seeds
    assert np.mean([c["value"] for c in chosen]) == pytest.approx(
        frame.set_index("row").at["mrfnet", "gopro-psnr.measured"]
    )


def test_the_report_is_complete_and_names_offline_photographs_everywhere(report, store):
    out, summary = report
    rendered = {path.stem for path in (out / "tables").glob("*.md")}
    assert rendered == set(summary.tables)
    assert {"mrfnet-paths", *PUBLISHED.tables} <= rendered
    assert {summary.tables[name] for name in ("lmfn-3", "lmfn-4")} == {"not run"}  # still shown as printed
    for path in (out / "tables").glob("*.md"):
        measured = path.stem not in PUBLISHED.tables or summary.tables[path.stem] not in ("", "not run")
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
    """As many as the papers have rows: links, ids and cells are right, and the page can still be sent."""
    make_scores.write(tmp_path / "scores", make_scores.many())
    summary = render.render(tmp_path / "scores", tmp_path / "out", profile="sample", resolve=address)
    assert summary.evaluations == len(make_scores.many()) > 100
    assert summary.page_bytes < 20_000_000
    reader = Reader((tmp_path / "out" / "index.html").read_text(encoding="utf-8"))
    ids = [attributes["id"] for attributes in reader.all(id="")]
    assert len(ids) == len(set(ids))
    links = [attributes["href"] or "" for attributes in reader.all(href="")]
    assert {link[1:] for link in links if link.startswith("#")} - set(ids) == {"top"}
    cells = json.loads((tmp_path / "out" / "cells.json").read_text(encoding="utf-8"))
    assert {cell["evaluation"] for cell in cells} == {spec.name for spec in make_scores.many()}


def test_the_page_escapes_titles(tmp_path):
    titled = {"title": "<script>alert(1)</script>"}
    make_scores.write(tmp_path / "scores", [Spec("mine", "gopro", "deblur", 29, kind="predictions", record=titled)])
    render.render(tmp_path / "scores", tmp_path / "out", profile="sample", resolve=address)
    first = {path.name: path.read_bytes() for path in (tmp_path / "out").rglob("*") if path.is_file()}
    assert b"<script>alert" not in first["index.html"] and b"&lt;script&gt;alert" in first["index.html"]
    render.render(tmp_path / "scores", tmp_path / "out", profile="sample", resolve=address)  # replaces the old one
    assert first == {path.name: path.read_bytes() for path in (tmp_path / "out").rglob("*") if path.is_file()}


def test_a_report_needs_no_torch_and_no_tracker():
    heavy = ("torch", "mlflow", "dvc", "matplotlib.pyplot")
    code = f"import sys, reports.page.render; print([name for name in {heavy} if name in sys.modules])"
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"

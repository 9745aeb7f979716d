"""Samples for the tests of reports: evaluations in memory, joined and declared tables, and a parser of pages."""

from __future__ import annotations

import html.parser
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pandas as pd
from PIL import Image

from reports.published import printed
from reports.scores import reading
from reports.tables import custom, model, papers
from reports.tables.runs import join_seeds
from tests import make_scores
from tests.make_scores import Spec

PUBLISHED = printed.load()


def address(record) -> dict[str, str]:
    """The MLflow run of a record, as the tracking store returns it."""
    return {"run_id": record.provenance.mlflow_run, "experiment_id": "7"}


def in_memory(spec: Spec, images: int = 12, **means: float) -> reading.Evaluation:
    """An evaluation without files; the mean of a metric (underscores for hyphens) is moved to a known number."""
    frame = make_scores.score_rows(spec, images)
    for name, mean in means.items():
        rows = frame["metric"] == name.replace("_", "-")
        frame.loc[rows, "value"] += mean - frame.loc[rows, "value"].mean()
    result = {str(metric): rows for metric, rows in frame.groupby("metric", sort=False)}
    return reading.Evaluation(Path("nowhere"), make_scores.record_of(spec), result)


def join(table: str, *evaluations: reading.Evaluation) -> model.Table:
    """A published table, filled with these evaluations."""
    return papers.published_table(PUBLISHED.tables[table], join_seeds(evaluations), PUBLISHED)


def line_of(table: model.Table, row: str) -> model.Line:
    """The first line of a row."""
    return next(line for line in table.lines if line.row == row)


def real(method: str, psnr: float, row: str | None = None, **means: float) -> reading.Evaluation:
    """A method on the papers' own GOPRO data with known means."""
    spec = make_scores.originals(Spec(method, "gopro", "deblur", psnr, row or method))
    return in_memory(spec, psnr_rgb8=psnr, **means)


def series(values, names=None) -> pd.Series:
    """Values of images under one condition."""
    names = [f"{i}" for i in range(len(values))] if names is None else names
    keys = pd.MultiIndex.from_arrays(
        [names, *[[""] * len(values)] * len(reading.CONDITION)], names=["image", *reading.CONDITION]
    )
    return pd.Series(np.asarray(values, float), index=keys)


class Reader(html.parser.HTMLParser):
    """Collects the elements of a page with their attributes; every element must be closed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attributes) -> None:
        self.elements.append((tag, dict(attributes)))
        if tag not in ("meta", "img", "link", "br", "input"):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attributes) -> None:
        self.elements.append((tag, dict(attributes)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def all(self, tag: str = "", **wanted: str) -> list[dict[str, str | None]]:
        """The attributes of every element of a kind; underscores in names mean hyphens, "" any value."""
        names = {name.rstrip("_").replace("_", "-"): value for name, value in wanted.items()}
        return [
            attributes
            for kind, attributes in self.elements
            if tag in ("", kind)
            and all(attributes.get(n) == v or (v == "" and n in attributes) for n, v in names.items())
        ]


def texts(folder: Path, figure: str) -> list[str]:
    """All texts of a figure."""
    tree = ElementTree.parse(folder / f"{figure}.svg")
    return [node.text or "" for node in tree.iter() if node.tag.endswith(("text", "title"))]


def holds(sheet: Image.Image, picture: Image.Image, border: int = 0) -> bool:
    """Whether a sheet shows a picture somewhere, without its border in pixels."""
    condition = np.asarray(picture.convert("RGB"))[border : -border or None, border : -border or None]
    whole = np.asarray(sheet)
    height, width = condition.shape[:2]
    tops, lefts = np.nonzero((whole[: 1 - height, : 1 - width] == condition[0, 0]).all(axis=2))
    return any(
        np.array_equal(whole[top : top + height, left : left + width], condition)
        for top, left in zip(tops, lefts, strict=True)
    )


def custom_file(folder: Path, rows: str, columns: str = "[psnr-rgb8]") -> custom.CustomTable:
    """A table with these rows."""
    text = "{id: mine, title: Mine, task: deblur, dataset: gopro, columns: " + columns + ", rows: " + rows + "}"
    (folder / "mine.yaml").write_text(text, encoding="utf-8")
    return custom.load(PUBLISHED, folder)[0]

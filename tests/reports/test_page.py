"""The page: what it shows of known values, that it needs nothing else, and its size."""

from __future__ import annotations

import itertools
import json
import math
import re
from dataclasses import replace
from pathlib import Path
from urllib.parse import parse_qs

import numpy as np
import pytest
from PIL import Image

from bench.record import RECORD, read_record, write_record
from reports.figures import charts
from reports.figures.charts import Plot
from reports.figures.sheets import Sheet
from reports.page import links, pictures, render, templates
from reports.page.parts import Appendix
from tests import make_scores
from tests.reports.samples import PUBLISHED, Reader, address


def shade(value: int, size: tuple[int, int] = (64, 48)) -> Image.Image:
    """A grey image."""
    return Image.new("RGB", size, (value,) * 3)


def appendices(evaluations, published, folder: Path) -> list[Appendix]:
    """Three appendices: a chart, a photograph and an SVG of another program, and one that shows nothing."""
    chart = charts.save_chart(
        charts.chart(
            "Trials", ("trial", "PSNR (dB)"), [charts.Series("best", np.array([1.0, 2]), np.array([20.0, 21]))]
        ),
        folder / "search-trials",
    )
    other = '<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"><g id="twice"/></svg>'
    figures = "Figures of the papers"
    return [
        Appendix("Searches", "Trials of mine", "A word.", [Plot("Trials", chart)], runs=[evaluations[0].name]),
        Appendix(figures, "Figure 1", "As drawn.", [Plot("F", other), Plot("F", other), Sheet("A picture", shade(7))]),
        Appendix(figures, "Figure 2", missing="Not rendered: no run of dffnet."),
    ]


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> Path:
    """A few evaluations of every task; one of them with two images that were chosen by hand."""
    root = tmp_path_factory.mktemp("scores")
    kept = ("input", "mrfnet", "mine", "telea", "rfr", "deblurgan+ca", "dpdnet", "dmtnet-b", "dffnet")
    make_scores.write(root, [spec for spec in make_scores.few() if spec.method in kept])
    for name in ("mine-gopro-deblur", "input-gopro-deblur"):
        path = root / name / RECORD
        record = read_record(path)
        chosen = [replace(record.images[k], rule="by hand", image=image) for k, image in enumerate(("0007", "0003"))]
        write_record(path, replace(record, images=(*record.images, *chosen)))
    return root


@pytest.fixture(scope="module")
def report(store, tmp_path_factory) -> tuple[Path, Reader, str]:
    """The report of these evaluations: its folder, its parsed page, and the page's text."""
    out = tmp_path_factory.mktemp("report") / "sample"
    render.render(store, out, profile="sample", resolve=address, appendices=[appendices])
    text = (out / "index.html").read_text(encoding="utf-8")
    return out, Reader(text), text


def test_images_chosen_by_hand_are_shown(report):
    out, _reader, text = report
    names = {path.stem for path in (out / "figures").glob("images-by-hand*.png")}
    assert names == {f"images-by-hand-{k}-deblur-gopro-offline-photographs" for k in (1, 2)}
    assert "chosen by hand, 0007" in text and "chosen by hand, 0003" in text


def test_the_page_is_whole_and_needs_nothing_else(report):
    _, reader, text = report
    assert reader.open == []
    ids = [attributes["id"] for attributes in reader.all(id="")]
    assert len(ids) == len(set(ids))
    links = [attributes["href"] or "" for attributes in reader.all(href="")]
    inside = {link[1:] for link in links if link.startswith("#")}
    assert inside - set(ids) == {"top"}
    assert all(link.startswith(("#", "data:image/webp;", "http://127.0.0.1:5000/#/")) for link in links)
    assert all((attributes["src"] or "").startswith("data:image/") for attributes in reader.all(src=""))
    assert not re.search(r"url\(|@import|<link|fetch\(|XMLHttp", text)


def test_headings_landmarks_and_tables_work_with_a_screen_reader(report):
    _, reader, _ = report
    levels = [int(kind[1]) for kind, _ in reader.elements if re.fullmatch(r"h[1-6]", kind)]
    assert levels[0] == 1 and levels.count(1) == 1
    assert all(after <= before + 1 for before, after in itertools.pairwise(levels))
    kinds = [kind for kind, _ in reader.elements]
    assert all(kinds.count(kind) == 1 for kind in ("main", "nav", "footer")) and reader.all("html")[0]["lang"] == "en"
    assert all("scope" in attributes for attributes in reader.all("th"))
    assert all(attributes.get("aria-label") for attributes in reader.all("svg", role="img"))
    assert all(attributes.get("alt") for attributes in reader.all("img"))
    assert all(attributes.get("aria-label") for attributes in reader.all("input", type="range"))
    assert reader.all("a", class_="skip", href="#content") and reader.all("main", id="content")


def test_every_measured_cell_names_its_row_and_column(report):
    out, reader, text = report
    cells = {(c["table"], c["row"], c["column"]): c["cell"] for c in json.loads((out / "cells.json").read_text())}
    values = {}
    for part in text.split('<section class="table" id="')[1:]:
        table = part.partition('"')[0]
        for attributes in Reader(f"<div>{part.partition('</section>')[0].partition('>')[2]}</div>").all(
            data_kind="measured"
        ):
            values[table, attributes["data-row"], attributes["data-column"]] = float(attributes["data-v"] or "nan")
    assert {key: pytest.approx(float(value), abs=0) for key, value in cells.items()} == values and len(values) > 100
    printed = reader.all("td", data_kind="published")
    assert len(printed) > 300 and all(math.isfinite(float(run["data-v"] or "nan")) for run in printed)


def test_every_table_has_its_page(report):
    out, _, _text = report
    names = {path.stem for path in (out / "tables").glob("*.md")}
    assert {path.stem for path in (out / "tables").glob("*.html")} == names and set(PUBLISHED.tables) <= names
    alone = Reader((out / "tables" / "mrfnet-2.html").read_text(encoding="utf-8"))
    assert alone.open == [] and len(alone.all("h1")) == 1 and alone.all("section", id="mrfnet-2")
    assert any(link["href"] == "../index.html#run-mrfnet-gopro-deblur" for link in alone.all("a"))
    ids = {attributes["id"] for attributes in alone.all(id="")}
    assert {(a["href"] or "#")[1:] for a in alone.all("a") if (a["href"] or "").startswith("#")} <= ids


def test_a_table_of_several_runs_leads_to_their_comparison(report):
    out, _, text = report
    body = text.partition('id="overview-deblur-gopro-offline-photographs"')[2].partition("</section>")[0]
    (link,) = [run["href"] for run in Reader(f"<p {body}</p>").all("a", class_="mlflow-compare")]
    server, query = query_of(link or "")
    cells = json.loads((out / "cells.json").read_text())
    chosen = {c["mlflow_run"] for c in cells if c["table"] == "overview-deblur-gopro-offline-photographs"}
    assert server == "http://127.0.0.1:5000" and set(query["runs"]) == chosen and len(chosen) > 2
    assert query["experiments"] == ["7"] and "[" not in (link or "") and '"' not in (link or "")


def query_of(link: str) -> tuple[str, dict[str, list[str]]]:
    """The server of a comparison's address, and the runs and experiments in it."""
    server, _, query = link.partition("/#/compare-runs?")
    return server, {key: json.loads(values[0]) for key, values in parse_qs(query).items() if key != "workflowType"}


def test_a_link_compares_at_most_fifty_runs():
    runs = [{"run_id": f"{i:032x}", "experiment_id": str(i % 3), "server": "https://host"} for i in range(80)]
    server, query = query_of(links.comparison_address([*runs, runs[0]]))
    assert server == "https://host" and query["experiments"] == ["0", "1", "2"]
    assert query["runs"] == [run["run_id"] for run in runs[: links.MAX_COMPARED]]


def test_comparisons_have_a_slider_and_linked_windows(report):
    _, reader, text = report
    figures_ = reader.all("figure", class_="comparison")
    assert len(figures_) > 6
    sliders = reader.all("div", class_="before-after")
    assert {run["data-comparison"] for run in sliders} == {run["id"] for run in figures_}
    assert all((run["style"] or "").startswith("--at:50%") for run in sliders)
    run = text.partition(f'id="{figures_[0]["id"]}"')[2].partition("</figure>")[0]
    part = Reader(f"<p {run}</p>")
    images = part.all("image")
    assert (
        len(images) == len({image["href"] for image in images if image["href"]}) > 2
    )  # each once: the other places refer to it
    assert len(part.all("use")) == len(images) + 2
    window = {attributes["viewbox"] for attributes in part.all("svg", class_="crop")}
    assert len(window) == 1  # all crops show the same place
    boxes = {tuple(attributes[name] for name in ("x", "y", "width", "height")) for attributes in part.all("rect")}
    assert {" ".join(str(value) for value in box) for box in boxes} == window
    assert text.count('class="which"') >= 2  # two boxes for the dual-pixel images


def test_appendices_are_after_the_tasks_in_a_section_per_heading(report):
    out, reader, text = report
    tasks, _, rest = text.partition('<section class="further">')
    assert "Trials of mine" in rest and "Trials of mine" not in tasks.partition("</nav>")[2]
    assert rest.count(">Figures of the papers</h2>") == 1
    assert len(reader.all("section", class_="further")) == 2
    assert 'alt="A picture"' in rest and "Not rendered: no run of dffnet." in rest
    assert text.count("data:image/svg+xml;base64,") == 2 and 'id="twice"' not in text  # the ids of another program
    assert (out / "figures" / "search-trials.png").is_file()


def test_packages_are_listed_once(report):
    _, reader, text = report
    assert text.count(">torch</dt>") == len(reader.all("details", id="environment-1")) == 1


def test_pictures_that_do_not_fit_are_left_out_and_named(store, tmp_path, monkeypatch):
    monkeypatch.setattr(templates, "MAX_BYTES", 0)
    render.render(store, tmp_path / "out", profile="sample", resolve=address)
    text = (tmp_path / "out" / "index.html").read_text(encoding="utf-8")
    reader = Reader(text)
    assert "data:image/webp" not in text and reader.open == [] and not reader.all("figure", class_="comparison")
    assert "not on this page because of its size" in text and "figures/insides-mrfnet-gopro-deblur.png" in text
    assert (tmp_path / "out" / "figures" / "insides-mrfnet-gopro-deblur.png").is_file()


def test_images_shrink_together_until_they_fit():
    noise = np.random.default_rng(0).integers(0, 255, (400, 600, 3)).astype(np.uint8)
    images = [Image.fromarray(noise), Image.fromarray(noise[::-1].copy())]
    with pictures.ThreadPoolExecutor(1) as pool:
        large, small = pictures.encode_all(images, 1e9, pool), pictures.encode_all(images, 60_000, pool)
        assert pictures.encode_all(images, 100, pool) == []
    assert sum(map(len, small)) <= 60_000 < sum(map(len, large)) and len(small) == 2


@pytest.mark.slow
def test_750_runs_make_a_page_that_can_be_sent(tmp_path):
    """The whole store of 750 evaluations: the page stays below 10 MB, every figure has both files."""
    make_scores.write(tmp_path / "scores", make_scores.hundreds(), steps=300)
    summary = render.render(tmp_path / "scores", tmp_path / "out", profile="sample", resolve=address)
    assert summary.evaluations == 750 and summary.page_bytes < 10_000_000
    stems = {path.stem for path in (tmp_path / "out" / "figures").glob("*.svg")}
    assert stems == {path.stem for path in (tmp_path / "out" / "figures").glob("*.png")} and len(stems) > 650
    reader = Reader((tmp_path / "out" / "index.html").read_text(encoding="utf-8"))
    ids = [attributes["id"] for attributes in reader.all(id="")]
    assert reader.open == [] and len(ids) == len(set(ids)) and len(reader.all("article")) == 750

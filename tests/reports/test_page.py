"""The page and its figures: what they show of known values, that they need nothing else, and their size."""

from __future__ import annotations

import html.parser
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

from bench.contracts import ParamsError
from bench.data import manifest
from bench.params.loading import load
from bench.params.resolving import evaluation
from bench.params.schema import Evaluate
from bench.record import RECORD, read_record, write_record
from bench.scoring.kept_images import choose_images
from reports.figures import axes, charts, comparisons, efficiency, naming, rasterising, severity
from reports.figures.charts import Plot
from reports.figures.sheets import Sheet
from reports.page import links, pictures, render, templates
from reports.page.parts import Appendix
from reports.published import printed
from reports.scores import reading
from reports.tables.runs import join_seeds
from tests import make_scores
from tests.make_scores import Spec

KNOWN = printed.load()


def address(record) -> dict[str, str]:
    """A run as the tracking store knows it."""
    return {"run_id": record.provenance.mlflow_run, "experiment_id": "7"}


class Reader(html.parser.HTMLParser):
    """Collects the elements of a page with their attributes, the sections they stand in, and the texts of cells."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attributes) -> None:
        self.found.append((tag, dict(attributes)))
        if tag not in ("meta", "img", "link", "br", "input"):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attributes) -> None:
        self.found.append((tag, dict(attributes)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def all(self, tag: str = "", **wanted: str) -> list[dict[str, str | None]]:
        """The attributes of every element of a kind; underscores of names stand for hyphens, "" for any value."""
        names = {name.rstrip("_").replace("_", "-"): value for name, value in wanted.items()}
        return [
            attributes
            for kind, attributes in self.found
            if tag in ("", kind)
            and all(attributes.get(n) == v or (v == "" and n in attributes) for n, v in names.items())
        ]


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
    """That store, rendered: its folder, its page read, and the page's text."""
    out = tmp_path_factory.mktemp("report") / "sample"
    render.render(store, out, profile="sample", resolve=address, appendices=[appendices])
    text = (out / "index.html").read_text(encoding="utf-8")
    return out, Reader(text), text


# Charts ---------------------------------------------------------------------------------------------------------------


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


def test_values_that_cannot_be_logarithmic_are_drawn_all_the_same():
    series = [charts.Series("a", np.array([1.0, 2]), np.array([0.0, 3]))]
    assert charts.chart("t", ("x", "y"), series, log=(True, True)).count("<svg") == 1
    one = charts.Series("a", np.array([5.0]), np.array([math.nan]), look="points")
    assert "translate(nan" not in charts.chart("t", ("x", "y"), [one])


# Efficiency and severity ----------------------------------------------------------------------------------------------


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


def test_severities_are_dealt_into_groups():
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


def in_memory(spec: Spec) -> reading.Evaluation:
    """An evaluation without files."""
    frame = make_scores.score_rows(spec, 12)
    found = {str(metric): rows for metric, rows in frame.groupby("metric", sort=False)}
    return reading.Evaluation(Path("nowhere"), make_scores.record_of(spec), found)


def test_severities_come_from_the_rows_of_one_input():
    one = in_memory(Spec("rfr", "places2", "inpaint", 29))
    rows = one.scores["psnr-rgb8"]
    lengths, values = severity.severities_of(one, "psnr-rgb8", "length", "blurred") or pytest.fail("no severity")
    mine = rows[rows["input"] == "blurred"]
    assert lengths.tolist() == [json.loads(text)["length"] for text in mine["severity"]]
    assert values.tolist() == mine["value"].tolist()
    assert severity.severities_of(one, "psnr-rgb8", "length", "sharp") is None  # no blur in a sharp input
    holes, _ = severity.severities_of(one, "psnr-rgb8", "mask_ratio", "sharp") or pytest.fail("no hole")
    assert 0.2 <= holes.min() < holes.max() < 0.5
    assert severity.severities_of(one, "fid", "length", "blurred") is None
    assert (
        severity.severities_of(in_memory(Spec("mine", "gopro", "deblur", 29)), "psnr-rgb8", "mask_ratio", "blurred")
        is None
    )


def test_nothing_is_drawn_where_the_severity_does_not_vary(tmp_path):
    one = in_memory(Spec("mine", "gopro", "deblur", 29))
    key = naming.key_of(one)
    names = {path.stem for path in tmp_path.glob("*.svg")}
    severity.severity_plots(join_seeds([one]), key, tmp_path)
    names = {path.stem for path in tmp_path.glob("*.svg")}
    suffix = "deblur-gopro-offline-photographs-blurred"
    assert names == {f"{metric}-by-{kind}-{suffix}" for metric in ("psnr", "ssim") for kind in ("length", "sigma")}
    same = {name: rows.assign(severity='{"length": 5, "sigma": 1}') for name, rows in one.scores.items()}
    assert severity.severity_plots(join_seeds([replace(one, scores=same)]), key, tmp_path) == []


# Comparisons ----------------------------------------------------------------------------------------------------------


def test_two_windows_lie_apart_where_the_input_errs_most(tmp_path):
    target = np.full((128, 256, 3), 100, np.uint8)
    given = target.copy()
    given[90:100, 200:210], given[10:20, 20:30] = 0, 60
    for name, pixels in (("given", given), ("target", target)):
        Image.fromarray(pixels).save(tmp_path / f"{name}.png")
    files = tmp_path / "given.png", [("mine", "run", tmp_path / "given.png")], tmp_path / "target.png"
    comparison = comparisons.compare("t", *files, max_windows=2)
    boxes = [[round(part * side) for part, side in zip(w, (256, 128) * 2, strict=True)] for w in comparison.windows]
    for (left, top, w, h), (x, y) in zip(boxes, ((200, 90), (20, 10)), strict=True):
        assert left <= x and left + w >= x + 10 and top <= y and top + h >= y + 10
    (a, b, w, h), (c, d, *_) = boxes
    assert abs(a - c) >= w or abs(b - d) >= h
    assert comparison.size == (256, 128) and all(len(tile.details) == 2 for tile in comparison.tiles)
    comparisons.save_comparison(comparison, tmp_path / "both")
    text = (tmp_path / "both.svg").read_text()
    assert text.count("<image") == 9 and all(text.count(f'stroke="{colour}"') == 6 for colour in comparisons.BOXES)
    assert len(comparisons.compare("t", *files).windows) == 1


def test_images_chosen_by_hand_are_shown(report):
    out, _reader, text = report
    names = {path.stem for path in (out / "figures").glob("images-by-hand*.png")}
    assert names == {f"images-by-hand-{k}-deblur-gopro-offline-photographs" for k in (1, 2)}
    assert "chosen by hand, 0007" in text and "chosen by hand, 0003" in text


def built_set(folder: Path, names: list[str]) -> manifest.BuiltSet:
    """A built set whose inputs get worse from name to name."""
    psnr = np.linspace(30, 20, len(names))
    rows = [{"name": name, "split": "test", "input_psnr": value} for name, value in zip(names, psnr, strict=True)]
    manifest.write(folder / manifest.NAME, rows, {"dataset": "gopro"})
    return manifest.read(folder)


def test_the_rules_and_the_hand(tmp_path):
    built = built_set(tmp_path, list("abcde"))
    assert choose_images(built, Evaluate(keep_images=3)) == {"c": "median", "e": "worst", "d": "further 1"}
    by_hand = choose_images(built, Evaluate(keep_images=3, images={"gopro": ["a", "e", "d"], "kohler": ["z"]}))
    assert by_hand == {"c": "median", "e": "worst", "d": "by hand", "a": "by hand"}
    with pytest.raises(ParamsError, match=r"images: gopro: no test image 'bb' in .*; the nearest are: b"):
        choose_images(built, Evaluate(images={"gopro": ["bb"]}))


def test_images_by_hand_belong_to_a_profile_and_a_dataset(tmp_path):
    path = tmp_path / "params.yaml"
    path.write_text("{profile: sample, evaluate: {paper: {keep_images: 3, images: {gopro: [x]}}}}")
    assert evaluation(load(path)).images == {} and evaluation(load(path)).keep_images == 3
    assert evaluation(load(path, "paper")).images == {"gopro": ["x"]}
    path.write_text("{profile: sample, evaluate: {sample: {images: {gorpo: [x]}}}}")
    with pytest.raises(ParamsError, match=r"evaluate.sample.images.gorpo: no dataset 'gorpo'; the nearest are: gopro"):
        load(path)


# The page -------------------------------------------------------------------------------------------------------------


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


def test_headings_landmarks_and_tables_can_be_heard(report):
    _, reader, _ = report
    levels = [int(kind[1]) for kind, _ in reader.found if re.fullmatch(r"h[1-6]", kind)]
    assert levels[0] == 1 and levels.count(1) == 1
    assert all(after <= before + 1 for before, after in itertools.pairwise(levels))
    kinds = [kind for kind, _ in reader.found]
    assert all(kinds.count(kind) == 1 for kind in ("main", "nav", "footer")) and reader.all("html")[0]["lang"] == "en"
    assert all("scope" in attributes for attributes in reader.all("th"))
    assert all(attributes.get("aria-label") for attributes in reader.all("svg", role="img"))
    assert all(attributes.get("alt") for attributes in reader.all("img"))
    assert all(attributes.get("aria-label") for attributes in reader.all("input", type="range"))
    assert reader.all("a", class_="skip", href="#content") and reader.all("main", id="content")


def test_every_measured_cell_says_what_it_is(report):
    out, reader, text = report
    cells = {(c["table"], c["row"], c["column"]): c["cell"] for c in json.loads((out / "cells.json").read_text())}
    seen = {}
    for part in text.split('<section class="table" id="')[1:]:
        table = part.partition('"')[0]
        for attributes in Reader(f"<div>{part.partition('</section>')[0].partition('>')[2]}</div>").all(
            data_kind="measured"
        ):
            seen[table, attributes["data-row"], attributes["data-column"]] = float(attributes["data-v"] or "nan")
    assert {key: pytest.approx(float(value), abs=0) for key, value in cells.items()} == seen and len(seen) > 100
    printed = reader.all("td", data_kind="published")
    assert len(printed) > 300 and all(math.isfinite(float(one["data-v"] or "nan")) for one in printed)


def test_every_table_has_a_page_of_its_own(report):
    out, _, _text = report
    names = {path.stem for path in (out / "tables").glob("*.md")}
    assert {path.stem for path in (out / "tables").glob("*.html")} == names and set(KNOWN.tables) <= names
    alone = Reader((out / "tables" / "mrfnet-2.html").read_text(encoding="utf-8"))
    assert alone.open == [] and len(alone.all("h1")) == 1 and alone.all("section", id="mrfnet-2")
    assert any(link["href"] == "../index.html#run-mrfnet-gopro-deblur" for link in alone.all("a"))
    ids = {attributes["id"] for attributes in alone.all(id="")}
    assert {(a["href"] or "#")[1:] for a in alone.all("a") if (a["href"] or "").startswith("#")} <= ids


def test_a_table_of_several_runs_leads_to_their_comparison(report):
    out, _, text = report
    body = text.partition('id="overview-deblur-gopro-offline-photographs"')[2].partition("</section>")[0]
    (link,) = [one["href"] for one in Reader(f"<p {body}</p>").all("a", class_="mlflow-compare")]
    server, query = asked(link or "")
    cells = json.loads((out / "cells.json").read_text())
    mine = {c["mlflow_run"] for c in cells if c["table"] == "overview-deblur-gopro-offline-photographs"}
    assert server == "http://127.0.0.1:5000" and set(query["runs"]) == mine and len(mine) > 2
    assert query["experiments"] == ["7"] and "[" not in (link or "") and '"' not in (link or "")


def asked(link: str) -> tuple[str, dict[str, list[str]]]:
    """The server of a comparison's address, and the runs and experiments that it asks for."""
    server, _, query = link.partition("/#/compare-runs?")
    return server, {key: json.loads(values[0]) for key, values in parse_qs(query).items() if key != "workflowType"}


def test_a_link_compares_at_most_so_many_runs():
    runs = [{"run_id": f"{i:032x}", "experiment_id": str(i % 3), "server": "https://host"} for i in range(80)]
    server, query = asked(links.comparison_address([*runs, runs[0]]))
    assert server == "https://host" and query["experiments"] == ["0", "1", "2"]
    assert query["runs"] == [run["run_id"] for run in runs[: links.MAX_COMPARED]]


def test_comparisons_carry_a_slider_and_linked_windows(report):
    _, reader, text = report
    figures_ = reader.all("figure", class_="comparison")
    assert len(figures_) > 6
    sliders = reader.all("div", class_="before-after")
    assert {one["data-comparison"] for one in sliders} == {one["id"] for one in figures_}
    assert all((one["style"] or "").startswith("--at:50%") for one in sliders)
    one = text.partition(f'id="{figures_[0]["id"]}"')[2].partition("</figure>")[0]
    part = Reader(f"<p {one}</p>")
    images = part.all("image")
    assert (
        len(images) == len({image["href"] for image in images if image["href"]}) > 2
    )  # each once: the rest refers to it
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
    assert text.count("data:image/svg+xml;base64,") == 2 and 'id="twice"' not in text  # another program's ids
    assert (out / "figures" / "search-trials.png").is_file()


def test_the_packages_stand_once(report):
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

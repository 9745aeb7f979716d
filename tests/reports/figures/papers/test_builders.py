"""The papers' figures: each is drawn from its runs or has a reason why not, and its caption names both."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
from PIL import Image

from reports.figures.papers.builders import ARCHITECTURE, BUILDERS, REASONS, PaperFigure, draw_figures
from reports.figures.papers.sources import Sources, read_entries, runs_of_rows
from reports.scores import reading
from tests.conftest import ROOT
from tests.make_scores import Spec, write
from tests.reports.samples import PUBLISHED


def test_every_figure_of_the_papers_is_drawn_or_has_a_reason(rendered: dict[str, PaperFigure], folder: Path):
    entries = {entry.id: entry for entry in read_entries()}
    assert list(rendered) == list(entries)
    for figure in rendered.values():
        assert (figure.picture is None) == bool(figure.missing) == (not figure.caption), figure.id
        files = [(folder / f"{figure.id}.{ending}").is_file() for ending in ("png", "svg")]
        assert files == [figure.picture is not None] * 2
        assert figure.title.upper().startswith(entries[figure.id].paper.upper()), figure.title
    without = {name for name, entry in entries.items() if entry.kind == ARCHITECTURE} | set(REASONS)
    assert set(BUILDERS) == set(entries) - without, "exactly the figures that hold data have a builder"
    assert {name for name, figure in rendered.items() if figure.missing} - without == set()


def test_a_figure_without_its_runs_names_them(evaluations: list[reading.Evaluation], tmp_path: Path):
    result = {figure.id: figure for figure in draw_figures([], tmp_path, tmp_path, PUBLISHED)}
    assert list(tmp_path.iterdir()) == [], "nothing is half-written"
    assert all(figure.picture is None and figure.missing and not figure.runs for figure in result.values())
    assert "siun" in result["mrfnet-fig6"].missing and "deblur on " in result["mrfnet-fig6"].missing
    assert "dffnet-433-v3" in result["dffnet-fig13"].missing
    assert "visdrone" in result["mrfnet-fig4"].missing
    alone = [figure for figure in evaluations if figure.name == "dffnet-places2"]
    result = {figure.id: figure for figure in draw_figures(alone, tmp_path, tmp_path, PUBLISHED)}
    assert result["dffnet-fig13"].missing == "It compares two runs; missing: sharp-inpaint on places2: dffnet-433-v3."


def test_a_caption_names_the_runs_the_missing_rows_the_stand_in_and_what_is_published(
    rendered: dict[str, PaperFigure],
):
    figure = rendered["mrfnet-fig5"]
    assert figure.runs == ("dmphn-gopro-deblur", "mrfnet-gopro-deblur"), "of two seeds the lowest"
    assert "the lowest seed of each" in figure.caption and "the lowest seed" not in rendered["dgfnet-fig4"].caption
    assert "Published, not measured: plateau near 6 percent" in figure.caption
    assert "stand-ins (offline photographs)" in figure.caption and "profile sample" in figure.caption
    assert "Not run: deblur on gopro: deepdeblur, deblurgan, deblurgan-v2, siun, refinenet" in figure.caption
    assert "stand-ins" in rendered["mrfnet-fig4"].caption, "a figure without runs names it, too"


def test_the_files_are_drawings_that_need_nothing_else(rendered: dict[str, PaperFigure], folder: Path):
    for figure in rendered.values():
        if figure.picture is None:
            continue
        text = (folder / f"{figure.id}.svg").read_text(encoding="utf-8")
        root = ElementTree.fromstring(text)
        assert root.tag.endswith("svg")
        assert not re.search(r'href="(?!data:image/(jpeg|png);base64,)', text), figure.id
        with Image.open(folder / f"{figure.id}.png") as image:
            assert image.size == (int(root.get("width", 0)), int(root.get("height", 0)))
        if isinstance(figure.picture, Image.Image):
            assert np.array_equal(
                np.asarray(figure.picture), np.asarray(Image.open(folder / f"{figure.id}.png").convert("RGB"))
            )
    total = sum(path.stat().st_size for path in folder.glob("*.svg"))
    assert total < 4e6, "photographs are JPEG in an SVG"


def test_the_same_scores_give_the_same_files(
    evaluations: list[reading.Evaluation], data: Path, folder: Path, rendered: dict[str, PaperFigure], tmp_path: Path
):
    draw_figures(evaluations, data, tmp_path, PUBLISHED)
    for path in folder.iterdir():
        assert path.read_bytes() == (tmp_path / path.name).read_bytes(), path.name


def test_the_run_of_a_row_is_the_trained_one_of_the_lowest_seed_and_of_the_origin_that_most_have(tmp_path: Path):
    def spec(name: str, row: str, **about: object) -> Spec:
        return Spec(name, "gopro", "deblur", 28.0, row, record=about, named=name)

    released = Spec("mrfnet", "gopro", "deblur", 28.0, "mrfnet", kind="authors' weights", named="a-released")
    originals = {"origin": "originals"}
    write(
        tmp_path,
        [released, spec("b", "mrfnet", seed=3), spec("c", "mrfnet", seed=1), spec("d", "dmphn", also=("siun",)),
         spec("e", "siun", **originals), spec("f", "mrfnet", **originals), spec("g", "mrfnet", task="inpaint")],
        images=2, steps=3,
    )  # fmt: skip
    store = Sources(reading.read(tmp_path, "sample"), PUBLISHED, tmp_path)
    result = runs_of_rows(store, "deblur", ("siun", "dmphn", "mrfnet", "lmfn"), "gopro")
    assert {row: run.name for row, run in result.items()} == {"siun": "d", "dmphn": "d", "mrfnet": "c"}
    assert list(result) == ["siun", "dmphn", "mrfnet"], "in the order of the rows"
    assert runs_of_rows(store, "deblur", ("mrfnet",), "visdrone") == {}


def test_the_papers_figures_need_no_torch(root: Path, data: Path, tmp_path: Path):
    script = (
        "import sys; from pathlib import Path; from reports.figures.papers.builders import draw_figures\n"
        "from reports.published import printed; from reports.scores import reading\n"
        "root, data, folder = map(Path, sys.argv[1:])\n"
        "figures = draw_figures(reading.read(root, 'sample'), data, folder, printed.load())\n"
        "assert sum(figure.picture is not None for figure in figures) > 20\n"
        "print([name for name in ('torch', 'mlflow', 'skimage') if name in sys.modules])"
    )
    command = [sys.executable, "-c", script, str(root), str(data), str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "[]"

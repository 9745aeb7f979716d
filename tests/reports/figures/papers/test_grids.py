"""Grids of restored images: which images, runs and windows they show."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from bench.contracts import DataError
from bench.record import KeptImage
from reports.figures.papers.builders import PaperFigure, draw_figures
from reports.figures.sheets import BOXES, WIDTH
from reports.figures.windows import enlarge, worst_windows
from reports.scores import reading
from tests.make_scores import Spec, photograph, record_files, write
from tests.reports.samples import PUBLISHED, holds, texts


def test_a_grid_shows_input_runs_and_target_whole_and_enlarged(
    root: Path, rendered: dict[str, PaperFigure], folder: Path
):
    sheet = rendered["dgfnet-fig4"].picture
    assert isinstance(sheet, Image.Image)
    assert rendered["dgfnet-fig4"].runs == ("rfr-paris-streetview-inpaint", "dgfnet-paris-streetview-inpaint")
    for rule in ("median", "worst"):
        files = [root / "rfr-paris-streetview-inpaint" / "images" / f"{rule}{end}.png" for end in ("", "-target")]
        files.append(root / "dgfnet-paris-streetview-inpaint" / "images" / f"{rule}.png")
        restored, target, other = (Image.open(file).convert("RGB") for file in files)
        window = worst_windows([restored, other], target, 1)[0]
        for image in (restored, target, other):
            assert holds(sheet, enlarge(image, window, WIDTH), border=3)
    written = texts(folder, "dgfnet-fig4")
    assert [written.count(label) for label in ("input", "RFR", "Dgfnet", "target")] == [2, 2, 2, 2]
    assert any("Paris StreetView (offline photographs), the worst image" in figure for figure in written)


def test_two_enlarged_boxes_of_two_colours_on_dual_pixel_images(
    root: Path, folder: Path, rendered: dict[str, PaperFigure]
):
    figure = rendered["dmtnet-fig4"]
    assert figure.runs == ("dpdnet-canon-dp-dual-pixel", "dmtnet-canon-dp-dual-pixel")
    text = (folder / "dmtnet-fig4.svg").read_text(encoding="utf-8")
    # Two images of four pictures: a box on each whole, and a frame around each detail.
    assert [text.count(f'stroke="{colour}"') for colour in BOXES] == [16, 16, 0]
    assert isinstance(figure.picture, Image.Image)
    for rule in ("median", "worst"):
        restored = [Image.open(root / run / "images" / f"{rule}.png").convert("RGB") for run in figure.runs]
        target = Image.open(root / figure.runs[0] / "images" / f"{rule}-target.png").convert("RGB")
        windows = worst_windows(restored, target, 2)
        assert len(windows) == 2
        for window in windows:
            assert all(holds(figure.picture, enlarge(image, window, WIDTH), border=3) for image in [*restored, target])


def test_sharper_inpainting_and_inpainting_are_two_parts_of_a_figure(rendered: dict[str, PaperFigure], folder: Path):
    figure = rendered["dffnet-fig8"]
    assert figure.runs == ("dffnet-places2", "rn-places2-inpaint")
    written = texts(folder, "dffnet-fig8")
    assert any(line.startswith("blurred image with a hole: Places2") for line in written)
    assert any(line.startswith("sharp image with a hole: Places2") for line in written)
    assert "inpaint on places2: ca, ec, lbam, dffnet" in figure.caption


def test_a_run_that_kept_another_image_is_named_and_not_shown(tmp_path: Path):
    files = ("images/m-input.png", "images/m.png", "images/m-target.png")

    def spec(name: str, row: str, image: str) -> Spec:
        record = {"images": (KeptImage("median", image, {"input": "blurred"}, *files),)}
        return Spec(name, "gopro", "deblur", 28.0, row, record=record, named=name)

    runs = [spec("a", "deblurgan", "0001"), spec("b", "dmphn", "0002"), spec("c", "mrfnet", "0002")]
    write(tmp_path / "scores", runs, images=2, pictures=[photograph((64, 64), 0)], steps=3)
    (tmp_path / "out").mkdir()
    result = {figure.id: figure for figure in draw_figures(reading.read(tmp_path / "scores", "sample"), tmp_path,
                                                   tmp_path / "out", PUBLISHED)}  # fmt: skip
    assert result["mrfnet-fig6"].runs == ("b", "c")
    assert "a, which kept another median image" in result["mrfnet-fig6"].caption


def test_a_damaged_image_is_one_clear_error(tmp_path: Path):
    write(tmp_path / "scores", [Spec("mrfnet", "gopro", "deblur", 28.0, "mrfnet", named="a")], images=2, steps=3)
    file = tmp_path / "scores" / "a" / "images" / "median.png"
    file.write_bytes(file.read_bytes()[:100])
    (tmp_path / "out").mkdir()
    with pytest.raises(DataError, match=r"median\.png: has changed since it was written.*evaluate the run again"):
        draw_figures(reading.read(tmp_path / "scores", "sample"), tmp_path, tmp_path / "out", PUBLISHED)
    record_files(tmp_path / "scores" / "a")
    with pytest.raises(DataError, match=r"median\.png: cannot be read.*evaluate the run again"):
        draw_figures(reading.read(tmp_path / "scores", "sample"), tmp_path, tmp_path / "out", PUBLISHED)

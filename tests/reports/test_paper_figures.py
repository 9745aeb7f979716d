"""The papers' figures: each is rendered from its runs or says why not, and shows what the runs hold."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from bench.contracts import DataError
from bench.data import augment, manifest
from bench.record import RECORD, Inside, KeptImage, read_record
from datasets import visdrone
from datasets.degradations.blur import gaussian_kernel, kernel_blur
from reports.figures.images import at_width
from reports.figures.papers import blur_variants
from reports.figures.papers.builders import ARCHITECTURE, BUILDERS, REASONS, PaperFigure, draw_figures
from reports.figures.papers.feature_maps import BLURRED, DEBLURRED, attention_maps, in_colours
from reports.figures.papers.plots import first_epochs, middle_of_fusion, steps_of_epochs
from reports.figures.papers.sources import Sources, read_entries, runs_of_rows
from reports.figures.sheets import BOXES, GAP, WIDTH, Picture, Strip, save_sheet
from reports.figures.windows import enlarge, worst_windows
from reports.published import printed
from reports.scores import reading
from tests.conftest import ROOT
from tests.make_scores import Spec, photograph, write

KNOWN = printed.load()


def dffnet(name: str, row: str, maps: list[str], weight: float = 0.0, **about: object) -> Spec:
    """A DFFNet run with maps of its inside."""
    inside = tuple(Inside(name, f"images/insides/{i}.png", ()) for i, name in enumerate(maps))
    record = {"insides": inside, "title": name, **about}
    return Spec("dffnet", "places2", "sharp-inpaint", 27.0 + weight, row, record=record, named=name)


def names_of_attention(start: str) -> list[str]:
    return [f"{start}attention {k}: {what}" for k in (1, 2) for what in ("offsets", "heat")]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Runs of every task; some rows have none."""
    folder = tmp_path_factory.mktemp("scores")
    full = ["deblurred", *names_of_attention("stage two, "), *names_of_attention("stage two without deblurring, ")]
    full += ["edges, predicted in the hole", "stage two, coarse", "stage two, refined", "result"]
    scales = [Inside("DMSSRM 1: scales 1, 1/2, 1/4", "", (0.75, 0.2499, 1.25e-4))]
    scales += [
        Inside(f"DMSSRM 1, scale {scale}: mean of the channels, own range", f"images/insides/{i}.png", ())
        for i, scale in enumerate(("1", "1/2", "1/4"))
    ]
    classes = ["edge map", "location of Gaussian blur, own range", "location of motion blur, own range"]
    classes += [f"path {k}: difference to the blurred image, own range" for k in (1, 2, 3)]
    inside = tuple(Inside(name, f"images/insides/{i}.png", ()) for i, name in enumerate(classes))
    texture = tuple(
        Inside(name, f"images/insides/{i}.png", ())
        for i, name in enumerate(("texture given", "texture result", "fused result"))
    )
    write(
        folder,
        [
            Spec("mrfnet", "gopro", "deblur", 29.4, "mrfnet", record={"also": ("dffnet",)}),
            Spec("mrfnet", "gopro", "deblur", 29.5, "mrfnet", seed=1),
            Spec("dmphn", "gopro", "deblur", 28.9, "dmphn"),
            Spec("lmfn", "gopro", "deblur", 29.4, "lmfn"),
            Spec("lmfn", "kohler", "deblur", 26.0, "lmfn"),
            Spec("mrfnet_edges", "visdrone", "deblur", 27.0, "mrfnet-edges", record={"insides": inside}),
            Spec("rfr", "paris-streetview", "inpaint", 29.6, "rfr"),
            Spec("dgfnet", "paris-streetview", "inpaint", 29.7, "dgfnet", record={"insides": texture}),
            Spec("rn", "places2", "inpaint", 27.6, "rn"),
            Spec("dffnet_inpaint", "visdrone", "inpaint", 30.5, "dffnet"),
            dffnet("dffnet-places2", "dffnet", full, also=("dffnet-433-v5", "dffnet-44-v3")),
            dffnet("dffnet-no-deblur-places2", "dffnet-433-v1", names_of_attention("stage two, ")),
            dffnet("dffnet-no-alpha-places2", "dffnet-433-v3", []),
            Spec("dpdnet", "canon-dp", "dual-pixel", 25.1, "dpdnet", params=34.52),
            Spec("dmtnet", "canon-dp", "dual-pixel", 26.6, "dmtnet-b", params=24.0, record={"insides": tuple(scales)}),
        ],
    )  # fmt: skip
    for name, numbers in {"dffnet-places2": 1.0, "dffnet-no-alpha-places2": 2.0}.items():
        step = np.arange(50)
        phase = np.where(step < 10, "inpaint", np.where(step < 40, "fuse", "together"))
        loss = np.where(step < 10, "l1", "scale")
        value = numbers / (1 + step)
        losses = pd.DataFrame({"step": step, "phase": phase, "player": "p", "name": loss, "value": value})
        losses.to_parquet(folder / name / "losses.parquet")
    return folder


@pytest.fixture(scope="module")
def evaluations(root: Path) -> list[reading.Evaluation]:
    return reading.read(root, "sample")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A built VisDrone of three photographs, made by the dataset's own code, and no GOPRO."""
    folder = tmp_path_factory.mktemp("data") / "visdrone"
    rows = []
    for i in range(3):
        made = visdrone.degrade(photograph((256, 256), i), "scene", "20-30", "deepfill", np.random.default_rng(i))
        for field, image in made.images.items():
            path = folder / "test" / field / f"p{i}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image).save(path)
        rows.append(
            {"name": f"p{i}", "split": "test", "input_psnr": 20.0 + (2, 0, 1)[i],
             "degradation": json.dumps(made.degradation), "file_target": f"test/target/p{i}.png",
             "file_blurred": f"test/blurred/p{i}.png"}
        )  # fmt: skip
    about = {"dataset": "visdrone", "title": "VisDrone", "origin": "offline photographs"}
    manifest.write(folder / manifest.NAME, rows, about)
    return folder.parent


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("figures")


@pytest.fixture(scope="module")
def rendered(evaluations: list[reading.Evaluation], data: Path, folder: Path) -> dict[str, PaperFigure]:
    return {one.id: one for one in draw_figures(evaluations, data, folder, KNOWN)}


def texts(folder: Path, figure: str) -> list[str]:
    """All that is written in a figure."""
    tree = ElementTree.parse(folder / f"{figure}.svg")
    return [node.text or "" for node in tree.iter() if node.tag.endswith(("text", "title"))]


# Every figure ---------------------------------------------------------------------------------------------------------


def test_every_figure_of_the_papers_is_rendered_or_says_why_not(rendered: dict[str, PaperFigure], folder: Path):
    entries = {entry.id: entry for entry in read_entries()}
    assert list(rendered) == list(entries)
    for one in rendered.values():
        assert (one.picture is None) == bool(one.missing) == (not one.caption), one.id
        assert (folder / f"{one.id}.png").is_file() == (folder / f"{one.id}.svg").is_file() == (one.picture is not None)
        assert one.title.upper().startswith(entries[one.id].paper.upper()), one.title
    without = {name for name, entry in entries.items() if entry.kind == ARCHITECTURE} | set(REASONS)
    assert set(BUILDERS) == set(entries) - without, "what holds data has a builder, and nothing else has"
    assert {name for name, one in rendered.items() if one.missing} - without == set()


def test_a_figure_without_its_runs_names_them(evaluations: list[reading.Evaluation], tmp_path: Path):
    found = {one.id: one for one in draw_figures([], tmp_path, tmp_path, KNOWN)}
    assert list(tmp_path.iterdir()) == [], "nothing is half-written"
    assert all(one.picture is None and one.missing and not one.runs for one in found.values())
    assert "siun" in found["mrfnet-fig6"].missing and "deblur on " in found["mrfnet-fig6"].missing
    assert "dffnet-433-v3" in found["dffnet-fig13"].missing
    assert "visdrone" in found["mrfnet-fig4"].missing
    alone = [one for one in evaluations if one.name == "dffnet-places2"]
    found = {one.id: one for one in draw_figures(alone, tmp_path, tmp_path, KNOWN)}
    assert found["dffnet-fig13"].missing == "It compares two runs; missing: sharp-inpaint on places2: dffnet-433-v3."


def test_a_caption_names_the_runs_the_missing_rows_the_stand_in_and_what_is_published(
    rendered: dict[str, PaperFigure],
):
    one = rendered["mrfnet-fig5"]
    assert one.runs == ("dmphn-gopro-deblur", "mrfnet-gopro-deblur"), "of two seeds the lower"
    assert "the lowest seed of each" in one.caption and "the lowest seed" not in rendered["dgfnet-fig4"].caption
    assert "Published, not measured: plateau near 6 percent" in one.caption
    assert "stand-ins (offline photographs)" in one.caption and "profile sample" in one.caption
    assert "Not run: deblur on gopro: deepdeblur, deblurgan, deblurgan-v2, siun, refinenet" in one.caption
    assert "stand-ins" in rendered["mrfnet-fig4"].caption, "a figure without runs says it too"


def test_the_files_are_drawings_that_need_nothing_else(rendered: dict[str, PaperFigure], folder: Path):
    for one in rendered.values():
        if one.picture is None:
            continue
        text = (folder / f"{one.id}.svg").read_text(encoding="utf-8")
        root = ElementTree.fromstring(text)
        assert root.tag.endswith("svg")
        assert not re.search(r'href="(?!data:image/(jpeg|png);base64,)', text), one.id
        with Image.open(folder / f"{one.id}.png") as image:
            assert image.size == (int(root.get("width", 0)), int(root.get("height", 0)))
        if isinstance(one.picture, Image.Image):
            assert np.array_equal(
                np.asarray(one.picture), np.asarray(Image.open(folder / f"{one.id}.png").convert("RGB"))
            )
    total = sum(path.stat().st_size for path in folder.glob("*.svg"))
    assert total < 4e6, "photographs stand in an SVG as JPEG"


def test_the_same_scores_give_the_same_files(
    evaluations: list[reading.Evaluation], data: Path, folder: Path, rendered: dict[str, PaperFigure], tmp_path: Path
):
    draw_figures(evaluations, data, tmp_path, KNOWN)
    for path in folder.iterdir():
        assert path.read_bytes() == (tmp_path / path.name).read_bytes(), path.name


# Runs -----------------------------------------------------------------------------------------------------------------


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
    store = Sources(reading.read(tmp_path, "sample"), KNOWN, tmp_path)
    found = runs_of_rows(store, "deblur", ("siun", "dmphn", "mrfnet", "lmfn"), "gopro")
    assert {row: one.name for row, one in found.items()} == {"siun": "d", "dmphn": "d", "mrfnet": "c"}
    assert list(found) == ["siun", "dmphn", "mrfnet"], "in the order of the rows"
    assert runs_of_rows(store, "deblur", ("mrfnet",), "visdrone") == {}


# Degradations ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(6))
def test_the_unchanged_values_leave_an_image_as_it_is(seed: int):
    image = photograph((64, 80), seed)
    assert np.array_equal(kernel_blur(image, **blur_variants.UNCHANGED), image)


def test_each_parameter_is_varied_alone_and_within_what_is_drawn(data: Path):
    built = manifest.read(data / "visdrone")
    row = blur_variants.median_row(built)
    assert row["name"] == "p2", "the median input of the three"
    found = blur_variants.variants(built)
    sharp = np.asarray(Image.open(data / "visdrone" / row["file_target"]))
    blurred = np.asarray(Image.open(data / "visdrone" / row["file_blurred"]))
    assert np.array_equal(found["drawn"][0].image, blurred)
    assert found["drawn"][0].values == {name: json.loads(row["degradation"])[name] for name in blur_variants.UNCHANGED}
    allowed = {"kernel_size": range(1, 6), "sigma": np.arange(1, 11) / 10, "length": range(5, 31, 5),
               "angle": range(0, 360, 15)}  # fmt: skip
    for name, (others, values) in blur_variants.VARIED.items():
        assert [one.values[name] for one in found[name]] == list(values)
        assert set(values) <= set(np.round(list(allowed[name]), 9).tolist())
        for one in found[name]:
            assert {key: value for key, value in one.values.items() if key != name} == {
                key: value for key, value in {**blur_variants.UNCHANGED, **others}.items() if key != name
            }
            assert np.array_equal(one.image, kernel_blur(sharp, **one.values))
    first = blur_variants.VARIED["kernel_size"][1].index(1)
    assert np.array_equal(found["kernel_size"][first].image, sharp), "a kernel of one pixel does nothing"
    assert gaussian_kernel(1, 1.0).tolist() == [[1.0]]


def test_noise_is_the_augmentations_own_with_the_deviation_that_is_asked_for():
    grey = np.full((200, 200, 3), 128, np.uint8)
    for deviation in blur_variants.DEVIATIONS[1:]:
        error = blur_variants.noisy(grey, deviation).astype(float) - 128
        assert error.std() == pytest.approx((deviation**2 + 1 / 12) ** 0.5, rel=0.02)  # rounding adds 1/12
    rng = np.random.default_rng(5)
    sigma = 2.0 / abs(np.random.default_rng(5).normal())
    own = augment.noise({"x": grey.astype(np.float32) / 255}, rng, sigma=sigma)["x"]
    assert np.array_equal(blur_variants.noisy(grey, 2.0, seed=5), (own * 255).round().astype(np.uint8))


def test_the_overview_shows_the_datasets_own_images(data: Path, rendered: dict[str, PaperFigure], folder: Path):
    sheet = rendered["mrfnet-fig4"].picture
    assert isinstance(sheet, Image.Image)
    built = manifest.read(data / "visdrone")
    sharp = Image.open(data / "visdrone" / blur_variants.median_row(built)["file_target"])
    blurred = Image.fromarray(blur_variants.variants(built)["drawn"][0].image)
    window = worst_windows([blurred], sharp, 1, 0.45)[0]
    assert holds(sheet, enlarge(blurred, window, WIDTH), border=3)
    for one in blur_variants.variants(built)["length"]:
        assert holds(sheet, enlarge(Image.fromarray(one.image), window, WIDTH), border=3)
    written = texts(folder, "mrfnet-fig4")
    assert "length 30 px" in written and "3 grey levels of 255" in written
    assert "motion blur (the dataset gopro is not built)" in rendered["mrfnet-fig4"].caption


def test_a_set_of_another_blur_is_refused(data: Path, tmp_path: Path):
    built = manifest.read(data / "visdrone")
    rows = built.rows.assign(degradation='{"kind": "frame average", "length": 9.0}').to_dict("records")
    manifest.write(tmp_path / manifest.NAME, rows, built.about)
    with pytest.raises(DataError, match=r"no angle, kernel_size, sigma.*build the dataset again"):
        blur_variants.variants(manifest.read(tmp_path))


def holds(sheet: Image.Image, picture: Image.Image, border: int = 0) -> bool:
    """Whether a sheet shows a picture somewhere, but for its rim."""
    wanted = np.asarray(picture.convert("RGB"))[border : -border or None, border : -border or None]
    whole = np.asarray(sheet)
    height, width = wanted.shape[:2]
    tops, lefts = np.nonzero((whole[: 1 - height, : 1 - width] == wanted[0, 0]).all(axis=2))
    return any(
        np.array_equal(whole[top : top + height, left : left + width], wanted)
        for top, left in zip(tops, lefts, strict=True)
    )


# Grids ----------------------------------------------------------------------------------------------------------------


def test_the_boxes_are_where_the_largest_errors_are_and_do_not_overlap():
    target = Image.new("RGB", (160, 80), (100, 100, 100))
    pixels = np.asarray(target).copy()
    pixels[10:30, 100:140] += 90  # of a window's own size, a quarter of the sides
    pixels[50:70, 20:60] += 40
    found = worst_windows([Image.fromarray(pixels)], target, 2)
    assert found == ((100 / 160, 10 / 80, 0.25, 0.25), (20 / 160, 50 / 80, 0.25, 0.25))
    assert len(worst_windows([target], target, 3, share=0.9)) == 1, "no second one fits"
    calm = [Image.fromarray(pixels), *[target] * 3]
    assert worst_windows(calm, target, 1) == found[:1], "the mean over all that is seen"


def test_a_picture_has_its_boxes_and_its_details_their_frames(tmp_path: Path):
    image = Image.fromarray(photograph((190, 190), 3))
    windows = ((0.5, 0.25, 0.25, 0.25), (0.0, 0.5, 0.25, 0.25))
    strips = [
        Strip("", (Picture("", image, windows), Picture("", enlarge(image, windows[1], WIDTH), frame=1))),
        Strip("", (Picture("", Image.new("L", (19, 19), 7)),)),
    ]
    sheet = save_sheet("A title", strips, tmp_path / "sheet")
    top = 2 * GAP + 14  # the title has one line of 20 pixels
    for i, (left, upper, _, _) in enumerate(windows):
        corner = (GAP + round(left * WIDTH), top + round(upper * WIDTH))
        assert "#{:02x}{:02x}{:02x}".format(*sheet.getpixel(corner)) == BOXES[i]
    assert "#{:02x}{:02x}{:02x}".format(*sheet.getpixel((2 * GAP + WIDTH, top))) == BOXES[1]
    assert sheet.getpixel((GAP + 5, top + 5)) == image.getpixel((5, 5)), "at its own width nothing is resampled"
    assert sheet.getpixel((GAP + 5, top + WIDTH + GAP + 5)) == (7, 7, 7), "a small map is enlarged"
    text = (tmp_path / "sheet.svg").read_text(encoding="utf-8")
    assert text.count("image-rendering:pixelated") == 1 and text.count("data:image/jpeg") == 2


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
    assert any("Paris StreetView (offline photographs), the worst image" in one for one in written)


def test_two_enlarged_boxes_of_two_colours_on_dual_pixel_images(
    root: Path, folder: Path, rendered: dict[str, PaperFigure]
):
    one = rendered["dmtnet-fig4"]
    assert one.runs == ("dpdnet-canon-dp-dual-pixel", "dmtnet-canon-dp-dual-pixel")
    text = (folder / "dmtnet-fig4.svg").read_text(encoding="utf-8")
    # Two images of four pictures: a box on each whole, and a frame around each detail.
    assert [text.count(f'stroke="{colour}"') for colour in BOXES] == [16, 16, 0]
    assert isinstance(one.picture, Image.Image)
    for rule in ("median", "worst"):
        restored = [Image.open(root / run / "images" / f"{rule}.png").convert("RGB") for run in one.runs]
        target = Image.open(root / one.runs[0] / "images" / f"{rule}-target.png").convert("RGB")
        windows = worst_windows(restored, target, 2)
        assert len(windows) == 2
        for window in windows:
            assert all(holds(one.picture, enlarge(image, window, WIDTH), border=3) for image in [*restored, target])


def test_deblurring_and_inpainting_of_one_figure_stand_apart(rendered: dict[str, PaperFigure], folder: Path):
    one = rendered["dffnet-fig8"]
    assert one.runs == ("dffnet-places2", "rn-places2-inpaint")
    written = texts(folder, "dffnet-fig8")
    assert any(line.startswith("blurred image with a hole: Places2") for line in written)
    assert any(line.startswith("sharp image with a hole: Places2") for line in written)
    assert "inpaint on places2: ca, ec, lbam, dffnet" in one.caption


def test_a_run_that_kept_another_image_is_named_and_not_shown(tmp_path: Path):
    files = ("images/m-input.png", "images/m.png", "images/m-target.png")

    def spec(name: str, row: str, image: str) -> Spec:
        record = {"images": (KeptImage("median", image, {"input": "blurred"}, *files),)}
        return Spec(name, "gopro", "deblur", 28.0, row, record=record, named=name)

    runs = [spec("a", "deblurgan", "0001"), spec("b", "dmphn", "0002"), spec("c", "mrfnet", "0002")]
    write(tmp_path / "scores", runs, images=2, pictures=[photograph((64, 64), 0)], steps=3)
    (tmp_path / "out").mkdir()
    found = {one.id: one for one in draw_figures(reading.read(tmp_path / "scores", "sample"), tmp_path,
                                                   tmp_path / "out", KNOWN)}  # fmt: skip
    assert found["mrfnet-fig6"].runs == ("b", "c")
    assert "a, which kept another median image" in found["mrfnet-fig6"].caption


def test_a_damaged_image_is_one_clear_error(tmp_path: Path):
    write(tmp_path / "scores", [Spec("mrfnet", "gopro", "deblur", 28.0, "mrfnet", named="a")], images=2, steps=3)
    file = tmp_path / "scores" / "a" / "images" / "median.png"
    file.write_bytes(file.read_bytes()[:100])
    (tmp_path / "out").mkdir()
    with pytest.raises(DataError, match=r"median\.png: cannot be read.*evaluate the run again"):
        draw_figures(reading.read(tmp_path / "scores", "sample"), tmp_path, tmp_path / "out", KNOWN)


# Insides --------------------------------------------------------------------------------------------------------------


def test_attention_of_the_blurred_the_deblurred_and_the_networks_without_deblurring(
    root: Path, rendered: dict[str, PaperFigure], folder: Path
):
    for figure, what in (("dffnet-fig4-attention", "offsets"), ("dffnet-fig17", "heat")):
        one = rendered[figure]
        assert one.runs == ("dffnet-places2", "dffnet-no-deblur-places2")
        written = texts(folder, figure)
        heads = [line.split(": ", 1)[1] for line in written if line.startswith("Places2 (offline photographs): ")]
        assert heads == ["given the blurred image", "given the deblurred image", "trained without deblurring"]
        assert written.count("attention 1") == written.count("attention 2") == 3
        sheet = one.picture
        assert isinstance(sheet, Image.Image)
        for name in ("dffnet-places2", "dffnet-no-deblur-places2"):
            for inside in read_record(root / name / RECORD).insides:
                if not inside.name.endswith(what):
                    continue
                image = Image.open(root / name / inside.file).convert("RGB")
                shown = in_colours(image, "inferno", logarithmic=True) if what == "heat" else image
                assert holds(sheet, at_width(shown, WIDTH)), inside.name


def test_heat_is_coloured_by_factors():
    grey = Image.fromarray(np.array([[0, 1, 16, 255]], np.uint8)).convert("RGB")
    found = np.asarray(in_colours(grey, "gray", logarithmic=True))[0, :, 0]
    assert found.tolist() == [round(255 * np.log1p(value) / np.log(256)) for value in (0, 1, 16, 255)]
    assert np.asarray(in_colours(grey, "gray"))[0, :, 0].tolist() == [0, 1, 16, 255]


def test_the_weights_of_the_scales_stand_above_their_maps(rendered: dict[str, PaperFigure], folder: Path):
    written = " ".join(texts(folder, "dmtnet-fig5"))
    for k, (size, weight) in enumerate(zip(("1", "1/2", "1/4"), ("0.75", "0.2499", "0.000125"), strict=True), 1):
        assert f"scale {k} (size {size}), weight {weight}" in written
    assert "weight of scale 3 in the first DMSSRM 1.1043e-07" in rendered["dmtnet-fig5"].caption


def test_receptive_fields_go_from_the_largest_to_the_smallest(rendered: dict[str, PaperFigure], folder: Path):
    written = texts(folder, "mrfnet-fig18")
    paths = [line for line in written if line.startswith("path ")]
    assert [line[:6] for line in paths] == ["path 3", "path 2", "path 1"]
    assert "location of Gaussian blur" in written and "location of motion blur" in written


def test_intermediate_images_and_texture_have_their_names(rendered: dict[str, PaperFigure], folder: Path):
    written = " ".join(texts(folder, "dffnet-fig16"))
    order = ["input", "deblurred patches", "edge map, predicted", "inpainting, coarse", "inpainting, refined"]
    places = [written.index(name) for name in [*order, "target"]]
    assert places == sorted(places)
    assert {"texture of the known part", "generated texture map", "final result"} <= set(texts(folder, "dgfnet-fig1"))


# Plots ----------------------------------------------------------------------------------------------------------------


def traced(svg: str) -> list[np.ndarray]:
    """The points of every curve of a chart, in its own pixels with y upwards: (N, 2) each."""
    found = []
    for path in re.findall(r'<path class="s\d" d="(M[^"]+l[^"]+)"', svg):  # the legend's have no l
        start, _, rest = path[1:].partition("l")
        numbers = [int(number) for number in re.findall(r"-?\d+", rest)]
        steps = np.array([int(number) for number in start.split()] + numbers).reshape(-1, 2)
        found.append(np.cumsum(steps, axis=0) * [1, -1])
    return found


def test_the_curve_that_is_drawn_holds_the_losses(
    evaluations: list[reading.Evaluation], rendered: dict[str, PaperFigure]
):
    one = next(one for one in evaluations if one.name == "dmphn-gopro-deblur")
    losses = one.losses()
    assert losses is not None
    totals = losses[(losses["name"] == "total") & (losses["phase"] == "pretrain")].sort_values("step")["value"]
    found = first_epochs(one)
    assert found is not None
    values = found.values
    assert found.label == "Dmphn, phase pretrain" and found.steps.tolist() == list(range(len(totals)))
    assert np.allclose(values, 100 * totals / totals.iloc[0])
    assert steps_of_epochs(one) == 2 * 2103 / 8, "two passes over GOPRO's pairs at a batch of 8"
    assert found.share == pytest.approx(len(totals) / (2 * 2103 / 8))
    svg = rendered["mrfnet-fig5"].picture
    assert isinstance(svg, str)
    drawn = traced(svg)[0]  # the first row of the table that was run
    assert len(drawn) == len(values)
    slope, base = np.polyfit(values, drawn[:, 1], 1)
    assert slope > 0 and np.abs(slope * values + base - drawn[:, 1]).max() < 1.01  # a fifth of a pixel
    assert f"{values[-3:].mean():.3g} % at the end" in svg


def test_losses_are_in_percent_of_the_first_and_end_with_the_second_epoch(tmp_path: Path):
    record = {"train": {"batch_size": 701}}
    write(tmp_path, [Spec("dmphn", "gopro", "deblur", 28.0, "dmphn", record=record, named="a")], images=2, steps=3)
    rows = [(step, "network", name, value * share) for step, value in enumerate([2.0, 4.0, 1.0, 3.0, 5.0, 0.5, 9.0])
            for name, share in (("l1", 0.25), ("total", 1.0))]  # fmt: skip
    rows += [(step, "critic", "total", 100.0) for step in range(7)]
    losses = pd.DataFrame(rows, columns=["step", "player", "name", "value"]).assign(phase="train")
    losses.to_parquet(tmp_path / "a" / "losses.parquet")
    one = reading.read(tmp_path, "sample")[0]
    found = first_epochs(one)
    assert found is not None
    assert (found.label, found.steps.tolist(), found.share) == ("Dmphn", [0, 1, 2, 3, 4, 5], 1.0)
    assert found.values.tolist() == [100.0, 200.0, 50.0, 150.0, 250.0, 25.0]


def test_the_change_of_alpha_is_marked_where_it_has_ended(rendered: dict[str, PaperFigure]):
    one = rendered["dffnet-fig13"]
    assert one.runs == ("dffnet-places2", "dffnet-no-alpha-places2")
    assert isinstance(one.picture, str)
    curves = traced(one.picture)
    assert [len(curve) for curve in curves] == [40, 40], "the two phases that fuse, not the one before"
    for curve, scale in zip(curves, (1.0, 2.0), strict=True):
        values = scale / (11 + np.arange(40))
        slope, base = np.polyfit(values, curve[:, 1], 1)
        assert np.abs(slope * values + base - curve[:, 1]).max() < 1.01
    circle = re.search(r'translate\(([\d.]+) ([\d.]+)\)"><title>switch', one.picture)
    assert circle is not None
    assert float(circle[1]) * 5 == pytest.approx(curves[0][15, 0], abs=1), "half of the thirty steps that fuse"
    assert -float(circle[2]) * 5 == pytest.approx(curves[0][15, 1], abs=1)
    line = re.search(r'class="phase"[^>]*d="M([\d.]+) 0', one.picture)
    assert line is not None and float(line[1]) * 5 == pytest.approx(curves[0][30, 0], abs=1)


@pytest.mark.parametrize("every", [1, 28])
def test_the_middle_of_the_fusion_is_counted_in_steps_not_in_kept_ones(every: int):
    steps = np.arange(0, 280, every)
    rows = pd.DataFrame({"step": steps, "phase": np.where(steps < 224, "fuse", "together")})
    assert middle_of_fusion(rows) == 112
    assert middle_of_fusion(rows[rows["phase"] == "fuse"]) == pytest.approx(112, abs=every / 2)


def test_measured_and_published_points_stand_apart(
    evaluations: list[reading.Evaluation], rendered: dict[str, PaperFigure]
):
    one = rendered["dmtnet-fig1"]
    assert isinstance(one.picture, str)
    tips = re.findall(r"<title>([^<]+ M, [^<]+ dB)</title>", one.picture)
    assert "DMTNet-B, published: 24.46 M, 26.63 dB" in tips and "DPDNet [1], published: 34.52 M, 25.13 dB" in tips
    printed = [tip for tip in tips if "published" in tip]
    assert len(printed) == 14, "EBDB and JNB print no parameters"
    run = next(run for run in evaluations if run.name == "dmtnet-canon-dp-dual-pixel")
    psnr = run.scores["psnr-rgb8"]["value"].mean()
    assert f"Dmtnet, measured: 24 M, {psnr:.2f} dB" in tips and len(tips) == 16
    assert "measured on DPDD (offline" in " ".join(re.findall(r">([^<]+)</text>", one.picture))


# As a whole -----------------------------------------------------------------------------------------------------------


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


def test_the_methods_call_their_insides_by_the_names_that_the_figures_look_for():
    import torch

    from bench import registry

    def names(name: str, **more: object) -> list[str]:
        method = registry.method(name)
        assert method.networks is not None and method.insides is not None
        networks = torch.nn.ModuleDict(method.networks(**{**method.tiny, **more})).eval()
        torch.manual_seed(0)
        x, mask = torch.rand(1, 3, 64, 64), torch.zeros(1, 1, 64, 64)
        mask[..., 20:40, 20:40] = 1
        batch = {"x": x, "left": x, "right": x, "mask": mask, "texture": torch.zeros(1, 3, 64, 64)}
        batch["x"] = x if name == "mrfnet_edges" else x * (1 - mask)
        with torch.no_grad():
            return list(method.insides(networks, batch))

    blank = Image.new("L", (4, 4))
    found = {name: blank for name in names("dffnet")}
    assert {"deblurred", "edges, predicted in the hole", f"{DEBLURRED}coarse", f"{DEBLURRED}refined", "result"} <= set(
        found
    )
    assert len(attention_maps(found, DEBLURRED, "offsets")) == len(attention_maps(found, BLURRED, "heat")) == 3
    without = {name: blank for name in names("dffnet", deblur=False)}
    assert len(attention_maps(without, DEBLURRED, "heat")) == 3 and not attention_maps(without, BLURRED, "heat")
    assert {"texture given", "texture result", "fused result"} <= set(names("dgfnet"))
    found = names("mrfnet_edges")
    assert "edge map" in found and sum(name.startswith("location of ") for name in found) == 2
    assert sum(bool(re.match(r"path \d+: difference", name)) for name in found) == 4
    found = names("dmtnet")
    assert "DMSSRM 1: scales 1, 1/2, 1/4" in found
    assert [name for name in found if name.startswith("DMSSRM 1, scale 1/2:")]

"""Sheets of pictures: windows of the largest error, comparisons, insides, boxes and frames."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from reports.figures import (
    comparisons,
    insides,
    sheets,
    windows,
)
from reports.figures.sheets import BOXES, GAP, WIDTH, Picture, Strip, save_sheet
from reports.figures.windows import enlarge, worst_windows
from tests.make_scores import photograph


def test_the_window_is_where_the_input_has_its_largest_error():
    target = np.full((128, 256, 3), 100, np.uint8)
    given = target.copy()
    given[90:100, 200:210] = 0
    (window,) = windows.worst_windows([Image.fromarray(given)], Image.fromarray(target), 1)
    left, top, w, h = (round(part * side) for part, side in zip(window, (256, 128) * 2, strict=True))
    assert (w, h) == (64, 32)
    assert left <= 200 and left + w >= 210 and top <= 90 and top + h >= 100
    (small,) = windows.worst_windows([Image.fromarray(given[:40])], Image.fromarray(target[:40]), 1, smallest=64)
    assert small[2:] == (0.25, 1.0)  # at least 64 pixels, or the whole side


def test_insides_are_tiles_and_bars(tmp_path):
    small = Image.fromarray(np.array([[0, 255], [128, 0]], np.uint8)).convert("RGB")
    large = Image.fromarray(np.full((100, 400, 3), 77, np.uint8))
    sheet = insides.save_insides({"map": small, "image": large, "weights": [0.5, -1.0]}, "Inside X", tmp_path / "in")
    pixels = np.asarray(sheet).astype(int)
    assert np.array_equal(pixels, np.asarray(Image.open(tmp_path / "in.png").convert("RGB")))
    side, gap = insides.WIDTH, sheets.GAP
    top = gap + 20 + 4 + sheets.LINE  # below the title and a name of one line
    middle = [pixels[top + y * side // 4, gap + x * side // 4].tolist() for y in (1, 3) for x in (1, 3)]
    assert middle == [[0] * 3, [255] * 3, [128] * 3, [0] * 3]  # four squares, enlarged without blending
    edge = pixels[top + side // 4, gap + side // 2 - 2 : gap + side // 2 + 2, 0]
    assert set(edge) == {0, 255}
    second = gap + side + gap
    assert pixels[top + 25, second + side // 2].tolist() == [77] * 3 and sheet.height >= top + side
    assert (pixels[top + 51, second : second + side] == 255).all()  # 200x50: its own shape is kept
    bars = second + side + gap + 18
    lengths = []
    for i in (0, 1):
        row = pixels[top + sheets.LINE * i + sheets.LINE // 2, bars : bars + side - 70]
        lengths.append(int((row.min(axis=1) < 200).sum()))
    assert lengths == [pytest.approx((side - 70) / 2, abs=12), pytest.approx(side - 70, abs=2)]  # a value may follow
    text = (tmp_path / "in.svg").read_text(encoding="utf-8")
    assert all(word in text for word in ("Inside X", "map", "weights", "0.5", "-1"))


def test_two_windows_are_at_the_largest_errors_and_do_not_overlap(tmp_path):
    target = np.full((128, 256, 3), 100, np.uint8)
    given = target.copy()
    given[90:100, 200:210], given[10:20, 20:30] = 0, 60
    first, last = Image.fromarray(given), Image.fromarray(target)
    images = first, [("mine", "run", first)], last
    comparison = comparisons.compare("t", *images, max_windows=2)
    boxes = [[round(part * side) for part, side in zip(w, (256, 128) * 2, strict=True)] for w in comparison.windows]
    for (left, top, w, h), (x, y) in zip(boxes, ((200, 90), (20, 10)), strict=True):
        assert left <= x and left + w >= x + 10 and top <= y and top + h >= y + 10
    (a, b, w, h), (c, d, *_) = boxes
    assert abs(a - c) >= w or abs(b - d) >= h
    assert comparison.size == (256, 128) and all(len(tile.details) == 2 for tile in comparison.tiles)
    comparisons.save_comparison(comparison, tmp_path / "both")
    text = (tmp_path / "both.svg").read_text()
    assert text.count("<image") == 9 and all(text.count(f'stroke="{colour}"') == 6 for colour in comparisons.BOXES)
    assert len(comparisons.compare("t", *images).windows) == 1


def test_the_boxes_are_where_the_largest_errors_are_and_do_not_overlap():
    target = Image.new("RGB", (160, 80), (100, 100, 100))
    pixels = np.asarray(target).copy()
    pixels[10:30, 100:140] += 90  # of a window's own size, a quarter of the sides
    pixels[50:70, 20:60] += 40
    result = worst_windows([Image.fromarray(pixels)], target, 2)
    assert result == ((100 / 160, 10 / 80, 0.25, 0.25), (20 / 160, 50 / 80, 0.25, 0.25))
    assert len(worst_windows([target], target, 3, share=0.9)) == 1, "no second one fits"
    calm = [Image.fromarray(pixels), *[target] * 3]
    assert worst_windows(calm, target, 1) == result[:1], "the mean over all images"


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

"""Masks in bands of hole shares, and options that are refused."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest

from bench.contracts import ParamsError
from datasets.degradations.mask_generators import FREE_FORM
from datasets.degradations.masks import DEFAULT_BANDS, check_generator, draw_mask, parse_band, parse_bands

REACHED = {  # the bands that a generator reaches
    "deepfill": ("10-20", *DEFAULT_BANDS, "50-60"),
    "rfr": ("10-20", *DEFAULT_BANDS, "50-60"),
    "lbam": ("10-20", "20-30"),
    "edgeconnect-box": ("20-30",),
    "ca-box": ("10-20", "20-30"),
    "square": ("10-20", *DEFAULT_BANDS, "50-60"),
}


@pytest.mark.parametrize(("generator", "band"), [(name, band) for name, bands in REACHED.items() for band in bands])
def test_a_drawn_mask_is_in_its_band(generator, band):
    low, high = parse_band(band)
    rng = np.random.default_rng(0)
    for _ in range(10):
        mask, about = draw_mask(rng, (256, 256), generator, (low, high))
        assert set(np.unique(mask)) == {0, 255} and low < np.mean(mask == 255) <= high
        assert about["mask_ratio"] == pytest.approx(np.mean(mask == 255), abs=1e-6)
        assert (about["mask_generator"], about["mask_band"]) == (generator, band)
        assert about["mask_kind"] == ("irregular" if generator in ("deepfill", "rfr", "lbam") else "square")


@pytest.mark.parametrize(("generator", "band"), [("lbam", "40-50"), ("edgeconnect-box", "30-40"), ("ca-box", "30-40")])
def test_a_band_that_a_generator_does_not_reach_is_refused(generator, band):
    words = rf"bands: no {generator} mask of 256x256 pixels has a hole share of {band} % \(1,000 were drawn\)"
    with pytest.raises(ParamsError, match=words):
        check_generator(generator, ("20-30", band))


@pytest.mark.parametrize(
    ("generator", "expected"),
    [
        ("deepfill", "ce7fe6b900871af31847d4bdbfa58de909ac643bf0753b16d1203a12af9a6971"),
        ("square", "385c16669ee8808ab6c4c6383174c4bb5bc98efaec8ced5b7bbecd4fa2ec809c"),
    ],
)
def test_the_masks_of_the_stand_ins_do_not_change(generator, expected):
    """Another mask from the same seed would change all scores."""
    digest = hashlib.sha256()
    for band in DEFAULT_BANDS:
        for seed in range(5):
            digest.update(draw_mask(np.random.default_rng(seed), (256, 256), generator, parse_band(band))[0])
    assert digest.hexdigest() == expected


def test_a_square_mask_is_one_whole_square():
    rng = np.random.default_rng(0)
    corners = set()
    for _ in range(50):
        mask, _ = draw_mask(rng, (256, 256), "square", (0.2, 0.3))
        rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
        assert len(rows) == len(columns)
        assert 115 <= len(rows) <= 140  # 256 sqrt(0.2) and 256 sqrt(0.3)
        assert (mask[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1] == 255).all()
        corners.add((rows[0], columns[0]))
    assert len(corners) > 40


def test_a_band_is_open_below_and_closed_above():
    assert draw_mask(np.random.default_rng(0), (10, 10), "square", (0.24, 0.25))[1]["mask_ratio"] == 0.25
    with pytest.raises(ParamsError, match=r"no square mask of 10x10 pixels has a hole share of 25-26 %"):
        draw_mask(np.random.default_rng(0), (10, 10), "square", (0.25, 0.26))


@pytest.mark.parametrize("text", ["20", "30-20", "20-20", "a-b", "20-101", "0.2-0.3", 20, None])
def test_a_wrong_band_is_refused(text):
    with pytest.raises(ParamsError, match="expected two whole percentages like '20-30'"):
        parse_bands([text])


def test_bands_must_be_a_list():
    with pytest.raises(ParamsError, match="expected a list like"):
        parse_bands("20-30")
    assert parse_bands(["20-30", "5-10"]) == ("20-30", "5-10")


def test_an_unknown_generator_is_refused():
    with pytest.raises(ParamsError, match="generator: found 'cabox'; the nearest are: ca-box"):
        draw_mask(np.random.default_rng(0), (64, 64), "cabox", (0.2, 0.3))
    with pytest.raises(ParamsError, match="generator: found 'zzz'; the nearest are: deepfill, rfr, lbam, edgeconnect"):
        check_generator("zzz", ("20-30",))
    with pytest.raises(ParamsError, match="generator: found 'ca-box'; the nearest are: deepfill, rfr, lbam"):
        check_generator("ca-box", ("20-30",), FREE_FORM)

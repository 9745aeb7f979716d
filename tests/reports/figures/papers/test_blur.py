"""The overview of the blur: the dataset's own code, one parameter varied at a time."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bench.contracts import DataError
from bench.data import augment, manifest
from datasets.degradations.blur import gaussian_kernel, kernel_blur
from reports.figures.papers import blur_variants
from reports.figures.papers.builders import PaperFigure
from reports.figures.sheets import WIDTH
from reports.figures.windows import enlarge, worst_windows
from tests.make_scores import photograph
from tests.reports.samples import holds, texts


@pytest.mark.parametrize("seed", range(6))
def test_the_unchanged_values_leave_an_image_as_it_is(seed: int):
    image = photograph((64, 80), seed)
    assert np.array_equal(kernel_blur(image, **blur_variants.UNCHANGED), image)


def test_each_parameter_is_varied_alone_and_within_what_is_drawn(data: Path):
    built = manifest.read(data / "visdrone")
    row = blur_variants.median_row(built)
    assert row["name"] == "p2", "the median input of the three"
    result = blur_variants.variants(built)
    sharp = np.asarray(Image.open(data / "visdrone" / row["file_target"]))
    blurred = np.asarray(Image.open(data / "visdrone" / row["file_blurred"]))
    assert np.array_equal(result["drawn"][0].image, blurred)
    assert result["drawn"][0].values == {name: json.loads(row["degradation"])[name] for name in blur_variants.UNCHANGED}
    allowed = {"kernel_size": range(1, 6), "sigma": np.arange(1, 11) / 10, "length": range(5, 31, 5),
               "angle": range(0, 360, 15)}  # fmt: skip
    for name, (others, values) in blur_variants.VARIED.items():
        assert [run.values[name] for run in result[name]] == list(values)
        assert set(values) <= set(np.round(list(allowed[name]), 9).tolist())
        for run in result[name]:
            assert {key: value for key, value in run.values.items() if key != name} == {
                key: value for key, value in {**blur_variants.UNCHANGED, **others}.items() if key != name
            }
            assert np.array_equal(run.image, kernel_blur(sharp, **run.values))
    first = blur_variants.VARIED["kernel_size"][1].index(1)
    assert np.array_equal(result["kernel_size"][first].image, sharp), "a kernel of one pixel does nothing"
    assert gaussian_kernel(1, 1.0).tolist() == [[1.0]]


def test_noise_is_the_augmentations_with_the_given_deviation():
    grey = np.full((200, 200, 3), 128, np.uint8)
    for deviation in blur_variants.DEVIATIONS[1:]:
        error = blur_variants.noisy(grey, deviation).astype(float) - 128
        assert error.std() == pytest.approx((deviation**2 + 1 / 12) ** 0.5, rel=0.02)  # rounding adds 1/12
    rng = np.random.default_rng(5)
    sigma = 2.0 / abs(np.random.default_rng(5).normal())
    noisy_grey = augment.noise({"x": grey.astype(np.float32) / 255}, rng, sigma=sigma)["x"]
    assert np.array_equal(blur_variants.noisy(grey, 2.0, seed=5), (noisy_grey * 255).round().astype(np.uint8))


def test_the_overview_shows_the_images_of_the_dataset(data: Path, rendered: dict[str, PaperFigure], folder: Path):
    sheet = rendered["mrfnet-fig4"].picture
    assert isinstance(sheet, Image.Image)
    built = manifest.read(data / "visdrone")
    sharp = Image.open(data / "visdrone" / blur_variants.median_row(built)["file_target"])
    blurred = Image.fromarray(blur_variants.variants(built)["drawn"][0].image)
    window = worst_windows([blurred], sharp, 1, 0.45)[0]
    assert holds(sheet, enlarge(blurred, window, WIDTH), border=3)
    for figure in blur_variants.variants(built)["length"]:
        assert holds(sheet, enlarge(Image.fromarray(figure.image), window, WIDTH), border=3)
    written = texts(folder, "mrfnet-fig4")
    assert "length 30 px" in written and "3 grey levels of 255" in written
    assert "motion blur (the dataset gopro is not built)" in rendered["mrfnet-fig4"].caption


def test_a_set_of_another_blur_is_refused(data: Path, tmp_path: Path):
    built = manifest.read(data / "visdrone")
    rows = built.rows.assign(degradation='{"kind": "frame average", "length": 9.0}').to_dict("records")
    manifest.write(tmp_path / manifest.NAME, rows, built.about)
    with pytest.raises(DataError, match=r"no angle, kernel_size, sigma.*build the dataset again"):
        blur_variants.variants(manifest.read(tmp_path))

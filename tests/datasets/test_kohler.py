from __future__ import annotations

import os
import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bench.contracts import DataError, ParamsError
from datasets.degradations.blur import average
from datasets.kohler import COUNTS, REFERENCES, dataset, offline, originals

SAMPLES = Path(__file__).parents[3] / "shared" / "samples" / "kohler"
needs_samples = pytest.mark.skipif(not SAMPLES.is_dir(), reason="the real sample files are not here")


def png(path: Path, value: int, width: int = 9) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((7, width, 3), value, np.uint8)).save(path)
    return path


def pair(root: Path, image: int, kernel: int) -> Path:
    """One blurred photograph and its frames; frame F is grey level F."""
    png(root / f"Blurry{image}_{kernel}.png", 255)
    folder = root / f"Image{image}" / f"Kernel{kernel}"
    for frame in range(1, REFERENCES[image, kernel] + 1):
        png(folder / f"GroundTruth{image}_{kernel}_{frame}.png", frame)
    return folder


@pytest.fixture(scope="module")
def complete(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("kohler")
    source = png(root / "source.png", 0)
    for (image, kernel), count in REFERENCES.items():
        os.link(source, root / f"Blurry{image}_{kernel}.png")
        folder = root / f"Image{image}" / f"Kernel{kernel}"
        folder.mkdir(parents=True)
        for frame in range(1, count + 1):
            os.link(source, folder / f"GroundTruth{image}_{kernel}_{frame}.png")
    return root


def test_the_official_counts():
    assert COUNTS == dataset.counts == {"test": 48}
    assert REFERENCES[2, 11] == 200
    assert sorted(pair for pair, count in REFERENCES.items() if count == 198) == [
        (1, 10),
        (1, 12),
        (2, 10),
        (3, 7),
        (3, 12),
        (4, 12),
    ]
    assert sum(REFERENCES.values()) == 48 * 199 + 1 - 6


def test_the_complete_layout(complete):
    items = originals(complete)
    assert len(items) == 48 and {item.split for item in items} == {"test"}
    by_name = {item.name: item for item in items}
    assert len(by_name["2_11"].files) == 201 and len(by_name["4_12"].files) == 199
    assert by_name["1_1"].source == "Blurry1_1.png"
    assert [path.stem for path in by_name["1_1"].files[1:]] == [f"GroundTruth1_1_{frame}" for frame in range(1, 200)]


def test_frames_are_sorted_as_numbers_and_the_middle_one_is_the_target(tmp_path):
    pair(tmp_path, 3, 7)
    (item,) = originals(tmp_path, partial=True)
    made = pickle.loads(pickle.dumps(item)).make(np.random.default_rng(0))
    assert [int(frame[0, 0, 0]) for frame in made.references] == list(range(1, 199))
    assert (made.images["target"] == 99).all() and (made.images["blurred"] == 255).all()  # (198 + 1) // 2
    assert made.condition == {"scene": "image 3"} and made.degradation["trajectory"] == 7


def test_missing_files_are_named(tmp_path):
    folder = pair(tmp_path, 1, 2)
    with pytest.raises(DataError, match=r"found 1 of 48 blurred photographs.*47 absent, the first is Blurry1_1\.png"):
        originals(tmp_path)
    (folder / "GroundTruth1_2_17.png").unlink()
    for partial in (False, True):
        with pytest.raises(
            DataError, match=r"found 198 reference frames, expected 199: GroundTruth1_2_17\.png is missing"
        ):
            originals(tmp_path, partial=partial)
    png(folder / "GroundTruth1_2_17.png", 17)
    png(folder / "GroundTruth1_2_200.png", 200)
    with pytest.raises(DataError, match=r"found 200 reference frames, expected 199: .*200\.png is not expected"):
        originals(tmp_path, partial=True)
    shutil.move(tmp_path / "Blurry1_2.png", tmp_path / "elsewhere.png")
    with pytest.raises(DataError, match=r"Kernel2: found frames without Blurry1_2\.png"):
        originals(tmp_path, partial=True)


def test_a_blurred_photograph_without_frames_is_left_out_with_a_warning(tmp_path):
    pair(tmp_path, 1, 1)
    png(tmp_path / "Blurry2_1.png", 0)
    with pytest.warns(
        UserWarning, match=r"1 without frames, the first missing is Image2/Kernel1/GroundTruth2_1_1\.png"
    ):
        assert [item.name for item in originals(tmp_path, partial=True)] == ["1_1"]


def test_unequal_sizes_and_damaged_frames(tmp_path):
    folder = pair(tmp_path, 1, 1)
    (item,) = originals(tmp_path, partial=True)
    path = folder / "GroundTruth1_1_5.png"
    data = path.read_bytes()
    path.write_bytes(data[:-16])
    made = item.make(np.random.default_rng(0))
    with pytest.raises(DataError, match=r"GroundTruth1_1_5\.png: found a truncated or damaged file"):
        list(made.references)
    png(path, 5, width=10)
    with pytest.raises(DataError, match=r"Blurry1_1\.png: found different sizes"):
        originals(tmp_path, partial=True)
    with pytest.raises(DataError, match=r"GroundTruth1_1_5\.png: found different sizes.*blurred 9x7, reference 10x7"):
        list(item.make(np.random.default_rng(0)).references)


@needs_samples
def test_the_real_sample_lacks_its_references():
    for partial in (False, True):
        with pytest.raises(DataError, match=r"found 0 of 48.*1 without frames.*Image2/Kernel1/GroundTruth2_1_1\.png"):
            originals(SAMPLES, partial=partial)


def test_the_stand_in_scores_against_the_frames_of_its_path():
    items = offline(draws=2)
    assert [item.split for item in items] == ["test"] * 8
    item = items[-1]
    made, again = (pickle.loads(pickle.dumps(item)).make(np.random.default_rng(3)) for _ in range(2))
    references = list(made.references)
    assert 9 <= len(references) == made.degradation["num_frames"] <= 15
    assert np.array_equal(made.images["target"], references[(len(references) + 1) // 2 - 1])
    assert np.array_equal(made.images["blurred"], average(references, "gamma"))
    assert np.array_equal(made.images["blurred"], again.images["blurred"])
    assert made.condition == {"scene": "coins", "severity": made.degradation["length"]}
    assert set(made.images) == set(dataset.fields)


def test_bad_options_of_the_stand_in():
    with pytest.raises(ParamsError, match="max_frames: found 5, expected a whole number of at least 9"):
        offline(max_frames=5)
    with pytest.raises(ParamsError, match="response"):
        offline(response="none")
    assert dataset.scoring == "best-reference"

from __future__ import annotations

import os
import pickle
import warnings
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bench.contracts import DataError, ParamsError
from bench.data.user_images import read_rgb
from datasets import gopro
from datasets.degradations.blur import average
from datasets.gopro import COUNTS, SEQUENCES, dataset, frames_averaged, offline, originals, window

SAMPLES = Path(__file__).parents[3] / "shared" / "samples" / "gopro"
needs_samples = pytest.mark.skipif(not SAMPLES.is_dir(), reason="the real sample files are not here")
FIRSTS = {"GOPR0881_11_01": 201}  # a number for sequences whose official first is not known; any will do


def png(path: Path, value: int = 0, height: int = 6, width: int = 8) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((height, width, 3), value, np.uint8)).save(path)
    return path


@pytest.fixture(scope="module")
def complete(tmp_path_factory) -> Path:
    """GOPRO_Large with every official file, all of them one small picture."""
    root = tmp_path_factory.mktemp("gopro")
    source = png(root / "source.png")
    for split, sequences in SEQUENCES.items():
        for sequence, (first, count) in sequences.items():
            start = first or FIRSTS.get(sequence, 1)
            for folder in ("blur", "blur_gamma", "sharp"):
                there = root / "GOPRO_Large" / split / sequence / folder
                there.mkdir(parents=True)
                for number in range(start, start + count):
                    os.link(source, there / f"{number:06d}.png")
    return root


def small(root: Path, *numbers: int, sequence: str = "GOPR0477_11_00") -> Path:
    """A partial GOPRO_Large: some images of one training sequence."""
    for number in numbers:
        for folder in ("blur", "sharp"):
            png(root / "GOPRO_Large" / "train" / sequence / folder / f"{number:06d}.png", number)
    return root


def test_the_official_counts():
    assert COUNTS == dataset.counts == {"train": 2103, "test": 1111}
    assert [len(sequences) for sequences in SEQUENCES.values()] == [22, 11]
    assert not SEQUENCES["train"].keys() & SEQUENCES["test"].keys()


def test_windows_follow_the_authors_example():
    assert list(window("GOPR0372_07_00", 47)) == [323, 324, 325, 326, 327, 328, 329]
    assert window("GOPR0384_11_00", 1) == range(1, 12)
    assert [frames_averaged(name) for name in ("GOPR0372_07_00", "GOPR0378_13_00", "GOPR0384_11_05")] == [7, 13, 11]


@pytest.mark.parametrize("response", ["linear", "gamma"])
def test_the_complete_layout_gives_every_pair_once(complete, response):
    items = originals(complete, response=response)
    assert {split: sum(item.split == split for item in items) for split in COUNTS} == COUNTS
    assert len({(item.split, item.name) for item in items}) == 3214
    assert items[0].name == "GOPR0372_07_00-000047"
    folder = {"linear": "blur", "gamma": "blur_gamma"}[response]
    assert items[0].source == f"GOPRO_Large/train/GOPR0372_07_00/{folder}/000047.png"
    assert [path.parent.name for path in items[0].files] == [folder, "sharp"]
    assert originals(complete / "GOPRO_Large", response=response)[5].name == items[5].name


def test_a_missing_partner_is_an_error_with_and_without_partial(complete):
    path = complete / "GOPRO_Large/train/GOPR0374_11_00/sharp/000074.png"
    path.unlink()
    try:
        for partial in (False, True):
            with pytest.raises(DataError, match=r"GOPR0374_11_00: found 1 images without a partner.*blur has 000074"):
                originals(complete, partial=partial)
    finally:
        os.link(complete / "source.png", path)


def test_a_short_split_names_counts_and_the_first_short_sequence(complete):
    folder = complete / "GOPRO_Large/train/GOPR0374_11_00"
    for name in ("blur", "sharp"):
        (folder / name / "000001.png").unlink()
    try:
        with pytest.raises(
            DataError,
            match=r"2102 of 2103 images in train, 1111 of 1111 images in test; the first short sequence is "
            r"train/GOPR0374_11_00 \(149 of 150 images, without 000001\)",
        ):
            originals(complete)
        assert len(originals(complete, partial=True)) == 3213
    finally:
        for name in ("blur", "sharp"):
            os.link(complete / "source.png", folder / name / "000001.png")


def test_a_missing_sequence_is_named(complete, tmp_path):
    (complete / "GOPRO_Large/test/GOPR0869_11_00").rename(tmp_path / "kept")
    try:
        with pytest.raises(DataError, match=r"1011 of 1111 images in test.*test/GOPR0869_11_00 \(0 of 100 images\)"):
            originals(complete)
    finally:
        (tmp_path / "kept").rename(complete / "GOPRO_Large/test/GOPR0869_11_00")


def test_a_test_sequence_in_the_training_folder_is_refused(tmp_path):
    small(tmp_path, 1, sequence="GOPR0869_11_00")
    with pytest.raises(DataError, match=r"GOPR0869_11_00: found a sequence that the official list has in test"):
        originals(tmp_path, partial=True)


def test_a_number_outside_the_sequence_is_refused(tmp_path):
    with pytest.raises(DataError, match=r"GOPR0477_11_00: found 2 images up to 000081, expected 80 from 000001"):
        originals(small(tmp_path, 80, 81), partial=True)
    png(tmp_path / "GOPRO_Large/train/GOPR0477_11_00/sharp/copy.png")
    with pytest.raises(DataError, match=r"copy\.png: found this name, expected NNNNNN\.png"):
        originals(tmp_path, partial=True)


def test_an_empty_folder_is_refused_with_its_content(tmp_path):
    (tmp_path / "gopro.zip").write_bytes(b"x")
    with pytest.raises(DataError, match=r"found 0 of 2103 images in train, .* holds: gopro\.zip"):
        originals(tmp_path, partial=True)
    with pytest.raises(DataError, match=r"train: no such folder; .* holds: gopro\.zip"):
        originals(tmp_path)
    with pytest.raises(DataError, match=r"absent: no such folder"):
        originals(tmp_path / "absent", partial=True)


def test_unequal_sizes_and_damaged_files_are_errors_with_partial_too(tmp_path):
    small(tmp_path, 1, 2)
    path = png(tmp_path / "GOPRO_Large/train/GOPR0477_11_00/sharp/000002.png", height=7)
    with pytest.raises(DataError, match=r"000002: found different sizes.*8x6.*8x7"):
        originals(tmp_path, partial=True)
    path.write_bytes(b"")
    with pytest.raises(DataError, match=r"000002\.png: found a file of 0 bytes"):
        originals(tmp_path, partial=True)
    data = png(path, 2).read_bytes()
    path.write_bytes(data[:-20])
    item = originals(tmp_path, partial=True)[1]  # the header is whole
    with pytest.raises(DataError, match=r"000002\.png: found a truncated or damaged file"):
        item.make(np.random.default_rng(0))


def test_blur_gamma_that_is_not_there(tmp_path):
    small(tmp_path, 1)
    with (
        pytest.warns(UserWarning, match=r"left out: .*GOPR0477_11_00: no folder blur_gamma.* holds: blur/, sharp/"),
        pytest.raises(DataError, match=r"found 0 of 2103"),
    ):
        originals(tmp_path, partial=True, response="gamma")
    small(tmp_path, 1, sequence="GOPR0374_11_00")
    png(tmp_path / "GOPRO_Large/train/GOPR0374_11_00/blur_gamma/000001.png")
    with pytest.warns(UserWarning, match="GOPR0477_11_00: no folder blur_gamma"):
        assert [item.name for item in originals(tmp_path, partial=True, response="gamma")] == ["GOPR0374_11_00-000001"]
    with pytest.raises(DataError, match="GOPR0477_11_00: no folder blur_gamma"):
        originals(tmp_path, response="gamma")
    with pytest.raises(ParamsError, match="response: found 'blur'"):
        originals(tmp_path, response="blur")


def test_windows_are_rebuilt_from_raw_frames(tmp_path):
    folder = tmp_path / "GOPRO_Large_all/train/GOPR0372_07_00"
    for frame in range(320, 334):  # window 47 is 323..329, window 48 begins at 330
        png(folder / f"{frame:06d}.png", frame - 300)
    (item,) = originals(tmp_path, partial=True, from_frames=True)
    assert (item.name, item.source) == ("GOPR0372_07_00-000047", "GOPRO_Large_all/train/GOPR0372_07_00/000326.png")
    made = item.make(np.random.default_rng(0))
    assert (made.images["target"] == 26).all() and (made.images["blurred"] == 26).all()
    assert made.degradation["num_frames"] == 7 and made.degradation["first_frame"] == 323
    with pytest.raises(DataError, match=r"train/GOPR0372_07_00 \(1 of 100 images, without 000048\)"):
        originals_of_all(tmp_path)


def originals_of_all(root: Path):
    (root / "GOPRO_Large_all/test").mkdir(exist_ok=True)
    return originals(root, from_frames=True)


def test_complete_windows_are_official_if_the_first_number_is_unknown(tmp_path):
    for frame in range(21, 60):  # whole windows of 11: 23..33, 34..44, 45..55
        png(tmp_path / f"GOPRO_Large_all/test/GOPR0410_11_00/{frame:06d}.png")
    names = [item.name for item in originals(tmp_path, partial=True, from_frames=True)]
    assert names == ["GOPR0410_11_00-000003", "GOPR0410_11_00-000004", "GOPR0410_11_00-000005"]


@needs_samples
def test_real_pairs_are_read():
    items = originals(SAMPLES, partial=True)
    assert [item.name for item in items] == [
        "GOPR0374_11_00-000074",
        "GOPR0477_11_00-000001",
        "GOPR0477_11_00-000002",
        "GOPR0477_11_00-000010",
        "GOPR0410_11_00-000031",
        "GOPR0410_11_00-000042",
    ]
    made = pickle.loads(pickle.dumps(items[1])).make(np.random.default_rng(0))
    assert made.images["target"].shape == made.images["blurred"].shape == (720, 1280, 3)
    assert made.degradation == {"kind": "frame average", "num_frames": 11, "response": "linear"}
    assert made.condition == {"scene": "GOPR0477_11_00"}
    with pytest.warns(UserWarning) as left_out:
        assert len(originals(SAMPLES, partial=True, response="gamma")) == 3
    assert [str(warning.message).split(": ")[1].split("/")[-1] for warning in left_out] == [
        "GOPR0374_11_00",
        "GOPR0410_11_00",
    ]


@needs_samples
@pytest.mark.parametrize("response", ["linear", "gamma"])
def test_a_rebuilt_real_window_is_close_to_the_published_image(response):
    (rebuilt,) = originals(SAMPLES, partial=True, from_frames=True, response=response)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        shipped = next(i for i in originals(SAMPLES, partial=True, response=response) if i.name == rebuilt.name)
    ours, theirs = rebuilt.make(np.random.default_rng(0)), shipped.make(np.random.default_rng(0))
    assert np.array_equal(ours.images["target"], theirs.images["target"])
    difference = np.abs(ours.images["blurred"].astype(int) - theirs.images["blurred"])
    assert difference.max() <= 1 and difference.mean() < 0.01
    assert len(rebuilt.files) == 11


@needs_samples
def test_neighbouring_frames_do_not_make_the_published_blur():
    """The test above can fail: nine frames, or eleven sharp ones of the pairs, are several levels away."""
    frames = sorted((SAMPLES / "GOPRO_Large_all/train/GOPR0477_11_00").iterdir())
    shipped = read_rgb(SAMPLES / "GOPRO_Large/train/GOPR0477_11_00/blur/000001.png").astype(int)
    assert np.abs(average(map(read_rgb, frames[:9]), "linear") - shipped).max() > 5


def test_the_stand_in_is_split_by_picture_and_named_once():
    items = offline(draws=2, test_draws=3)
    assert {split: sum(item.split == split for item in items) for split in ("train", "val", "test")} == {
        "train": 14,
        "val": 3,
        "test": 12,
    }
    assert len({(item.split, item.name) for item in items}) == len(items)


def test_the_stand_in_is_the_same_for_the_same_generator():
    train, test = offline(draws=1, max_side=96)[0], offline(test_draws=1)[-1]
    for item in (train, test):
        made, again = (pickle.loads(pickle.dumps(item)).make(np.random.default_rng(7)) for _ in range(2))
        other = item.make(np.random.default_rng(8))
        assert np.array_equal(made.images["blurred"], again.images["blurred"]) and made.degradation == again.degradation
        assert made.degradation != other.degradation
        assert made.images["target"].shape == made.images["blurred"].shape
        assert made.degradation["kind"] == "frame average" and 7 <= made.degradation["num_frames"] <= 13
        assert made.condition["severity"] == made.degradation["length"]
        gradients = [np.abs(np.diff(made.images[name].astype(int), axis=1)).mean() for name in ("target", "blurred")]
        assert gradients[1] < gradients[0]
    assert max(train.make(np.random.default_rng(7)).images["target"].shape[:2]) < 96
    assert min(test.make(np.random.default_rng(7)).images["target"].shape[:2]) > 230  # coins: 303 less the rim


def test_bad_options_of_the_stand_in():
    with pytest.raises(ParamsError, match="draws: found 0, expected a whole number of at least 1"):
        offline(draws=0)
    with pytest.raises(ParamsError, match="max_side: found 8, expected a whole number of at least 64"):
        offline(max_side=8)
    with pytest.raises(ParamsError, match="draws: found '3', expected a whole number"):
        offline(draws="3")  # type: ignore[arg-type]
    with pytest.raises(ParamsError, match=r"test_draws: found 1\.5, expected a whole number"):
        offline(test_draws=1.5)  # type: ignore[arg-type]
    with pytest.raises(ParamsError, match=r"step: found -1, expected a number of at least 0\.0"):
        offline(step=-1)
    with pytest.raises(ParamsError, match="response"):
        offline(response="none")


def test_the_entry():
    assert dataset.tasks == ("deblur",) and dataset.scoring == "plain"
    assert set(offline(draws=1)[0].make(np.random.default_rng(0)).images) == set(dataset.fields)
    assert gopro.GAMMA == 2.2

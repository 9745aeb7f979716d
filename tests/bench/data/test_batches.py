"""Training batches: crops as a function of seed and step, and what is in them."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from bench.contracts import DataError, UserError
from bench.data import manifest
from bench.data.batches import Crops, task_arrays
from bench.data.build import Job, build
from bench.data.built_images import as_float
from tests.bench.data.toys import JOB
from tests.images import read_png


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> manifest.BuiltSet:
    folder = tmp_path_factory.mktemp("data") / "places2"
    build(Job("places2", None, {"draws": 1, "test_draws": 1}, 0, "sample"), folder, 1)
    return manifest.read(folder)


def test_a_batch_is_a_function_of_seed_and_step(built):
    def make(seed: int) -> Crops:
        return Crops(built, "deblur", 24, ["rotate", "noise"], seed)

    first, second = make(0), make(0)
    later = second.batch(9, 4)  # after another history
    for step in (0, 9, 3):
        assert torch.equal(first.batch(step, 4)["x"], second.batch(step, 4)["x"])
    assert torch.equal(first.batch(9, 4)["x"], later["x"])
    assert not torch.equal(first.batch(0, 4)["x"], make(1).batch(0, 4)["x"])
    assert not torch.equal(first.batch(0, 4)["x"], first.batch(len(first), 4)["x"])  # the next epoch's crops differ
    ahead = list(first.batches(range(2, 6), 4))
    assert all(
        torch.equal(batch["x"], second.batch(step, 4)["x"]) for step, batch in zip(range(2, 6), ahead, strict=True)
    )
    assert list(first.batches(range(3, 3), 4)) == []


def test_each_epoch_shows_each_image_once(built):
    crops = Crops(built, "deblur", 24, [], 0)
    shown: list[tuple[int, int]] = []

    def sample(epoch: int, index: int) -> dict[str, np.ndarray]:
        shown.append((epoch, index))
        return {"x": np.zeros((1, 1, 1), np.float32)}

    crops.sample = sample  # type: ignore[method-assign]
    for step in range(len(crops)):  # batches of 3 do not divide the images: epochs end within a batch
        crops.batch(step, 3)
    assert [epoch for epoch, _ in shown] == [e for e in range(3) for _ in range(len(crops))]
    orders = [[index for epoch, index in shown if epoch == e] for e in range(3)]
    assert all(sorted(order) == list(range(len(crops))) for order in orders) and orders[0] != orders[1]


def test_the_shares_of_the_processes_make_up_the_batch(built):
    crops = Crops(built, "deblur", 24, ["flip_horizontal"], 0)
    whole = crops.batch(3, 4)
    parts = [crops.batch(3, 4, part) for part in (slice(0, 2), slice(2, 4))]
    assert all(torch.equal(whole[key], torch.cat([part[key] for part in parts])) for key in whole)
    assert whole["x"].shape == (4, 3, 24, 24) and whole["x"].is_contiguous(memory_format=torch.channels_last)


def test_crops_are_pixels_of_the_stored_images(built):
    crops = Crops(built, "deblur", 24, [], 0)
    for index in range(3):
        sample = crops.sample(0, index)
        fields = {
            f: as_float(read_png(built.folder / crops.rows.loc[index, f"file_{f}"])) for f in ("blurred", "target")
        }
        windows = np.lib.stride_tricks.sliding_window_view(fields["target"], (24, 24), axis=(0, 1))
        places = np.argwhere((windows == sample["target"].transpose(2, 0, 1)).all(axis=(2, 3, 4)))
        assert len(places) >= 1
        top, left = places[0]
        assert np.array_equal(sample["x"], fields["blurred"][top : top + 24, left : left + 24])


@pytest.mark.parametrize(("task", "source"), [("inpaint", ""), ("sharp-inpaint", "sharp"), ("sharp-inpaint", "")])
def test_noise_reaches_what_the_network_sees_and_never_the_truth(built, task, source):
    clean, noisy = (Crops(built, task, 24, how, 0, source).sample(0, 0) for how in ([], [{"noise": {"sigma": 50.0}}]))
    known = clean["mask"][..., 0] == 0
    assert np.array_equal(noisy["target"], clean["target"]) and np.array_equal(noisy["mask"], clean["mask"])
    assert np.abs(noisy["x"] - clean["x"])[known].max() > 0.01
    assert np.abs(noisy["x"][~known]).max() == 0


def test_holes_are_empty_in_the_input_and_masks_are_neither_empty_nor_full(built):
    crops = Crops(built, "sharp-inpaint", 24, [], 0)
    for index in range(5):
        sample = crops.sample(0, index)
        assert set(np.unique(sample["mask"])) == {0.0, 1.0}
        assert np.abs(sample["x"] * sample["mask"]).max() == 0 and sample["target"].shape == (24, 24, 3)
        assert np.array_equal(sample["blurred"] * (1 - sample["mask"]), sample["x"])
        assert np.abs(sample["blurred"] * sample["mask"]).max() > 0
    fields = {"target": np.ones((2, 2, 3)), "blurred": np.full((2, 2, 3), 0.5), "mask": np.eye(2)[..., None]}
    assert "blurred" not in task_arrays("inpaint", fields, "blurred")
    for source, value in (("", 0.5), ("blurred", 0.5), ("sharp", 1)):
        arrays = task_arrays("sharp-inpaint", fields, source)
        assert arrays["x"].max() == value and np.array_equal(arrays["blurred"], fields["blurred"])
    assert (
        task_arrays("inpaint", fields)["x"].max() == 1 and task_arrays("inpaint", fields, "blurred")["x"].max() == 0.5
    )


def test_a_dataset_that_does_not_serve_the_task_or_the_crop_is_refused(built):
    with pytest.raises(UserError, match="task 'dual-pixel' needs left, right, which this dataset does not have"):
        Crops(built, "dual-pixel", 24, [], 0)
    with pytest.raises(UserError, match=r"crop_size 5000 is larger than \d+ training images; the first is"):
        Crops(built, "deblur", 5000, [], 0)


def test_a_packed_file_of_another_length_is_refused(toys, tmp_path):
    built = manifest.read(build(JOB, tmp_path / "set", 1).parent)
    packed = built.folder / "packed" / "blurred.bin"
    assert len(Crops(built, "sharp-inpaint", 16, [], 0)) == 4
    packed.write_bytes(packed.read_bytes()[:-1])
    with pytest.raises(DataError, match=r"blurred\.bin: found 7,997 bytes, expected 7,998; build the dataset again"):
        Crops(built, "sharp-inpaint", 16, [], 0)
    packed.unlink()
    with pytest.raises(DataError, match=r"blurred\.bin: found 0 bytes"):
        Crops(built, "sharp-inpaint", 16, [], 0)

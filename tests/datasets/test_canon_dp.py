"""Canon dual-pixel: pairs by place, 16 bits, portrait, scenes, DPDNet's patches, each bad input, and the stand-in."""

from __future__ import annotations

import math
import pickle
from collections import Counter
from pathlib import Path

import cv2
import numpy as np
import pytest

from bench.contracts import DataError, ParamsError
from datasets import canon_dp
from datasets.degradations import dual_pixel
from datasets.photographs.packaged import photographs
from datasets.photographs.patches import num_kept, patch_corners

SAMPLES = Path(__file__).parents[3] / "shared" / "samples" / "dpdd"
SCENES = {"train": [(890, 891), (893, 892)], "val": [(894, 895)], "test": [(917, 916), (933, 935), (960, 961)]}
VIEWS = {"left": "l/source", "right": "r/source", "centre": "c/source"}


def write(path: Path, seed: int, height: int = 64, width: int = 96, dtype: type = np.uint16) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, np.iinfo(dtype).max, (height, width, 3), dtype=dtype)
    assert cv2.imwrite(str(path), pixels[..., ::-1])
    return path


def file_of(root: Path, split: str, field: str, number: int, suffix: str = "") -> Path:
    folder = VIEWS.get(field, "c/target")
    return root / "dd_dp_dataset_canon" / f"{split}_{folder}" / f"1P0A{number:04d}{suffix}.png"


def fill(root: Path, scenes: dict[str, list[tuple[int, int]]], suffixes: bool = False, **size: int) -> Path:
    for split, pairs in scenes.items():
        for source, target in pairs:
            for seed, field in enumerate(VIEWS):
                suffix = {"left": "_L", "right": "_R"}.get(field, "") if suffixes else ""
                write(file_of(root, split, field, source, suffix), source + seed, **size)
            write(file_of(root, split, "target", target), target, **size)
    return root


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Six scenes, which count as the whole set."""
    monkeypatch.setattr(canon_dp, "COUNTS", {split: len(pairs) for split, pairs in SCENES.items()})
    return fill(tmp_path, SCENES)


# Layout -------------------------------------------------------------------------------------------------------------


def test_the_official_counts_and_the_indoor_scenes():
    assert canon_dp.dataset.counts == {"train": 350, "val": 74, "test": 76}
    assert len(canon_dp.INDOOR) == 37 and max(canon_dp.INDOOR) == 75


def test_sources_and_targets_are_paired_by_position(root):
    items = canon_dp.originals(root, patch=None)
    assert [(item.split, item.name) for item in items][:3] == [
        ("train", "1P0A0890"),
        ("train", "1P0A0893"),
        ("val", "1P0A0894"),
    ]
    pairs = [(path["centre"].stem, path["target"].stem) for path in (dict(item.make.args[0]) for item in items)]
    expected = [(f"1P0A{a:04d}", f"1P0A{b:04d}") for split in SCENES.values() for a, b in split]
    assert pairs == expected


@pytest.mark.parametrize("inside", [True, False])
def test_the_root_may_be_the_archives_folder_itself(root, inside):
    items = canon_dp.originals(root / "dd_dp_dataset_canon" if inside else root, patch=None)
    assert len(items) == 6
    assert items[0].source == "train_c/source/1P0A0890.png" if inside else "dd_dp_dataset_canon" in items[0].source


def test_views_named_with_their_side_are_taken(tmp_path):
    items = canon_dp.originals(fill(tmp_path, SCENES, suffixes=True), partial=True, patch=None)
    assert items[0].files[0].name == "1P0A0890_L.png" and len(items) == 6


def test_16_bits_come_through_in_rgb(root):
    item = pickle.loads(pickle.dumps(canon_dp.originals(root, patch=None)[-1]))
    made = item.make(np.random.default_rng(0))
    assert set(made.images) == {"left", "right", "centre", "target"}
    for seed, field in enumerate(VIEWS):
        expected = np.random.default_rng(960 + seed).integers(0, 65535, (64, 96, 3), dtype=np.uint16)
        assert made.images[field].dtype == np.uint16 and np.array_equal(made.images[field], expected)
    assert made.condition == {
        "scene": "outdoor"
    }  # its place is 2, and the fixture's three scenes are the whole test split
    assert made.degradation == {"kind": "captured", "turned": 0}


def test_scenes_are_known_by_position_if_the_test_split_is_complete(tmp_path, monkeypatch):
    pairs = [(1000 + 3 * i, 1001 + 3 * i) for i in range(76)]
    fill(tmp_path, {"train": SCENES["train"], "val": SCENES["val"], "test": pairs}, height=16, width=16)
    monkeypatch.setattr(canon_dp, "COUNTS", {"train": 2, "val": 1, "test": 76})

    def scenes_found() -> list[str]:
        items = canon_dp.originals(tmp_path, partial=True, patch=None)
        return [item.make(np.random.default_rng(0)).condition["scene"] for item in items if item.split == "test"]

    scenes = scenes_found()
    assert Counter(scenes) == {"indoor": 37, "outdoor": 39}
    indoor = [8, 9, 10, 11, 12, 13, 16, 32, *range(39, 57), *range(59, 68), 74, 75]
    assert [i for i, scene in enumerate(scenes) if scene == "indoor"] == indoor

    for field, number in (("left", 1000), ("right", 1000), ("centre", 1000), ("target", 1001)):
        file_of(tmp_path, "test", field, number).unlink()
    assert set(scenes_found()) == {""}


def test_portrait_images_are_turned_counter_clockwise(tmp_path):
    fill(tmp_path, {split: SCENES[split] for split in ("train", "val")})
    fill(tmp_path, {"test": [(917, 916)]}, height=96, width=64)
    made = canon_dp.originals(tmp_path, partial=True, patch=None)[-1].make(np.random.default_rng(0))
    stored = np.random.default_rng(916).integers(0, 65535, (96, 64, 3), dtype=np.uint16)
    assert made.images["target"].shape == (64, 96, 3)
    assert np.array_equal(made.images["target"][-1, 0], stored[0, 0])  # the top left corner comes to the bottom left
    assert np.array_equal(made.images["target"][0, 0], stored[0, -1])
    assert made.degradation["turned"] == 90


# Bad input ----------------------------------------------------------------------------------------------------------


def test_a_short_split_is_refused_unless_partial(root):
    for field, number in (("left", 933), ("right", 933), ("centre", 933), ("target", 935)):
        file_of(root, "test", field, number).unlink()
    with pytest.raises(DataError) as error:
        canon_dp.originals(root, patch=None)
    assert "2 scenes in split 'test', the official set has 3" in str(error.value)
    assert len(canon_dp.originals(root, partial=True, patch=None)) == 5


@pytest.mark.parametrize(("field", "number"), [("left", 893), ("right", 893), ("centre", 893)])
def test_a_missing_view_is_refused_even_when_partial(root, field, number):
    file_of(root, "train", field, number).unlink()
    with pytest.raises(DataError, match=r"found 1 scenes of 'train' that lack a view; .* has 1P0A0893"):
        canon_dp.originals(root, partial=True)


@pytest.mark.parametrize("number", [891, 892])
def test_a_missing_target_is_refused_even_when_partial(root, number):
    file_of(root, "train", "target", number).unlink()
    with pytest.raises(DataError, match="2 sources and 1 targets of split 'train' do not make pairs"):
        canon_dp.originals(root, partial=True)


def test_a_target_of_another_scene_is_refused(root):
    file_of(root, "val", "target", 895).rename(file_of(root, "val", "target", 899))
    with pytest.raises(DataError, match="the first wrong one of 1P0A0894 with target 1P0A0899"):
        canon_dp.originals(root, partial=True)


def test_a_missing_folder_is_refused(root):
    (root / "dd_dp_dataset_canon" / "val_l").rename(root / "elsewhere")
    with pytest.raises(DataError, match=r"val_l/source: no such folder"):
        canon_dp.originals(root, partial=True)


def test_partial_takes_the_test_split_alone(root):
    folder = root / "dd_dp_dataset_canon"
    for path in [*folder.glob("train_*"), *folder.glob("val_*")]:
        path.rename(root / path.name)
    assert {item.split for item in canon_dp.originals(root, partial=True)} == {"test"}
    with pytest.raises(DataError, match=r"train_l/source: no such folder"):
        canon_dp.originals(root)


def test_an_empty_set_is_refused_even_when_partial(root):
    for path in root.rglob("*.png"):
        path.unlink()
    with pytest.raises(DataError, match="0 scenes in split 'train'"):
        canon_dp.originals(root, partial=True)


def test_a_file_of_another_name_is_refused(root):
    write(file_of(root, "val", "left", 894).with_name("copy.png"), 0)
    with pytest.raises(DataError, match=r"copy.png: found this name, expected 1P0A and four digits"):
        canon_dp.originals(root)


def test_a_wrong_size_is_refused(root):
    write(file_of(root, "test", "right", 917), 0, 64, 95)
    with pytest.raises(DataError, match=r"test 1P0A0917: found different sizes .*95x64"):
        canon_dp.originals(root)


def test_an_8_bit_file_and_a_jpeg_are_refused(root):
    write(file_of(root, "test", "left", 917), 0, dtype=np.uint8)
    with pytest.raises(DataError, match=r"1P0A0917.png: found 8 bits per value, expected 16"):
        canon_dp.originals(root)
    data = cv2.imencode(".jpg", np.zeros((64, 96, 3), np.uint8))[1].tobytes()
    file_of(root, "test", "left", 917).write_bytes(data)
    with pytest.raises(DataError, match="found 8 bits per value, expected 16"):
        canon_dp.originals(root)


def test_an_empty_file_is_refused(root):
    file_of(root, "val", "target", 895).write_bytes(b"")
    with pytest.raises(DataError, match="found a file of 0 bytes"):
        canon_dp.originals(root)


def test_a_truncated_file_is_refused(root):
    path = file_of(root, "val", "target", 895)
    path.write_bytes(path.read_bytes()[:5000])
    item = next(item for item in canon_dp.originals(root, patch=None) if item.split == "val")
    with pytest.raises(DataError, match="truncated or damaged"):
        item.make(np.random.default_rng(0))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"patch": 128}, "patch: found 128, expected at most 64, the shorter side of 1P0A0890 in pixels"),
        ({"patch": 8}, "patch: found 8, expected at least 15 pixels"),
        ({"patch": 32, "overlap": 1.0}, "overlap: found 1.0, expected a share of the patch"),
        ({"patch": 32, "overlap": -0.1}, "overlap: found -0.1"),
        ({"patch": 32, "overlap": 0.99}, "overlap: found 0.99"),
    ],
)
def test_a_wrong_option_is_refused(root, options, words):
    with pytest.raises(ParamsError) as error:
        canon_dp.originals(root, **options)
    assert words in str(error.value)


# Patches ------------------------------------------------------------------------------------------------------------


def test_items_are_patches_and_the_test_is_whole(root):
    items = canon_dp.originals(root, patch=32, overlap=0.5)
    per_image = len(patch_corners(64, 96, 32, 0.5))
    assert per_image == 15
    assert Counter(item.split for item in items) == {"train": 2 * 11, "val": 12, "test": 3}
    whole = {item.name: item for item in canon_dp.originals(root, patch=None)}
    for item in (items[0], items[10], items[22]):
        made = pickle.loads(pickle.dumps(item)).make(np.random.default_rng(0))
        top, left = made.degradation["crop_top"], made.degradation["crop_left"]
        source = whole[item.name[:8]].make(np.random.default_rng(0))
        for field, image in made.images.items():
            assert np.array_equal(image, source.images[field][top : top + 32, left : left + 32])
    assert [item.name for item in items[:2]] == ["1P0A0890-00", "1P0A0890-01"]


@pytest.mark.skipif(not SAMPLES.is_dir(), reason="no sample files")
def test_the_sample_files_are_read():
    items = canon_dp.originals(SAMPLES, partial=True, patch=256)
    counts = Counter(item.split for item in items)
    train = num_kept(len(patch_corners(448, 640, 256, 0.6)))
    assert counts == {"train": 2 * train, "val": 6, "test": 1}
    made = items[-1].make(np.random.default_rng(0))
    assert made.images["left"].shape == (448, 640, 3) and made.images["left"].max() > 255
    difference = [np.abs(made.images[name].astype(float) - made.images["target"]).mean() for name in VIEWS]
    assert max(difference) < 65535 / 10  # the same scene
    assert items[0].make(np.random.default_rng(0)).images["target"].shape == (256, 256, 3)


# Stand-in -----------------------------------------------------------------------------------------------------------


def test_the_stand_in_is_simulated_and_its_scene_is_the_kind_of_depth():
    items = canon_dp.offline(draws=2, test_draws=1, max_side=96)
    assert Counter(item.split for item in items) == {"train": 14, "val": 1, "test": 4}
    scenes = {}
    for item in items:
        made = pickle.loads(pickle.dumps(item)).make(np.random.default_rng(1))
        assert set(made.images) == {"left", "right", "centre", "target"}
        assert all(image.dtype == np.uint8 and max(image.shape) == 96 for image in made.images.values())
        scenes[item.name] = made.condition["scene"]
    assert {name for name, scene in scenes.items() if scene == "real depth"} == {"motorcycle_left-000"}
    assert set(scenes.values()) == {"real depth", "drawn depth"}


def test_the_drawn_values_reproduce_the_pixels():
    item = next(item for item in canon_dp.offline(max_side=120, camera_set=3) if item.split == "val")
    made = item.make(np.random.default_rng(5))
    about = made.degradation
    assert about["camera_set"] == 3
    rng = np.random.default_rng(5)
    rng.integers(len(dual_pixel.SHAPES))
    camera = dual_pixel.CAMERAS[3]
    depth, drawn = dual_pixel.draw_depth(rng, *made.images["target"].shape[:2], camera)
    shape = dual_pixel.Shape(about["order"], about["cut_off"], about["floor"])
    again = dual_pixel.simulate(made.images["target"], depth, camera, shape)
    assert about["depth_angle"] == drawn["depth_angle"]
    assert all(np.array_equal(made.images[name], view) for name, view in again.items())


def test_the_real_depth_is_on_both_sides_of_the_focus():
    item = next(i for i in canon_dp.offline(max_side=200, camera_set=2) if i.name == "motorcycle_left-000")
    made = item.make(np.random.default_rng(0))
    # 2.1 to 5.0 metres, the median in focus at 8 units.
    nearest, farthest = (metres * made.degradation["depth_scale"] for metres in (2.111, 5.017))
    assert nearest < 8 < farthest
    assert not np.array_equal(made.images["left"], made.images["right"])
    assert made.images["target"].shape == (135, 200, 3)


def test_without_a_maximum_the_size_is_the_photographs():
    coins = next(photo for photo in photographs("test") if photo.name == "coins")
    made = canon_dp.make_offline(coins, None, 0, False, np.random.default_rng(0))
    assert np.array_equal(made.images["target"], coins.load())


def test_the_distortion_is_the_same_for_views_and_target():
    coins = next(photo for photo in photographs("test") if photo.name == "coins")
    plain, bent = (canon_dp.make_offline(coins, 100, 1, bend, np.random.default_rng(0)) for bend in (False, True))
    for name, image in plain.images.items():
        assert np.array_equal(bent.images[name], dual_pixel.barrel(image, dual_pixel.CAMERAS[1].barrel))
    assert bent.degradation["radial_distortion"] and math.isfinite(bent.degradation["floor"])


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"draws": 0}, "draws: found 0"),
        ({"test_draws": 0}, "test_draws: found 0"),
        ({"max_side": 8}, "max_side: found 8"),
        ({"camera_set": 5}, "camera_set: found 5, expected a whole number from 0 to 4"),
    ],
)
def test_a_wrong_option_of_the_stand_in_is_refused(options, words):
    with pytest.raises(ParamsError) as error:
        canon_dp.offline(**options)
    assert words in str(error.value)

from __future__ import annotations

import errno
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from bench import registry
from bench.contracts import DataError, Dataset, Item, Made, ParamsError, UserError
from bench.data import build as building
from bench.data import manifest, workers
from bench.data.build import Job, build, draw, items, verify
from bench.data.built_images import read_png, write_png
from bench.files import locked, sha256

ROOT = Path(__file__).parents[3]
Make = Callable[[np.random.Generator], Made]


def pixels(rng: np.random.Generator, calls: Path, name: str, sides: tuple[int, int]) -> Made:
    """Draw a sample of noise with two further truths, noting the call."""
    with (calls / name).open("a") as file:
        file.write(".")
    target = rng.integers(0, 256, (*sides, 3), dtype=np.uint8)
    mask = np.where(rng.random(sides) < 0.3, 255, 0).astype(np.uint8)
    images = {"target": target, "blurred": target // 2, "mask": mask}
    return Made(images, {"kind": "half"}, {"mask_ratio": float(mask.mean() / 255)}, [target // 3, target // 4])


def killed(rng: np.random.Generator, inner: Make, marker: Path) -> Made:
    """Let the process die as by kill -9 while the marker is there."""
    if marker.exists():
        os._exit(137)
    return inner(rng)


def failing(rng: np.random.Generator, inner: Make, marker: Path) -> Made:
    if marker.exists():
        raise DataError("originals/x.png: damaged")
    return inner(rng)


@pytest.fixture
def toys(tmp_path, monkeypatch):
    """Register a dataset of six images of noise; return their calls' folder and a way to wrap one item's making."""
    calls = tmp_path / "calls"
    calls.mkdir()
    wrapped: dict[str, Callable[[Make], Make]] = {}

    def offline(draws: int = 4) -> list[Item]:
        made = []
        for number in range(draws + 2):
            split, name = ("train", f"n{number}") if number < draws else ("test", f"t{number}")
            make = partial(pixels, calls=calls, name=name, sides=(20 + number, 31))
            make = wrapped.get(name, lambda inner: inner)(make)
            made.append(Item(name, split, make, "noise", "CC0-1.0"))
        return made

    def originals(root: Path, partial: bool = False) -> list[Item]:
        return []

    entry = Dataset(
        "Toys",
        ("sharp-inpaint",),
        ("target", "blurred", "mask"),
        originals,
        offline,
        {},
        "nowhere: write them yourself",
    )
    monkeypatch.setattr(registry, "dataset", lambda name: entry)
    monkeypatch.setattr("bench.data.build.of_stage", lambda command, datasets: "the code of a dataset without a file")
    return calls, wrapped


JOB = Job("toys", None, {}, 0, "sample")


def counts(calls: Path) -> dict[str, int]:
    return {path.name: len(path.read_text()) for path in sorted(calls.iterdir())}


def images(folder: Path) -> dict[str, str]:
    return {str(path.relative_to(folder)): sha256(path) for path in sorted(folder.rglob("*.png"))}


# What is built --------------------------------------------------------------------------------------------------------


def test_pixels_and_manifest_depend_on_neither_order_nor_processes(toys, tmp_path, monkeypatch):
    one = build(JOB, tmp_path / "one", 1)
    two = build(JOB, tmp_path / "two", 2)
    assert len(images(one.parent)) == 6 * 3 + 6 * 2
    assert images(one.parent) == images(two.parent)
    assert sha256(one) == sha256(two)
    entry = registry.dataset("toys")
    backwards = Dataset(**{**vars(entry), "offline": lambda: entry.offline()[::-1]})
    monkeypatch.setattr(registry, "dataset", lambda name: backwards)
    assert images(build(JOB, tmp_path / "three", 1).parent) == images(one.parent)


def test_a_generator_is_a_function_of_seed_dataset_split_and_name():
    item = Item("a", "train", lambda rng: Made({}), "", "")
    drawn = [
        draw(0, "toys", item).random(),
        draw(1, "toys", item).random(),
        draw(0, "other", item).random(),
        draw(0, "toys", Item("b", "train", item.make, "", "")).random(),
        draw(0, "toys", Item("a", "test", item.make, "", "")).random(),
    ]
    assert len(set(drawn)) == 5
    assert drawn[0] == draw(0, "toys", item).random()


def test_further_images_do_not_change_the_first_ones(toys, tmp_path):
    few, many = build(JOB, tmp_path / "few", 1), build(Job("toys", None, {"draws": 5}, 0, "sample"), tmp_path / "m", 1)
    train = {name: digest for name, digest in images(few.parent).items() if name.startswith("train")}
    assert train.items() <= images(many.parent).items()


def test_the_manifest_has_all_facts_of_each_image(toys, tmp_path):
    built = manifest.read(build(JOB, tmp_path / "set", 1).parent)
    assert built.about["origin"] == "offline photographs" and built.about["images"] == {"train": 4, "test": 2}
    assert (built.about["partial"], built.about["seed"], built.about["profile"]) == (False, 0, "sample")
    assert built.digest == sha256(built.folder / manifest.NAME)
    assert list(built.split("test")["name"]) == ["t4", "t5"]
    for row in built.rows.itertuples():
        assert row.origin == "offline photographs" and row.licence == "CC0-1.0" and row.bits == 8
        assert json.loads(row.degradation) == {"kind": "half"}
        for field in ("target", "blurred", "mask"):
            file = built.folder / getattr(row, f"file_{field}")
            assert sha256(file) == getattr(row, f"sha256_{field}")
            assert read_png(file).shape[:2] == (row.height, row.width)
        assert [sha256(built.folder / r["file"]) for r in json.loads(row.references)] == [
            r["sha256"] for r in json.loads(row.references)
        ]
        mask = read_png(built.folder / row.file_mask)
        assert set(np.unique(mask)) <= {0, 255} and row.mask_ratio == pytest.approx(mask.mean() / 255)
    with pytest.raises(DataError, match="no image in split 'val'; it has: test, train"):
        built.split("val")


def test_packed_images_equal_the_png_files(toys, tmp_path):
    built = manifest.read(build(JOB, tmp_path / "set", 1).parent)
    for field, channels in (("target", 3), ("blurred", 3), ("mask", 1)):
        raw = np.fromfile(built.folder / "packed" / f"{field}.bin", np.uint8)
        assert raw.size == int((built.split("train")["height"] * built.split("train")["width"]).sum()) * channels
        for _, row in built.split("train").iterrows():
            start, shape = row[f"packed_{field}"], (row["height"], row["width"], channels)
            packed = raw[start : start + np.prod(shape)].reshape(shape)
            assert np.array_equal(packed.squeeze(), read_png(built.folder / row[f"file_{field}"]))
        assert (built.split("test")[f"packed_{field}"] == -1).all()


def test_png_files_keep_8_and_16_bits(tmp_path):
    rng = np.random.default_rng(0)
    for dtype in (np.uint8, np.uint16):
        for shape in ((7, 5, 3), (7, 5)):
            image = rng.integers(0, np.iinfo(dtype).max, shape, dtype=dtype, endpoint=True)
            assert write_png(tmp_path / "a.png", image) == sha256(tmp_path / "a.png")
            assert np.array_equal(read_png(tmp_path / "a.png"), image) and read_png(tmp_path / "a.png").dtype == dtype
    with pytest.raises(TypeError, match="found float64, expected uint8 or uint16"):
        write_png(tmp_path / "a.png", np.zeros((3, 3)))


# Interrupted builds ------------------------------------------------------------------------------------------------


def test_an_interrupted_build_makes_only_the_missing_images(toys, tmp_path):
    calls, wrapped = toys
    marker = tmp_path / "marker"
    undisturbed = images(build(JOB, tmp_path / "whole", 1).parent)
    for path in calls.iterdir():
        path.unlink()
    marker.touch()
    wrapped["n3"] = lambda make: partial(failing, inner=make, marker=marker)
    with pytest.raises(DataError, match=r"x\.png: damaged"):
        build(JOB, tmp_path / "set", 1)
    assert not (tmp_path / "set").exists()
    made = counts(calls)
    assert {"n0", "n1", "n2"} <= set(made) and "n3" not in made
    marker.unlink()
    build(JOB, tmp_path / "set", 1)
    assert counts(calls) == dict.fromkeys(["n0", "n1", "n2", "n3", "t4", "t5"], 1)
    assert images(tmp_path / "set") == undisturbed
    assert sorted(path.name for path in (tmp_path / "set").iterdir()) == ["manifest.parquet", "packed", "test", "train"]
    assert not (tmp_path / ".set.building").exists()


def test_a_killed_worker_is_one_message_and_the_build_can_continue(toys, tmp_path):
    calls, wrapped = toys
    marker = tmp_path / "marker"
    marker.touch()
    wrapped["n2"] = lambda make: partial(killed, inner=make, marker=marker)
    with pytest.raises(UserError, match=r"was killed, perhaps because memory ran out.*build again with fewer --jobs"):
        build(JOB, tmp_path / "set", 1)
    marker.unlink()
    (tmp_path / ".set.building" / "train" / "target" / ".n1.png.4711.part").touch()
    build(JOB, tmp_path / "set", 1)
    assert counts(calls) == dict.fromkeys(["n0", "n1", "n2", "n3", "t4", "t5"], 1)
    assert not list((tmp_path / "set").rglob("*.part"))


@pytest.mark.parametrize("file", ["train/target/n0.png", "train/references/n0/002.png", "rows/train/n0.json"])
def test_a_damaged_file_is_made_again_when_a_build_continues(toys, tmp_path, file):
    calls, wrapped = toys
    marker = tmp_path / "marker"
    marker.touch()
    wrapped["n1"] = lambda make: partial(failing, inner=make, marker=marker)
    with pytest.raises(DataError):
        build(JOB, tmp_path / "set", 1)
    damaged = tmp_path / ".set.building" / file
    damaged.write_bytes(damaged.read_bytes()[:-7])
    marker.unlink()
    build(JOB, tmp_path / "set", 1)
    assert counts(calls)["n0"] == 2 and counts(calls)["n1"] == 1
    assert images(tmp_path / "set") == images(build(JOB, tmp_path / "other", 1).parent)


@pytest.mark.parametrize(
    "other", [Job("toys", None, {}, 1, "sample"), Job("toys", None, {"draws": 3}, 0, "sample")], ids=["seed", "options"]
)
def test_another_job_starts_in_an_empty_folder(toys, tmp_path, other):
    calls, wrapped = toys
    marker = tmp_path / "marker"
    marker.touch()
    wrapped["n2"] = lambda make: partial(failing, inner=make, marker=marker)
    with pytest.raises(DataError):
        build(JOB, tmp_path / "set", 1)
    marker.unlink()
    build(other, tmp_path / "set", 1)
    assert counts(calls)["n0"] == 2
    assert images(tmp_path / "set") == images(build(other, tmp_path / "fresh", 1).parent)


def test_a_build_replaces_an_older_one_completely(toys, tmp_path):
    build(Job("toys", None, {"draws": 5}, 0, "sample"), tmp_path / "set", 1)
    build(JOB, tmp_path / "set", 1)
    assert images(tmp_path / "set") == images(build(JOB, tmp_path / "fresh", 1).parent)


def interrupt(patch: pytest.MonkeyPatch, name: str) -> None:
    """Let Ctrl-C come when a folder of this name is half deleted, or else is to be renamed."""
    delete, rename = shutil.rmtree, Path.rename

    def deleting(path: Path, ignore_errors: bool = False) -> None:
        if path.name == name and path.exists():
            next(file for file in path.rglob("*") if file.is_file()).unlink()
            raise KeyboardInterrupt
        delete(path, ignore_errors)

    def renaming(path: Path, target: Path) -> Path:
        if path.name == name:
            raise KeyboardInterrupt
        return rename(path, target)

    patch.setattr(shutil, "rmtree", deleting)
    patch.setattr(Path, "rename", renaming)


def files(folder: Path) -> dict[str, str]:
    return {str(path.relative_to(folder)): sha256(path) for path in sorted(folder.rglob("*")) if path.is_file()}


OLDER = replace(JOB, seed=1)


@pytest.mark.parametrize(
    ("name", "seed"), [("rows", 1), (".set.building", 1), (".set.old", 0)], ids=["notes", "rename", "old set"]
)
def test_a_build_interrupted_at_the_end_makes_no_image_again(toys, tmp_path, monkeypatch, name, seed):
    calls, _ = toys
    whole = [files(build(job, tmp_path / f"whole{job.seed}", 1).parent) for job in (JOB, OLDER)]
    build(OLDER, tmp_path / "set", 1)
    for path in calls.iterdir():
        path.unlink()
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        interrupt(patch, name)
        build(JOB, tmp_path / "set", 1)
    assert whole[seed].items() <= files(tmp_path / "set").items()
    build(JOB, tmp_path / "set", 1)
    assert counts(calls) == dict.fromkeys(["n0", "n1", "n2", "n3", "t4", "t5"], 1)
    assert files(tmp_path / "set") == whole[0]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["calls", "set", "whole0", "whole1"]


def test_a_set_that_a_killed_process_had_renamed_comes_back(toys, tmp_path):
    _, wrapped = toys
    before = files(build(OLDER, tmp_path / "set", 1).parent)
    (tmp_path / "set").rename(tmp_path / ".set.old")  # killed between the two renames
    marker = tmp_path / "damaged"
    marker.touch()
    wrapped["n0"] = lambda make: partial(failing, inner=make, marker=marker)
    with pytest.raises(DataError, match="damaged"):
        build(JOB, tmp_path / "set", 1)
    assert files(tmp_path / "set") == before and not (tmp_path / ".set.old").exists()


@pytest.mark.parametrize("name", ["rows", ".set.old"])
def test_another_job_replaces_a_build_interrupted_at_the_end(toys, tmp_path, monkeypatch, name):
    build(OLDER, tmp_path / "set", 1)
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        interrupt(patch, name)
        build(JOB, tmp_path / "set", 1)
    build(OLDER, tmp_path / "set", 1)
    assert files(tmp_path / "set") == files(build(OLDER, tmp_path / "fresh", 1).parent)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["calls", "fresh", "set"]


@pytest.mark.parametrize("name", ["rows", ".set.old"])
def test_an_original_changed_after_an_interruption_at_the_end_is_used(toys, tmp_path, monkeypatch, name):
    calls, _ = toys
    original = tmp_path / "x.png"
    original.write_text("first")
    make = partial(pixels, calls=calls, name="a", sides=(20, 31))
    swapped(monkeypatch, offline=lambda: [Item("a", "train", make, "x.png", "", (original,))])
    build(OLDER, tmp_path / "set", 1)
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        interrupt(patch, name)
        build(JOB, tmp_path / "set", 1)
    original.write_text("second")
    building._source_digest.cache_clear()  # of this process: a build by hand is a process of its own
    built = manifest.read(build(JOB, tmp_path / "set", 1).parent)
    assert json.loads(built.rows["source_sha256"][0]) == [sha256(original)]
    assert counts(calls) == {"a": 3}


def test_an_old_set_is_deleted_by_one_process_only(toys, tmp_path, monkeypatch):
    build(OLDER, tmp_path / "set", 1)
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        interrupt(patch, ".set.old")
        build(JOB, tmp_path / "set", 1)
    with (
        locked(tmp_path / "set", "building toys"),
        pytest.raises(UserError, match=r"/set: another process is building toys here; wait"),
    ):
        build(JOB, tmp_path / "set", 1)
    assert (tmp_path / ".set.old").is_dir()


# Bad places -----------------------------------------------------------------------------------------------------------


def test_a_folder_of_something_else_is_never_replaced(toys, tmp_path):
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "letter.txt").write_text("dear")
    with pytest.raises(UserError, match="home: contains something else than a built set"):
        build(JOB, tmp_path / "home", 1)
    assert (tmp_path / "home" / "letter.txt").read_text() == "dear"
    with pytest.raises(UserError, match=r"letter\.txt: contains something else"):
        build(JOB, tmp_path / "home" / "letter.txt", 1)
    with pytest.raises(UserError, match=r"--out: found \., expected a folder with a name"):
        build(JOB, Path("."), 1)
    (tmp_path / "empty").mkdir()
    assert build(JOB, tmp_path / "empty", 1).is_file()


def test_a_symbolic_link_is_kept_and_its_folder_built(toys, tmp_path):
    (tmp_path / "here").mkdir()
    link, disk = tmp_path / "here" / "set", tmp_path / "disk" / "toys"
    link.symlink_to(disk)
    for job in (OLDER, JOB):  # where nothing is yet, then in an older set's place
        built = manifest.read(build(job, link, 1).parent)
        assert built.about["seed"] == job.seed
        assert link.is_symlink() and link.resolve() == disk and not disk.is_symlink()
        assert files(link) == files(build(job, tmp_path / f"plain{job.seed}", 1).parent)
        assert [path.name for path in disk.parent.iterdir()] == ["toys"]
        assert [path.name for path in link.parent.iterdir()] == ["set"]
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "letter.txt").write_text("dear")
    (tmp_path / "there").symlink_to("home")
    with pytest.raises(UserError, match="home: contains something else than a built set"):
        build(JOB, tmp_path / "there", 1)


def test_another_dataset_is_never_replaced(toys, tmp_path):
    build(JOB, tmp_path / "set", 1)
    before = images(tmp_path / "set")
    dolls = replace(JOB, name="dolls")
    with pytest.raises(
        UserError, match="set: contains toys, which building dolls there would replace; choose another --"
    ):
        build(dolls, tmp_path / "set", 1)
    assert images(tmp_path / "set") == before
    (tmp_path / "set" / manifest.NAME).write_bytes(b"no table")
    assert manifest.read(build(dolls, tmp_path / "set", 1).parent).about["dataset"] == "dolls"


def test_a_place_that_cannot_be_written_is_found_before_the_work(toys, tmp_path):
    calls, _ = toys
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"file/\.set\.building: Not a directory"):
        build(JOB, tmp_path / "file" / "set", 1)
    assert counts(calls) == {}


def test_a_read_only_file_system_is_named(toys, tmp_path, monkeypatch):
    def refuse(self, *args, **options):
        raise OSError(errno.EROFS, "Read-only file system", str(self))

    monkeypatch.setattr(Path, "mkdir", refuse)
    with pytest.raises(UserError, match=rf"{tmp_path}: this folder cannot be written; choose another one or change"):
        build(JOB, tmp_path / "data" / "set", 1)


@pytest.fixture
def small_disk(tmp_path):
    """Give a file system of 256 KiB; skip where mounting is not allowed."""
    place = tmp_path / "disk"
    place.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "none", place], check=False, capture_output=True)
    if done.returncode:
        pytest.skip("mounting is not allowed here")
    yield place
    subprocess.run(["umount", place], check=True)


def test_a_full_disk_is_one_message_and_leaves_no_set(toys, small_disk):
    with pytest.raises(UserError, match=r"the disk is full \(0 MiB free\); free some space and run it again"):
        build(Job("toys", None, {"draws": 60}, 0, "sample"), small_disk / "set", 1)
    assert not (small_disk / "set").exists()
    assert not list(small_disk.rglob("*.part"))


def test_a_disk_that_fills_up_while_packing_leaves_no_set(toys, tmp_path, monkeypatch):
    def full(*args):
        raise OSError(errno.ENOSPC, "No space left on device")

    calls, _ = toys
    monkeypatch.setattr(building, "_pack", full)
    with pytest.raises(UserError, match=r"set: the disk is full \(\d+ MiB free\)"):
        build(JOB, tmp_path / "set", 1)
    assert not (tmp_path / "set").exists()
    monkeypatch.undo()
    assert set(counts(calls).values()) == {1}


HOLD = """
import sys, time
from pathlib import Path
from bench.files import locked
with locked(Path(sys.argv[1]), "building places2"):
    print("held", flush=True)
    time.sleep(60)
"""


def test_two_builds_of_one_set_at_once(tmp_path):
    (tmp_path / "params.yaml").write_text("profile: sample\ndatasets: {places2: {offline: {draws: 1}}}\n")
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    place = tmp_path / "data" / "sample" / ".places2.building"
    first = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(place)], env=environment, stdout=subprocess.PIPE, text=True
    )
    try:
        assert first.stdout is not None and first.stdout.readline() == "held\n"
        began = time.monotonic()
        second = subprocess.run(
            [sys.executable, "-m", "bench", "build", "places2"],
            cwd=tmp_path, env=environment, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert time.monotonic() - began < 30
    finally:
        first.kill()
        first.wait()
    assert second.returncode == 2
    expected = "sharpbench build: data/sample/.places2.building: another process is building places2 here"
    assert second.stderr.startswith(expected) and len(second.stderr.splitlines()) == 1


# Bad datasets ---------------------------------------------------------------------------------------------------------


def swapped(monkeypatch, **changes):
    entry = Dataset(**{**vars(registry.dataset("toys")), **changes})
    monkeypatch.setattr(registry, "dataset", lambda name: entry)


def test_doubled_names_and_no_images_are_refused(toys, tmp_path, monkeypatch):
    with pytest.raises(DataError, match=r"no such folder\. Toys: nowhere: write them yourself"):
        items(Job("toys", tmp_path / "none", {}, 0, "paper"))
    with pytest.raises(DataError, match=r"no image found\. Toys: nowhere"):
        items(Job("toys", tmp_path, {}, 0, "paper"))
    made = registry.dataset("toys").offline()
    swapped(monkeypatch, offline=lambda: [*made, made[0]])
    with pytest.raises(DataError, match="two images of one split have the same name"):
        items(JOB)


def test_a_misspelt_option_names_the_nearest(toys):
    with pytest.raises(UserError, match=r"datasets\.toys\.offline\.draw: unknown argument; the nearest are: draws"):
        items(Job("toys", None, {"draw": 3}, 0, "sample"))


def out_of_range(draws: int = 4) -> list[Item]:
    raise ParamsError(f"draws: found {draws}, expected 1")


def locked_file(rng: np.random.Generator | None = None) -> Made:
    raise PermissionError(errno.EACCES, "Permission denied", "originals/x.png")


def too_small(rng: np.random.Generator) -> Made:
    raise ParamsError("a camera path: found a photograph of 4x4")


def test_an_error_of_a_dataset_names_its_place(toys, tmp_path, monkeypatch):
    for make, kind, message in (
        (too_small, ParamsError, r"^params\.yaml: datasets\.toys\.offline: train/a: a camera path: found a photograph"),
        (locked_file, DataError, r"^originals/x\.png: cannot be read \(Permission denied\); change its"),
    ):
        swapped(monkeypatch, offline=lambda make=make: [Item("a", "train", make, "", "")])
        for command in (verify, lambda job: build(job, tmp_path / "set", 1)):
            with pytest.raises(kind, match=message):
                command(JOB)
    swapped(monkeypatch, offline=out_of_range)
    with pytest.raises(ParamsError, match=r"^params\.yaml: datasets\.toys\.offline\.draws: found 4, expected 1$"):
        items(JOB)
    swapped(monkeypatch, offline=locked_file)
    with pytest.raises(DataError, match=r"^originals/x\.png: cannot be read"):
        items(JOB)
    assert not (tmp_path / "set").exists()


def test_an_original_that_cannot_be_read_is_one_message(toys, tmp_path, monkeypatch):
    def refuse(path: Path) -> str:
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    swapped(monkeypatch, offline=lambda: [Item("a", "train", missing_mask, "", "", (tmp_path / "x.png",))])
    monkeypatch.setattr(building, "sha256", refuse)
    with pytest.raises(DataError, match=r"x\.png: cannot be read \(Permission denied\)"):
        building._make(JOB, tmp_path, items(JOB)[0])


def missing_mask(rng: np.random.Generator) -> Made:
    return Made({"target": np.zeros((4, 4, 3), np.uint8), "blurred": np.zeros((4, 4, 3), np.uint8)})


def two_sizes(rng: np.random.Generator) -> Made:
    black = np.zeros((4, 4, 3), np.uint8)
    return Made({"target": black, "blurred": black[:3], "mask": black[..., 0]})


@pytest.mark.parametrize(
    ("make", "message"),
    [(missing_mask, "toys: train/a: no mask was made"), (two_sizes, "toys: train/a: the images of one sample differ")],
)
def test_an_item_without_the_promised_images_is_refused(toys, tmp_path, monkeypatch, make, message):
    swapped(monkeypatch, offline=lambda: [Item("a", "train", make, "", "")])
    with pytest.raises(DataError, match=message):
        build(JOB, tmp_path / "set", 1)


def test_verify_counts_and_reads_everything(toys):
    calls, wrapped = toys
    assert [item.name for item in verify(JOB)] == ["n0", "n1", "n2", "n3", "t4", "t5"]
    assert counts(calls) == dict.fromkeys(["n0", "n1", "n2", "n3", "t4", "t5"], 1)
    marker = calls.parent / "marker"
    marker.touch()
    wrapped["t5"] = lambda make: partial(failing, inner=make, marker=marker)
    with pytest.raises(DataError, match=r"x\.png: damaged"):
        verify(JOB)


@pytest.mark.parametrize("content", [b"", b"PAR1 no parquet", None])
def test_a_damaged_or_missing_manifest_is_refused(tmp_path, content):
    if content is None:
        with pytest.raises(DataError, match="not built yet; run: python -m bench build set"):
            manifest.read(tmp_path / "set")
        return
    (tmp_path / manifest.NAME).write_bytes(content)
    with pytest.raises(DataError, match=r"manifest\.parquet: not a manifest of Sharpbench"):
        manifest.read(tmp_path)


def test_a_packed_file_of_another_length_is_refused(toys, tmp_path):
    from bench.data.batches import Crops

    built = manifest.read(build(JOB, tmp_path / "set", 1).parent)
    packed = built.folder / "packed" / "blurred.bin"
    assert len(Crops(built, "sharp-inpaint", 16, [], 0)) == 4
    packed.write_bytes(packed.read_bytes()[:-1])
    with pytest.raises(DataError, match=r"blurred\.bin: found 7,997 bytes, expected 7,998; build the dataset again"):
        Crops(built, "sharp-inpaint", 16, [], 0)
    packed.unlink()
    with pytest.raises(DataError, match=r"blurred\.bin: found 0 bytes"):
        Crops(built, "sharp-inpaint", 16, [], 0)


def waiting(rng: np.random.Generator, inner: Make, marker: Path) -> Made:
    """Make it when the marker is there."""
    while not marker.exists():
        time.sleep(0.01)
    return inner(rng)


def test_verify_reads_no_more_after_a_damaged_file(toys, tmp_path, monkeypatch):
    calls, wrapped = toys
    damaged, released = tmp_path / "damaged", tmp_path / "released"
    damaged.touch()

    class Pool(ProcessPoolExecutor):
        """Two processes that get past the damaged file only when the pool was told to stop."""

        def __init__(self, workers: int | None = None, **options: Callable[[], None]):
            super().__init__(2, **options)

        def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
            working = self._executor_manager_thread
            super().shutdown(wait=False, cancel_futures=cancel_futures)
            released.touch()
            if working:
                working.join()

    monkeypatch.setattr(workers, "ProcessPoolExecutor", Pool)
    wrapped["n0"] = lambda make: partial(failing, inner=make, marker=damaged)
    for name in [f"n{number}" for number in range(1, 60)] + ["t60", "t61"]:
        wrapped[name] = lambda make: partial(waiting, inner=make, marker=released)
    job = replace(JOB, options={"draws": 60})
    with pytest.raises(DataError, match=r"x\.png: damaged"):
        verify(job)
    assert len(counts(calls)) < 10  # two being read, three handed out, and what is handed out meanwhile
    damaged.unlink()
    assert len(verify(job)) == 62 and len(counts(calls)) == 62

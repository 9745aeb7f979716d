"""Making auxiliary maps: once per training image, and what an interrupted command keeps."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from bench.contracts import AuxiliaryMap, DataError, ParamsError, UserError
from bench.data import auxiliary, auxiliary_build
from bench.data.manifest import BuiltSet
from bench.files import locked, sha256
from tests.bench.data.maps import TRAIN, map_of, signed, signed_input, targets, wrong


def counted(target: np.ndarray, calls: Path, dies: str = "") -> np.ndarray:
    """Note the call by the image's height; with a marker, fail or die at height 30."""
    marker = calls / "marker"
    if target.shape[0] == 30 and marker.exists():
        if dies:
            os._exit(137)
        raise DataError("somewhere: damaged")
    with (calls / str(target.shape[0])).open("a") as file:
        file.write(".")
    return signed(target)


def calls_of(calls: Path) -> dict[int, int]:
    return {int(path.name): len(path.read_text()) for path in sorted(calls.iterdir()) if path.name != "marker"}


@pytest.mark.parametrize("workers", [1, 2])
def test_a_map_holds_each_training_image_in_the_manifests_order(built, workers):
    out = auxiliary_build.make(built, "sign", map_of(), workers)
    assert out == built.folder.parent / "gopro.auxiliary" / "sign"
    packed = np.fromfile(out / "packed.bin", np.float16)
    assert np.array_equal(packed, np.concatenate([signed(t).astype(np.float16).ravel() for t in targets(built)]))
    about = json.loads((out / "manifest.json").read_text())
    assert (about["images"], about["channels"], about["module"]) == (TRAIN, 2, "methods/_sign.py")
    assert about["manifest_sha256"] == built.digest
    assert sorted(path.name for path in out.parent.iterdir()) == ["sign"]
    assert sorted(path.name for path in out.iterdir()) == ["digests.txt", "manifest.json", "packed.bin"]
    made = auxiliary.read(built, "sign", map_of())
    assert made.channels == 2 and made.digest == sha256(out / "manifest.json")
    areas = [28 * 37, 29 * 37, 30 * 37]
    assert list(made.packed.starts) == [0, 4 * areas[0], 4 * sum(areas[:2]), 4 * sum(areas)]


@pytest.mark.parametrize("dies", ["", "dies"])
def test_an_interrupted_command_makes_only_the_missing_images(built, tmp_path, dies):
    calls = tmp_path / "calls"
    calls.mkdir()
    (calls / "marker").touch()
    auxiliary_map = map_of(partial(counted, calls=calls, dies=dies))
    message = "was killed, perhaps because memory ran out.*fewer --jobs" if dies else "somewhere: damaged"
    with pytest.raises(UserError, match=message):
        auxiliary_build.make(built, "sign", auxiliary_map, 1)
    assert not auxiliary.folder(built, "sign").exists()
    assert calls_of(calls) == {28: 1, 29: 1} | ({} if dies else {31: 1} if 31 in calls_of(calls) else {})
    (calls / "marker").unlink()
    out = auxiliary_build.make(built, "sign", auxiliary_map, 1)
    assert calls_of(calls) == {28: 1, 29: 1, 30: 1, 31: 1}
    packed = np.fromfile(out / "packed.bin", np.float16)
    assert np.array_equal(packed, np.concatenate([signed(t).astype(np.float16).ravel() for t in targets(built)]))


def interrupted_map(built: BuiltSet, calls: Path) -> AuxiliaryMap:
    """Make a map until the marker in `calls` stops it; return its declaration, which counts what it makes there."""
    calls.mkdir()
    (calls / "marker").touch()
    auxiliary_map = map_of(partial(counted, calls=calls))
    with pytest.raises(DataError):
        auxiliary_build.make(built, "sign", auxiliary_map, 1)
    return auxiliary_map


def test_a_damaged_image_is_made_again_when_the_command_continues(built, tmp_path):
    calls = tmp_path / "calls"
    auxiliary_map = interrupted_map(built, calls)
    packed = auxiliary.folder(built, "sign").with_name(".sign.making") / "packed.bin"
    with packed.open("r+b") as file:
        file.seek(4 * 28 * 37 + 100)  # in the second image
        file.write(b"\xff\xff")
    (calls / "marker").unlink()
    out = auxiliary_build.make(built, "sign", auxiliary_map, 1)
    assert (calls_of(calls)[28], calls_of(calls)[29]) == (1, 2)
    packed = np.fromfile(out / "packed.bin", np.float16)
    assert np.array_equal(packed, np.concatenate([signed(t).astype(np.float16).ravel() for t in targets(built)]))


@pytest.mark.parametrize("name", ["rows", ".sign.old"])
def test_interrupted_at_the_end_it_makes_no_map_again(built, tmp_path, monkeypatch, name):
    calls = tmp_path / "calls"
    calls.mkdir()
    auxiliary_map = map_of(partial(counted, calls=calls))
    auxiliary_build.make(built, "sign", auxiliary_map, 1)
    (tmp_path / "methods" / "_sign.py").write_text("second\n")
    delete = shutil.rmtree

    def interrupted(path: Path, ignore_errors: bool = False) -> None:
        if path.name == name and path.exists():
            next(path.iterdir()).unlink()
            raise KeyboardInterrupt
        delete(path, ignore_errors)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(shutil, "rmtree", interrupted)
        auxiliary_build.make(built, "sign", auxiliary_map, 1)
    out = auxiliary_build.make(built, "sign", auxiliary_map, 1)
    assert calls_of(calls) == {28: 2, 29: 2, 30: 2, 31: 2}
    assert sorted(path.name for path in out.parent.iterdir()) == ["sign"]
    assert sorted(path.name for path in out.iterdir()) == ["digests.txt", "manifest.json", "packed.bin"]
    digest = auxiliary.read(built, "sign", auxiliary_map).digest
    shutil.rmtree(out)
    auxiliary_build.make(built, "sign", auxiliary_map, 1)
    assert auxiliary.read(built, "sign", auxiliary_map).digest == digest


def test_a_symbolic_link_is_kept_and_its_folder_made(built, tmp_path):
    link, disk = auxiliary.folder(built, "sign"), tmp_path / "disk" / "sign"
    link.parent.mkdir()
    link.symlink_to(disk)
    for text in ("first\n", "second\n"):
        (tmp_path / "methods" / "_sign.py").write_text(text)
        auxiliary_build.make(built, "sign", map_of(), 1)
        assert auxiliary.read(built, "sign", map_of()).packed.path == link / "packed.bin"
        assert link.is_symlink() and [path.name for path in disk.parent.iterdir()] == ["sign"]
        assert sorted(path.name for path in disk.iterdir()) == ["digests.txt", "manifest.json", "packed.bin"]


def test_a_changed_file_keeps_nothing_of_an_interrupted_one(built, tmp_path):
    calls = tmp_path / "calls"
    auxiliary_map = interrupted_map(built, calls)
    (calls / "marker").unlink()
    (tmp_path / "methods" / "_sign.py").write_text("second\n")
    auxiliary_build.make(built, "sign", auxiliary_map, 1)
    assert (calls_of(calls)[28], calls_of(calls)[29]) == (2, 2)


def test_a_current_map_is_kept_and_an_outdated_one_is_made_again(built, tmp_path):
    calls = tmp_path / "calls"
    calls.mkdir()
    auxiliary_map = map_of(partial(counted, calls=calls))
    auxiliary_build.make(built, "sign", auxiliary_map, 1)
    first = auxiliary.read(built, "sign", auxiliary_map).digest
    auxiliary_build.make(built, "sign", auxiliary_map, 1)
    assert set(calls_of(calls).values()) == {1}
    (tmp_path / "methods" / "_sign.py").write_text("second\n")
    auxiliary_build.make(built, "sign", auxiliary_map, 1)
    assert set(calls_of(calls).values()) == {2}
    assert auxiliary.read(built, "sign", auxiliary_map).digest != first


def test_a_missing_outdated_or_short_map_is_refused_with_the_command_to_run(built, tmp_path):
    again = r"; run: python -m bench auxiliary gopro$"
    missing = r"gopro\.auxiliary/sign: the auxiliary map 'sign' has not been made yet"
    with pytest.raises(DataError, match=missing + again):
        auxiliary.read(built, "sign", map_of())
    out = auxiliary_build.make(built, "sign", map_of(), 1)
    other = replace(built, digest="other")
    with pytest.raises(DataError, match="made of another build of gopro than the present one" + again):
        auxiliary.read(other, "sign", map_of())
    (tmp_path / "methods" / "_sign.py").write_text("second\n")
    with pytest.raises(DataError, match=r"the code of methods/_sign\.py has changed since the map was made" + again):
        auxiliary.read(built, "sign", map_of())
    (tmp_path / "methods" / "_sign.py").write_text("first\n")
    with pytest.raises(ParamsError, match=r"methods/_no\.py: no such file in the project"):
        auxiliary.read(built, "sign", AuxiliaryMap(signed, signed_input, "methods/_no.py"))
    size = (out / "packed.bin").stat().st_size
    os.truncate(out / "packed.bin", size - 2)
    with pytest.raises(
        DataError, match=rf"packed\.bin: found {size - 2:,} bytes, expected {size:,}; delete the folder"
    ):
        auxiliary.read(built, "sign", map_of())


def test_a_second_command_at_the_same_time_is_refused(built):
    place = auxiliary.folder(built, "sign").with_name(".sign.making")
    expected = pytest.raises(UserError, match="another process is making the auxiliary map sign of gopro here")
    with locked(place, "making the auxiliary map sign of gopro"), expected:
        auxiliary_build.make(built, "sign", map_of(), 1)


@pytest.mark.parametrize(
    ("kind", "problem"), [("turned", r"\(37, 28, 2\)"), ("nan", "from nan to nan"), ("high", r"from -1 to 1\.5")]
)
def test_a_map_of_a_wrong_shape_or_range_is_refused(built, kind, problem):
    message = rf"n0\.png: its auxiliary map is .*{problem}.*; expected \(28, 37, 'C'\) in \[-1, 1\]"
    with pytest.raises(DataError, match=message):
        auxiliary_build.make(built, "sign", map_of(partial(wrong, kind=kind)), 1)
    assert not auxiliary.folder(built, "sign").exists()

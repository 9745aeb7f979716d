"""Which files of a folder belong to a set."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from bench.contracts import DataError
from bench.data.image_folders import list_folders, list_images, walk_images

FOREIGN = (
    ".ipynb_checkpoints", "@eaDir", "__MACOSX", "$RECYCLE.BIN", "lost+found", ".Trash-1000",
    "System Volume Information",
)  # fmt: skip


def touch(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"x")
    return path


def test_list_images_takes_images_in_any_case_and_nothing_else(tmp_path):
    for name in ["b.PNG", "a.jpg", "C.JPEG", "d.tif", "e.TIFF", "._a.jpg", ".hidden.png", "Thumbs.db", "list.txt"]:
        touch(tmp_path / name)
    assert [path.name for path in list_images(tmp_path)] == ["C.JPEG", "a.jpg", "b.PNG", "d.tif", "e.TIFF"]


def test_a_missing_folder_is_refused_with_the_content_of_its_parent(tmp_path):
    (tmp_path / "GOPRO_Large").mkdir()
    with pytest.raises(DataError, match=r"train.*: no such folder; .* holds: GOPRO_Large/\. Check the path"):
        list_images(tmp_path / "train" / "blur")


def test_folders_of_systems_and_programs_are_none_of_a_set(tmp_path):
    for name in (*FOREIGN, "abbey"):
        touch(tmp_path / "a" / name / "1.jpg")
    touch(tmp_path / "a" / "@eaDir" / "2.jpg" / "SYNOPHOTO_THUMB_XL.jpg")
    touch(tmp_path / "a" / "._2.jpg")
    assert walk_images(tmp_path) == ["a/abbey/1.jpg"]
    assert [path.name for path in list_folders(tmp_path / "a")] == ["abbey"] and list_images(tmp_path / "a") == []
    with pytest.raises(DataError, match=r"holds: abbey/\. Check"):
        list_images(tmp_path / "a" / "gone")


def test_links_to_files_and_folders_are_followed(tmp_path):
    touch(tmp_path / "disk2" / "beach" / "1.jpg")
    touch(tmp_path / "set" / "abbey" / "1.JPG")
    (tmp_path / "set" / "beach").symlink_to(tmp_path / "disk2" / "beach")
    (tmp_path / "set" / "again").symlink_to(tmp_path / "set" / "abbey")  # twice is no loop
    (tmp_path / "set" / "one.png").symlink_to(tmp_path / "disk2" / "beach" / "1.jpg")
    assert walk_images(tmp_path / "set") == ["abbey/1.JPG", "again/1.JPG", "beach/1.jpg", "one.png"]
    assert [path.name for path in list_folders(tmp_path / "set")] == ["abbey", "again", "beach"]
    assert list_images(tmp_path / "set") == [tmp_path / "set" / "one.png"]
    assert walk_images(tmp_path / "nothing") == []


def test_a_loop_of_links_is_named(tmp_path):
    touch(tmp_path / "a" / "b" / "1.png")
    (tmp_path / "a" / "b" / "up").symlink_to(tmp_path / "a")
    with pytest.raises(DataError, match=r"a/b/up: found a link to .*, a folder that it is in.*; remove the link"):
        walk_images(tmp_path / "a")


@pytest.mark.parametrize("read", [walk_images, list_images, list_folders])
def test_a_link_to_a_disk_that_is_not_there_is_named(tmp_path, read):
    (tmp_path / "category").symlink_to(tmp_path / "disk2")
    with pytest.raises(DataError, match=r"category: found a link to .*disk2, which is not there; mount or fetch"):
        read(tmp_path)


def test_a_folder_that_cannot_be_read_is_named_and_not_left_out(tmp_path, monkeypatch):
    touch(tmp_path / "a" / "1.png")
    scandir = os.scandir

    def refuse(path: Path) -> object:  # the rights of files do not bind root
        if Path(path).name == "a":
            raise PermissionError(13, "Permission denied")
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(DataError, match=r"a: cannot be read \(Permission denied\)"):
        walk_images(tmp_path)

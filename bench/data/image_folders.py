"""List the image files in folders that a user brings: one rule for every dataset, for masks and for `verify`.

None of a set are hidden files and folders (.ipynb_checkpoints, ._NAME.jpg of macOS), and what systems put between a
person's files: Synology's @eaDir with its thumbnails, __MACOSX of unpacked archives, Thumbs.db, recycle bins and
lost+found. Symbolic links to files and folders are followed. What cannot be listed is an error, never left out.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from bench.contracts import DataError

EXTENSIONS = (".png", ".jpg", ".jpeg", ".tif", ".tiff")
SYSTEM_NAMES = frozenset(
    {
        "@eadir", "@tmp", "@recycle", "@recently-snapshot", "#recycle", "#snapshot", "__macosx", "lost+found",
        "$recycle.bin", "recycler", "system volume information", "thumbs.db", "ehthumbs.db", "desktop.ini",
    }
)  # fmt: skip
"""Names, in lower case, that operating systems and network disks give to their own files and folders."""


def is_foreign(name: str) -> bool:
    """Return whether a file or folder of this name is none of a set.

    >>> is_foreign(".ipynb_checkpoints"), is_foreign("@eaDir"), is_foreign("Places365_val_00000001.jpg")
    (True, True, False)
    """
    return name.startswith(".") or name.lower() in SYSTEM_NAMES


def describe(folder: Path, most: int = 8) -> str:
    """List at most `most` names in `folder`, or in its nearest parent that exists, for an error message."""
    while not os.path.isdir(folder) and folder != folder.parent:
        folder = folder.parent
    try:
        names = sorted(name + "/" * Path(folder, name).is_dir() for name in os.listdir(folder) if not is_foreign(name))
    except OSError as error:
        return f"{folder} cannot be read ({error.strerror})"
    more = f", and {len(names) - most} more" if len(names) > most else ""
    return f"{folder} holds: {', '.join(names[:most]) + more if names else 'nothing'}"


def require_folder(folder: Path) -> Path:
    """Return `folder`. Raises DataError when it is missing, with the content of its nearest existing parent."""
    if not os.path.isdir(folder):
        raise DataError(
            f"{folder}: no such folder; {describe(folder)}. Check the path and that the archive is unpacked"
        )
    return folder


def list_images(folder: Path) -> list[Path]:
    """List the image files in `folder`, without its sub-folders, in name order.

    Selected by extension, in upper or lower case: .png, .jpg, .jpeg, .tif, .tiff.

    Raises:
        DataError: the folder is missing or cannot be read, or holds a link to nothing.
    """
    entries = _entries(require_folder(folder))
    return sorted(Path(folder, entry.name) for entry in entries if _is_image(entry.name) and not entry.is_dir())


def list_folders(folder: Path) -> list[Path]:
    """List the sub-folders of `folder`, and links to folders, in name order; errors as for `list_images`."""
    return sorted(Path(folder, entry.name) for entry in _entries(require_folder(folder)) if entry.is_dir())


def walk_images(folder: Path) -> list[str]:
    """List the images in `folder` and all its sub-folders as sorted relative names, "abbey/00000001.jpg".

    The list is empty for a missing folder.

    Raises:
        DataError: as for `list_images`, or a link leads to a folder that it is in.
    """
    return sorted(_walk(folder, "", ())) if folder.is_dir() else []


def _walk(folder: Path, prefix: str, above: tuple[str, ...]) -> Iterator[str]:
    """Yield the images below a folder.

    Args:
        prefix: goes before each name.
        above: the real paths of the folders that this one is in.
    """
    place = os.path.realpath(folder)
    if place in above:
        raise DataError(
            f"{folder}: found a link to {place}, a folder that it is in; expected no loops; remove the link"
        )
    for entry in _entries(folder):
        if entry.is_dir():
            yield from _walk(folder / entry.name, f"{prefix}{entry.name}/", (*above, place))
        elif _is_image(entry.name):
            yield prefix + entry.name


def _is_image(name: str) -> bool:
    return name.lower().endswith(EXTENSIONS)


def _entries(folder: Path) -> Iterator[os.DirEntry[str]]:
    """Yield what is in a folder and may belong to a set."""
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if is_foreign(entry.name):
                    continue
                if entry.is_symlink() and not os.path.exists(entry.path):
                    raise DataError(
                        f"{entry.path}: found a link to {os.readlink(entry.path)}, which is not there; mount or fetch "
                        "what it names, or remove the link"
                    )
                yield entry
    except OSError as error:
        raise DataError(f"{folder}: cannot be read ({error.strerror}); change its rights") from error

"""Make the auxiliary maps of a built set: packed values and a manifest (see `bench.data.auxiliary`)."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from concurrent.futures import as_completed
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from bench.contracts import AuxiliaryMap, DataError, UserError
from bench.data.auxiliary import DIGESTS, DTYPE, MANIFEST, PACKED, code_of, folder, pixels_per_image, read
from bench.data.built_images import as_float, read_png
from bench.data.manifest import BuiltSet
from bench.data.work_folder import ROWS, clean_up, finish, start_or_resume
from bench.data.workers import KILLED, one_thread, processes
from bench.files import as_user_error, locked, restore_old_folder, sha256, write_text
from bench.hashes import digest, read_sealed_or_empty, write_sealed


def make(built: BuiltSet, name: str, auxiliary_map: AuxiliaryMap, workers: int | None = None) -> Path:
    """Make an auxiliary map of every training image and return its folder; a map that is up to date is left as it is.

    Everything is made in a hidden folder next to the map's, which is renamed at the end. After an interruption the next
    call continues there. If the map's folder is a symbolic link, its target is the folder that is made.

    Args:
        built: the set; its training images get the map.
        name: of the map.
        auxiliary_map: its declaration, with the options to use.
        workers: number of processes; None for one per core that this process may use.

    Raises:
        DataError: the map's function returned a wrong shape or range; an image that cannot be read.
        UserError: the folder cannot be written, the disk is full, or another process makes this map.
    """
    out = folder(built, name)
    out = out.resolve() if out.is_symlink() else out
    work = out.with_name(f".{out.name}.making")
    activity = f"making the auxiliary map {name} of {built.folder.name}"
    with locked(work, activity, "paths.data"):
        restore_old_folder(out)
        if _up_to_date(built, name, auxiliary_map):
            shutil.rmtree(work)
        else:
            about = {
                "map": name,
                "dataset": built.folder.name,
                "origin": built.about["origin"],
                "profile": built.about["profile"],
                "images": len(built.split("train")),
                "manifest_sha256": built.digest,
                "module": auxiliary_map.module,
                "code": code_of(auxiliary_map),
                "options": dict(auxiliary_map.options),
            }
            start_or_resume(work, about)
            (work / PACKED).touch()
            if not read_sealed_or_empty(work / MANIFEST):  # it is written last
                write_sealed(work / MANIFEST, about | _make_all(built, name, auxiliary_map, work, workers))
            finish(work, out)
    clean_up(out, activity)
    return out


def _one_thread() -> None:
    """Prepare a new process: linear algebra, which images do not need, starts threads too."""
    import torch
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

    one_thread()
    torch.set_num_threads(1)
    threadpool_limits(1)


def _up_to_date(built: BuiltSet, name: str, auxiliary_map: AuxiliaryMap) -> bool:
    """Whether the map on disk was made of this set, by the present code and with these options."""
    try:
        read(built, name, auxiliary_map)
    except UserError:
        return False
    return True


def _make_all(
    built: BuiltSet, name: str, auxiliary_map: AuxiliaryMap, work: Path, workers: int | None
) -> dict[str, Any]:
    """Make the maps that are missing in the work folder, and write their digests; return facts for the manifest."""
    from tqdm import tqdm

    rows = built.split("train")
    sizes = pixels_per_image(built) * DTYPE.itemsize
    starts = np.cumsum(sizes) - sizes
    jobs = [
        (built.folder / row["file_target"], row["sha256_target"], number, int(start))
        for number, (row, start) in enumerate(zip(rows.to_dict("records"), starts, strict=True))
    ]
    one_thread()
    made: list[dict[str, Any]] = []
    title = f"auxiliary map {name} of {built.folder.name}"
    of_target = partial(auxiliary_map.of_target, **auxiliary_map.options)
    with processes(workers, _one_thread) as pool:
        waiting = {pool.submit(_make, of_target, work, *job) for job in jobs}
        try:
            for done in tqdm(as_completed(waiting), title, len(jobs), disable=None, unit="image"):
                made.append(done.result())
        except BrokenProcessPool:
            raise UserError(
                f"{work}: {KILLED}; finished images are kept: make the maps again with fewer --jobs"
            ) from None
    made.sort(key=lambda row: row["number"])
    if len({row["channels"] for row in made}) != 1:
        raise DataError(f"{auxiliary_map.module}: the auxiliary map {name!r} differs in channels between images")
    write_text(work / DIGESTS, "".join(f"{row['digest']}\n" for row in made))
    return {"channels": made[0]["channels"], "digests_sha256": sha256(work / DIGESTS)}


def _make(
    of_target: Callable[[np.ndarray], np.ndarray], work: Path, image: Path, sha256: str, number: int, start: int
) -> dict[str, Any]:
    """Make the map of one image and write it into the packed file, unless it is there; return its row.

    Args:
        of_target: the map's function.
        work: the work folder.
        image: file of the target.
        sha256: of this file, as the manifest has it.
        number: of the image among the training images.
        start: bytes of all images before this one, for one channel.
    """
    row_file = work / ROWS / f"{number}.json"
    with (work / PACKED).open("r+b") as file:
        if row := read_sealed_or_empty(row_file):
            file.seek(start * row["channels"])
            if digest(file.read(row["bytes"])) == row["digest"]:
                return row
        target = as_float(read_png(image, sha256))
        made = of_target(target)
        fits = made.ndim == 3 and made.shape[:2] == target.shape[:2]
        if not fits or not np.isfinite(made).all() or np.abs(made).max() > 1:
            bounds = f"from {made.min():g} to {made.max():g}" if made.size else "empty"
            raise DataError(
                f"{image}: its auxiliary map is {made.shape}, {bounds}; expected {(*target.shape[:2], 'C')} in [-1, 1]"
            )
        data = made.astype(DTYPE).tobytes()
        try:
            file.seek(start * made.shape[2])
            file.write(data)
            file.flush()
        except OSError as error:
            raise as_user_error(error, work) from error
        file.seek(start * made.shape[2])
        if file.read(len(data)) != data:
            raise DataError(f"{work / PACKED}: what was read back differs from what was written; check the disk")
    row = {"number": number, "channels": made.shape[2], "bytes": len(data), "digest": digest(data)}
    write_sealed(row_file, row)
    return row

"""Make the auxiliary maps of a built set: a further image per training image, too slow to compute at each step.

A map is the folder `<dataset>.auxiliary/<map>/`, next to the built set: one packed file of float16, the training images
one after the other in the order of their manifest rows, and a manifest with the set, the source file and the options
that it was made with. A map of another build or of other options, or whose source file has changed since, is not used.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable
from concurrent.futures import as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from bench import code, registry, runs
from bench.contracts import AuxiliaryMap, DataError, ParamsError, UserError
from bench.data.build import KILLED, ROWS, hand_over, one_thread, processes, start_or_resume, tidy
from bench.data.built_images import as_float, read_png
from bench.data.manifest import BuiltSet
from bench.files import as_user_error, locked, read_json, read_json_or_empty, restore_old_folder, sha256, write_json
from bench.params.resolving import all_runs
from bench.params.schema import PATH, Params
from bench.registry import nearest

KIND = np.dtype(np.float16)
PACKED, MANIFEST = "packed.bin", "manifest.json"


@dataclass(frozen=True)
class MadeMap:
    """An auxiliary map on disk.

    Args:
        packed: the file of all its pixels, float16 (H, W, C) an image.
        channels: C.
        offsets: of each training image, in bytes, in the order of the set's training rows.
        digest: of its pixels, its set, the file that made it and its options: what a training with it depends on.
    """

    packed: Path
    channels: int
    offsets: np.ndarray
    digest: str


def folder(built: BuiltSet, name: str) -> Path:
    """Return the folder of an auxiliary map of a built set."""
    return built.folder.with_name(f"{built.folder.name}.auxiliary") / name


def declared(params: Params, dataset: str) -> dict[str, AuxiliaryMap]:
    """Return the auxiliary maps that the methods of a dataset's runs declare, by name, with params.yaml's options.

    Raises:
        ParamsError: two methods declare different maps under one name; section `auxiliary` names another map or file.
    """
    found: dict[str, AuxiliaryMap] = {}
    for name, run in all_runs(params).items():
        if run.dataset == dataset:
            method = registry.method(run.method)
            method = runs.with_options(method, runs.auxiliary_options(params, dataset, method))
            for key, auxiliary_map in method.auxiliary.items():
                if found.setdefault(key, auxiliary_map) != auxiliary_map:
                    raise ParamsError(
                        f"{PATH}: run {name}: {run.method} declares another auxiliary map {key!r} than another run"
                    )
    for key, stage in params.auxiliary.items():
        if stage.dataset == dataset and stage.map not in found:
            near = nearest(stage.map, found) if found else "none"
            raise ParamsError(
                f"{PATH}: auxiliary.{key}.map: no method of a run on {dataset} declares {stage.map!r}; the nearest "
                f"are: {near}"
            )
    return found


def read(built: BuiltSet, name: str, auxiliary_map: AuxiliaryMap) -> MadeMap:
    """Find an auxiliary map of a built set, made of exactly these images by the present code.

    Raises:
        DataError: it is missing, stale or cut short; the message says which and what to run.
    """
    place = folder(built, name)
    again = f"run: python -m bench auxiliary {built.folder.name}"
    if not (place / MANIFEST).is_file():
        raise DataError(f"{place}: the auxiliary map {name!r} has not been made yet; {again}")
    about = read_json(place / MANIFEST)
    if about["manifest_sha256"] != built.digest:
        raise DataError(f"{place}: made of another build of {built.folder.name} than the one that is there; {again}")
    if about["code"] != code_of(auxiliary_map):
        raise DataError(f"{place}: the code of {auxiliary_map.module} has changed since the map was made; {again}")
    if (made := about.get("options", {})) != dict(auxiliary_map.options):
        raise DataError(f"{place}: made with {made}, expected {dict(auxiliary_map.options)}; {again}")
    sizes = _pixels(built) * about["channels"] * KIND.itemsize
    file = place / PACKED
    found = file.stat().st_size if file.is_file() else 0
    if found != sizes.sum():
        raise DataError(f"{file}: found {found:,} bytes, expected {sizes.sum():,}; delete the folder, then {again}")
    return MadeMap(file, about["channels"], np.cumsum(sizes) - sizes, sha256(place / MANIFEST))


def make(built: BuiltSet, name: str, auxiliary_map: AuxiliaryMap, workers: int | None = None) -> Path:
    """Make an auxiliary map of every training image and return its folder; what is there and fresh is left as it is.

    Everything is made in a folder beside it that takes its place at the end. Interrupted, the next call goes on there.
    Where it is a symbolic link, all this is done to the folder that it points to.

    Raises:
        DataError: the map's function returned a wrong shape or range; an image that cannot be read.
        UserError: the folder cannot be written, the disk is full, or another process makes this map.
    """
    out = folder(built, name)
    out = out.resolve() if out.is_symlink() else out
    work = out.with_name(f".{out.name}.making")
    what = f"making the auxiliary map {name} of {built.folder.name}"
    images = len(built.split("train"))
    with locked(work, what):
        restore_old_folder(out)
        if _fresh(built, name, auxiliary_map):
            shutil.rmtree(work)
        else:
            about = {
                "map": name,
                "dataset": built.folder.name,
                "origin": built.about["origin"],
                "profile": built.about["profile"],
                "images": images,
                "manifest_sha256": built.digest,
                "module": auxiliary_map.module,
                "code": code_of(auxiliary_map),
                "options": dict(auxiliary_map.options),
            }
            start_or_resume(work, about)
            (work / PACKED).touch()
            if not (work / MANIFEST).is_file():  # it is written when all else is
                write_json(work / MANIFEST, about | _make_all(built, name, auxiliary_map, work, workers))
            hand_over(work, out)
    tidy(out, what)
    return out


def _one_thread() -> None:
    """Prepare a process: unlike images, maps are made by linear algebra, whose libraries start threads."""
    import torch
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

    one_thread()
    torch.set_num_threads(1)
    threadpool_limits(1)


def _fresh(built: BuiltSet, name: str, auxiliary_map: AuxiliaryMap) -> bool:
    try:
        read(built, name, auxiliary_map)
    except UserError:
        return False
    return True


def code_of(auxiliary_map: AuxiliaryMap) -> str:
    """Return the digest of the code that makes a map: its file and all that this imports.

    Raises:
        ParamsError: there is no such file.
    """
    path = code.ROOT / auxiliary_map.module
    if not path.is_file():
        raise ParamsError(
            f"{auxiliary_map.module}: no such file in the project; an auxiliary map names the file that makes it"
        )
    return code.digest(code.closure([], [path]))


def _pixels(built: BuiltSet) -> np.ndarray:
    """Return the pixels of each training image, in the order of the manifest."""
    return built.split("train")[["height", "width"]].to_numpy(np.int64).prod(axis=1)


def _make_all(
    built: BuiltSet, name: str, auxiliary_map: AuxiliaryMap, work: Path, workers: int | None
) -> dict[str, Any]:
    """Make, or find made, the map of every training image; return its channels and the digest of its pixels."""
    from tqdm import tqdm

    rows = built.split("train")
    sizes = _pixels(built) * KIND.itemsize
    starts = np.cumsum(sizes) - sizes
    jobs = [
        (built.folder / row["file_target"], number, int(start))
        for number, (row, start) in enumerate(zip(rows.to_dict("records"), starts, strict=True))
    ]
    # Processes are forked later: a pool of OpenCV's threads in this one would leave them waiting for ever.
    cv2.setNumThreads(1)
    made: list[dict[str, Any]] = []
    title = f"auxiliary map {name} of {built.folder.name}"
    with processes(workers, _one_thread) as pool:
        waiting = {
            pool.submit(_make, partial(auxiliary_map.of_target, **auxiliary_map.options), work, *job) for job in jobs
        }
        try:
            for done in tqdm(as_completed(waiting), title, len(jobs), disable=None, unit="image"):
                made.append(done.result())
        except BrokenProcessPool:
            raise UserError(f"{work}: {KILLED}; what is made is kept: make the maps again with fewer --jobs") from None
    made.sort(key=lambda row: row["number"])
    if len({row["channels"] for row in made}) != 1:
        raise DataError(f"{auxiliary_map.module}: the auxiliary map {name!r} differs in channels between images")
    pixels = hashlib.sha256("".join(row["sha256"] for row in made).encode()).hexdigest()
    return {"channels": made[0]["channels"], "pixels_sha256": pixels}


def _make(
    of_target: Callable[[np.ndarray], np.ndarray], work: Path, image: Path, number: int, start: int
) -> dict[str, Any]:
    """Make one image's map and write it at its place, or find it made; return its row.

    Args:
        start: bytes of the images before this one at one channel; how many channels there are is known only then.
    """
    note = work / ROWS / f"{number}.json"
    with (work / PACKED).open("r+b") as file:
        if row := read_json_or_empty(note):
            file.seek(start * row["channels"])
            if hashlib.sha256(file.read(row["bytes"])).hexdigest() == row["sha256"]:
                return row
        target = as_float(read_png(image))
        made = of_target(target)
        fits = made.ndim == 3 and made.shape[:2] == target.shape[:2]
        if not fits or not np.isfinite(made).all() or np.abs(made).max() > 1:
            bounds = f"from {made.min():g} to {made.max():g}" if made.size else "empty"
            raise DataError(
                f"{image}: its auxiliary map is {made.shape}, {bounds}; expected {(*target.shape[:2], 'C')} in [-1, 1]"
            )
        data = made.astype(KIND).tobytes()
        try:
            file.seek(start * made.shape[2])
            file.write(data)
            file.flush()
        except OSError as error:
            raise as_user_error(error, work) from error
        file.seek(start * made.shape[2])
        if file.read(len(data)) != data:
            raise DataError(f"{work / PACKED}: what was read back differs from what was written; check the disk")
    row = {"number": number, "channels": made.shape[2], "bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    write_json(note, row)
    return row

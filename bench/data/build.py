"""Build a dataset: make every image from its own seed, write it, verify it, and list it in the manifest.

An image's pixels are a function of (seed, dataset, split, name) and of nothing else, so the order and the number of
processes do not matter, and an interrupted build goes on where it stopped.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from functools import partial as bind
from pathlib import Path
from typing import Any

import numpy as np

from bench import registry
from bench.code import of_stage
from bench.contracts import DataError, Item, Made, ParamsError, UserError
from bench.data import manifest
from bench.data.built_images import as_float, read_png, write_png
from bench.files import (
    as_user_error,
    locked,
    old_folder,
    put_in_place,
    read_json_or_empty,
    restore_old_folder,
    sha256,
    write_json,
)
from bench.params.checks import check_arguments, named
from bench.params.schema import PATH

KILLED = "a process that made images was killed, perhaps for want of memory"
JOB, ROWS = "job.json", "rows"  # of a work folder: neither is left in what was built
NO_OPTIONS = {  # what `originals` takes of the command line
    "root": "name the folder of the official files by --originals DIR",
    "partial": "to use fewer files than the official count, build by hand: python -m bench build {} --originals DIR "
    "--partial",
}


@dataclass(frozen=True)
class Job:
    """What to build: the entry, where its pixels come from, and how it is drawn.

    Args:
        originals: the folder of the official files; None builds the stand-in from photographs inside packages.
        partial: accept fewer files than the official count; every row then says so.
    """

    name: str
    originals: Path | None
    options: Mapping[str, Any]
    seed: int
    profile: str
    partial: bool = False


def items(job: Job) -> list[Item]:
    """List what a job would make, having checked the layout of the originals.

    Raises:
        DataError: the files are not what the dataset's authors published or cannot be read, or names are doubled.
        ParamsError: an option that the dataset does not have, or one out of its range.
    """
    entry = registry.dataset(job.name)
    import cv2

    # Processes are forked later: a pool of OpenCV's threads in this one would leave them waiting for ever.
    cv2.setNumThreads(1)
    for name, what_to_do in NO_OPTIONS.items():
        if name in job.options:
            raise ParamsError(f"{_place(job)}.{name}: is no option of a dataset; {what_to_do.format(job.name)}")
    maker = entry.offline if job.originals is None else entry.originals
    check_arguments(maker, job.options, _place(job), given=NO_OPTIONS)
    with named(f"{_place(job)}."), _readable(job.name):
        if job.originals is None:
            found = maker(**job.options)
        elif job.originals.is_dir():
            found = maker(job.originals, partial=job.partial, **job.options)
        else:
            raise DataError(f"{job.originals}: no such folder. {entry.title}: {entry.source}")
    if not found:
        raise DataError(f"{job.originals or job.name}: no image found. {entry.title}: {entry.source}")
    if len({(item.split, item.name) for item in found}) != len(found):
        raise DataError(f"{job.name}: two images of one split have the same name")
    return found


def _place(job: Job) -> str:
    return f"{PATH}: datasets.{job.name}.{'offline' if job.originals is None else 'originals'}"


@contextmanager
def _readable(name: str) -> Iterator[None]:
    """Say which original may not be read; `name` where the system does not."""
    try:
        yield
    except OSError as error:
        raise DataError(
            f"{error.filename or name}: found what cannot be read ({error.strerror}); change its rights or fetch it "
            "again"
        ) from error


def draw(job_seed: int, dataset: str, item: Item) -> np.random.Generator:
    """Return the generator of one image."""
    text = f"{job_seed}/{dataset}/{item.split}/{item.name}"
    return np.random.default_rng(int.from_bytes(hashlib.sha256(text.encode()).digest()[:16], "little"))


def build(job: Job, out: Path, workers: int | None = None) -> Path:
    """Build a dataset into `out` and return its manifest.

    Everything is made in a folder beside `out` that takes its place at the end. Interrupted, the next call with the
    same job goes on there. Where `out` is a symbolic link, all this is done to the folder that it points to.

    Raises:
        DataError, ParamsError: see `items`; a damaged file.
        UserError: `out` cannot be written, the disk is full, or another process builds there.
    """
    out = out.resolve() if out.is_symlink() else out
    _check_out(out, job.name)
    work = out.with_name(f".{out.name}.building")
    todo = items(job)  # bad originals are found before anything is written
    about = _noted_job(job)
    with locked(work, f"building {job.name}"):
        restore_old_folder(out)
        if _finished(out, about, todo):
            shutil.rmtree(work)
        else:
            start_or_resume(work, about)
            if not _finished(work, about, todo):
                rows = _make_all(job, work, todo, workers)
                try:
                    _pack(work, rows)
                    manifest.write(work / manifest.NAME, rows, _about(job, todo))
                except OSError as error:
                    raise as_user_error(error, out) from error
            hand_over(work, out)
    tidy(out, f"building {job.name}")
    return out / manifest.NAME


def hand_over(work: Path, out: Path) -> None:
    """Let the finished folder `work` take the place of `out`. Its job stays in it, for `tidy` to take out."""
    try:
        if (work / ROWS).exists():
            shutil.rmtree(work / ROWS)
        for stale in work.rglob(".*.part"):  # of a process that was killed while it wrote
            stale.unlink()
    except OSError as error:
        raise as_user_error(error, out) from error
    put_in_place(work, out)


def tidy(out: Path, what: str) -> None:
    """Delete what `hand_over` left, the job last: by it an interrupted call is known.

    Raises UserError when another process does so.
    """
    if not (out / JOB).exists():
        return
    with locked(out, what):
        try:
            if old_folder(out).exists():
                shutil.rmtree(old_folder(out))
            (out / ".lock").unlink(missing_ok=True)
            (out / JOB).unlink(missing_ok=True)
        except OSError as error:
            raise as_user_error(error, out) from error


def _check_out(out: Path, dataset: str) -> None:
    """Raise UserError for a place that holds anything but this dataset's built set: a build replaces it whole."""
    if not out.name:
        raise UserError(f"--out: found {out}, expected a folder with a name of its own")
    if out.exists() and not (out / manifest.NAME).is_file() and not (out.is_dir() and not any(out.iterdir())):
        raise UserError(
            f"{out}: holds something else than a built set, which a build would replace; choose another --out"
        )
    with suppress(DataError):  # a damaged set, or none: nothing is lost
        if (there := manifest.read(out).about.get("dataset")) != dataset:
            raise UserError(f"{out}: holds {there}, which building {dataset} there would replace; choose another --out")


def one_thread() -> None:
    """Prepare a process that makes images: they share the cores, each computes with one thread."""
    import signal

    import cv2

    cv2.setNumThreads(1)
    # Ctrl-C is for the main process, which stops these.
    signal.signal(signal.SIGINT, signal.SIG_IGN)


@contextmanager
def processes(workers: int | None = None, prepare: Callable[[], None] = one_thread) -> Iterator[ProcessPoolExecutor]:
    """Give processes that each call `prepare` first; on an error or Ctrl-C they are given no further work."""
    with ProcessPoolExecutor(workers or os.cpu_count(), initializer=prepare) as pool:
        try:
            yield pool
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def _about(job: Job, todo: list[Item]) -> dict[str, Any]:
    entry = registry.dataset(job.name)
    counts = {split: sum(item.split == split for item in todo) for split in dict.fromkeys(i.split for i in todo)}
    return {
        "dataset": job.name,
        "title": entry.title,
        "origin": "offline photographs" if job.originals is None else "originals",
        "partial": job.partial,
        "profile": job.profile,
        "seed": job.seed,
        "scoring": entry.scoring,
        "options": dict(job.options),
        "images": counts,
        "published_images": dict(entry.counts),
    }


def _noted_job(job: Job) -> dict[str, Any]:
    """Return what a work folder notes of its job: with the same note it is gone on with."""
    about = {
        "job": [job.name, str(job.originals), sorted(job.options.items()), job.seed, job.profile, job.partial],
        "code": of_stage("build", datasets=[job.name]),
    }
    return json.loads(json.dumps(about, default=str))


def start_or_resume(work: Path, about: Mapping[str, Any]) -> None:
    """Keep what an earlier attempt at the very same job left in a work folder; clear anything else."""
    about = json.loads(json.dumps(about))
    if read_json_or_empty(work / JOB) == about:
        return
    for path in work.iterdir():
        if path.is_dir():
            shutil.rmtree(path)
        elif path.name != ".lock":
            path.unlink()
    write_json(work / JOB, about)


def _finished(folder: Path, about: Mapping[str, Any], todo: list[Item]) -> bool:
    """Whether an earlier build of the very same job and originals stopped when all was made but not yet tidied up."""
    if read_json_or_empty(folder / JOB) != about:
        return False
    try:
        rows = manifest.read(folder).rows  # written when all else is
    except DataError:
        return False
    listed = dict(zip(zip(rows["split"], rows["name"], strict=True), rows["source_sha256"], strict=True))
    return listed == {(item.split, item.name): _source_digests(item) for item in todo}


def _make_all(job: Job, work: Path, todo: list[Item], workers: int | None) -> list[dict[str, Any]]:
    """Make, or find made, every image and return their rows in order."""
    from tqdm import tqdm

    (work / manifest.NAME).unlink(missing_ok=True)  # of originals that have changed since
    rows: dict[tuple[str, str], dict[str, Any]] = {}
    with processes(workers) as pool:
        jobs = {pool.submit(bind(_make, job, work), item): item for item in todo}
        try:
            for done in tqdm(as_completed(jobs), f"build {job.name}", len(jobs), disable=None, unit="image"):
                rows[jobs[done].split, jobs[done].name] = done.result()
        except BrokenProcessPool:
            raise UserError(f"{work}: {KILLED}; what is made is kept: build again with fewer --jobs") from None
    return [rows[item.split, item.name] for item in todo]


def _make(job: Job, work: Path, item: Item) -> dict[str, Any]:
    """Make and write one image, or find it made, and return its row."""
    done = work / ROWS / item.split / f"{item.name}.json"
    sources = _source_digests(item)
    if (row := read_json_or_empty(done)) and row["source_sha256"] == sources:
        written = [(row[key], row[f"sha256_{key[5:]}"]) for key in row if key.startswith("file_")]
        written += [(entry["file"], entry["sha256"]) for entry in json.loads(row["references"])]
        if all(_intact(work / file, digest) for file, digest in written):
            return row
    made = _pixels(job, item)
    row = _row(job, item, made, sources)
    for field, image in made.images.items():
        file = Path(item.split, field, f"{item.name}.png")
        row[f"file_{field}"], row[f"sha256_{field}"] = str(file), write_png(work / file, image)
    references = []
    for number, image in enumerate(made.references, 1):
        file = Path(item.split, "references", item.name, f"{number:03d}.png")
        references.append({"file": str(file), "sha256": write_png(work / file, image)})
    row["references"] = json.dumps(references)
    write_json(done, row)
    return row


def _pixels(job: Job, item: Item) -> Made:
    with named(f"{_place(job)}: {item.split}/{item.name}: "), _readable(item.source):
        return item.make(draw(job.seed, job.name, item))


def _intact(path: Path, digest: str) -> bool:
    return path.is_file() and sha256(path) == digest


def _row(job: Job, item: Item, made: Made, sources: str) -> dict[str, Any]:
    if missing := set(registry.dataset(job.name).fields) - set(made.images):
        raise DataError(f"{job.name}: {item.split}/{item.name}: no {', '.join(sorted(missing))} was made")
    target = made.images["target"]
    sizes = {field: image.shape[:2] for field, image in made.images.items()}
    if len(set(sizes.values())) != 1:
        raise DataError(f"{job.name}: {item.split}/{item.name}: the images of one sample differ in size: {sizes}")
    return {
        "name": item.name,
        "split": item.split,
        "origin": "offline photographs" if job.originals is None else "originals",
        "partial": job.partial,
        "height": target.shape[0],
        "width": target.shape[1],
        "bits": 8 * target.dtype.itemsize,
        **{key: made.condition.get(key, "" if key != "mask_ratio" else None) for key in manifest.CONDITION},
        "condition": json.dumps(made.condition, sort_keys=True),
        "degradation": json.dumps(made.degradation, sort_keys=True),
        "input_psnr": _input_psnr(made.images),
        "seed": job.seed,
        "source": item.source,
        "source_sha256": sources,
        "other_sources": json.dumps([source for source, _ in made.others]),
        "licence": "; ".join(dict.fromkeys([item.licence, *(licence for _, licence in made.others)])),
    }


def _source_digests(item: Item) -> str:
    with _readable(item.source):
        return json.dumps([_source_digest(path) for path in item.files])


@cache
def _source_digest(path: Path) -> str:
    """Hash an original once a process: the patches of one image share its files."""
    return sha256(path)


def _input_psnr(images: Mapping[str, np.ndarray]) -> float:
    """Return the PSNR in dB of what a method gets: a report picks the images it shows by it."""
    target = as_float(images["target"])
    if "left" in images:
        shown = (as_float(images["left"]) + as_float(images["right"])) / 2
    else:
        shown = as_float(images.get("blurred", images["target"]))
        shown = shown * (1 - as_float(images["mask"])) if "mask" in images else shown
    return float(-10 * np.log10(max(np.mean((shown - target) ** 2, dtype=np.float64), 1e-12)))


def _pack(work: Path, rows: list[dict[str, Any]]) -> None:
    """Copy the training images raw into one file a field: a crop is then read in 0.1 ms, a PNG takes 18 ms."""
    (work / "packed").mkdir(exist_ok=True)
    for field in sorted({key.removeprefix("file_") for row in rows for key in row if key.startswith("file_")}):
        offset = 0
        with (work / "packed" / f"{field}.bin").open("wb") as file:
            for row in rows:
                row[f"packed_{field}"] = -1
                if row["split"] == "train" and f"file_{field}" in row:
                    row[f"packed_{field}"] = offset
                    offset += file.write(read_png(work / row[f"file_{field}"]).tobytes())


def verify(job: Job) -> list[Item]:
    """Check the layout of the originals and read every file whole; return what a build would make.

    Raises:
        DataError, ParamsError: see `items`; a damaged file, or a wrong size or depth.
    """
    from tqdm import tqdm

    todo = items(job)
    with processes() as pool:
        jobs = [pool.submit(_read, job, item) for item in todo]
        for done in tqdm(as_completed(jobs), f"verify {job.name}", len(jobs), disable=None, unit="image"):
            try:
                done.result()
            except BrokenProcessPool:
                raise UserError(f"{job.originals or job.name}: {KILLED}; try again") from None
    return todo


def _read(job: Job, item: Item) -> None:
    for _ in _pixels(job, item).references:
        pass

"""Build a dataset: make each image from its own seed, write it, read it back, and list it in the manifest.

An image's pixels depend on (seed, dataset, split, name) only. So the order and the number of processes do not matter,
and an interrupted build continues where it stopped.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterator, Mapping
from concurrent.futures import as_completed
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
from bench.contracts.errors import brief
from bench.data import manifest
from bench.data.built_images import as_float, write_png
from bench.data.packed import pack
from bench.data.work_folder import JOB, ROWS, clean_up, finish, start_or_resume
from bench.data.workers import KILLED, one_thread, processes
from bench.files import as_user_error, locked, read_json_or_empty, restore_old_folder, sha256
from bench.hashes import read_sealed_or_empty, write_sealed
from bench.names import fault_of, first_clash
from bench.params.checks import check_arguments, named
from bench.params.values import PATH

ORIGINALS, STAND_IN = "originals", "offline photographs"
"""The two origins of a built set's pixels, as the manifest names them."""
GIVEN_BY_COMMAND = {
    "root": "give the folder of the official files by --originals DIR",
    "partial": "to use fewer files than the official count, build by hand: python -m bench build {} --originals DIR "
    "--partial",
}
"""The arguments of a dataset's `originals` that the command line sets, and how."""


@dataclass(frozen=True)
class Job:
    """What to build.

    Args:
        name: of the dataset.
        originals: folder of the official files; None builds the stand-in from photographs inside packages.
        options: arguments of the dataset's `originals` or `offline`.
        seed: of all random draws.
        profile: of `params.yaml`; the manifest names it.
        partial: accept fewer files than the official count; the manifest then marks the set as partial.
    """

    name: str
    originals: Path | None
    options: Mapping[str, Any]
    seed: int
    profile: str
    partial: bool = False

    @property
    def origin(self) -> str:
        """Where the pixels come from: ORIGINALS or STAND_IN."""
        return STAND_IN if self.originals is None else ORIGINALS

    @property
    def section(self) -> str:
        """The section of `params.yaml` with the dataset's options, for messages."""
        return f"{PATH}: datasets.{self.name}.{'offline' if self.originals is None else 'originals'}"


def items(job: Job) -> list[Item]:
    """List the items of a job, after checking the layout of the originals.

    Raises:
        DataError: the files differ from the published ones or cannot be read; an image has a name that breaks the
            rule of names, or that of another one.
        ParamsError: an unknown option, or one out of its range.
    """
    entry = registry.dataset(job.name)
    one_thread()
    for name, advice in GIVEN_BY_COMMAND.items():
        if name in job.options:
            raise ParamsError(f"{job.section}.{name}: not an option of a dataset; {advice.format(job.name)}")
    maker = entry.offline if job.originals is None else entry.originals
    check_arguments(maker, job.options, job.section, given=GIVEN_BY_COMMAND)
    with named(f"{job.section}."), _readable(job.name):
        if job.originals is None:
            listed = maker(**job.options)
        elif job.originals.is_dir():
            listed = maker(job.originals, partial=job.partial, **job.options)
        else:
            raise DataError(f"{job.originals}: no such folder. {entry.title}: {entry.source}")
    if not listed:
        raise DataError(f"{job.originals or job.name}: no image found. {entry.title}: {entry.source}")
    _check_names(job.name, listed)
    return listed


def _check_names(dataset: str, listed: list[Item]) -> None:
    """Raise DataError for an image or a source whose name cannot be written, or two images of one split with one name.

    A dataset turns names of a user's files into valid ones by `bench.names.as_name`.
    """
    names: dict[str, list[str]] = {}
    for item in listed:
        if fault := fault_of(item.name):
            raise DataError(f"{dataset}: {item.split}: an image of the name {brief(item.name)}, {fault}")
        if any("\ud800" <= letter <= "\udfff" for letter in item.source):  # how Python reads a name that is not UTF-8
            raise DataError(f"{dataset}: the file {brief(item.source)}: its name is not UTF-8; rename it")
        names.setdefault(item.split, []).append(item.name)
    for split, of_split in names.items():
        if equal := first_clash(of_split):
            first, second = equal
            both = f"the name {first}" if first == second else f"the names {first} and {second}, one file on some disks"
            raise DataError(f"{dataset}: two images of split {split} have {both}; rename one of the files")


@contextmanager
def _readable(name: str) -> Iterator[None]:
    """Turn an error of the file system into DataError; `name` is used if the error names no file."""
    try:
        yield
    except OSError as error:
        raise DataError(
            f"{error.filename or name}: cannot be read ({error.strerror}); change its rights or fetch it again"
        ) from error


def draw(seed: int, dataset: str, item: Item) -> np.random.Generator:
    """Return the random generator of one item: a function of the seed, the dataset, and the item's split and name."""
    text = f"{seed}/{dataset}/{item.split}/{item.name}"
    return np.random.default_rng(int.from_bytes(hashlib.sha256(text.encode()).digest()[:16], "little"))


def build(job: Job, out: Path, workers: int | None = None) -> Path:
    """Build a dataset into `out` and return the path of its manifest.

    Everything is made in a hidden folder next to `out`, which is renamed to `out` at the end. After an interruption the
    next call with the same job continues there. If `out` is a symbolic link, its target is the folder that is built.

    Args:
        job: what to build.
        out: folder of the built set; an older set in it is replaced.
        workers: number of processes; None for one per core that this process may use.

    Raises:
        DataError, ParamsError: see `items`; a damaged file.
        UserError: `out` cannot be written or contains something else, the disk is full, or another process builds it.
    """
    out = out.resolve() if out.is_symlink() else out
    _check_out(out, job.name)
    work, activity = out.with_name(f".{out.name}.building"), f"building {job.name}"
    todo = items(job)  # faults of the originals are found before anything is written
    stored_job = _stored_job(job)
    with locked(work, activity, "paths.data"):
        restore_old_folder(out)
        if _finished(out, stored_job, todo):
            shutil.rmtree(work)
        else:
            start_or_resume(work, stored_job)
            if not _finished(work, stored_job, todo):
                rows = _make_all(job, work, todo, workers)
                try:
                    pack(work, rows)
                    manifest.write(work / manifest.NAME, rows, _about(job, todo))
                except OSError as error:
                    raise as_user_error(error, out) from error
            finish(work, out)
    clean_up(out, activity)
    return out / manifest.NAME


def _check_out(out: Path, dataset: str) -> None:
    """Raise UserError for a folder with anything else than this dataset's built set: a build replaces all of it."""
    if not out.name:
        raise UserError(f"--out: found {out}, expected a folder with a name")
    if out.exists() and not (out / manifest.NAME).is_file() and not (out.is_dir() and not any(out.iterdir())):
        raise UserError(
            f"{out}: contains something else than a built set, which a build would replace; choose another --out"
        )
    with suppress(DataError):  # a missing or damaged set: nothing is lost
        if (present := manifest.read_about(out).get("dataset")) != dataset:
            raise UserError(
                f"{out}: contains {present}, which building {dataset} there would replace; choose another --out"
            )


def _about(job: Job, todo: list[Item]) -> dict[str, Any]:
    """Return what the manifest holds about the whole set."""
    entry = registry.dataset(job.name)
    counts = {split: sum(item.split == split for item in todo) for split in dict.fromkeys(i.split for i in todo)}
    return {
        "dataset": job.name,
        "title": entry.title,
        "origin": job.origin,
        "partial": job.partial,
        "profile": job.profile,
        "seed": job.seed,
        "scoring": entry.scoring,
        "options": dict(job.options),
        "images": counts,
        "published_images": dict(entry.counts),
    }


def _stored_job(job: Job) -> dict[str, Any]:
    """Return what a work folder stores of its job: a build with an equal one continues in the folder."""
    stored = {
        "job": [job.name, str(job.originals), sorted(job.options.items()), job.seed, job.profile, job.partial],
        "code": of_stage("build", datasets=[job.name]),
    }
    return json.loads(json.dumps(stored, default=str))


def _finished(folder: Path, stored_job: Mapping[str, Any], todo: list[Item]) -> bool:
    """Whether an earlier build of the same job and originals stopped after its last image, before `clean_up`."""
    if read_json_or_empty(folder / JOB) != stored_job:
        return False
    try:
        rows = manifest.read(folder).rows  # the manifest is written last
    except DataError:
        return False
    listed = dict(zip(zip(rows["split"], rows["name"], strict=True), rows["source_sha256"], strict=True))
    return listed == {(item.split, item.name): _source_digests(item) for item in todo}


def _make_all(job: Job, work: Path, todo: list[Item], workers: int | None) -> list[dict[str, Any]]:
    """Make the images that are missing in the work folder; return the manifest rows of all, in the items' order."""
    from tqdm import tqdm

    for name in (manifest.NAME, manifest.HASH):  # the originals have changed since they were written
        (work / name).unlink(missing_ok=True)
    rows: dict[tuple[str, str], dict[str, Any]] = {}
    with processes(workers) as pool:
        jobs = {pool.submit(bind(_make, job, work), item): item for item in todo}
        try:
            for done in tqdm(as_completed(jobs), f"build {job.name}", len(jobs), disable=None, unit="image"):
                rows[jobs[done].split, jobs[done].name] = done.result()
        except BrokenProcessPool:
            raise UserError(f"{work}: {KILLED}; finished images are kept: build again with fewer --jobs") from None
    return [rows[item.split, item.name] for item in todo]


def _make(job: Job, work: Path, item: Item) -> dict[str, Any]:
    """Make and write one image, unless it is there, and return its manifest row."""
    row_file = work / ROWS / item.split / f"{item.name}.json"
    sources = _source_digests(item)
    if (row := read_sealed_or_empty(row_file)) and row["source_sha256"] == sources and _all_intact(work, row):
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
    write_sealed(row_file, row)
    return row


def _pixels(job: Job, item: Item) -> Made:
    """Make the pixels of one item with its own generator."""
    with named(f"{job.section}: {item.split}/{item.name}: "), _readable(item.source):
        return item.make(draw(job.seed, job.name, item))


def _all_intact(work: Path, row: Mapping[str, Any]) -> bool:
    """Whether all image files of a row are there with the hashes of the row."""
    files = {row[key]: row[key.replace("file_", "sha256_", 1)] for key in row if key.startswith("file_")}
    files |= {entry["file"]: entry["sha256"] for entry in json.loads(row["references"])}
    return all((work / file).is_file() and sha256(work / file) == digest for file, digest in files.items())


def _row(job: Job, item: Item, made: Made, sources: str) -> dict[str, Any]:
    """Return the manifest row of one image, without its files.

    Raises:
        DataError: a field that the dataset promises is missing; the images differ in size.
    """
    if missing := set(registry.dataset(job.name).fields) - set(made.images):
        raise DataError(f"{job.name}: {item.split}/{item.name}: no {', '.join(sorted(missing))} was made")
    target = made.images["target"]
    sizes = {field: image.shape[:2] for field, image in made.images.items()}
    if len(set(sizes.values())) != 1:
        raise DataError(f"{job.name}: {item.split}/{item.name}: the images of one sample differ in size: {sizes}")
    return {
        "name": item.name,
        "split": item.split,
        "origin": job.origin,
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
    """Return the SHA-256 of the item's original files, as a JSON list."""
    with _readable(item.source):
        return json.dumps([_source_digest(path) for path in item.files])


@cache
def _source_digest(path: Path) -> str:
    """Hash an original file, once per process: the patches of one image share its files."""
    return sha256(path)


def _input_psnr(images: Mapping[str, np.ndarray]) -> float:
    """Return the PSNR of the degraded input in dB; the report picks its example images by it."""
    target = as_float(images["target"])
    if "left" in images:
        degraded = (as_float(images["left"]) + as_float(images["right"])) / 2
    else:
        degraded = as_float(images.get("blurred", images["target"]))
        degraded = degraded * (1 - as_float(images["mask"])) if "mask" in images else degraded
    return float(-10 * np.log10(max(np.mean((degraded - target) ** 2, dtype=np.float64), 1e-12)))


def verify(job: Job) -> list[Item]:
    """Check the layout of the originals and read every file completely; return the items that a build would make.

    Raises:
        DataError, ParamsError: see `items`; a damaged file, or a wrong size or depth.
        UserError: a process of the pool was killed.
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
    """Read all files of one item."""
    for _ in _pixels(job, item).references:
        pass

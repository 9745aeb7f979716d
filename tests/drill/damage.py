"""Damage a file that a command reads: it is refused in one sentence, or the result is that of the whole file."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from tests.drill import kills, processes, project
from tests.drill.processes import Ended

MEMORY = 12 * 2**30
"""Bytes of address space of a command; what it imports takes half of them."""
SECONDS = 60.0
"""Seconds in which a command must end."""


@dataclass(frozen=True)
class Target:
    """A file that is damaged, and the command that reads it."""

    pattern: str
    """The file, or several of which one is chosen, in the project."""
    arguments: tuple[str, ...]
    """The command."""
    removed: tuple[str, ...] = ()
    """What is removed before it, as patterns."""
    result: Callable[[Path], Any] | None = None
    """What must be the result of the whole file where the command accepts the damaged one; None: any result will do."""


RUN, SCORES = f"out/sample/runs/{project.RUN}", f"out/sample/scores/{project.RUN}"
EVALUATE = ("evaluate", project.RUN), (), kills.scores_of
TRAIN = ("train", project.RUN), (RUN,), kills.digests_of(kills.WEIGHTS)
REPORT = ("report",), ("reports/out/sample",), project.read_cells
RESTORE = ("restore", "input-gopro", "--out", "restored")
IMPORT = ("--dataset", "gopro", "--name", "imported"), ("out/sample/runs/imported",)
TARGETS = (
    Target(kills.WEIGHTS, *EVALUATE),
    Target(f"{RUN}/record.json", ("evaluate", project.RUN)),
    Target("data/sample/gopro/manifest.*", *EVALUATE),
    Target("data/sample/gopro/test/*/*.png", *EVALUATE),
    Target("data/sample/gopro/manifest.*", *TRAIN),
    Target("data/sample/gopro/packed/*.bin", *TRAIN),
    Target(f"{SCORES}/*.parquet", *REPORT),
    Target(f"{SCORES}/record.json", *REPORT),
    Target(f"{SCORES}/images/*", *REPORT),
    Target(f"out/sample/search/{project.RUN}/*", *REPORT),
    Target(f"out/sample/search/{project.RUN}/winner.yaml", ("settings", project.SEARCHED)),
    Target("mlflow.db", ("report",), ("reports/out/sample",)),
    Target("photographs/*", (*RESTORE, "PATH"), ("restored",)),
    Target("mask.png", ("restore", "telea-places2", "photographs/8.png", "--mask", "PATH", "--out", "restored")),
    Target("predictions/*.png", ("score", "predictions", "--dataset", "gopro", "--label", "theirs")),
    Target("weights/mrfnet.*", ("import", "mrfnet", "PATH", *IMPORT[0]), IMPORT[1]),
    Target("interrupted/*/*", *TRAIN),
    Target("methods-of-a-user/*.yaml", ("--methods", "methods-of-a-user", "settings", "drilled-gopro")),
    Target("methods-of-a-user/*.py", ("--methods", "methods-of-a-user", "settings", "drilled-gopro")),
)
"""All targets; the tries take turns."""


# Damage ---------------------------------------------------------------------------------------------------------------


def flip(data: bytearray, choices: random.Random) -> bytes:
    """Change one bit."""
    if data:
        data[choices.randrange(len(data))] ^= 1 << choices.randrange(8)
    return bytes(data)


def blank(data: bytearray, choices: random.Random) -> bytes:
    """Overwrite a run of bytes with zeros, as a crash of a file system does."""
    start = choices.randrange(len(data) + 1)
    stop = min(len(data), start + choices.choice((1, 16, 512, 4096, len(data))))
    data[start:stop] = bytes(stop - start)
    return bytes(data)


def cut(data: bytearray, choices: random.Random) -> bytes:
    """Cut the end off, as a download that stopped does."""
    return bytes(data[: choices.randrange(len(data) + 1)])


def insert(data: bytearray, choices: random.Random) -> bytes:
    """Insert random bytes."""
    start = choices.randrange(len(data) + 1)
    return bytes(data[:start]) + choices.randbytes(choices.choice((1, 3, 100))) + bytes(data[start:])


def drop(data: bytearray, choices: random.Random) -> bytes:
    """Leave out a run of bytes."""
    start = choices.randrange(len(data) + 1)
    del data[start : start + choices.choice((1, 3, 100))]
    return bytes(data)


def scatter(data: bytearray, choices: random.Random) -> bytes:
    """Overwrite bytes all over the file."""
    for _ in range(1 + len(data) // 1000):
        if data:
            data[choices.randrange(len(data))] = choices.randrange(256)
    return bytes(data)


def replace(data: bytearray, choices: random.Random) -> bytes:
    """Put something else in its place."""
    return choices.choice((b"", b"<!DOCTYPE html><title>Quota exceeded</title>", b"{}", b"[]", b"null", b"\x80\x04."))


DAMAGES: tuple[Callable[[bytearray, random.Random], bytes], ...] = (
    flip, flip, flip, blank, cut, insert, drop, scatter, replace,
)  # fmt: skip
"""The kinds of damage, the most frequent ones several times."""

# Files of a user ------------------------------------------------------------------------------------------------------

METHOD = '''"""Drilled: a method of a user."""

from torch import nn

from bench.contracts import supervised
from methods.losses.pixel import l1


class Drilled(nn.Conv2d):
    """One convolution, (N, 3, H, W) to the same."""

    def __init__(self, kernel_size: int = 3):
        super().__init__(3, 3, kernel_size, padding=kernel_size // 2)


method = supervised("deblur", Drilled, l1)
'''
RECIPE = """sample:
  network: {kernel_size: 5}
  train: {lr: 1.0e-3, steps: 100, weights: {l1: 2.0}, schedule: {kind: step, every_steps: 10}}
variants:
  wide: {network: {kernel_size: 7}}
"""


def write_photographs(folder: Path) -> None:
    """Write one picture in several formats."""
    import cv2
    import numpy as np
    from PIL import Image

    folder.mkdir()
    rows, columns = np.mgrid[0:96, 0:128]
    picture = np.dstack([rows * 2, columns * 2, rows + columns]).astype(np.uint8)
    for name in ("8.png", "8.jpg", "8.tif"):
        Image.fromarray(picture).save(folder / name)
    Image.fromarray(picture).convert("P").save(folder / "palette.png")
    Image.fromarray(picture).convert("CMYK").save(folder / "cmyk.jpg")
    cv2.imwrite(str(folder / "16.png"), picture.astype(np.uint16) * 257)
    mask = np.zeros((96, 128), np.uint8)
    mask[20:60, 30:90] = 255
    Image.fromarray(mask).save(folder.parent / "mask.png")


def write_weights(folder: Path, weights: Path) -> None:
    """Write the network of a run as other programs do."""
    import numpy as np
    import torch
    from safetensors.torch import load_file, save_file

    folder.mkdir()
    state = {name.removeprefix("network."): value for name, value in load_file(weights).items()}
    torch.save({"state_dict": state, "epoch": 3}, folder / "mrfnet.pth")
    save_file(state, folder / "mrfnet.safetensors")
    np.savez(folder / "mrfnet.npz", **{name: value.numpy() for name, value in state.items()})


def interrupt(place: Path) -> None:
    """Leave a training that was killed; its files become `interrupted/<name of the checkpoint's folder>/`."""
    kills.remove(place, TRAIN[1])
    state = kills.Event(place, ".resume/*/state.pt", 0.05)
    ended = processes.run(place, TRAIN[0], kill=processes.Kill(9, None, state))
    folders = list(place.glob(".resume/*/state.pt"))
    if ended.status != -9 or len(folders) != 1:
        raise RuntimeError(f"a training was not interrupted: status {ended.status}, {len(folders)} checkpoints")
    (place / "interrupted").mkdir()
    folders[0].parent.rename(place / "interrupted" / folders[0].parent.name)


# Tries ----------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Drill:
    """A project with every file that is damaged, and what its commands give."""

    template: Path
    """The whole project; it is copied for every try."""
    work: Path
    """Where it is copied to: always the same place, because MLflow's store names it."""
    results: dict[tuple[str, ...], Any]
    """By command, its result with whole files."""


def prepare(folder: Path) -> Drill:
    """Make a project in a new folder, with the files of a user."""
    work = folder / "project"
    project.make(work)
    write_photographs(work / "photographs")
    write_weights(work / "weights", work / kills.WEIGHTS)
    shutil.copytree(work / "data/sample/gopro/test/blurred", work / "predictions")
    user = work / "methods-of-a-user"
    user.mkdir()
    (user / "drilled.py").write_text(METHOD)
    (user / "drilled.yaml").write_text(RECIPE)
    add_run(work / "params.yaml")
    results = {target.arguments: target.result(work) for target in TARGETS if target.result}
    trained = folder / "trained"
    shutil.copytree(work / RUN, trained)
    interrupt(work)
    shutil.copytree(trained, work / RUN)
    template = folder / "template"
    shutil.copytree(work, template)
    return Drill(template, work, results)


def add_run(path: Path) -> None:
    """Add a run of the user's method."""
    import yaml

    values = yaml.safe_load(path.read_text())
    values["runs"]["deblur"]["drilled-gopro"] = {"method": "drilled", "dataset": "gopro"}
    values["methods"] = "methods-of-a-user"
    path.write_text(yaml.safe_dump(values, sort_keys=False))


def attempt(drill: Drill, seed: str, number: int) -> list[str]:
    """Damage one file in a copy of the project, run the command that reads it, and return what is wrong.

    Args:
        drill: of `prepare`.
        seed: of the choices.
        number: of this try: the targets take turns.
    """
    choices = random.Random(f"{seed}-{number}")
    target = TARGETS[number % len(TARGETS)]
    shutil.rmtree(drill.work, ignore_errors=True)
    shutil.copytree(drill.template, drill.work)
    path = choices.choice(sorted(place for place in drill.work.glob(target.pattern) if place.is_file()))
    how = choices.choice(DAMAGES)
    whole = path.read_bytes()
    damaged = how(bytearray(whole), choices)
    kills.remove(drill.work, target.removed)
    path.write_bytes(damaged)
    if path.is_relative_to(drill.work / "interrupted"):
        path.parent.rename(drill.work / ".resume" / path.parent.name)
    arguments = [str(path) if argument == "PATH" else argument for argument in target.arguments]
    ended = processes.run(drill.work, arguments, SECONDS, memory=MEMORY)
    what = f"{how.__name__} {path.relative_to(drill.work)} ({number}), {target.arguments[0]}"
    return [f"{what}: {fault}" for fault in faults_of(ended, partial(changed, drill, target))]


def changed(drill: Drill, target: Target) -> bool:
    """Return whether the result is another one than that of whole files."""
    return target.result is not None and target.result(drill.work) != drill.results[target.arguments]


def faults_of(ended: Ended, is_changed: Callable[[], bool]) -> list[str]:
    """Return what is wrong with how a command ended."""
    faults = []
    if ended.timed_out:
        faults.append(f"not ended after {SECONDS:.0f} s")
    elif ended.status not in (0, 2):
        faults.append(f"status {ended.status}: {ended.last_line[:300]}")
    if ended.has_traceback:
        faults.append(f"a traceback: {ended.last_line[:300]}")
    if ended.status == 2 and len(ended.text) > 5000:
        faults.append(f"a message of {len(ended.text):,} characters")
    if ended.status == 0 and is_changed():
        faults.append("accepted, with another result")
    return faults

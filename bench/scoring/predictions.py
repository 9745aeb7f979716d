"""Score images that another program restored: a folder of files becomes a row of the tables."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np

from bench import registry, runs
from bench.contracts import DataError, UserError
from bench.data import manifest
from bench.data.images import read_png
from bench.files import replace_folder, sha256
from bench.params import Params, evaluation, weights_folder
from bench.provenance import here
from bench.scoring.evaluate import Case, Perceptual, Table, _common, _finish, inputs_of, score, split_metrics


def files(folder: Path, rows: Any, inputs: tuple[str, ...]) -> dict[tuple[str, str], Path]:
    """Find the prediction of every test image: <folder>/<image>.png, or <folder>/<input>/<image>.png.

    Raises:
        DataError: some are missing; the first ones are named.
    """
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder")
    found: dict[tuple[str, str], Path] = {}
    missing = []
    for source in inputs:
        place = folder / source if (folder / source).is_dir() else folder
        for name in rows["name"]:
            path = place / f"{name}.png"
            if path.is_file():
                found[source, name] = path
            else:
                missing.append(str(path.relative_to(folder)))
    if missing:
        total = len(inputs) * len(rows)
        raise DataError(
            f"{folder}: {len(missing)} of {total} predictions are missing, the first are {', '.join(missing[:3])}"
        )
    return found


def score_folder(params: Params, folder: Path, dataset: str, label: str, task: str = "") -> Path:
    """Score a folder of PNG files named as the test images of a built set; return the evaluation's folder.

    Args:
        folder: RGB PNG files of the truth's size, in 8 bits or in the truth's depth.
        label: the row's name.
        task: which of the dataset's tasks was solved; the first one by default.

    Raises:
        DataError: a prediction is missing or damaged, or has another size.
        UserError: the label is taken by a run, or the dataset does not serve the task.
    """
    entry = registry.dataset(dataset)
    task = task or entry.tasks[0]
    if task not in entry.tasks:
        raise UserError(f"{dataset} serves {', '.join(entry.tasks)}, not {task!r}")
    if label in runs.known(params):
        raise UserError(f"the label {label!r} is the name of a run; choose another one")
    built = manifest.read(runs.data_folder(params, dataset))
    inputs = inputs_of(task, built)
    if not (folder / inputs[0]).is_dir():
        inputs = inputs[:1]
    found = files(folder, built.split("test"), inputs)
    chosen, perceptual_ids = split_metrics(evaluation(params))
    digest = hashlib.sha256("".join(sha256(path) for _, path in sorted(found.items())).encode()).hexdigest()
    record = {
        "evaluation": label,
        "run": label,
        "method": label,
        "as": label,
        "title": label,
        "kind": "predictions",
        "dataset": dataset,
        "dataset_title": built.about["title"],
        "task": task,
        "profile": params.profile,
        "origin": built.about["origin"],
        "partial": built.about["partial"],
        "network": {},
        "reduced": [],
        "train": {},
        "seed": params.seed,
        "steps": 0,
        "train_seconds": 0.0,
        "missing_losses": [],
        "limits": [],
        "provenance": here() | {"manifest_sha256": built.digest, "mlflow_run": "", "predictions_sha256": digest},
    }
    table = Table(_common(record, label))

    def predict(case: Case) -> np.ndarray:
        path = found[case.input, case.row["name"]]
        image = read_png(path)
        if image.shape != case.truth.shape:
            raise DataError(f"{path}: found {_size(image)}, expected {_size(case.truth)} as the truth")
        return image

    def fill(target: Path) -> None:
        judge = Perceptual(perceptual_ids, weights_folder(params), task)
        images = score(predict, built, task, table, chosen, target, judge, inputs=inputs)
        _finish(target, table, record, images)

    out = runs.scores_folder(params, label)
    replace_folder(out, fill)
    return out


def _size(image: np.ndarray) -> str:
    return f"{image.shape[1]}x{image.shape[0]} with {image.shape[2] if image.ndim == 3 else 1} channels"

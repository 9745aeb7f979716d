"""Score images that another program restored: a folder of files becomes a row of the tables."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np

from bench import registry, runs
from bench.contracts import DataError, UserError
from bench.data import manifest
from bench.data.user_images import image_size, read_rgb
from bench.files import read_json, replace_folder, sha256
from bench.importing import check_new_name
from bench.params.resolving import evaluation, weights_folder
from bench.params.schema import Params
from bench.provenance import here
from bench.scoring.cases import Case, inputs_of
from bench.scoring.evaluate import score, split_metrics
from bench.scoring.perceptual_scores import Perceptual
from bench.scoring.rows import Table, common_columns, write_scores
from bench.training.device import full_float32, scoring_device

KIND = "predictions"


def files(folder: Path, rows: Any, inputs: tuple[str, ...]) -> dict[tuple[str, str], Path]:
    """Find the prediction of every test image: <folder>/<image>.png, or <folder>/<input>/<image>.png.

    Raises:
        DataError: some are missing (the first ones are named), or a header tells another size than the truth's.
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
    sizes = {row["name"]: (row["height"], row["width"]) for row in rows.to_dict("records")}
    for (_, name), path in found.items():
        if (size := image_size(path)) != sizes[name]:
            raise DataError(f"{path}: found {_size(size)}, expected {_size(sizes[name])}, the truth's")
    return found


def read(path: Path, truth: np.ndarray) -> np.ndarray:
    """Read a prediction, uint8 or uint16 (H, W, 3). Raises DataError for a damaged file or a wrong size or depth."""
    image = read_rgb(path, bits=None)
    if image.shape != truth.shape:
        raise DataError(f"{path}: found {_size(image.shape)}, expected {_size(truth.shape)}, the truth's")
    if image.dtype.itemsize > truth.dtype.itemsize:
        raise DataError(f"{path}: found 16 bits per value, the truth has 8; round it to 8 bits as you mean it")
    return image


def score_folder(params: Params, folder: Path, dataset: str, label: str, task: str = "") -> Path:
    """Score a folder of PNG files named as the test images of a built set; return the evaluation's folder.

    Args:
        folder: RGB PNG files of the truth's size, in 8 bits or in the truth's depth.
        label: the row's name.
        task: which of the dataset's tasks was solved; the first one by default.

    Raises:
        DataError: a prediction is missing or damaged, or has another size.
        UserError: the label is taken by a run or an evaluation of one, or is no plain name, or the dataset does not
            serve the task.
    """
    entry = registry.dataset(dataset)
    task = task or entry.tasks[0]
    if task not in entry.tasks:
        raise UserError(f"{dataset} serves {', '.join(entry.tasks)}, not {task!r}")
    check_new_name(params, label, "--label")
    if label in runs.known(params):
        raise UserError(f"--label: {label!r} is the name of a run; choose another one")
    out = runs.scores_folder(params, label)
    _check_replaceable(out, label)
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
        "kind": KIND,
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
    table = Table(common_columns(record, label))

    def predict(case: Case) -> np.ndarray:
        return read(found[case.input, case.row["name"]], case.truth)

    def fill(target: Path) -> None:
        # To score by formulas alone torch is not imported.
        device = scoring_device() if perceptual_ids else "cpu"
        judge = Perceptual(perceptual_ids, weights_folder(params), task, device)
        images = score(predict, built, task, table, chosen, target, judge, inputs=inputs)
        write_scores(target, table, record, images)

    with full_float32():
        replace_folder(out, fill)
    return out


def _check_replaceable(folder: Path, label: str) -> None:
    """Raise UserError when the folder holds scores that were not given to predictions, as those of RUN-on-DATASET."""
    path = folder / "record.json"
    if path.is_file() and (kind := read_json(path).get("kind")) != KIND:
        raise UserError(
            f"--label: {folder} holds scores of the kind {kind!r}, not of {KIND}, and nothing replaces a run's scores "
            f"but itself: take another label than {label!r}"
        )


def _size(shape: tuple[int, ...]) -> str:
    return f"{shape[1]}x{shape[0]} pixels"

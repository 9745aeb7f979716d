"""Score images that another program restored: a folder of files becomes a row of the tables."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from bench import folders, registry, runs
from bench.code import of_stage
from bench.contracts import DataError, UserError
from bench.data import manifest
from bench.data.user_images import decode_rgb, image_size, read_image_bytes
from bench.files import replace_folder
from bench.hashes import digest
from bench.names import clash_with
from bench.params.resolving import evaluation
from bench.params.schema import Params
from bench.provenance import here
from bench.record import RECORD, Kind, Record, read_record
from bench.scoring.cases import Case, inputs_of
from bench.scoring.evaluate import ScoredSet, applicable_metrics, score, split_metrics
from bench.scoring.kept_images import choose_images
from bench.scoring.perceptual_scores import Perceptual
from bench.scoring.table import ScoreTable, common_columns, write_scores
from bench.training.device import full_float32, scoring_device

if TYPE_CHECKING:
    import pandas as pd

    from bench.data.manifest import BuiltSet

KIND: Kind = "predictions"


def prediction_files(folder: Path, rows: pd.DataFrame, inputs: tuple[str, ...]) -> dict[tuple[str, str], Path]:
    """Find the prediction of every test image: <folder>/<image>.png, or <folder>/<input>/<image>.png.

    Args:
        folder: the predictions.
        rows: the test rows of the manifest.
        inputs: the inputs that are scored.

    Returns:
        The file by input and image.
    Raises:
        DataError: files are missing (the first three are named), or one has another size than the truth.
    """
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder")
    files: dict[tuple[str, str], Path] = {}
    missing = []
    for source in inputs:
        place = folder / source if (folder / source).is_dir() else folder
        for name in rows["name"]:
            path = place / f"{name}.png"
            if path.is_file():
                files[source, name] = path
            else:
                missing.append(str(path.relative_to(folder)))
    if missing:
        total = len(inputs) * len(rows)
        raise DataError(
            f"{folder}: {len(missing)} of {total} predictions are missing, the first are {', '.join(missing[:3])}"
        )
    sizes = {row["name"]: (row["height"], row["width"]) for row in rows.to_dict("records")}
    for (_, name), path in files.items():
        if (size := image_size(path)) != sizes[name]:
            raise DataError(f"{path}: found {_size_text(size)}, expected {_size_text(sizes[name])}, the truth's")
    return files


def read_prediction(path: Path, truth: np.ndarray) -> tuple[np.ndarray, str]:
    """Read a prediction: uint8 or uint16 (H, W, 3), and the SHA-256 of the bytes that it was decoded from.

    Raises:
        DataError: a damaged file, or another size or more bits than the truth.
    """
    data = read_image_bytes(path)
    image = decode_rgb(data, path, bits=None)
    if image.shape != truth.shape:
        raise DataError(f"{path}: found {_size_text(image.shape)}, expected {_size_text(truth.shape)}, the truth's")
    if image.dtype.itemsize > truth.dtype.itemsize:
        raise DataError(f"{path}: found 16 bits per value, the truth has 8; round it to 8 bits as you mean it")
    return image, digest(data)


def score_folder(params: Params, folder: Path, dataset: str, label: str, task: str = "") -> Path:
    """Score a folder of PNG files named like the test images of a built set; return the evaluation's folder.

    Args:
        params: the checked `params.yaml`.
        folder: RGB PNG files of the truth's size, in 8 bits or in the truth's depth.
        dataset: whose test images were restored.
        label: name of the evaluation and of its row in the tables.
        task: which of the dataset's tasks was solved; default: the first.

    Raises:
        DataError: a prediction is missing or damaged, or has another size.
        UserError: the label is the name of a run or of another evaluation, or not a valid name; the dataset does not
            serve the task.
    """
    served = registry.dataset(dataset).tasks
    task = task or served[0]
    if task not in served:
        raise UserError(f"{dataset} serves {', '.join(served)}, not {task!r}")
    check_label(params, label)
    built = manifest.read(folders.data_folder(params, dataset))
    inputs = inputs_of(task, built)
    if not (folder / inputs[0]).is_dir():
        inputs = inputs[:1]
    files = prediction_files(folder, built.split("test"), inputs)
    chosen = evaluation(params)
    metrics, perceptual_metrics = split_metrics(chosen.metrics)
    metrics = applicable_metrics(metrics, task, built)
    scored = ScoredSet(built, task, inputs, metrics, choose_images(built, chosen))
    record = predictions_record(params, built, label, task)
    table = ScoreTable(common_columns(record))
    digests: dict[tuple[str, str], str] = {}

    def predict(case: Case) -> np.ndarray:
        key = case.input, case.name
        image, digests[key] = read_prediction(files[key], case.truth)
        return image

    def fill(target: Path) -> None:
        device = scoring_device() if perceptual_metrics else "cpu"  # formulas alone do not need torch
        perceptual = Perceptual(perceptual_metrics, folders.weights_folder(params), task, device)
        images = score(predict, scored, table, perceptual, target)
        of_all = digest("".join(digests[key] for key in sorted(digests)).encode())
        provenance = replace(record.provenance, predictions_sha256=of_all)
        write_scores(target, table, replace(record, images=images, provenance=provenance))

    out = folders.scores_folder(params, label)
    with full_float32():
        replace_folder(out, fill, f"scoring {label}")
    return out


def predictions_record(params: Params, built: BuiltSet, label: str, task: str) -> Record:
    """Return the record of an evaluation of predictions, without what is known once they are scored.

    Args:
        params: the checked `params.yaml`.
        built: the set whose test images were restored.
        label: name of the evaluation.
        task: the task that was solved.
    """
    return Record(
        run=label,
        method=label,
        row=label,
        also=(),
        title=label,
        kind=KIND,
        task=task,
        dataset=built.about["dataset"],
        dataset_title=built.about["title"],
        origin=built.about["origin"],
        partial=built.about["partial"],
        profile=params.profile,
        seed=params.seed,
        provenance=replace(here(), code=of_stage("score"), manifest_sha256=built.digest),
        evaluation=label,
    )


def check_label(params: Params, label: str) -> None:
    """Raise UserError for a label that is not a valid name, or the name of a run or of an evaluation of one."""
    runs.check_new_name(params, label, "--label")
    if run := clash_with(label, runs.known(params)):
        raise UserError(f"--label: {run!r} is the name of a run; choose another one")
    present = [place.name for place in folders.scores_folder(params).glob("[!.]*")]
    if (other := clash_with(label, present)) not in ("", label):
        raise UserError(f"--label: {label!r} and the scores {other!r} are one folder on some disks; choose another one")
    place = folders.scores_folder(params, label) / RECORD
    if place.is_file() and (kind := read_record(place).kind) != KIND:
        raise UserError(
            f"--label: {place.parent} holds scores of the kind {kind!r}, not of {KIND}, and nothing replaces a run's "
            f"scores but itself: choose another label than {label!r}"
        )


def _size_text(shape: tuple[int, ...]) -> str:
    return f"{shape[1]}x{shape[0]} pixels"

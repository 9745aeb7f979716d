"""Score a run on a built set's test images: one row per image, input and metric, and a few restored images.

Restored images are rounded to the depth of the truth (8 or 16 bits) before they are scored, so that a folder of files
that another program wrote is scored in the same way (`bench.scoring.predictions`).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bench import folders, registry, runs
from bench.code import of_stage
from bench.contracts import ParamsError
from bench.data import manifest
from bench.data.built_images import write_png
from bench.data.manifest import BuiltSet
from bench.files import need_writable, replace_folder
from bench.params.resolving import evaluation
from bench.params.schema import Params
from bench.provenance import here
from bench.record import Inside, KeptImage, Record, TrainingSet, read_file
from bench.registry import nearest
from bench.scoring.cases import Case, Predict, cases, condition, errors_name, image_rows, inputs_of, read_case, to_depth
from bench.scoring.kept_images import choose_images, look_inside, write_images
from bench.scoring.metrics import catalogue
from bench.scoring.metrics.measure import NotMeasured
from bench.scoring.perceptual_scores import Perceptual
from bench.scoring.plans import find_plan
from bench.scoring.table import ScoreTable, common_columns, write_scores
from bench.tasks import find_task

if TYPE_CHECKING:
    from torch import Tensor

    from bench.runs import Trained
    from bench.scoring.restore import Restorer

QUEUE_LENGTH = 8
"""Restored images that may wait for their metrics: a whole test set does not fit into memory."""


@dataclass(frozen=True)
class ScoredSet:
    """The test images of a built set, and what is measured on them.

    Args:
        built: the set.
        task: name of the task that is scored.
        inputs: the inputs under which it is scored; the images that the report shows have the first.
        metrics: ids of the metrics of one image, see `applicable_metrics`.
        shown: the images that the report shows, see `choose_images`.
    """

    built: BuiltSet
    task: str
    inputs: tuple[str, ...]
    metrics: tuple[str, ...]
    shown: Mapping[str, str]


class MetricQueue:
    """Computes the metrics of restored images in two threads and adds them to a table, in the order of the images."""

    def __init__(self, pool: ThreadPoolExecutor, table: ScoreTable, metrics: Sequence[str]):
        self.pool, self.table, self.metrics = pool, table, metrics
        self.waiting: deque[tuple[dict[str, Any], Future[dict[str, float | NotMeasured]]]] = deque()

    def put(self, case: Case, pred: np.ndarray) -> None:
        """Queue one image; wait for the oldest where more than `QUEUE_LENGTH` are waiting."""
        self.waiting.append((condition(case), self.pool.submit(self._measure, case, pred)))
        if len(self.waiting) > QUEUE_LENGTH:
            self._collect()

    def finish(self) -> None:
        """Wait for all images."""
        while self.waiting:
            self._collect()

    def _measure(self, case: Case, pred: np.ndarray) -> dict[str, float | NotMeasured]:
        return catalogue.compute_all(self.metrics, pred, case.truth, case.mask, case.references())

    def _collect(self) -> None:
        about, future = self.waiting.popleft()
        with errors_name(self.table.common["run"], about["image"]):
            scores = future.result()
        for metric, value in scores.items():
            self.table.add(catalogue.find(metric), value, **about)


def split_metrics(metrics: Sequence[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Split metric ids into those of one image by a formula and the perceptual ones.

    Raises:
        ParamsError: an unknown id; the message has the nearest.
    """
    from bench.scoring.metrics.perceptual import PERCEPTUAL

    for name in metrics:
        if name not in catalogue.METRICS and name not in PERCEPTUAL:
            near = nearest(name, [*catalogue.METRICS, *PERCEPTUAL])
            raise ParamsError(f"params.yaml: evaluate.metrics: no metric {name!r}; the nearest are: {near}")
    return (
        tuple(name for name in metrics if name not in PERCEPTUAL),
        tuple(name for name in metrics if name in PERCEPTUAL),
    )


def applicable_metrics(metrics: Sequence[str], task: str, built: BuiltSet) -> tuple[str, ...]:
    """Leave out metrics that need a hole or many truths where there are none."""
    has_hole, has_references = find_task(task).has_hole, built.about["scoring"] == "best-reference"
    return tuple(
        metric.id
        for metric in map(catalogue.find, metrics)
        if (has_hole or not metric.needs_mask) and (has_references or not metric.needs_references)
    )


def score(
    predict: Predict,
    scored: ScoredSet,
    table: ScoreTable,
    perceptual: Perceptual,
    folder: Path,
    save: Path | None = None,
) -> tuple[KeptImage, ...]:
    """Restore and score every test image. Metrics are computed while the next image is restored.

    Args:
        predict: restores one case.
        scored: the images and metrics.
        table: gets the scores.
        perceptual: the perceptual metrics.
        folder: gets the images that the report shows.
        save: a folder for every restored image, or None.

    Returns:
        The images that the report shows, in the order of `ScoredSet.shown`.
    """
    from tqdm import tqdm

    run, inputs = table.common["run"], scored.inputs
    total = len(inputs) * len(scored.built.split("test"))
    kept: dict[str, KeptImage] = {}
    with ThreadPoolExecutor(2) as pool:
        queue = MetricQueue(pool, table, scored.metrics)
        for case in tqdm(cases(scored.built, scored.task, inputs), run, total, disable=None):
            pred = predict(case)
            with errors_name(run, case.name):
                pred = pred if pred.dtype.kind == "u" else to_depth(pred, case.truth.dtype)
            queue.put(case, pred)
            with errors_name(run, case.name):
                perceptual.add(case, pred)
            if case.input == inputs[0] and case.name in scored.shown:
                kept[case.name] = write_images(folder, scored.shown, case, pred)
            if save is not None:
                write_png(save / (case.input if len(inputs) > 1 else "") / f"{case.name}.png", pred)
        queue.finish()
    perceptual.finish(table)
    return tuple(kept[name] for name in scored.shown if name in kept)


def evaluate(params: Params, name: str, dataset: str = "", save: Path | None = None) -> Path:
    """Score a run, a chain, or a run on another dataset; return the evaluation's folder.

    Args:
        params: the checked `params.yaml`.
        name: of a run, a chain or a transfer in `params.yaml`, or of an imported run.
        dataset: score on this dataset instead of the run's own.
        save: write every restored image there too.

    Raises:
        UserError: an unknown name, a run that is not trained, a dataset that is not built or does not serve the task.
    """
    from bench.training.device import full_float32, scoring_device, set_threads, tune_allocator

    chosen = evaluation(params)
    metrics, perceptual_metrics = split_metrics(chosen.metrics)
    tune_allocator()
    threads = set_threads(params.threads)
    plan = find_plan(params, name, dataset)
    registry.dataset(plan.dataset)
    if save is not None:
        need_writable(save)
    built = manifest.read(folders.data_folder(params, plan.dataset))
    shown = choose_images(built, chosen)  # before the networks are loaded: a name may be misspelt
    restorer, record = plan.open(params, built)
    device = scoring_device()
    task = restorer.task
    scored = ScoredSet(built, task, inputs_of(task, built), applicable_metrics(metrics, task, built), shown)
    record = evaluated(record, restorer.parts, built, device, threads)
    table = ScoreTable(common_columns(record))
    checkpoints = [folders.run_folder(params, part.record.run) / runs.WEIGHTS for part in restorer.parts]

    def fill(folder: Path) -> None:
        from bench.scoring.run_costs import add_costs

        add_costs(table, restorer, chosen, checkpoints, device)
        insides = insides_of_first(restorer, scored, device, folder)
        perceptual = Perceptual(perceptual_metrics, folders.weights_folder(params), task, device)
        images = score(partial(restored, restorer, device), scored, table, perceptual, folder, save)
        if len(restorer.parts) == 1 and runs.LOSSES in (trained := restorer.parts[0].record).files:
            losses = read_file(folders.run_folder(params, trained.run), trained, runs.LOSSES)
            (folder / runs.LOSSES).write_bytes(losses)
        write_scores(folder, table, replace(record, insides=insides, images=images))

    out = folders.scores_folder(params, plan.name)
    with full_float32():
        replace_folder(out, fill, f"evaluating {plan.name}")
    return out


def batch_of(case: Case, task: str, device: str) -> dict[str, Tensor]:
    """Return the inputs of a case as a batch of one image."""
    import torch

    names = find_task(task).inputs
    return {name: torch.from_numpy(case.arrays[name]).permute(2, 0, 1)[None].to(device) for name in names}


def restored(restorer: Restorer, device: str, case: Case) -> np.ndarray:
    """Restore one case: (H, W, 3) float32 in [0, 1]."""
    return restorer.restore(batch_of(case, restorer.task, device))[0].permute(1, 2, 0).cpu().numpy()


def insides_of_first(restorer: Restorer, scored: ScoredSet, device: str, folder: Path) -> tuple[Inside, ...]:
    """Keep what happens inside the network while it restores the first image that the report shows; () for a chain."""
    if len(restorer.parts) > 1 or restorer.parts[0].method.insides is None:
        return ()
    name = next(iter(scored.shown))
    row = next(row for row in image_rows(scored.built) if row["name"] == name)
    case = read_case(scored.built, row, scored.task, scored.inputs[0])
    return look_inside(restorer.parts[0], batch_of(case, scored.task, device), folder)


def evaluated(record: Record, parts: Sequence[Trained], built: BuiltSet, device: str, threads: int) -> Record:
    """Turn the record of a run into that of its evaluation: the set and the provenance are those of the scores.

    Args:
        record: of `Plan.open`.
        parts: the runs behind it.
        built: the set that is scored.
        device: where it is scored.
        threads: CPU threads of the evaluation.
    """
    trained, now = record.provenance, here()
    elsewhere = training_sets(parts, built)
    return replace(
        record,
        dataset_title=built.about["title"],
        origin=built.about["origin"],
        partial=built.about["partial"] or any(other.partial for other in elsewhere),
        trained_by=trained if trained.weights_sha256 else None,
        trained_on=elsewhere,
        watched=parts[0].method.watched if len(parts) == 1 else (),
        provenance=replace(
            trained,
            git_commit=now.git_commit,
            git_dirty=now.git_dirty,
            python=now.python,
            packages=now.packages,
            machine=now.machine,
            code=of_stage("evaluate", sorted({part.record.method for part in parts})),
            manifest_sha256=built.digest,
            evaluated_on=device,
            threads=threads,
        ),
    )


def training_sets(parts: Sequence[Trained], built: BuiltSet) -> tuple[TrainingSet, ...]:
    """Return the sets that networks were trained on, where those are not the one they are scored on."""
    records = [part.record for part in parts if part.record.kind == "trained"]
    return tuple(
        TrainingSet(
            record.run,
            record.dataset,
            record.dataset_title,
            record.origin,
            record.partial,
            record.provenance.manifest_sha256,
        )
        for record in records
        if record.provenance.manifest_sha256 != built.digest
    )

"""Score a run on a built set's test images: one row an image, condition and metric, and a few restored images.

Restored images are brought to the depth of the truth (8 or 16 bits) before they are scored, so that a folder of files
written by another program is scored the same way (`predictions`).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bench import registry, runs
from bench.contracts import ParamsError
from bench.data import manifest
from bench.data.built_images import write_png
from bench.data.manifest import BuiltSet
from bench.files import need_writable, replace_folder
from bench.params.resolving import evaluation, weights_folder
from bench.params.schema import Evaluate, Params
from bench.provenance import here
from bench.registry import nearest
from bench.scoring.metrics import catalogue
from bench.scoring.metrics.measure import NotMeasured

if TYPE_CHECKING:
    from torch import Tensor

    from bench.runs import Trained
from bench.scoring.cases import Case, Predict, about_image, cases, condition, inputs_of, read_case, test_rows, to_depth
from bench.scoring.kept_images import _write_images, look_inside, shown_images
from bench.scoring.perceptual_scores import Perceptual
from bench.scoring.plans import plans
from bench.scoring.rows import Table, common_columns, write_scores
from bench.tasks import find_task

AHEAD = 8
"""Restored images that may wait for their metrics: a whole test set does not fit into memory."""


def wanted(chosen: Evaluate, task: str, built: BuiltSet) -> list[str]:
    """Return the metrics of one image that apply: those of a hole need one, those of many truths need them."""
    has_mask, has_references = find_task(task).has_hole, built.about["scoring"] == "best-reference"
    metrics = [catalogue.find(name) for name in chosen.metrics]
    return [
        metric.id
        for metric in metrics
        if (has_mask or not metric.needs_mask) and (has_references or not metric.needs_references)
    ]


def score(
    predict: Predict,
    built: BuiltSet,
    task: str,
    table: Table,
    chosen: Evaluate,
    folder: Path,
    perceptual: Perceptual,
    save: Path | None = None,
    inputs: tuple[str, ...] = (),
) -> list[dict[str, Any]]:
    """Score every test image into `table`, write the images that a report shows into `folder`, and list these.

    Metrics are computed in threads while the next image is restored.
    """
    from tqdm import tqdm

    ids = wanted(chosen, task, built)
    inputs = inputs or inputs_of(task, built)
    each = len(built.split("test"))
    rules = shown_images(built, chosen)
    listed: list[dict[str, Any]] = []

    def measure(case: Case, pred: np.ndarray) -> dict[str, float | NotMeasured]:
        return catalogue.compute_all(ids, pred, case.truth, case.mask, case.references())

    waiting: deque[tuple[dict[str, Any], Future[dict[str, float | NotMeasured]]]] = deque()
    run = table.common["run"]

    def collect() -> None:
        about, values = waiting.popleft()
        with about_image(run, about["image"]):
            found = values.result()
        for metric, value in found.items():
            table.add(catalogue.find(metric), value, **about)

    with ThreadPoolExecutor(2) as pool:
        for case in tqdm(cases(built, task, inputs), run, len(inputs) * each, disable=None):
            pred = predict(case)
            with about_image(run, case.row["name"]):
                pred = pred if pred.dtype.kind == "u" else to_depth(pred, case.truth.dtype)
            waiting.append((condition(case), pool.submit(measure, case, pred)))
            if len(waiting) > AHEAD:
                collect()
            with about_image(run, case.row["name"]):
                perceptual.see(case, pred)
            if case.input == inputs[0] and case.row["name"] in rules:
                listed.append(_write_images(folder, rules, case, pred))
            if save is not None:
                write_png(save / (case.input if len(inputs) > 1 else "") / f"{case.row['name']}.png", pred)
        while waiting:
            collect()
    perceptual.finish(table)
    return sorted(listed, key=lambda entry: list(rules).index(entry["image"]))


def split_metrics(chosen: Evaluate) -> tuple[Evaluate, list[str]]:
    """Part the metrics of one image from the perceptual ones; raises UserError for an unknown id."""
    from bench.scoring.metrics import perceptual

    plain = [name for name in chosen.metrics if name not in perceptual.PERCEPTUAL]
    for name in plain:
        if name not in catalogue.METRICS:
            known = [*catalogue.METRICS, *perceptual.PERCEPTUAL]
            raise ParamsError(
                f"params.yaml: evaluate.metrics: no metric {name!r}; the nearest are: {nearest(name, known)}"
            )
    return chosen.model_copy(update={"metrics": plain}), [n for n in chosen.metrics if n in perceptual.PERCEPTUAL]


def evaluate(params: Params, name: str, dataset: str = "", save: Path | None = None) -> Path:
    """Score a run, a chain, or a run on another dataset; return the evaluation's folder.

    Args:
        name: of a run, a chain or a transfer in params.yaml, or of an imported run.
        dataset: score on this dataset instead of the run's own.
        save: write every restored image there too.

    Raises:
        UserError: an unknown name, a run that is not trained, a dataset that is not built or does not serve the task.
    """
    from bench.training.device import full_float32, scoring_device, set_threads, tune_allocator

    chosen, perceptual_ids = split_metrics(evaluation(params))
    tune_allocator()
    threads = set_threads(params.threads)
    plan = plans(params, name, dataset)
    registry.dataset(plan.dataset)
    if save is not None:
        need_writable(save)
    built = manifest.read(runs.data_folder(params, plan.dataset))
    shown_images(built, chosen)  # a misspelt image is found before the networks are loaded
    restorer, record = plan.open(params, built)
    import torch

    device = scoring_device()

    def batch_of(case: Case) -> dict[str, Tensor]:
        names = find_task(restorer.task).inputs
        return {name: torch.from_numpy(case.arrays[name]).permute(2, 0, 1)[None].to(device) for name in names}

    def predict(case: Case) -> np.ndarray:
        return restorer.restore(batch_of(case))[0].permute(1, 2, 0).cpu().numpy()

    record |= {"evaluation": plan.name}
    if weights := record["provenance"].get("weights_sha256"):
        kept = ("git_commit", "git_dirty", "python", "packages", "machine")
        record["trained_by"] = {key: record["provenance"][key] for key in kept} | {"weights_sha256": weights}
    elsewhere = trained_on(restorer.parts, built)
    record["provenance"] |= here() | {"manifest_sha256": built.digest, "evaluated_on": device, "threads": threads}
    record |= {
        "dataset_title": built.about["title"],
        "origin": built.about["origin"],
        "partial": built.about["partial"] or any(one["partial"] for one in elsewhere),
        "trained_on": elsewhere,
    }
    table = Table(common_columns(record, plan.name))
    out = runs.scores_folder(params, plan.name)

    def fill(folder: Path) -> None:
        from bench.scoring.run_costs import add_costs

        files = [runs.folder(params, part.record["run"]) / runs.WEIGHTS for part in restorer.parts]
        add_costs(table, restorer, chosen, files, device)
        only = restorer.parts[0] if len(restorer.parts) == 1 else None
        if only is not None and only.method.networks is not None:
            record["watched"] = list(only.method.watched)
            if only.method.insides is not None:
                name = next(iter(shown_images(built, chosen)))
                row = next(row for row in test_rows(built) if row["name"] == name)
                case = read_case(built, row, restorer.task, inputs_of(restorer.task, built)[0])
                record["insides"] = look_inside(only, batch_of(case), folder)
        judge = Perceptual(perceptual_ids, weights_folder(params), restorer.task, device)
        images = score(predict, built, restorer.task, table, chosen, folder, judge, save)
        write_scores(folder, table, record, images)
        if only is not None:
            losses = runs.folder(params, only.record["run"]) / runs.LOSSES
            if losses.is_file():
                (folder / runs.LOSSES).write_bytes(losses.read_bytes())

    with full_float32():
        replace_folder(out, fill)
    return out


def trained_on(parts: Sequence[Trained], built: BuiltSet) -> list[dict[str, Any]]:
    """Return the sets that trained networks learnt from, where those are not the very set that they are scored on.

    Returns:
        by network: run, dataset, dataset_title, origin, partial, manifest_sha256.
    """
    keys = ("run", "dataset", "dataset_title", "origin", "partial")
    return [
        {key: part.record[key] for key in keys} | {"manifest_sha256": digest}
        for part in parts
        if (digest := part.record["provenance"]["manifest_sha256"]) != built.digest and part.record["kind"] == "trained"
    ]

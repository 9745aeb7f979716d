"""Score a run on a built set's test images: one row an image, condition and metric, and a few restored images.

Restored images are brought to the depth of the truth (8 or 16 bits) before they are scored, so that a folder of files
written by another program is scored the same way (`predictions`).
"""

from __future__ import annotations

import hashlib
import itertools
import json
import re
from collections import deque
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bench import registry, runs
from bench.contracts import INPUTS, DataError, ParamsError, UserError
from bench.data import manifest
from bench.data.batches import needed_fields, task_arrays
from bench.data.images import as_float, read_png, write_png
from bench.data.manifest import BuiltSet
from bench.files import need_writable, read_json, replace_folder, sha256, write_json
from bench.params import Evaluate, Params, all_chains, evaluation, weights_folder
from bench.provenance import here
from bench.registry import nearest
from bench.scoring import metrics
from bench.scoring.metrics import Measure, NotMeasured

if TYPE_CHECKING:
    import pandas as pd
    from torch import Tensor

    from bench.runs import Trained

SCORES = "scores.parquet"
BY_HAND = "by hand"
ROUNDING = 1e-4
"""How far beyond [0, 1] the sum of float32 weights may come."""
AHEAD = 8
"""Restored images that may wait for their metrics: a whole test set does not fit into memory."""


@dataclass(frozen=True)
class Case:
    """One test image under one condition.

    Args:
        row: its manifest row.
        input: what the method gets: "blurred", "sharp" (with a hole), or "dual-pixel".
        arrays: inputs and `target`, float32 (H, W, C) in [0, 1].
        truth: the target as stored, uint8 or uint16 (H, W, 3).
        folder: of the built set, for the references.
    """

    row: Mapping[str, Any]
    input: str
    arrays: dict[str, np.ndarray]
    truth: np.ndarray
    folder: Path

    @property
    def mask(self) -> np.ndarray | None:
        """The hole, (H, W) uint8 with 255 = hole, where the task has one."""
        return (self.arrays["mask"][..., 0] * 255).astype(np.uint8) if "mask" in self.arrays else None

    @property
    def shown(self) -> np.ndarray:
        """The input as a person sees it: (H, W, 3) float32; of two views their mean."""
        return self.arrays["x"] if "x" in self.arrays else (self.arrays["left"] + self.arrays["right"]) / 2

    def references(self) -> Iterator[np.ndarray]:
        """Read the further truths, where the dataset has them."""
        for entry in json.loads(self.row["references"]):
            yield read_png(self.folder / entry["file"])


def inputs_of(task: str, built: BuiltSet) -> tuple[str, ...]:
    """Return the inputs under which a task is scored on a set.

    A method that fills holes meets both kinds of tables of DFFNet, Sections 4.3.2 and 4.4: a hole in the sharp image
    ("deblurred" there, in our reading) and a hole in the blurred one; the truth is the sharp image in both. The input
    that its task trains on comes first: the images that a report shows have that one.
    """
    if task == "inpaint":
        return ("sharp", "blurred") if "file_blurred" in built.columns else ("sharp",)
    if task == "sharp-inpaint":
        return ("blurred", "sharp")
    return ("dual-pixel",) if task == "dual-pixel" else ("blurred",)


def cases(built: BuiltSet, task: str, inputs: tuple[str, ...]) -> Iterator[Case]:
    """Read the test images one after the other, under each of the inputs."""
    for source in inputs:
        for row in test_rows(built):
            yield read_case(built, row, task, source)


def test_rows(built: BuiltSet) -> list[dict[str, Any]]:
    """Return the manifest rows of the test images."""
    return [{str(key): value for key, value in row.items()} for row in built.split("test").to_dict("records")]


def read_case(built: BuiltSet, row: Mapping[str, Any], task: str, source: str) -> Case:
    """Read one test image under one input. Raises DataError when the set does not serve the task."""
    stored = {}
    for name in needed_fields(task, source):
        if not row.get(f"file_{name}"):
            raise DataError(f"{built.folder}: {row['name']} has no {name}: it cannot serve the task {task!r}")
        stored[name] = read_png(built.folder / row[f"file_{name}"])
    fields = {name: as_float(image) for name, image in stored.items()}
    return Case(row, source, task_arrays(task, fields, source), stored["target"], built.folder)


def to_depth(image: np.ndarray, depth: np.dtype) -> np.ndarray:
    """Turn float (H, W, 3) in [0, 1] into the integers of `depth`, a half to the even neighbour.

    All scores are those of saved images, whatever program restored them: `score` must find what `evaluate` does.

    Raises DataError for a value that is NaN or infinite: as an integer it would pass for black or white.
    """
    metrics.check_floats(image)
    top = np.iinfo(depth).max
    return np.rint(np.clip(image, 0, 1) * np.float64(top)).astype(depth)


@dataclass
class Table:
    """The rows of one evaluation as they come in, and the images that the report may show."""

    common: dict[str, Any]
    rows: list[dict[str, Any]] = field(default_factory=list)

    def add(self, measure: Measure, value: float | NotMeasured, reason: str = "", size: str = "", **about: Any) -> None:
        """Add one value; NaN with a reason where it was not measured."""
        if isinstance(value, NotMeasured):
            reason, value = value.reason, float("nan")
        empty = {"image": "", "split": "test", "input": "", "mask_ratio": float("nan")}
        empty |= dict.fromkeys(("scene", "mask_kind", "mask_band"), "")
        self.rows.append(
            self.common
            | empty
            | about
            | {
                "metric": measure.id,
                "version": measure.version,
                "value": float(value),
                "unit": measure.unit,
                "better": measure.better,
                "reason": reason,
                "size": size,
                "severity": about.get("severity", "{}"),
            }
        )

    def frame(self) -> pd.DataFrame:
        """Return the rows as a data frame."""
        import pandas as pd

        return pd.DataFrame(self.rows)


def condition(case: Case) -> dict[str, Any]:
    """Return the columns that tell one case's rows from another's."""
    row = case.row
    ratio = row.get("mask_ratio")
    return {
        "image": row["name"],
        "split": row["split"],
        "input": case.input,
        "scene": row.get("scene") or "",
        "mask_kind": (row.get("mask_kind") or "") if case.mask is not None else "",
        "mask_band": (row.get("mask_band") or "") if case.mask is not None else "",
        "mask_ratio": float(ratio) if ratio is not None and case.mask is not None else float("nan"),
        "severity": row["degradation"],
    }


@contextmanager
def about_image(run: str, name: str) -> Iterator[None]:
    """Say in a DataError which run and image it is of."""
    try:
        yield
    except DataError as error:
        raise DataError(f"{run}: {name}: {error}") from None


@contextmanager
def whole_float32() -> Iterator[None]:
    """Let GPUs convolve in float32, as scores are promised: torch's default rounds to the 10 bits of TF32 where it can.

    Without a GPU nothing changes.
    """
    from torch.backends import cudnn

    before = cudnn.allow_tf32
    cudnn.allow_tf32 = False
    try:
        yield
    finally:
        cudnn.allow_tf32 = before


def wanted(chosen: Evaluate, task: str, built: BuiltSet) -> list[str]:
    """Return the metrics of one image that apply: those of a hole need one, those of many truths need them."""
    has_hole, many = task in ("inpaint", "sharp-inpaint"), built.about["scoring"] == "best-reference"
    found = [metrics.find(name) for name in chosen.metrics]
    return [m.id for m in found if (m.region == "image" or has_hole) and (not m.many_targets or many)]


Predict = Callable[[Case], np.ndarray]
"""A case to its restoration: float (H, W, 3) in [0, 1], or integers of the truth's depth."""


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
        return metrics.compute_all(ids, pred, case.truth, case.mask, case.references())

    waiting: deque[tuple[dict[str, Any], Future[dict[str, float | NotMeasured]]]] = deque()
    run = table.common["run"]

    def collect() -> None:
        about, values = waiting.popleft()
        with about_image(run, about["image"]):
            found = values.result()
        for metric, value in found.items():
            table.add(metrics.find(metric), value, **about)

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


def shown_images(built: BuiltSet, chosen: Evaluate) -> dict[str, str]:
    """Choose the images that a report shows, name to rule: the median and the worst input, those by hand, further ones.

    The rules look at the input alone, so every method shows the same images. An image that is named by hand and falls
    under a rule keeps it.

    Raises:
        ParamsError: a name that no test image of the set has.
    """
    rows = built.split("test").sort_values(["input_psnr", "name"])
    by_hand = chosen.images.get(built.about["dataset"], [])
    known = set(rows["name"])
    for name in by_hand:
        if name not in known:
            raise ParamsError(
                f"params.yaml: evaluate: images: {built.about['dataset']}: no test image {name!r} in {built.folder}; "
                f"the nearest are: {nearest(name, sorted(known))}"
            )
    names = list(dict.fromkeys([rows["name"].iloc[len(rows) // 2], *rows["name"]]))[: chosen.keep_images]
    rules = {name: ("median", "worst")[i] if i < 2 else f"further {i - 1}" for i, name in enumerate(names)}
    return rules | {name: BY_HAND for name in by_hand if rules.get(name) not in ("median", "worst")}


def _write_images(folder: Path, rules: Mapping[str, str], case: Case, pred: np.ndarray) -> dict[str, Any]:
    name = case.row["name"]
    rule = rules[name]
    stem = rule.replace(" ", "-")
    if rule == BY_HAND:  # there may be several
        stem += f"-{1 + [other for other, its in rules.items() if its == BY_HAND].index(name)}"
    entry = {"rule": rule, "image": name, "condition": condition(case) | {"mask_ratio": None}}
    for kind, image in (("input", case.shown), ("restored", pred), ("target", case.truth)):
        entry[kind] = f"images/{stem}.{kind}.png"
        write_png(folder / entry[kind], metrics.quantise(image))
    return entry


def look_inside(trained: Trained, batch: Mapping[str, Tensor], folder: Path) -> list[dict[str, Any]]:
    """Keep what happens inside a network while it restores one image.

    Args:
        trained: a run whose method has `insides`.
        batch: the inputs of one image, (1, C, H, W) in [0, 1]; padded as they are when it is restored.
        folder: the evaluation's; images are written into its `images/insides`.

    Returns:
        in the method's order, images as {name, file} and weights as {name, values}.
    Raises:
        UserError: what the method gives is no image in [0, 1] and no row of weights.
    """
    import torch

    from bench.scoring.restore import prepared

    method, networks = trained.method, trained.networks
    assert method.insides is not None and networks is not None
    with torch.inference_mode():
        found = method.insides(networks, prepared(method, batch))
    listed: list[dict[str, Any]] = []
    files: set[str] = set()
    for name, value in found.items():
        array = value.float().cpu().numpy()
        where = f"{trained.record['run']}: inside {name!r}"
        if not np.isfinite(array).all():
            raise UserError(f"{where}: found a value that is NaN or infinite")
        if array.ndim == 1:
            listed.append({"name": name, "values": [float(weight) for weight in array]})
            continue
        if array.ndim != 4 or array.shape[0] != 1 or array.shape[1] not in (1, 3):
            raise UserError(f"{where}: found the shape {array.shape}, expected (1, 1 or 3, h, w), or (K,) for weights")
        if array.min() < -ROUNDING or array.max() > 1 + ROUNDING:
            raise UserError(f"{where}: found values from {array.min():g} to {array.max():g}, expected [0, 1]")
        slug = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-") or "map"
        file = next(text for k in itertools.count(1) if (text := slug if k == 1 else f"{slug}-{k}") not in files)
        files.add(file)
        image = to_depth(array[0].transpose(1, 2, 0), np.dtype(np.uint8))
        listed.append({"name": name, "file": f"images/insides/{file}.png"})
        write_png(folder / listed[-1]["file"], image[..., 0] if image.shape[2] == 1 else image)
    return listed


class Perceptual:
    """LPIPS of each image, and FID of each set of holes, where their networks' files are on this machine.

    Args:
        ids: of PERCEPTUAL. FID is taken for inpainting tasks alone: no deblurring paper here prints it.
        weights: the folder that the user names for network weights, or None.
        device: where their networks run: "cpu", "cuda", ...
    """

    def __init__(self, ids: Collection[str], weights: Path | None, task: str, device: str = "cpu"):
        from bench.scoring import perceptual

        holes = task in ("inpaint", "sharp-inpaint")
        self.lpips = perceptual.lpips_alex(weights, device) if "lpips-alex" in ids else None
        self.fid = perceptual.fid_features(weights, device) if "fid" in ids and holes else None
        self.values: list[tuple[dict[str, Any], float]] = []
        # Features alone are kept, 8 kB an image: a test set may have tens of thousands of images.
        self.sets: dict[tuple[str, ...], list[tuple[np.ndarray, np.ndarray]]] = {}
        self.truths: dict[str, np.ndarray] = {}

    def see(self, case: Case, pred: np.ndarray) -> None:
        """Take one restored image."""
        if callable(self.lpips):
            self.values.append((condition(case), self.lpips(pred, case.truth)))
        if callable(self.fid):
            key = tuple(condition(case)[name] for name in ("input", "mask_kind", "mask_band"))
            name = case.row["name"]
            if name not in self.truths:  # it is seen again under the next input
                self.truths[name] = self.fid(case.truth)
            self.sets.setdefault(key, []).append((self.fid(pred), self.truths[name]))

    def finish(self, table: Table) -> None:
        """Add the values, or why they were not measured."""
        from bench.scoring import perceptual

        for measure, found in ((perceptual.LPIPS_ALEX, self.lpips), (perceptual.FID, self.fid)):
            if isinstance(found, NotMeasured):
                table.add(measure, found)
        for about, value in self.values:
            table.add(perceptual.LPIPS_ALEX, value, **about)
        for (source, kind, band), pairs in self.sets.items():
            about = {"input": source, "mask_kind": kind, "mask_band": band}
            if len(pairs) < 2:
                table.add(perceptual.FID, NotMeasured("fid", "a set of one image has no distance"), **about)
            else:
                preds, truths = (np.stack(rows) for rows in zip(*pairs, strict=True))
                table.add(perceptual.FID, perceptual.frechet_distance(preds, truths), **about)


def split_metrics(chosen: Evaluate) -> tuple[Evaluate, list[str]]:
    """Part the metrics of one image from the perceptual ones; raises UserError for an unknown id."""
    from bench.scoring import perceptual

    plain = [name for name in chosen.metrics if name not in perceptual.PERCEPTUAL]
    for name in plain:
        if name not in metrics.METRICS:
            known = [*metrics.METRICS, *perceptual.PERCEPTUAL]
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
    from bench.training.device import scoring_device, set_threads, tune_allocator

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
        names = INPUTS[restorer.task]
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
        if only is not None and only.networks is not None:
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

    with whole_float32():
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


def common_columns(record: Mapping[str, Any], evaluation_name: str) -> dict[str, Any]:
    """Return the columns that all rows of one evaluation share."""
    keys = ("method", "dataset", "task", "profile", "origin", "partial")
    return {"run": evaluation_name} | {key: record[key] for key in keys}


def write_scores(folder: Path, table: Table, record: dict[str, Any], images: list[dict[str, Any]]) -> None:
    """Write the scores and the record of one evaluation; its id is a hash of the scores and their provenance."""
    frame = table.frame()
    frame.to_parquet(folder / SCORES, index=False)
    record["not_measured"] = not_measured(frame)
    record["images"] = images
    record["evaluation_id"] = hashlib.sha256(
        (sha256(folder / SCORES) + json.dumps(record["provenance"], sort_keys=True)).encode()
    ).hexdigest()
    write_json(folder / "record.json", record)


def not_measured(frame: pd.DataFrame) -> dict[str, str]:
    """Return by metric why it, or how many images of it, were not measured."""
    found = {}
    for metric, rows in frame[frame["reason"] != ""].groupby("metric", sort=False):
        first, count = rows.iloc[0], rows["image"].nunique()
        every = frame["image"][frame["metric"] == metric].nunique()
        few = f"{count:,} of {every:,} images, the first is {first['image']}: " if first["image"] else ""
        found[str(metric)] = few + first["reason"]
    return found


@dataclass(frozen=True)
class Plan:
    """What an evaluation will do, before anything heavy is loaded.

    Args:
        name: of the evaluation.
        run: what is evaluated: the run, or the chain.
        members: the runs: one, or the two of a chain.
        rows: its rows in the published tables, where it has others than its runs.
    """

    name: str
    run: str
    dataset: str
    members: tuple[str, ...]
    rows: tuple[str, ...]

    def open(self, params: Params, built: BuiltSet) -> tuple[Any, dict[str, Any]]:
        """Load the networks; return the restorer and the beginning of the record."""
        from bench.scoring.restore import chain, single
        from bench.training.device import scoring_device

        device = scoring_device()
        parts = [self._part(params, member, built, device) for member in self.members]
        if len(parts) == 2:
            does = [part.record["task"] for part in parts]
            if does[0] != "deblur" or "mask" not in INPUTS[does[1]]:
                found = " and ".join(f"{run} ({task})" for run, task in zip(self.members, does, strict=True))
                raise UserError(f"{self.name}: found {found}, expected a run that deblurs and one that fills holes")
            restorer = chain(*parts)
            record = self._chain_record(parts)
        else:
            record = dict(parts[0].record)
            restorer = single(parts[0], record["task"])
        record |= {
            "dataset": self.dataset,
            "task": restorer.task,
            "run": self.run,
        }
        if self.rows:
            record |= {"as": self.rows[0], "also_as": list(self.rows[1:])}
        if restorer.task not in registry.dataset(self.dataset).tasks:
            tasks = ", ".join(registry.dataset(self.dataset).tasks)
            raise UserError(f"{self.name}: {self.dataset} serves {tasks}, not {restorer.task}")
        return restorer, record

    def _part(self, params: Params, member: str, built: BuiltSet, device: Any) -> Any:
        """Load a finished run; a method without training needs no files of its own."""
        from bench.training.train import about

        if not (runs.folder(params, member) / runs.RECORD).is_file() and member in runs.all_runs(params):
            recipe, method = runs.resolve(params, member)
            if method.networks is None:
                return runs.Trained(about(recipe, method, built, "no training"), method, None)
        return runs.load(params, member, device)

    def _chain_record(self, parts: list[Any]) -> dict[str, Any]:
        first, second = (part.record for part in parts)
        names = [(record["as"], *record.get("also_as", ())) for record in (first, second)]
        rows = ["+".join(pair) for pair in itertools.product(*names)]
        weights = [record["provenance"].get("weights_sha256", "") for record in (first, second)]
        return dict(second) | {
            "method": f"{first['method']}+{second['method']}",
            "as": rows[0],
            "also_as": rows[1:],
            "title": f"{first['title']}+{second['title']}",
            "kind": "chain",
            "network": {"first": first["network"], "second": second["network"]},
            "reduced": [*first["reduced"], *second["reduced"]],
            "train": {"first": first["run"], "second": second["run"]},
            "steps": first["steps"] + second["steps"],
            "train_seconds": first["train_seconds"] + second["train_seconds"],
            "missing_losses": [*first["missing_losses"], *second["missing_losses"]],
            "random_helpers": [*first.get("random_helpers", ()), *second.get("random_helpers", ())],
            "limits": [*first["limits"], *second["limits"]],
            "provenance": second["provenance"]
            | {"mlflow_run": "", "weights_sha256": hashlib.sha256("+".join(weights).encode()).hexdigest()},
            "parts": [
                {
                    "run": record["run"],
                    "weights_sha256": digest,
                    "mlflow_run": record["provenance"].get("mlflow_run", ""),
                }
                for record, digest in zip((first, second), weights, strict=True)
            ],
        }


def plans(params: Params, name: str, dataset: str = "") -> Plan:
    """Find what a name means: a chain, a transfer, a run, an imported run.

    On another dataset than its own the evaluation has another name, and stands in no published row: it must not take
    the place of the own one, nor of the run that was trained there. A transfer of params.yaml may.

    Raises:
        UserError: there is nothing of this name; the nearest names are given.
    """
    chains, known = all_chains(params), runs.known(params)
    run = name
    members: tuple[str, ...] = (name,)
    rows: tuple[str, ...] = ()
    if name in chains:
        found = chains[name]
        own, members, rows = found.dataset, (found.first, found.second), found.rows
    elif name in params.transfers:
        moved = params.transfers[name]
        own, run, members, rows = moved.dataset, moved.run, (moved.run,), moved.rows
    elif name in known:
        record = runs.folder(params, name) / runs.RECORD
        own = read_json(record)["dataset"] if record.is_file() else runs.resolve(params, name)[0].dataset
    else:
        every = [*known, *chains, *params.transfers]
        raise UserError(f"no run {name!r}; the nearest are: {nearest(name, every)}")
    if dataset in ("", own):
        return Plan(name, run, own, members, rows)
    title = f"{name}-on-{dataset}"
    return Plan(title, run, dataset, members, (title,))

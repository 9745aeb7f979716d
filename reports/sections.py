"""The sections of the report: per task and dataset its tables, plots and compared images."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from bench.scoring.cost import PARAMS
from bench.scoring.metrics.measure import Cost
from bench.tasks import TASKS, find_task
from reports.figures import comparisons, insides, line_plots
from reports.page.parts import Extra, Part, Plot, Run, Section, Sheet
from reports.published import printed
from reports.scores import reading
from reports.scores.measures import MEASURES, PSNR, SSIM, axis_name
from reports.scores.reading import CONDITION, ORIGINALS, Evaluation
from reports.tables import model
from reports.tables.overviews import inputs_of
from reports.tables.runs import Group, join_seeds, name_among

Key = tuple[str, str, str]
"""Task, dataset and origin: what one figure may hold."""
Resolve = Callable[[Mapping[str, Any]], Mapping[str, str] | None]
"""A record to its MLflow run (run_id, experiment_id, and server where it is not the dashboard); None if unknown."""
BY_HAND = "by hand"
RULES = {"median": "the median image", "worst": "the worst image", BY_HAND: "chosen by hand"}
"""The images that the page shows, with what a title says; further ones stay in the evaluation's folder."""
MOST = line_plots.NAMED
"""The most runs of a comparison of images and of curves in one chart, the best ones: more cannot be compared."""
QUALITY = (PSNR, SSIM)
"""The metrics that are drawn by severity."""
SEVERITIES = {
    "length": "blur length (pixels)", "sigma": "sigma of the Gaussian blur (pixels)", "mask_ratio": "hole ratio",
}  # fmt: skip
"""What may say how severe a degradation is: a field of its record, or the share of the image that the hole takes."""


@dataclass(frozen=True)
class Summary:
    """What a report holds.

    Args:
        tables: verdict of each table by id, "" for overviews.
        below_baseline: by overview, evaluation to how much it fails to beat the baseline by.
        page_bytes: size of the page.
        seconds: time taken; not written, so that the same scores give the same files.
    """

    profile: str
    evaluations: int
    tables: Mapping[str, str]
    verdicts: Mapping[str, int]
    cells: int
    below_baseline: Mapping[str, Mapping[str, str]]
    figures: int
    page_bytes: int
    seconds: float


def key_of(evaluation: Evaluation) -> Key:
    """The figure that an evaluation belongs to."""
    record = evaluation.record
    return record["task"], record["dataset"], record["origin"]


def title_of(evaluation: Evaluation) -> str:
    """A dataset's name for a title; a stand-in says that it is one."""
    record = evaluation.record
    return str(record["dataset_title"]) + (f" ({record['origin']})" if record["origin"] != ORIGINALS else "")


def file_name(kind: str, key: Key) -> str:
    """The name of a figure's files: "losses-deblur-gopro"."""
    return "-".join([kind, *key[:2]] + [key[2].replace(" ", "-")] * (key[2] != ORIGINALS))


def condition_text(condition: Mapping[str, Any]) -> str:
    """What a table tells apart of an image's condition, in words."""
    return ", ".join(f"{name.replace('_', ' ')} {condition[name]}" for name in CONDITION if condition.get(name))


def psnr_of(evaluation: Evaluation) -> float:
    """The mean PSNR over all images, -inf where it was not measured: the best come first."""
    value = reading.measure(evaluation, PSNR, {}).value
    return -math.inf if value is None else value


def of_many(count: int) -> str:
    """What the title of a chart adds where it shows the best runs alone."""
    return f": the best {MOST} of {count} runs" if count > MOST else ""


def shown_entries(members: Sequence[Evaluation]) -> list[tuple[str, str, list[tuple[Evaluation, Mapping[str, Any]]]]]:
    """The images to compare: by rule the one that most evaluations show, and every one that was chosen by hand.

    Returns:
        rule, a word for the file's name, and the evaluations with their entry.
    """
    found = []
    for rule in RULES:
        kept: dict[tuple[str, str], list[tuple[Evaluation, Mapping[str, Any]]]] = {}
        for one in members:
            for entry in one.record["images"]:
                if entry["rule"] == rule:
                    kept.setdefault((entry["image"], condition_text(entry["condition"])), []).append((one, entry))
        most = sorted(kept.values(), key=len, reverse=True)
        for k, entries in enumerate(most if rule == BY_HAND else most[:1], 1):
            found.append((rule, f"{rule.replace(' ', '-')}-{k}" if rule == BY_HAND else rule, entries))
    return found


def compare_all(
    members: Sequence[Evaluation], key: Key, folder: Path
) -> tuple[list[comparisons.Comparison], set[tuple[str, str]]]:
    """Compare the images that evaluations share, the best runs first: one seed of each, and at most MOST.

    Returns:
        the comparisons, and (evaluation, image) of all that show the same image as one of them.
    """
    found, shown = [], set()
    first_seeds = {group.evaluations[0].name for group in join_seeds(members)}
    for rule, word, chosen in shown_entries(members):
        ranked = sorted(
            (pair for pair in chosen if pair[0].name in first_seeds and pair[0].record["method"] != "input"),
            key=lambda pair: -psnr_of(pair[0]),
        )
        first, files = chosen[0]
        condition = condition_text(files["condition"])
        comparison = comparisons.compare(
            f"{title_of(first)}, {key[0]}: {RULES[rule]}, {files['image']}" + (f" ({condition})" if condition else ""),
            rule,
            files["image"],
            first.folder / files["input"],
            [(seed_label(one, members), one.name, one.folder / entry["restored"]) for one, entry in ranked[:MOST]],
            first.folder / files["target"],
            next((one.name for one, _ in chosen if one.record["method"] == "input"), ""),  # the first tile already
            boxes=2 if find_task(key[0]).has_views else 1,  # near and far, as in DMTNet's figure 4
            left_out=max(0, len(ranked) - MOST),
        )
        comparisons.save_comparison(comparison, folder / file_name(f"images-{word}", key))
        found.append(comparison)
        shown |= {(one.name, entry["image"]) for one, entry in chosen}
    return found, shown


def own_images(evaluation: Evaluation, shown: set[tuple[str, str]]) -> list[comparisons.Comparison]:
    """An evaluation's images that no common comparison shows."""
    return [
        comparisons.compare(
            f"{title_of(evaluation)}: this run's {entry['rule']} image, {entry['image']}",
            entry["rule"],
            entry["image"],
            evaluation.folder / entry["input"],
            [(str(evaluation.record["title"]), evaluation.name, evaluation.folder / entry["restored"])],
            evaluation.folder / entry["target"],
        )
        for entry in evaluation.record["images"]
        if entry["rule"] in RULES and (evaluation.name, entry["image"]) not in shown
    ]


def seed_label(evaluation: Evaluation, members: Sequence[Evaluation]) -> str:
    """A run's title; with its seed where another run has the same title, or with its name where the seed too."""
    title, seed = str(evaluation.record["title"]), evaluation.record["seed"]
    seeds = [other.record["seed"] for other in members if other.record["title"] == title]
    if len(seeds) == 1:
        return title
    return f"{title}, seed {seed}" if len(set(seeds)) == len(seeds) else f"{title}, {evaluation.name}"


def loss_plots(members: Sequence[Evaluation], key: Key, folder: Path) -> tuple[list[Plot], dict[str, Plot]]:
    """The losses of the trained runs in one figure, one seed of each, and of each evaluation in its own."""
    together, plots = [], {}
    first_seeds = {group.evaluations[0].name for group in join_seeds(members)}
    for one in members:
        if (losses := one.losses()) is not None and len(losses):
            label, watched = seed_label(one, members), one.record.get("watched", ())
            title = f"{label}: losses on {title_of(one)}"
            plots[one.name] = Plot(
                title, line_plots.run_losses(losses, title, folder / f"losses-run-{one.name}", watched)
            )
            if one.name in first_seeds:
                together.append((-psnr_of(one), (label, *line_plots.curve(losses, watched))))
    if not together:
        return [], plots
    title = f"Training losses, {key[0]} on {title_of(members[0])}{of_many(len(together))}"
    chosen = [curve for _, curve in sorted(together, key=lambda pair: pair[0])[:MOST]]
    return [Plot(title, line_plots.loss_curves(chosen, title, folder / file_name("losses", key)))], plots


def inside_sheet(evaluation: Evaluation, members: Sequence[Evaluation], folder: Path) -> Sheet | None:
    """What happens inside one run's network while it restores its median image; None where its method shows nothing.

    Raises:
        DataError: an image that cannot be read.
    """
    entries = evaluation.record.get("insides")
    if not entries:
        return None
    image = next((entry["image"] for entry in evaluation.record["images"] if entry["rule"] == "median"), "")
    title = f"Inside {seed_label(evaluation, members)}, {title_of(evaluation)}: the median image, {image}"
    found = [
        (
            entry["name"],
            comparisons.read_image(evaluation.folder / entry["file"]) if "file" in entry else entry["values"],
        )
        for entry in entries
    ]
    file = f"insides-{evaluation.name}"
    return Sheet(title, insides.save_insides(found, title, folder / file), file)


def printed_points(known: printed.Published, key: Key) -> list[tuple[str, float, float]]:
    """Label, parameters and PSNR of the published rows that print both; none for a stand-in, which is another set."""
    points = {}
    for table in known.tables.values() if key[2] == ORIGINALS else ():
        mine = [c for c in table.columns if c.dataset == key[1] and c.scene in (None, "combined") and not c.mask_type]
        columns = {column.metric: column.id for column in mine}
        if table.task == key[0] and {"params", "psnr"} <= set(columns):
            for row in table.rows:
                params, psnr = row.numbers[columns["params"]], row.numbers[columns["psnr"]]
                if params is not None and psnr is not None:
                    points[row.label] = (row.label, float(params), float(psnr))
    return list(points.values())


def scatter_plots(runs: Sequence[Group], key: Key, known: printed.Published, folder: Path) -> list[Plot]:
    """PSNR against each cost, a figure an input and a point a run; none with fewer than two points."""
    plots = []
    inputs = sorted({given for group in runs for given in inputs_of(group)})
    names = [name_among(group, runs) for group in runs]
    costs = [measure for measure in MEASURES.values() if isinstance(measure, Cost) and measure.plotted]
    for given, cost in itertools.product(inputs, costs):
        points = []
        for group, name in zip(runs, names, strict=True):
            first = group.evaluations[0]
            psnr, found = reading.measure(first, PSNR, {"input": given}), reading.measure(first, cost.id, {})
            if psnr.value is not None and found.value:
                points.append((name, reading.convert(found.value, found.unit, cost.unit), psnr.value))
        if len(points) > 1:
            title = f"PSNR against {cost.title}, {task_text(key, given, inputs)} on {title_of(runs[0].evaluations[0])}"
            path = folder / (file_name(cost.title.replace(" ", "-"), key) + (f"-{given}" if len(inputs) > 1 else ""))
            printed = printed_points(known, key) if cost is PARAMS else []
            plots.append(Plot(title, line_plots.scatter(points, printed, title, path, axis_name(cost.id))))
    return plots


def task_text(key: Key, given: str, inputs: Sequence[str]) -> str:
    """A task in a title; with its input where there are several."""
    return f"{key[0]} of {given} images" if len(inputs) > 1 else key[0]


@lru_cache(maxsize=100_000)
def recorded(severity: str, name: str) -> float:
    """A number of a degradation's record; nan where it has none of this name."""
    value = json.loads(severity).get(name)
    return float(value) if isinstance(value, (int, float)) else math.nan


def severities(evaluation: Evaluation, metric: str, name: str, given: str) -> tuple[np.ndarray, np.ndarray] | None:
    """How severe each image's degradation is, and its value: both (N,); None where this is not recorded.

    Args:
        name: of SEVERITIES.
        given: sharp, blurred or dual-pixel; the blur of a photograph is none of its sharp image's.
    """
    rows = evaluation.scores.get(metric)
    column = name if name == "mask_ratio" else "severity"
    if rows is None or column not in rows or (column == "severity" and given == "sharp"):
        return None
    mine = (rows["input"].to_numpy() == given) & (rows["image"].to_numpy() != "")  # a frame's own slices cost more
    found = rows[column].to_numpy()[mine]
    severity = np.array([recorded(text, name) for text in found] if column == "severity" else found, float)
    values = rows["value"].to_numpy(float)[mine]
    known = np.isfinite(severity) & np.isfinite(values)
    return (severity[known], values[known]) if known.any() else None


def severity_plots(runs: Sequence[Group], key: Key, folder: Path) -> list[Plot]:
    """Quality by severity, a figure a metric, input and kind of severity, where this varies over the images."""
    plots = []
    inputs = sorted({given for group in runs for given in inputs_of(group)})
    names = [name_among(group, runs) for group in runs]
    ranked = sorted(zip(runs, names, strict=True), key=lambda pair: -psnr_of(pair[0].evaluations[0]))
    for given, name, metric in itertools.product(inputs, SEVERITIES, QUALITY):
        curves = {
            label: pair
            for group, label in ranked[:MOST]
            if (pair := severities(group.evaluations[0], metric, name, given)) is not None
        }
        if not curves or len(np.unique(np.concatenate([severity for severity, _ in curves.values()]))) < 2:
            continue
        word, quality = SEVERITIES[name].partition(" (")[0], MEASURES[metric].title
        place = title_of(runs[0].evaluations[0])
        title = f"{quality} by {word}, {task_text(key, given, inputs)} on {place}{of_many(len(runs))}"
        path = folder / f"{file_name(f'{quality.lower()}-by-{name}'.replace('_', '-'), key)}-{given}"
        plots.append(Plot(title, line_plots.by_severity(curves, (SEVERITIES[name], axis_name(metric)), title, path)))
    return plots


def by_key(evaluations: Iterable[Evaluation]) -> dict[Key, list[Evaluation]]:
    """The evaluations of each task, dataset and origin."""
    found: dict[Key, list[Evaluation]] = {}
    for one in evaluations:
        found.setdefault(key_of(one), []).append(one)
    return found


def sections_of(
    evaluations: Sequence[Evaluation],
    shown: Sequence[model.Table],
    known: printed.Published,
    links: Mapping[str, str],
    losses: Mapping[Key, tuple[list[Plot], dict[str, Plot]]],
    folder: Path,
    extras: Sequence[Extra] = (),
) -> list[Section]:
    """Draw the figures and put everything in its place: by task, then by dataset.

    A published table of which nothing was run stands with its task too, also where no run of that task is there.
    """
    found = []
    for task in TASKS:
        mine = [one for one in evaluations if one.record["task"] == task]
        parts, runs = [], []
        for key, members in by_key(mine).items():
            own_groups = join_seeds(members)
            comparisons, seen = compare_all(members, key, folder)
            together, curves = losses[key]
            charts = [
                *together, *scatter_plots(own_groups, key, known, folder), *severity_plots(own_groups, key, folder),
            ]  # fmt: skip
            names = {one.name for one in members}
            overviews = [
                table
                for table in shown
                if table.kind in (model.OVERVIEW, model.CONDITIONS)
                and any(line.group and line.group.evaluations[0].name in names for line in table.lines)
            ]
            parts.append(Part(title_of(members[0]), key[1], overviews, comparisons, charts))
            runs += [
                Run(
                    one,
                    links[one.name],
                    curves.get(one.name),
                    inside_sheet(one, members, folder),
                    own_images(one, seen),
                )
                for one in members
            ]
        mine_alone = [table for table in shown if table.kind == model.CUSTOM and table.task == task]
        kinds = (model.OVERVIEW, model.CONDITIONS, model.CUSTOM)
        printed = [table for table in shown if table.kind not in kinds and table.task == task]
        further = [extra for extra in extras if extra.task == task]
        if mine or mine_alone or printed or further:
            found.append(Section(task, parts, mine_alone, printed, runs, further))
    return found

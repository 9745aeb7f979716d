"""Render the report: the scores of one profile beside the published numbers, as tables, figures and one page."""

from __future__ import annotations

import json
import shutil
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from bench.contracts import TASKS, UserError
from reports import figures, own, page, published, scores, tables
from reports.page import Part, Plot, Run, Section, Sheet
from reports.scores import CONDITION, ORIGINALS, Evaluation
from reports.tables import PSNR, Group

Key = tuple[str, str, str]
"""Task, dataset and origin: what one figure may hold."""
Resolve = Callable[[Mapping[str, Any]], Mapping[str, str] | None]
"""A record to its MLflow run (run_id, experiment_id, and server where it is not the dashboard); None if unknown."""
RULES = ("median", "worst")
"""The images that the page shows; further ones stay in the evaluation's folder."""
DASHBOARD = "http://127.0.0.1:5000"
"""Where `python -m bench dashboard` shows the runs."""


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


def compare_all(
    members: Sequence[Evaluation], key: Key, folder: Path
) -> tuple[list[figures.Comparison], set[tuple[str, str]]]:
    """Compare, by rule, the image that most evaluations show.

    Returns:
        the comparisons, and (evaluation, rule) of those whose restored image stands in one of them.
    """
    found, shown = [], set()
    for rule in RULES:
        entries = [(one, entry) for one in members for entry in one.record["images"] if entry["rule"] == rule]
        if not entries:
            continue
        wanted = Counter((entry["image"], condition_text(entry["condition"])) for _, entry in entries).most_common(1)[
            0
        ][0]
        chosen = [
            (one, entry) for one, entry in entries if (entry["image"], condition_text(entry["condition"])) == wanted
        ]
        first, files = chosen[0]
        condition = f" ({wanted[1]})" if wanted[1] else ""
        comparison = figures.compare(
            f"{title_of(first)}, {key[0]}: the {rule} image, {wanted[0]}{condition}",
            rule,
            wanted[0],
            first.folder / files["input"],
            [
                (seed_label(one, members), one.name, one.folder / entry["restored"])
                for one, entry in chosen
                if one.record["method"] != "input"  # the first tile already
            ],
            first.folder / files["target"],
            next((one.name for one, _ in chosen if one.record["method"] == "input"), ""),
        )
        figures.save_comparison(comparison, folder / file_name(f"images-{rule}", key))
        found.append(comparison)
        shown |= {(one.name, rule) for one, _ in chosen}
    return found, shown


def own_images(evaluation: Evaluation, shown: set[tuple[str, str]]) -> list[figures.Comparison]:
    """An evaluation's images that no common comparison shows."""
    return [
        figures.compare(
            f"{title_of(evaluation)}: this run's {entry['rule']} image, {entry['image']}",
            entry["rule"],
            entry["image"],
            evaluation.folder / entry["input"],
            [(str(evaluation.record["title"]), evaluation.name, evaluation.folder / entry["restored"])],
            evaluation.folder / entry["target"],
        )
        for entry in evaluation.record["images"]
        if entry["rule"] in RULES and (evaluation.name, entry["rule"]) not in shown
    ]


def seed_label(evaluation: Evaluation, members: Sequence[Evaluation]) -> str:
    """A run's title; with its seed where another run has the same title, or with its name where the seed too."""
    title, seed = str(evaluation.record["title"]), evaluation.record["seed"]
    seeds = [other.record["seed"] for other in members if other.record["title"] == title]
    if len(seeds) == 1:
        return title
    return f"{title}, seed {seed}" if len(set(seeds)) == len(seeds) else f"{title}, {evaluation.name}"


def loss_plots(members: Sequence[Evaluation], key: Key, folder: Path) -> tuple[list[Plot], dict[str, Plot]]:
    """The losses of all trained runs in one figure, and of each in its own."""
    together, plots = [], {}
    for one in members:
        if (losses := one.losses()) is not None and len(losses):
            title, watched = f"{seed_label(one, members)}: losses on {title_of(one)}", one.record.get("watched", ())
            drawn = figures.run_losses(losses, title, folder / f"losses-run-{one.name}", watched)
            plots[one.name] = Plot(title, drawn)
            together.append((seed_label(one, members), *figures.curve(losses, watched)))
    if not together:
        return [], plots
    title = f"Training losses, {key[0]} on {title_of(members[0])}"
    return [Plot(title, figures.loss_curves(together, title, folder / file_name("losses", key)))], plots


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
        (entry["name"], figures.read_image(evaluation.folder / entry["file"]) if "file" in entry else entry["values"])
        for entry in entries
    ]
    return Sheet(title, figures.save_insides(found, title, folder / f"insides-{evaluation.name}"))


def printed_points(known: published.Published, key: Key) -> list[tuple[str, float, float]]:
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


def scatter_plots(runs: Sequence[Group], key: Key, known: published.Published, folder: Path) -> list[Plot]:
    """PSNR against parameters, a figure an input and a point a run; none with fewer than two points."""
    plots = []
    inputs = sorted({given for group in runs for given in tables.inputs_of(group)})
    for given in inputs:
        points = []
        for group in runs:
            first = group.evaluations[0]
            psnr, params = scores.measure(first, PSNR, {"input": given}), scores.measure(first, "params", {})
            if psnr.value is not None and params.value:
                points.append(
                    (tables.name_among(group, runs), scores.convert(params.value, params.unit, "M"), psnr.value)
                )
        if len(points) > 1:
            what = f"{key[0]} of {given} images" if len(inputs) > 1 else key[0]
            title = f"PSNR against parameters, {what} on {title_of(runs[0].evaluations[0])}"
            path = folder / (file_name("parameters", key) + (f"-{given}" if len(inputs) > 1 else ""))
            plots.append(Plot(title, figures.scatter(points, printed_points(known, key), title, path)))
    return plots


def sections_of(
    evaluations: Sequence[Evaluation],
    shown: Sequence[tables.Table],
    known: published.Published,
    links: Mapping[str, str],
    folder: Path,
) -> list[Section]:
    """Draw the figures and put everything in its place: by task, then by dataset."""
    found = []
    for task in TASKS:
        mine = [one for one in evaluations if one.record["task"] == task]
        keys = list(dict.fromkeys(key_of(one) for one in mine))
        parts, runs = [], []
        for key in keys:
            members = [one for one in mine if key_of(one) == key]
            comparisons, seen = compare_all(members, key, folder)
            plots, losses = loss_plots(members, key, folder)
            plots += scatter_plots(tables.groups(members), key, known, folder)
            overviews = [
                table
                for table in shown
                if table.kind in ("overview", "conditions")
                and any(line.group and line.group.evaluations[0] in members for line in table.lines)
            ]
            parts.append(Part(title_of(members[0]), overviews, comparisons, plots))
            runs += [
                Run(
                    one,
                    links[one.name],
                    losses.get(one.name),
                    inside_sheet(one, members, folder),
                    own_images(one, seen),
                )
                for one in members
            ]
        if mine:
            mine_alone = [table for table in shown if table.kind == own.KIND and table.task == task]
            kinds = ("overview", "conditions", own.KIND)
            printed = [table for table in shown if table.kind not in kinds and table.task == task]
            found.append(Section(task, parts, mine_alone, printed, runs))
    return found


def address(run: Mapping[str, str]) -> str:
    """The page of an MLflow run."""
    server = run.get("server") or DASHBOARD
    return f"{server}/#/experiments/{run['experiment_id']}/runs/{run['run_id']}"


def resolve_all(shown: Sequence[tables.Table], resolve: Resolve) -> tuple[dict[str, str], list[dict[str, Any]]]:
    """Link every measured cell to its MLflow run.

    Returns:
        the address of the MLflow run of each evaluation that has a cell, and all cells.

    Raises:
        UserError: a cell whose run the tracking store does not know.
    """
    found: dict[str, Mapping[str, str]] = {}
    cells = []
    for table in shown:
        members = {one.name: one for line in table.lines if line.group for one in line.group.evaluations}
        members |= {
            one.name: one for line in table.lines for cell in line.measured.values() for one, _, _ in cell.parts
        }
        for entry in tables.measured_cells(table):
            name = entry["evaluation"]
            if name not in found:
                run = resolve(members[name].record)
                if run is None or not run.get("run_id"):
                    raise UserError(
                        f"table {table.id}, row {entry['row']}, column {entry['column']}: the measured cell of "
                        f"evaluation {name} lacks its MLflow run, which is not in the tracking store; evaluate that "
                        "run again, or point to the store that holds it"
                    )
                found[name] = run
            cells.append({**entry, "mlflow_run": found[name]["run_id"]})
    return {name: address(run) for name, run in found.items()}, cells


def write_json(path: Path, value: Any) -> None:
    """Write plain values, one key or entry a line."""
    path.write_text(json.dumps(value, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def refuse_other_files(out: Path) -> None:
    """Raise UserError when `out` holds files that are no report, which are not to be deleted."""
    if out.exists() and not (out / "summary.json").is_file() and (not out.is_dir() or any(out.iterdir())):
        raise UserError(f"{out}: holds something that is no report (no summary.json); name an empty or a new folder")


def render(scores_root: Path, out: Path, *, profile: str, resolve: Resolve) -> Summary:
    """Render the tables, the figures and the page of one profile into `out`.

    Args:
        scores_root: a folder an evaluation.
        out: replaced as a whole once everything is written.
        resolve: a record to its MLflow run; None where the tracking store does not know it.

    Raises:
        UserError: no evaluation, a damaged one, or a measured cell that does not lead back to what made it.
    """
    started = time.perf_counter()
    refuse_other_files(out)
    known = published.load()
    further = own.load(known)
    evaluations = scores.read(scores_root, profile)
    runs = tables.groups(evaluations)
    shown = tables.overviews(runs, known)
    shown += [found for table in known.tables.values() if (found := tables.published_table(table, runs, known))]
    shown += [found for entry in further if (found := own.own_table(entry, runs, known))]
    links, cells = resolve_all(shown, resolve)
    if silent := [one.name for one in evaluations if one.name not in links]:
        raise UserError(f"{scores_root}: nothing was measured in {', '.join(silent)}; evaluate them again")
    partial = out.with_name(f"{out.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        for name in ("tables", "figures"):
            (partial / name).mkdir(parents=True)
        for table in shown:
            for ending, text in (("md", tables.markdown), ("csv", tables.comma_separated), ("tex", tables.latex)):
                (partial / "tables" / f"{table.id}.{ending}").write_text(text(table), encoding="utf-8")
        sections = sections_of(evaluations, shown, known, links, partial / "figures")
        page.write(partial / "index.html", sections, evaluations, links, profile)
        write_json(partial / "cells.json", cells)
        summary = Summary(
            profile,
            len(evaluations),
            {table.id: table.verdict for table in shown},
            dict(Counter(table.verdict for table in shown if table.verdict)),
            len(cells),
            {
                table.id: flags
                for table in shown
                if (flags := {line.row: line.flag for line in table.lines if line.flag})
            },
            len(list((partial / "figures").glob("*.png"))),
            (partial / "index.html").stat().st_size,
            round(time.perf_counter() - started, 2),
        )
        write_json(
            partial / "summary.json", {name: value for name, value in asdict(summary).items() if name != "seconds"}
        )
        shutil.rmtree(out, ignore_errors=True)
        partial.rename(out)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return summary

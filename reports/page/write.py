"""The report as one self-contained page: what `page.html` is filled with; and each table as a small page of its own."""

from __future__ import annotations

import html
import math
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup
from PIL.Image import Image

from bench.tracking import views
from reports.figures import charts
from reports.figures.comparisons import BOX, SECOND, Comparison, data_uri, webp
from reports.page.parts import Extra, Plot, Section, Sheet
from reports.published.printed import LAYERS
from reports.scores.reading import Evaluation, device
from reports.tables import model, runs
from reports.tables.formats import VERDICT_SIGNS, signed

HERE = Path(__file__).parent
DASHBOARD = f"http://127.0.0.1:{views.DASHBOARD_PORT}"
"""Where `python -m bench dashboard` shows the runs."""
COMPARED = 50
"""The most runs of a link: more make an address that servers refuse, and a view that no one can read."""
BYTES = 9_500_000
"""How large the page may become; what does not fit of its pictures is left in the files."""
REST = 250_000
"""What the page needs beside tables, charts, runs and pictures, bytes."""
WIDTHS = (640, 480, 320, 240, 160)
"""Widths of a compared image, pixels: the largest at which all fit is taken."""


def address(run: Mapping[str, str]) -> str:
    """The page of an MLflow run (run_id, experiment_id, and server where it is not the dashboard)."""
    return views.run_page(run.get("server") or DASHBOARD, run["experiment_id"], run["run_id"])


def compare_address(runs: Sequence[Mapping[str, str]]) -> str:
    """MLflow's view that compares these runs, of one server; at most COMPARED of them."""
    runs = list({run["run_id"]: run for run in runs}.values())[:COMPARED]
    experiments = sorted({str(run["experiment_id"]) for run in runs})
    return views.comparison_page(runs[0].get("server") or DASHBOARD, [run["run_id"] for run in runs], experiments)


def header(evaluations: Sequence[Evaluation], profile: str) -> dict[str, Any]:
    """What was run, from the records: profile, origins, commits, days of training (where there was one) and devices."""
    provenances = [one.record["provenance"] for one in evaluations]

    def all_of(name: str) -> list[str]:
        return sorted({str(entry[name]) for entry in provenances if entry.get(name)})

    dates = [date[:10] for date in all_of("finished")]
    return {
        "profile": profile,
        "origins": sorted({str(one.record["origin"]) for one in evaluations}),
        "commits": all_of("git_commit"),
        "dirty": any(entry.get("git_dirty") for entry in provenances),
        "dates": list(dict.fromkeys([min(dates), max(dates)])) if dates else [],
        "devices": sorted({device(one.record) for one in evaluations}),
        "count": len(evaluations),
    }


def spans(names: Sequence[tuple[str, int]]) -> list[tuple[str, int]]:
    """Join equal neighbours of (text, columns), for a heading over several columns."""
    found: list[tuple[str, int]] = []
    for text, count in names:
        if found and found[-1][0] == text:
            found[-1] = (text, found[-1][1] + count)
        else:
            found.append((text, count))
    return found


def recipe(value: Any, prefix: str = "") -> list[tuple[str, str]]:
    """Nested settings as (dotted name, value) pairs."""
    if isinstance(value, Mapping):
        return [
            pair for key, inner in value.items() for pair in recipe(inner, f"{prefix}.{key}" if prefix else str(key))
        ]
    return [(prefix, str(value))]


def duration(seconds: float | None) -> str:
    """Seconds as a person reads them: "3 h 20 min"."""
    if seconds is None:
        return ""
    if seconds < 90:
        return f"{seconds:.0f} s"
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min"


def environments(evaluations: Iterable[Evaluation]) -> dict[str, tuple[tuple[str, str], ...]]:
    """The sets of packages that runs were made with, each once, by the name under which the page lists them."""
    found: dict[tuple[tuple[str, str], ...], str] = {}
    for one in evaluations:
        found.setdefault(packages(one), f"environment-{len(found) + 1}")
    return {name: entries for entries, name in found.items()}


def packages(evaluation: Evaluation) -> tuple[tuple[str, str], ...]:
    """The Python and the packages of a run, as (name, version) pairs."""
    made = evaluation.record["provenance"]
    return (("python", str(made["python"])), *recipe(made["packages"]))


# Cells ----------------------------------------------------------------------------------------------------------------


def measured_cell(table: model.Table, line: model.Line, head: model.Head) -> Markup:
    """A measured cell: its value with its mark, interval, spread, size, and its difference with the verdict on it."""
    found = line.measured.get(head.id)
    side = " pair" if table.compares else ""
    if line.group is None or found is None or (found.value is None and not found.note):
        return Markup(f'<td class="none{side}"><small>not run</small></td>')
    if found.value is None:
        return Markup(f'<td class="none{side}"><small>not measured{references(table.id, [found.note])}</small></td>')
    text = f'<a href="#run-{html.escape(found.parts[0][0].name)}">{model.number(found.value, head)}</a>'
    text = f"<b>{text}</b>" if found.best else text
    if found.tie:
        p = f' title="not told apart from the best, p = {found.p:.2g}"' if found.p is not None else ""
        text += f" <span{p}>≈</span>"
    if found.low is not None and found.high is not None:
        text += f"<small>{model.number(found.low, head)} – {model.number(found.high, head)}</small>"
    if found.spread is not None:
        text += f"<small>± {model.number(found.spread, head)} over seeds</small>"
    if found.detail:
        text += f"<small>{html.escape(found.detail)}</small>"
    if found.difference is not None:
        reason = f"{found.verdict}, {found.reason}" if found.reason else found.verdict
        text += (
            f'<small class="apart {found.verdict.replace(" ", "-")}" title="{html.escape(reason)}">'
            f"{signed(found.difference, head)} {VERDICT_SIGNS.get(found.verdict, '')}</small>"
        )
    kind = ' class="pair"' if side else ""
    return Markup(f'<td{kind} {place("measured", line, head)} data-v="{found.value!r}">{text}</td>')


def place(kind: str, line: model.Line, head: model.Head) -> str:
    """Where a cell stands, as attributes, by which it is checked."""
    return f'data-kind="{kind}" data-row="{html.escape(line.row)}" data-column="{html.escape(head.id)}"'


def published_cell(table: model.Table, line: model.Line, head: model.Head) -> Markup:
    """A published cell, as printed, with its footnotes."""
    found = line.printed.get(head.id)
    if found is None:
        return Markup('<td class="pub"></td>')
    text = f"<b>{html.escape(found.text)}</b>" if found.best else html.escape(found.text)
    number = "" if found.number is None else f' {place("published", line, head)} data-v="{found.number!r}"'
    return Markup(f'<td class="pub"{number}>{text}{references(table.id, found.marks)}</td>')


def references(table: str, marks: Iterable[object]) -> Markup:
    """Links to footnotes of a table."""
    links = ",".join(f'<a href="#{table}-note-{mark}">{mark}</a>' for mark in marks)
    return Markup(f"<sup>{links}</sup>" if links else "")


# Pictures -------------------------------------------------------------------------------------------------------------


def encoded(images: Sequence[Image], room: float, pool: ThreadPoolExecutor) -> list[str]:
    """Images as addresses, all at the largest of WIDTHS at which they take at most `room` bytes; [] if none fits."""
    widest = 1.3 * max(image.width for image in images)  # an image is never enlarged: a larger width is the same
    for width in WIDTHS:
        if width < widest or width == WIDTHS[-1]:
            found = [data_uri(data, "webp") for data in pool.map(partial(webp, width=width), images)]
            if sum(map(len, found)) <= room:
                return found
    return []


def pictures_of(
    sections: Sequence[Section], extras: Sequence[Extra], room: int
) -> dict[Comparison | Sheet, Sequence[str]]:
    """Encode the page's pictures into `room` bytes; those that do not fit are absent.

    The common comparisons come first and share six tenths of it by their number of images, then the further parts'
    figures, then the insides of networks, then the runs' own images.
    """
    common = [found for section in sections for part in section.parts for found in part.comparisons]
    parts = [*extras, *(extra for section in sections for extra in section.extras)]
    runs = [run for section in sections for run in section.runs]
    sheets = [plot for extra in parts for plot in extra.plots if isinstance(plot, Sheet)]
    sheets += [run.inside for run in runs if run.inside]
    found: dict[Comparison | Sheet, Sequence[str]] = {}
    left = float(room)
    share = 0.6 * left / max(1, sum(len(one.tiles) for one in common))
    with ThreadPoolExecutor(2) as pool:
        for one in common:
            images = [tile.picture or tile.whole for tile in one.tiles]
            if addresses := encoded(images, share * len(images), pool):
                found[one] = addresses
                left -= sum(map(len, addresses))
        wanted = sheets[: math.ceil(left / 10_000)] if left > 0 else []  # no sheet is smaller
        for sheet, data in zip(wanted, pool.map(lambda sheet: webp(sheet.image), wanted), strict=True):
            address = data_uri(data, "webp")
            if len(address) <= left:
                found[sheet] = [address]
                left -= len(address)
        for comparison in (one for run in runs for one in run.comparisons):
            images = [tile.picture or tile.whole for tile in comparison.tiles]
            if left > 2_000 * len(images) and (addresses := encoded(images, min(left, 30_000.0 * len(images)), pool)):
                found[comparison] = addresses
                left -= sum(map(len, addresses))
    return found


# The page -------------------------------------------------------------------------------------------------------------


def environment_of() -> jinja2.Environment:
    """The templates with what they may call."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(HERE),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.globals.update(
        LAYERS=LAYERS, ARROWS=model.ARROWS, BOXES=(BOX, SECOND), parts=model.split_columns,
        describe=runs.describe, device=device, spans=spans, recipe=recipe, duration=duration,
        random_text=runs.random_losses_text, measured_cell=measured_cell, published_cell=published_cell,
        references=references, chart_rules=chart_rules(), css=Markup((HERE / "page.css").read_text(encoding="utf-8")),
        js=Markup((HERE / "page.js").read_text(encoding="utf-8")),
    )  # fmt: skip
    return environment


def chart_rules() -> Markup:
    """The rules of all charts on the page, on light and on dark ground."""
    dark = charts.colour_rules(charts.ON_DARK, ".figure")
    light = charts.style() + charts.colour_rules(charts.COLOURS, ".figure")
    return Markup(f"{light}@media (prefers-color-scheme:dark){{{dark}}}")


def write_tables(
    folder: Path,
    shown: Iterable[model.Table],
    runs: Mapping[str, Mapping[str, str]],
) -> dict[str, Markup]:
    """Write each table as a page of its own, whose runs lead to the report's page, and return them for that one.

    Args:
        runs: evaluation to its MLflow run.
    """
    environment = environment_of()
    macros: Any = environment.get_template("macros.html").module
    alone = environment.get_template("table.html")
    links = {name: address(run) for name, run in runs.items()}
    found = {}
    for table in shown:
        mine = dict.fromkeys(one.name for line in table.lines if line.group for one in line.group.evaluations)
        known = [runs[name] for name in mine if name in runs]
        server = known[0].get("server") if known else None
        compared = [run for run in known if run.get("server") == server]
        text = macros.show(table, links, compare_address(compared) if len(compared) > 1 else "", len(compared))
        found[table.id] = text
        own = (
            str(text).replace("<h4", "<h1").replace("</h4>", "</h1>").replace('href="#run-', 'href="../index.html#run-')
        )
        page = alone.render(title=table.title, body=Markup(own))
        (folder / f"{table.id}.html").write_text(page, encoding="utf-8")
    return found


def write(
    path: Path,
    sections: Sequence[Section],
    evaluations: Sequence[Evaluation],
    bodies: Mapping[str, Markup],
    profile: str,
    extras: Sequence[Extra] = (),
) -> None:
    """Fill the template and write the page.

    Args:
        bodies: each table as `write_tables` made it.
        extras: further parts that belong to no task.
    """
    environment = environment_of()
    macros: Any = environment.get_template("macros.html").module
    made_with = environments(evaluations)
    names = {entries: name for name, entries in made_with.items()}
    articles = {
        run: macros.one_run(run, names[packages(run.evaluation)]) for section in sections for run in section.runs
    }
    drawn = [plot for section in sections for part in section.parts for plot in part.plots]
    further = [plot for one in [*extras, *(e for s in sections for e in s.extras)] for plot in one.plots]
    taken = sum(len(text.encode()) for text in [*bodies.values(), *articles.values()])
    taken += sum(len(plot.svg) if plot.themed else len(plot.address) for plot in drawn)
    taken += sum(len(plot.address) for plot in further if isinstance(plot, Plot))
    titled: dict[str, list[Extra]] = {}
    for extra in extras:
        titled.setdefault(extra.section, []).append(extra)
    text = environment.get_template("page.html").render(
        sections=sections, bodies=bodies, articles=articles, environments=made_with, titled=titled,
        head=header(evaluations, profile), pictures=pictures_of(sections, extras, BYTES - REST - taken),
    )  # fmt: skip
    path.write_text(text, encoding="utf-8")

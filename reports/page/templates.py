"""The report's page and the page of each table: the templates of this folder, filled."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from reports.figures import charts, comparisons
from reports.figures.charts import Plot
from reports.page import cells, facts
from reports.page.links import MAX_COMPARED, comparison_address
from reports.page.parts import Appendix, Section
from reports.page.pictures import encode_pictures
from reports.published.printed import LAYERS
from reports.scores.reading import Evaluation, device
from reports.tables import model
from reports.tables import runs as table_runs

FOLDER = Path(__file__).parent
MAX_BYTES = 9_500_000
"""Size of the page at most; pictures that do not fit are only in the report's files."""
REST = 250_000
"""Bytes of the page without tables, charts, runs and pictures, at most."""


def template_environment() -> jinja2.Environment:
    """The templates, with the functions and constants that they use."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(FOLDER),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.globals.update(
        LAYERS=LAYERS,
        ARROWS=model.ARROWS,
        BOXES=comparisons.BOXES,
        MAX_COMPARED=MAX_COMPARED,
        split_columns=model.split_columns,
        describe=table_runs.describe,
        random_losses_text=table_runs.random_losses_text,
        device=device,
        merged=cells.merged,
        measured_cell=cells.measured_cell,
        published_cell=cells.published_cell,
        references=cells.references,
        settings=facts.settings,
        duration=facts.duration,
        chart_rules=chart_rules(),
        css=Markup((FOLDER / "page.css").read_text(encoding="utf-8")),
        js=Markup((FOLDER / "page.js").read_text(encoding="utf-8")),
    )
    return environment


def chart_rules() -> Markup:
    """The CSS rules of all charts on the page, for light and dark backgrounds."""
    dark = charts.colour_rules(charts.DARK_COLOURS, ".figure")
    light = charts.style() + charts.colour_rules(charts.COLOURS, ".figure")
    return Markup(f"{light}@media (prefers-color-scheme:dark){{{dark}}}")


def comparison_link(table: model.Table, runs: Mapping[str, Mapping[str, str]]) -> tuple[str, int]:
    """The address at which MLflow compares a table's runs, and how many they are; "" with fewer than two.

    Args:
        runs: evaluation to its MLflow run.
    """
    names = dict.fromkeys(run.name for line in table.lines if line.group for run in line.group.evaluations)
    known = [runs[name] for name in names if name in runs]
    server = known[0].get("server") if known else None
    compared = [run for run in known if run.get("server") == server]
    return comparison_address(compared) if len(compared) > 1 else "", len(compared)


def write_tables(
    folder: Path, tables: Iterable[model.Table], runs: Mapping[str, Mapping[str, str]]
) -> dict[str, Markup]:
    """Write each table as a page whose runs link to the report's page.

    Args:
        runs: evaluation to its MLflow run.

    Returns:
        each table as HTML, for the report's page.
    """
    environment = template_environment()
    macros: Any = environment.get_template("macros.html").module
    template = environment.get_template("table.html")
    bodies = {}
    for table in tables:
        address, count = comparison_link(table, runs)
        body = macros.show(table, address, count)
        bodies[table.id] = body
        alone = str(body).replace("<h4", "<h1").replace("</h4>", "</h1>")
        alone = alone.replace('href="#run-', 'href="../index.html#run-')
        page = template.render(title=table.title, body=Markup(alone))
        (folder / f"{table.id}.html").write_text(page, encoding="utf-8")
    return bodies


def write_page(
    path: Path,
    sections: Sequence[Section],
    evaluations: Sequence[Evaluation],
    bodies: Mapping[str, Markup],
    profile: str,
    appendices: Sequence[Appendix] = (),
) -> None:
    """Fill the template and write the page.

    Args:
        bodies: each table, as `write_tables` returned it.
    """
    environment = template_environment()
    macros: Any = environment.get_template("macros.html").module
    environments = facts.environments(evaluations)
    names = {packages: name for name, packages in environments.items()}
    articles = {
        run: macros.one_run(run, names[facts.packages(run.evaluation)]) for section in sections for run in section.runs
    }
    plots = [plot for section in sections for part in section.parts for plot in part.plots]
    plots += [plot for appendix in appendices for plot in appendix.plots if isinstance(plot, Plot)]
    taken = sum(len(text.encode()) for text in [*bodies.values(), *articles.values()])
    taken += sum(len(plot.svg) if plot.themed else len(plot.address) for plot in plots)
    by_heading: dict[str, list[Appendix]] = {}
    for appendix in appendices:
        by_heading.setdefault(appendix.heading, []).append(appendix)
    text = environment.get_template("page.html").render(
        sections=sections, bodies=bodies, articles=articles, environments=environments, appendices=by_heading,
        head=facts.header(evaluations, profile),
        pictures=encode_pictures(sections, appendices, MAX_BYTES - REST - taken),
    )  # fmt: skip
    path.write_text(text, encoding="utf-8")

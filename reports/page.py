"""The report as one self-contained page: what `page.html` is filled with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
from PIL.Image import Image

from reports import tables
from reports.figures import Comparison, data_uri, jpeg
from reports.published import LAYERS
from reports.scores import ORIGINALS, Evaluation, device

TITLES = {
    "deblur": "Deblurring", "inpaint": "Inpainting", "sharp-inpaint": "Sharper inpainting",
    "dual-pixel": "Dual-pixel deblurring",
}  # fmt: skip


@dataclass(frozen=True)
class Plot:
    """A drawn figure: its title and its PNG."""

    title: str
    png: bytes


@dataclass(frozen=True)
class Sheet:
    """A drawn figure that holds photographs: its title and its pixels."""

    title: str
    image: Image


@dataclass(frozen=True)
class Part:
    """One dataset of a task: its overviews and its figures."""

    title: str
    tables: Sequence[tables.Table]
    comparisons: Sequence[Comparison]
    plots: Sequence[Plot]


@dataclass(frozen=True)
class Run:
    """One evaluation's part of the page.

    Args:
        link: its MLflow run.
        plot: the losses of its training, None without training.
        inside: what happens inside its network, None where its method shows nothing.
        comparisons: its own images, where the part's comparison shows others.
    """

    evaluation: Evaluation
    link: str
    plot: Plot | None
    inside: Sheet | None
    comparisons: Sequence[Comparison]


@dataclass(frozen=True)
class Section:
    """One task: its datasets, its tables of one's own, those of the papers, and its runs."""

    task: str
    parts: Sequence[Part]
    own: Sequence[tables.Table]
    published: Sequence[tables.Table]
    runs: Sequence[Run]

    @property
    def title(self) -> str:
        """The task's name as a heading."""
        return TITLES[self.task]


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


def write(
    path: Path,
    sections: Sequence[Section],
    evaluations: Sequence[Evaluation],
    links: Mapping[str, str],
    profile: str,
) -> None:
    """Fill the template and write the page.

    Args:
        links: evaluation to the address of its MLflow run.
    """
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.globals.update(
        LAYERS=LAYERS, ORIGINALS=ORIGINALS, ARROWS=tables.ARROWS, parts=tables.parts, number=tables.number,
        describe=tables.describe, device=device, spans=spans, recipe=recipe, duration=duration,
        random_text=tables.random_text,
        picture=lambda image: data_uri(jpeg(image), "jpeg"), plot=lambda png: data_uri(png, "png"),
    )  # fmt: skip
    text = environment.get_template("page.html").render(
        sections=sections, links=links, head=header(evaluations, profile)
    )
    path.write_text(text, encoding="utf-8")

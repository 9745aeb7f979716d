"""Tables as text: Markdown, CSV and LaTeX."""

from __future__ import annotations

import csv
import io
import itertools
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd

from reports.published.printed import LAYERS
from reports.scores.statistics import FEWEST
from reports.tables.model import Head, Line, Measured, Printed, Table, describe, number, parts
from reports.tables.verdicts import APART, BARRED, REPRODUCED

VERDICTS = {REPRODUCED: "✓", APART: "✗", BARRED: "∼"}
"""A cell's verdict behind its difference."""
NUMBERS = ("measured", "low", "high", "spread", "p", "difference")
"""The endings of the CSV's columns that hold numbers; `verdict` and `published` hold text."""
TALL = 22
"""The lines of a LaTeX table that fit on a page."""
FLOATS = 12
"""So many LaTeX tables may wait for their place."""
BROAD = {True: 3, False: 5}
"""The columns of a LaTeX table that fit beside each other, with and without published values."""


@dataclass(frozen=True)
class Text:
    """A cell as text: the value with its marks, and what stands below or behind it in smaller letters."""

    main: str
    small: str = ""

    @property
    def whole(self) -> str:
        """Both in one line."""
        return f"{self.main} {self.small}".strip()


def signed(value: float, head: Head) -> str:
    """A difference with its sign and the digits of its metric."""
    text = number(value, head)
    return text if text.startswith("-") else f"+{text}"


def measured_text(found: Measured | None, head: Head, bold: str = "**{}**", tie: str = "≈") -> Text:
    """A measured cell as text: the value, its marks, its interval, the spread over seeds, size and device."""
    if found is None:
        return Text("")
    if found.value is None:
        return Text(f"not measured ({found.note})" if found.note else "not run")
    text = number(found.value, head)
    text = (bold.format(text) if found.best else text) + f" {tie}" * found.tie
    small = []
    if found.low is not None and found.high is not None:
        small.append(f"[{number(found.low, head)}, {number(found.high, head)}]")
    if found.spread is not None:
        small.append(f"± {number(found.spread, head)}")
    return Text(text, " ".join(small + [f"({found.detail})"] * bool(found.detail)))


def printed_text(found: Printed | None, measured: Measured | None, head: Head, bold: str) -> Text:
    """A published cell as text: as printed, its footnotes, and what was measured minus it with the cell's verdict."""
    text = (bold.format(found.text) if found.best else found.text) if found else ""
    text += "".join(f" [{mark}]" for mark in found.marks) if found else ""
    if measured is None or measured.difference is None:
        return Text(text)
    return Text(text, f"({signed(measured.difference, head)} {VERDICTS[measured.verdict]})")


def label_text(line: Line) -> str:
    """A line's name as text, with its run, its letters and its warning."""
    run = describe(line.group) if line.group and line.detail != describe(line.group) else ""
    text = " · ".join(part for part in (line.label, line.detail, run, line.flag) if part)
    return text + "".join(f" ({mark})" for mark in line.notes)


def reasons(table: Table) -> list[str]:
    """The reasons of the rows' verdicts, those that share one together."""
    found: dict[str, list[str]] = {}
    for line in table.lines:
        if line.reason:
            found.setdefault(f"{line.verdict}, {line.reason}", []).append(line.label)
    return [f"{'; '.join(dict.fromkeys(labels))}: {reason}." for reason, labels in found.items()]


def legend(table: Table) -> list[str]:
    """What the marks of a table mean, its verdicts, its conventions, notes and footnotes, a line each."""
    found = []
    if table.verdict:
        found.append(f"Verdict: {table.verdict}, {table.reason}.")
        found += reasons(table)
    if table.kind != LAYERS:
        found.append(
            "Bold: the best in the column, among measured and among published values apart, and a cost among methods "
            "with weights. ≈: not told apart from the best measured one by a paired Wilcoxon signed-rank test over the "
            f"images, corrected over the column by Holm (5 %); fewer than {FEWEST} images tell nothing apart. [ ]: 95 "
            "% bootstrap interval over images. ±: standard deviation over seeds."
        )
    if table.verdict:
        found.append(
            "Behind a published value: measured minus published, and "
            + ", ".join(f"{mark} {verdict}" for verdict, mark in VERDICTS.items())
            + "."
        )
    found += [f"Convention: {text}" for text in table.conventions]
    found += [f"({mark}) {text}" for mark, text in table.notes]
    whole = ", ".join(str(mark) for mark in table.marks)
    found += [f"Footnotes {whole} concern the whole table."] if whole else []
    return found + [f"[{mark}] {kind}: {text}" for mark, kind, text in table.remarks]


def columns(table: Table, head: Head) -> list[str]:
    """What stands below a heading: measured, published, or both."""
    return ["measured"] * (table.kind != LAYERS) + ["published"] * bool(head.printed)


def grid(table: Table, heads: Sequence[Head], bold: str, tie: str) -> list[list[Text]]:
    """A part of a table as texts: a row for each line, two columns a heading that is measured and published."""
    rows = []
    for line in table.lines:
        row = [Text(label_text(line) + "".join(f" [{mark}]" for mark in line.marks))]
        for head in heads:
            found = line.measured.get(head.id)
            if table.kind != LAYERS:
                row.append(measured_text(found, head, bold, tie) if line.group else Text("not run"))
            if head.printed:
                row.append(printed_text(line.printed.get(head.id), found, head, bold))
        rows.append(row + [Text(line.verdict)] * bool(table.verdict))
    return rows


def markdown(table: Table) -> str:
    """The table as Markdown."""
    out = [f"# {table.title}", ""]
    for name, heads in parts(table):
        titles = ["layer" if table.kind == LAYERS else "method"]
        for head in heads:
            marks = "".join(f" [{mark}]" for mark in head.marks)
            kinds = columns(table, head)
            titles += [head.heading + f", {kind}" * table.compares + marks * (kind == kinds[-1]) for kind in kinds]
        titles += ["verdict"] * bool(table.verdict)
        out += [f"## {name}", ""] if name else []
        rows = [[text.whole for text in row] for row in grid(table, heads, "**{}**", "≈")]
        cells = [titles, ["---"] * len(titles), *rows]
        out += ["| " + " | ".join(text.replace("|", "\\|") for text in row) + " |" for row in cells] + [""]
    return "\n".join(out) + "\n".join(f"- {text}" for text in legend(table)) + "\n"


# CSV ------------------------------------------------------------------------------------------------------------------


def comma_separated(table: Table) -> str:
    """The table as CSV, numbers bare and with all their digits: a line a run; `read_csv` reads it."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    titles = ["row", "label", "evaluations", "kind", "origin", "verdict"]
    for head in table.heads:
        if table.kind != LAYERS:
            titles += [f"{head.id}.{part}" for part in NUMBERS[:-1]]
            titles += [f"{head.id}.difference", f"{head.id}.verdict"] * bool(head.printed)
        titles += [f"{head.id}.published"] * bool(head.printed)
    writer.writerow(titles)
    for line in table.lines:
        group = line.group
        ran = [one.name for found in line.measured.values() for one, *_ in found.parts]
        names = list(dict.fromkeys([one.name for one in group.evaluations] + ran)) if group else []
        row: list[Any] = [line.row, line.label, " ".join(names)]
        row += [group.record["kind"], group.record["origin"]] if group else ["", ""]
        row.append(line.verdict)
        for head in table.heads:
            if table.kind != LAYERS:
                found = line.measured.get(head.id, Measured(None))
                row += [found.value, found.low, found.high, found.spread, found.p]
                row += [found.difference, found.verdict] if head.printed else []
            if head.printed:
                row.append(line.printed[head.id].text if head.id in line.printed else "")
        writer.writerow(["" if x is None else x for x in row])
    return out.getvalue()


def read_csv(path: Path) -> pd.DataFrame:
    """Read a table's CSV: floats, exactly those that were written, in the columns of NUMBERS (nan: none), else text."""
    with path.open(encoding="utf-8", newline="") as file:
        titles = next(csv.reader(file))
    bare = [title for title in titles if title.rpartition(".")[2] in NUMBERS]
    types: dict[str, Any] = {title: "float64" if title in bare else str for title in titles}
    return pd.read_csv(
        path,
        dtype=types,
        keep_default_na=False,
        na_values={title: [""] for title in bare},
        float_precision="round_trip",
    )


# LaTeX ----------------------------------------------------------------------------------------------------------------

SIGNS = str.maketrans(
    {
        "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{",
        "/": r"/\allowbreak{}",  # else no address of a file would fit into a line
        "}": r"\}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}", ">": r"\textgreater{}",
        "|": r"\textbar{}", "↑": r"$\uparrow$", "↓": r"$\downarrow$", "→": r"$\to$", "≈": r"$\approx$", "±": r"$\pm$",
        "×": r"$\times$", "·": r"$\cdot$", "−": "$-$", "≤": r"$\leq$", "≥": r"$\geq$", "∼": r"$\sim$", "µ": r"$\mu$",
        "σ": r"$\sigma$", "✓": r"$\checkmark$", "✗": r"$\times$", "°": r"$^{\circ}$", "–": "--", "—": "---",
        "’": "'", "‘": "`", "“": "``", "”": "''", "…": r"\ldots{}", "\u00a0": "~", "ß": r"\ss{}", "ø": r"\o{}",
        "æ": r"\ae{}", "ł": r"\l{}",
        "⁻": "$^{-}$", **{sign: f"$^{{{digit}}}$" for digit, sign in enumerate("⁰¹²³⁴⁵⁶⁷⁸⁹")},
        # Two published labels came out in Cyrillic letters that look like these.
        "х": "x", "с": "c", "б": "6", "р": "p", "т": "m",
    }
)  # fmt: skip
ACCENTS = {
    "\u0300": "`", "\u0301": "'", "\u0302": "^", "\u0303": "~", "\u0304": "=", "\u0306": "u", "\u0307": ".",
    "\u0308": '"', "\u030a": "r", "\u030b": "H", "\u030c": "v", "\u0327": "c",
}  # fmt: skip


def _foreign(sign: str) -> str:
    base, *marks = list(unicodedata.normalize("NFD", sign))
    if base.isascii() and all(mark in ACCENTS for mark in marks):
        for mark in marks:
            base = f"\\{ACCENTS[mark]}{{{base}}}"
        return base
    return f"[U+{ord(sign):04X}]"


def escape(text: str) -> str:
    """Text for LaTeX in ASCII: signs and accents as commands, any other letter as its code ("[U+4E2D]")."""
    text = unicodedata.normalize("NFC", text).translate(SIGNS)
    return text if text.isascii() else re.sub(r"[^\x00-\x7f]", lambda found: _foreign(found[0]), text)


def _cell(text: Text) -> str:
    # The marks of bold text survive escaping.
    main, small = (escape(part).replace("\x01", r"\textbf{").replace("\x02", "}") for part in (text.main, text.small))
    return rf"\begin{{tabular}}[t]{{@{{}}r@{{}}}}{main}\\{{\tiny {small}}}\end{{tabular}}" if small else main


def _heading(head: Head) -> str:
    marks = "".join(f" [{mark}]" for mark in head.marks)
    below = escape(replace(head, over="").heading + marks)
    return rf"\begin{{tabular}}[b]{{@{{}}c@{{}}}}{escape(head.over)}\\{below}\end{{tabular}}" if head.over else below


def _tabular(table: Table, heads: Sequence[Head], rows: Sequence[Sequence[Text]], verdict: bool) -> list[str]:
    kinds = [columns(table, head) for head in heads]
    first, last = "layer" if table.kind == LAYERS else "method", ["verdict"] * verdict
    titles = [f"\\multicolumn{{{len(kind)}}}{{c}}{{{_heading(head)}}}" for head, kind in zip(heads, kinds, strict=True)]
    double = any(len(kind) > 1 for kind in kinds)
    top = [" & ".join(["" if double else first, *titles, *([""] if double and verdict else last)]) + r" \\"]
    if double:
        ends = itertools.accumulate((len(kind) for kind in kinds), initial=2)
        top.append(" ".join(rf"\cmidrule(lr){{{start}-{end - 1}}}" for start, end in itertools.pairwise(ends)))
        top.append(" & ".join([first, *itertools.chain(*kinds), *last]) + r" \\")
    body = [r"\raggedright " + " & ".join(map(_cell, row)) + r" \\" for row in rows]
    form = rf"p{{0.28\textwidth}}{'r' * sum(map(len, kinds))}{'l' * verdict}"
    return [rf"\begin{{tabular}}{{{form}}}", r"\toprule", *top, r"\midrule", *body, r"\bottomrule", r"\end{tabular}"]


def latex(table: Table) -> str:
    """The table as LaTeX for a plain article with booktabs, graphicx and amssymb, its legend in small print below it.

    A table too broad or too tall for a page comes in parts; a part that is still too broad is made smaller.
    """
    broad = BROAD[table.compares and table.kind != LAYERS]
    pieces = [(name, heads[i : i + broad]) for name, heads in parts(table) for i in range(0, len(heads), broad)]
    out, count = [], 0
    for name, heads in pieces:
        verdict = bool(table.verdict) and (name, heads) == pieces[-1]
        rows = [row if verdict or not table.verdict else row[:-1] for row in grid(table, heads, "\x01{}\x02", "≈")]
        for i in range(0, len(rows), TALL):
            caption = escape(table.title + f": {name}" * bool(name)) + " (continued)" * bool(count)
            out += [
                r"\begin{table*}[htbp]", r"\centering\scriptsize\setlength{\tabcolsep}{3pt}",
                rf"\caption{{{caption}}}\vspace{{4pt}}",
                r"\sbox0{%", *_tabular(table, heads, rows[i : i + TALL], verdict), "}%",
                r"\ifdim\wd0>\textwidth\resizebox{\textwidth}{!}{\usebox0}\else\usebox0\fi", r"\end{table*}", "",
            ]  # fmt: skip
            count += 1
            if count % FLOATS == 0:
                out += [r"\clearpage", ""]
    small = "\n\n".join(escape(text) for text in legend(table))
    return "\n".join([*out, rf"{{\scriptsize\setlength{{\parindent}}{{0pt}}{small}\par}}"]) + "\n"

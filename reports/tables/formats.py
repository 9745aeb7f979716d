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
from reports.tables.model import Head, Line, Measured, Printed, Table, number, split_columns
from reports.tables.runs import describe
from reports.tables.verdicts import NOT_COMPARABLE, NOT_REPRODUCED, NOT_RUN, REPRODUCED

VERDICT_SIGNS = {REPRODUCED: "✓", NOT_REPRODUCED: "✗", NOT_COMPARABLE: "∼"}
"""The sign of a cell's verdict, shown behind its difference."""
NUMBERS = ("measured", "low", "high", "spread", "p", "difference")
"""The endings of the CSV's columns that hold numbers; `verdict` and `published` hold text."""
LATEX_LINES = 22
"""The lines of a LaTeX table that fit on a page."""
LATEX_FLOATS = 12
"""The number of LaTeX tables after which the pending ones are placed: LaTeX keeps only a few."""
LATEX_COLUMNS = {True: 3, False: 5}
"""The columns of a LaTeX table that fit on a page, with and without published values."""


@dataclass(frozen=True)
class Text:
    """A cell as text.

    Args:
        main: the value with its marks.
        small: what follows in smaller letters: interval, spread, size, difference.
    """

    main: str
    small: str = ""

    @property
    def whole(self) -> str:
        """The whole cell in one line."""
        return f"{self.main} {self.small}".strip()


def signed(value: float, head: Head) -> str:
    """Return a difference with its sign and the digits of its metric.

    >>> signed(0.5, Head("psnr", "PSNR", "", "dB", "higher", "psnr-rgb8"))
    '+0.50'
    """
    text = number(value, head)
    return text if text.startswith("-") else f"+{text}"


def measured_text(cell: Measured | None, head: Head, bold: str) -> Text:
    """Return a measured cell as text: the value, its marks, its interval, the spread over seeds, size and device."""
    if cell is None:
        return Text("")
    if cell.value is None:
        return Text(f"not measured ({cell.note})" if cell.note else NOT_RUN)
    text = number(cell.value, head)
    text = (bold.format(text) if cell.best else text) + " ≈" * cell.tie
    small = []
    if cell.low is not None and cell.high is not None:
        small.append(f"[{number(cell.low, head)}, {number(cell.high, head)}]")
    if cell.spread is not None:
        small.append(f"± {number(cell.spread, head)}")
    return Text(text, " ".join(small + [f"({cell.detail})"] * bool(cell.detail)))


def printed_text(cell: Printed | None, measured: Measured | None, head: Head, bold: str) -> Text:
    """Return a published cell as text: as printed, its footnotes, the measured value minus it and the verdict."""
    text = (bold.format(cell.text) if cell.best else cell.text) if cell else ""
    text += "".join(f" [{mark}]" for mark in cell.marks) if cell else ""
    if measured is None or measured.difference is None:
        return Text(text)
    return Text(text, f"({signed(measured.difference, head)} {VERDICT_SIGNS[measured.verdict]})")


def label_text(line: Line) -> str:
    """Return a line's name as text, with its run, its warning and its letters."""
    run = describe(line.group) if line.group and line.detail != describe(line.group) else ""
    text = " · ".join(part for part in (line.label, line.detail, run, line.flag) if part)
    return text + "".join(f" ({mark})" for mark in line.notes)


def reasons(table: Table) -> list[str]:
    """Return the reasons of the rows' verdicts; rows with the same reason share an entry."""
    labels_of: dict[str, list[str]] = {}
    for line in table.lines:
        if line.reason:
            labels_of.setdefault(f"{line.verdict}, {line.reason}", []).append(line.label)
    return [f"{'; '.join(dict.fromkeys(labels))}: {reason}." for reason, labels in labels_of.items()]


def legend(table: Table) -> list[str]:
    """Return what the marks of a table mean, its verdicts, conventions, notes and footnotes, one entry per line."""
    texts = []
    if table.verdict:
        texts.append(f"Verdict: {table.verdict}, {table.reason}.")
        texts += reasons(table)
    if table.kind != LAYERS:
        texts.append(
            "Bold: the best in the column, among measured and among published values apart, and a cost among methods "
            "with weights. ≈: not told apart from the best measured one by a paired Wilcoxon signed-rank test over the "
            f"images, corrected over the column by Holm (5 %); fewer than {FEWEST} images tell nothing apart. [ ]: 95 "
            "% bootstrap interval over images. ±: standard deviation over seeds."
        )
    if table.verdict:
        texts.append(
            "Behind a published value: measured minus published, and "
            + ", ".join(f"{mark} {verdict}" for verdict, mark in VERDICT_SIGNS.items())
            + "."
        )
    texts += [f"Convention: {text}" for text in table.conventions]
    texts += [f"({mark}) {text}" for mark, text in table.notes]
    whole = ", ".join(str(mark) for mark in table.marks)
    texts += [f"Footnotes {whole} concern the whole table."] if whole else []
    return texts + [f"[{mark}] {kind}: {text}" for mark, kind, text in table.remarks]


def subcolumns(table: Table, head: Head) -> list[str]:
    """Return the columns below a heading: measured, published, or both."""
    return ["measured"] * (table.kind != LAYERS) + ["published"] * bool(head.printed)


def grid(table: Table, heads: Sequence[Head], bold: str) -> list[list[Text]]:
    """Return a part of a table as texts: one row per line, one column per entry of `subcolumns`.

    Args:
        bold: the format of a best value, "**{}**".
    """
    rows = []
    for line in table.lines:
        row = [Text(label_text(line) + "".join(f" [{mark}]" for mark in line.marks))]
        for head in heads:
            measured = line.measured.get(head.id)
            if table.kind != LAYERS:
                row.append(measured_text(measured, head, bold) if line.group else Text(NOT_RUN))
            if head.printed:
                row.append(printed_text(line.printed.get(head.id), measured, head, bold))
        rows.append(row + [Text(line.verdict)] * bool(table.verdict))
    return rows


def markdown(table: Table) -> str:
    """Return the table as Markdown."""
    out = [f"# {table.title}", ""]
    for name, heads in split_columns(table):
        titles = ["layer" if table.kind == LAYERS else "method"]
        for head in heads:
            marks = "".join(f" [{mark}]" for mark in head.marks)
            kinds = subcolumns(table, head)
            titles += [head.heading + f", {kind}" * table.compares + marks * (kind == kinds[-1]) for kind in kinds]
        titles += ["verdict"] * bool(table.verdict)
        out += [f"## {name}", ""] if name else []
        rows = [[text.whole for text in row] for row in grid(table, heads, "**{}**")]
        cells = [titles, ["---"] * len(titles), *rows]
        out += ["| " + " | ".join(text.replace("|", "\\|") for text in row) + " |" for row in cells] + [""]
    return "\n".join(out) + "\n".join(f"- {text}" for text in legend(table)) + "\n"


# CSV ------------------------------------------------------------------------------------------------------------------


def comma_separated(table: Table) -> str:
    """Return the table as CSV, numbers with all their digits, one line per line of the table; `read_csv` reads it."""
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
        ran = [member.name for cell in line.measured.values() for member, *_ in cell.parts]
        names = list(dict.fromkeys([member.name for member in group.evaluations] + ran)) if group else []
        row: list[Any] = [line.row, line.label, " ".join(names)]
        row += [group.record.kind, group.record.origin] if group else ["", ""]
        row.append(line.verdict)
        for head in table.heads:
            if table.kind != LAYERS:
                cell = line.measured.get(head.id, Measured(None))
                row += [cell.value, cell.low, cell.high, cell.spread, cell.p]
                row += [cell.difference, cell.verdict] if head.printed else []
            if head.printed:
                row.append(line.printed[head.id].text if head.id in line.printed else "")
        writer.writerow(["" if x is None else x for x in row])
    return out.getvalue()


def read_csv(path: Path) -> pd.DataFrame:
    """Read a table's CSV: in the columns of NUMBERS exactly the floats that were written (nan for none), else text."""
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
        "/": r"/\allowbreak{}",  # a file's address is longer than a line
        "}": r"\}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}", ">": r"\textgreater{}",
        "|": r"\textbar{}", "↑": r"$\uparrow$", "↓": r"$\downarrow$", "→": r"$\to$", "≈": r"$\approx$", "±": r"$\pm$",
        "×": r"$\times$", "·": r"$\cdot$", "−": "$-$", "≤": r"$\leq$", "≥": r"$\geq$", "∼": r"$\sim$", "µ": r"$\mu$",
        "σ": r"$\sigma$", "✓": r"$\checkmark$", "✗": r"$\times$", "°": r"$^{\circ}$", "–": "--", "—": "---",
        "’": "'", "‘": "`", "“": "``", "”": "''", "…": r"\ldots{}", "\u00a0": "~", "ß": r"\ss{}", "ø": r"\o{}",
        "æ": r"\ae{}", "ł": r"\l{}",
        "⁻": "$^{-}$", **{sign: f"$^{{{digit}}}$" for digit, sign in enumerate("⁰¹²³⁴⁵⁶⁷⁸⁹")},
        # Two published labels contain Cyrillic letters that look like these.
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
    """Return text for LaTeX in ASCII: signs and accents as commands, any other letter as its code ("[U+4E2D]").

    >>> print(escape("5 % of Köhler"))
    5 \\% of K\\"{o}hler
    """
    text = unicodedata.normalize("NFC", text).translate(SIGNS)
    return text if text.isascii() else re.sub(r"[^\x00-\x7f]", lambda match: _foreign(match[0]), text)


def _cell(text: Text) -> str:
    # The marks of bold text survive escaping.
    main, small = (escape(part).replace("\x01", r"\textbf{").replace("\x02", "}") for part in (text.main, text.small))
    return rf"\begin{{tabular}}[t]{{@{{}}r@{{}}}}{main}\\{{\tiny {small}}}\end{{tabular}}" if small else main


def _heading(head: Head) -> str:
    marks = "".join(f" [{mark}]" for mark in head.marks)
    below = escape(replace(head, over="").heading + marks)
    return rf"\begin{{tabular}}[b]{{@{{}}c@{{}}}}{escape(head.over)}\\{below}\end{{tabular}}" if head.over else below


def _tabular(table: Table, heads: Sequence[Head], rows: Sequence[Sequence[Text]], verdict: bool) -> list[str]:
    kinds = [subcolumns(table, head) for head in heads]
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
    """Return the table as LaTeX for a plain article with booktabs, graphicx and amssymb, its legend in small print.

    A table too broad or too tall for a page is split; a part that is still too broad is made smaller.
    """
    most = LATEX_COLUMNS[table.compares and table.kind != LAYERS]
    pieces = [(name, heads[i : i + most]) for name, heads in split_columns(table) for i in range(0, len(heads), most)]
    out, count = [], 0
    for name, heads in pieces:
        verdict = bool(table.verdict) and (name, heads) == pieces[-1]
        rows = [row if verdict or not table.verdict else row[:-1] for row in grid(table, heads, "\x01{}\x02")]
        for i in range(0, len(rows), LATEX_LINES):
            caption = escape(table.title + f": {name}" * bool(name)) + " (continued)" * bool(count)
            out += [
                r"\begin{table*}[htbp]", r"\centering\scriptsize\setlength{\tabcolsep}{3pt}",
                rf"\caption{{{caption}}}\vspace{{4pt}}",
                r"\sbox0{%", *_tabular(table, heads, rows[i : i + LATEX_LINES], verdict), "}%",
                r"\ifdim\wd0>\textwidth\resizebox{\textwidth}{!}{\usebox0}\else\usebox0\fi", r"\end{table*}", "",
            ]  # fmt: skip
            count += 1
            if count % LATEX_FLOATS == 0:
                out += [r"\clearpage", ""]
    small = "\n\n".join(escape(text) for text in legend(table))
    return "\n".join([*out, rf"{{\scriptsize\setlength{{\parindent}}{{0pt}}{small}\par}}"]) + "\n"

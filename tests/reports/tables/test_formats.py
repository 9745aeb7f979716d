"""Tables as Markdown, CSV and LaTeX: all formats show the same."""

from __future__ import annotations

import itertools
import math
import shutil
import subprocess
from dataclasses import replace

import pandas as pd
import pytest

from bench.record import TrainingSet
from reports.published import printed
from reports.scores import statistics
from reports.scores.measures import MEASURES
from reports.tables import custom, formats, model, verdicts
from reports.tables.all_tables import all_tables
from reports.tables.cells import cell_records
from reports.tables.model import Measured
from tests import make_scores
from tests.make_scores import Spec
from tests.reports.samples import PUBLISHED, in_memory, join, line_of, real

PREAMBLE = r"\documentclass{article}\usepackage{booktabs,graphicx,amssymb}\begin{document}"


@pytest.fixture(scope="module")
def shown() -> list[model.Table]:
    """All tables of a store with every task, several seeds, stand-ins and failures."""
    return all_tables([in_memory(spec) for spec in make_scores.few()], PUBLISHED, custom.load(PUBLISHED))


def test_two_seeds_have_a_spread_and_an_interval_in_every_format():
    specs = [make_scores.originals(Spec("lmfn", "gopro", "deblur", 29, "lmfn", seed=seed)) for seed in (0, 1)]
    table = join("lmfn-1", *(in_memory(spec, psnr_rgb8=29.0 + spec.seed) for spec in specs))
    cell = line_of(table, "lmfn").measured["psnr"]
    assert (cell.value, cell.spread) == (pytest.approx(29.5), pytest.approx(math.sqrt(0.5)))
    low, high = statistics.bootstrap(cell.images)
    assert (cell.low, cell.high) == (low, high) and low < 29.5 < high
    interval = f"[{low:.2f}, {high:.2f}] ± 0.71"
    assert f"| 29.50 {interval} | **31.54** (-2.04 ✗) |" in formats.markdown(table)
    assert formats.escape(interval) in formats.latex(table) and "(-2.04 $\\times$)" in formats.latex(table)


def test_the_run_that_was_trained_on_the_dataset_represents_the_row():
    """An evaluation of a run trained elsewhere comes first by name, and must neither come first nor count as a seed."""
    elsewhere = TrainingSet("mrfnet-gopro", "gopro", "GOPRO", "offline photographs", False, "0" * 64)
    moved = make_scores.originals(Spec("mrfnet", "visdrone", "deblur", 25, "mrfnet", seed=1, named="a"))
    moved.record["trained_on"] = (elsewhere,)
    trained_there = make_scores.originals(Spec("mrfnet", "visdrone", "deblur", 27, "mrfnet", named="b"))
    table = join("mrfnet-2", in_memory(moved, psnr_rgb8=25.0), in_memory(trained_there, psnr_rgb8=27.0))
    lines = [line for line in table.lines if line.row == "mrfnet" and line.group]
    assert [[evaluation.name for evaluation in line.group.evaluations] for line in lines] == [["b"], ["a"]]
    assert [line.first for line in lines] == [True, False]
    assert "trained on GOPRO (offline photographs)" in formats.markdown(table)
    assert verdicts.obstacles(in_memory(trained_there).record) == []
    assert verdicts.obstacles(in_memory(moved).record) == ["trained on stand-in data"]


def test_the_csv_has_exactly_the_same_values(shown, tmp_path):
    checked = 0
    for table in shown:
        path = tmp_path / f"{table.id}.csv"
        path.write_text(formats.comma_separated(table), encoding="utf-8")
        frame = formats.read_csv(path)
        assert list(frame["row"]) == [line.row for line in table.lines]
        for head, (i, line) in itertools.product(table.heads, enumerate(table.lines)):
            if table.kind != printed.LAYERS:
                cell = line.measured.get(head.id, Measured(None))
                for ending in ("low", "high", "spread", "p") + ("difference",) * bool(head.printed):
                    value = getattr(cell, ending)
                    assert frame.at[i, f"{head.id}.{ending}"] == value or value is None
                    assert pd.isna(frame.at[i, f"{head.id}.{ending}"]) == (value is None)
                assert frame.at[i, f"{head.id}.measured"] == cell.value or cell.value is None
            if head.printed:
                text = line.printed[head.id].text if head.id in line.printed else ""
                assert frame.at[i, f"{head.id}.published"] == text
        for entry in cell_records(table):
            rows = frame[
                (frame["row"] == entry["row"]) & frame["evaluations"].str.contains(entry["evaluation"], regex=False)
            ]
            assert entry["cell"] in list(rows[f"{entry['column']}.measured"])
            checked += 1
    assert checked > 500
    infinite = shown[0]
    infinite = replace(
        infinite, lines=[replace(infinite.lines[0], measured={infinite.heads[0].id: Measured(math.inf)})]
    )
    (tmp_path / "inf.csv").write_text(formats.comma_separated(infinite), encoding="utf-8")
    assert formats.read_csv(tmp_path / "inf.csv").at[0, f"{infinite.heads[0].id}.measured"] == math.inf


def test_every_printed_text_can_be_written_in_latex():
    raw = [printed.read_yaml(path) for path in sorted(printed.FOLDER.glob("*.yaml"))]
    raw += [printed.read_yaml(printed.PROTOCOLS), {measure.title: measure.protocol for measure in MEASURES.values()}]

    def strings(value):
        if isinstance(value, dict):
            return [text for item in value.items() for part in item for text in strings(part)]
        if isinstance(value, list):
            return [text for part in value for text in strings(part)]
        return [value] if isinstance(value, str) else []

    texts = [text for content in raw for text in strings(content)]
    assert len(texts) > 3000 and any("×" in text for text in texts)
    for text in texts:
        escaped = formats.escape(text)
        assert escaped.isascii() and "[U+" not in escaped, text
    assert formats.escape("5 % of a_b") == r"5 \% of a\_b" and formats.escape("Köhler") == 'K\\"{o}hler'
    assert formats.escape("中") == "[U+4E2D]"  # not a letter of these fonts, so its code


def test_latex_rows_have_as_many_cells_as_their_table_has_columns(shown):
    for table in shown:
        for block in formats.latex(table).split(r"\begin{tabular}{p{0.28\textwidth}}")[1:] or [""]:
            columns = 1 + len(block.partition("}")[0])
            rows = [line for line in block.splitlines() if line.startswith(r"\raggedright ")]
            assert {line.replace(r"\&", "").count("&") + 1 for line in rows} <= {columns}
    text = formats.latex(join("lmfn-3", real("lmfn", 30)))
    assert r"$\checkmark$" in text and r"\toprule" in text and r"\bottomrule" in text


def test_all_latex_tables_compile_in_a_plain_article(shown, tmp_path):
    compiler = shutil.which("pdflatex")
    if compiler is None:
        pytest.skip("pdflatex is not installed: that the LaTeX tables compile was not tested")
    for table in shown:
        (tmp_path / f"{table.id}.tex").write_text(formats.latex(table), encoding="utf-8")
    body = "\n".join(rf"\input{{{table.id}}}\clearpage" for table in shown)
    (tmp_path / "all.tex").write_text(f"{PREAMBLE}\n{body}\n\\end{{document}}\n", encoding="utf-8")
    done = subprocess.run(
        [compiler, "-interaction=nonstopmode", "-halt-on-error", "all.tex"],
        cwd=tmp_path, capture_output=True, text=True, errors="replace", check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-2000:]
    assert "Missing character" not in done.stdout and "Overfull" not in done.stdout
    assert (tmp_path / "all.pdf").stat().st_size > 10_000


def test_a_long_table_is_split():
    runs = [in_memory(Spec("mine", "gopro", "deblur", 29, seed=None, named=f"run-{i:02d}")) for i in range(50)]
    (table,) = all_tables(runs, replace(PUBLISHED, tables={}), [])
    text = formats.latex(table)
    pieces = math.ceil(len(table.heads) / formats.LATEX_COLUMNS[False]) * math.ceil(50 / formats.LATEX_LINES)
    assert text.count(r"\begin{table*}") == pieces and text.count(r"\clearpage") == pieces // formats.LATEX_FLOATS

"""The tables: their statistics, their verdicts, and that all formats show the same."""

from __future__ import annotations

import importlib
import itertools
import math
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.stats import kendalltau, rankdata, wilcoxon

from bench.contracts import DataError
from bench.record import MissingLoss, RandomHelper, TrainingSet
from bench.scoring.metrics import catalogue
from bench.scoring.metrics.measure import Metric, declared
from bench.scoring.table import ScoreTable
from reports.published import printed
from reports.scores import reading, statistics
from reports.scores.measures import MEASURES
from reports.scores.training_mse import MSE_TRAINING
from reports.tables import custom, formats, model, overviews, verdicts
from reports.tables.all_tables import all_tables
from reports.tables.cells import cell_records
from reports.tables.model import Head, Measured
from reports.tables.runs import Group, join_seeds
from tests import make_scores
from tests.make_scores import OFFLINE, Spec
from tests.reports.samples import PUBLISHED, in_memory, join, line_of, real, series

PREAMBLE = r"\documentclass{article}\usepackage{booktabs,graphicx,amssymb}\begin{document}"


@pytest.fixture(scope="module")
def shown() -> list[model.Table]:
    """All tables of a store with every task, several seeds, stand-ins and failures."""
    return all_tables([in_memory(spec) for spec in make_scores.few()], PUBLISHED, custom.load(PUBLISHED))


# Statistics -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [1, 5, 6, 20, 50, 51, 300])
def test_the_signed_rank_test_agrees_with_scipy(count):
    rng = np.random.default_rng(count)
    rows = [rng.normal(0.2, 1, count) for _ in range(4)]
    method = "exact" if count <= statistics.EXACT else "approx"
    expected = [wilcoxon(row, method=method).pvalue for row in rows]
    assert statistics.signed_rank(rows) == pytest.approx(expected, rel=1e-9)


def test_equal_differences_share_their_rank():
    row = np.array([1.0, 1, -1, 2, 2, -3, 0, 4, np.nan, np.inf])
    kept = row[(row != 0) & ~np.isnan(row)]
    ranks = rankdata(np.abs(kept))
    smaller = min(ranks[kept > 0].sum(), ranks[kept < 0].sum())
    sums = [(ranks * signs).sum() for signs in itertools.product((0, 1), repeat=len(kept))]  # all signs
    assert statistics.signed_rank([row])[0] == pytest.approx(2 * np.mean(np.array(sums) <= smaller))
    many = np.random.default_rng(0).integers(-3, 4, 90).astype(float)
    assert statistics.signed_rank([many])[0] == pytest.approx(wilcoxon(many, method="approx").pvalue)
    both = statistics.signed_rank([row, many])  # rows of different lengths at once
    assert both.tolist() == [statistics.signed_rank([row])[0], statistics.signed_rank([many])[0]]


def test_the_smallest_p_value_needs_six_images():
    for count in (statistics.FEWEST - 1, statistics.FEWEST):
        (p,) = statistics.signed_rank([np.arange(1.0, count + 1)])
        assert p == 2 / 2**count and (p < statistics.LEVEL) == (count == statistics.FEWEST)
    assert statistics.signed_rank([np.zeros(9)])[0] == 1


def test_holm_by_hand_and_by_its_definition():
    assert statistics.holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert statistics.holm([0.5, 0.9]).tolist() == [1.0, 1.0] and statistics.holm([]).tolist() == []
    values = np.random.default_rng(1).uniform(0, 0.1, 30)
    count = len(values)
    expected = [
        min(1.0, max((count - sum(values < other)) * other for other in values if other <= value)) for value in values
    ]
    assert statistics.holm(values) == pytest.approx(expected)


def test_conditions_of_an_image_are_one_difference():
    values = np.random.default_rng(3).normal(0, 1, 12)
    names = [f"{i}" for i in range(6) for _ in range(2)]
    gaps = statistics.differences(series(values, names), series(np.zeros(12), names))
    assert gaps.to_numpy() == pytest.approx(values.reshape(6, 2).mean(axis=1)) and list(gaps.index) == list("012345")
    low, high = statistics.bootstrap(gaps)
    assert low < gaps.mean() < high


def test_only_common_images_count_and_rounding_is_no_difference():
    run = series([0.1 + 0.2, 1.0, 5.0], ["a", "b", "c"])
    other = series([0.3, 2.0, math.inf], ["a", "b", "d"])
    assert statistics.differences(run, other).to_dict() == {"a": 0.0, "b": -1.0}
    assert statistics.against(run, [series([1.0], ["z"])]) == [None]  # no image in common, no test
    infinite = series([math.inf, 1.0], ["a", "b"])
    assert math.isnan(statistics.differences(infinite, infinite)["a"])


def test_the_lower_end_is_numpys_percentile_without_interpolation():
    means = np.random.default_rng(0).normal(0, 1, 1000)
    expected = np.percentile(means, 2.5, method="inverted_cdf")
    assert statistics.lower_end(means) == statistics.lower_end(means, np.full(1000, 3)) == expected
    assert statistics.lower_end(np.array([4.0])) == 4.0


# Ties -----------------------------------------------------------------------------------------------------------------


def marks(table: model.Table, column: str) -> dict[str, tuple[bool, bool, float | None]]:
    """Best, tie and p of each measured cell of a column."""
    cells = {line.row: line.measured[column] for line in table.lines if line.group}
    return {row: (cell.best, cell.tie, cell.p) for row, cell in cells.items()}


def twin(evaluation: reading.Evaluation, row: str) -> reading.Evaluation:
    """The same scores under another name."""
    return replace(evaluation, record=replace(evaluation.record, evaluation=f"{row}-twin", method=row, row=row))


def test_of_two_infinite_means_more_perfect_images_are_better():
    one, all_perfect, finite = real("lmfn", 31.0), real("dmphn", 25.0), real("srn", 40.0)
    one.scores["psnr-rgb8"].iloc[0, one.scores["psnr-rgb8"].columns.get_loc("value")] = math.inf
    all_perfect.scores["psnr-rgb8"]["value"] = math.inf
    shown = marks(join("lmfn-1", one, all_perfect, finite), "psnr")
    assert {row: (best, tie) for row, (best, tie, _) in shown.items()} == {
        "lmfn": (False, False), "dmphn": (True, False), "srn": (False, False),
    }  # fmt: skip
    assert shown["lmfn"][2] == shown["srn"][2] == 4 / 2**12  # by Holm: 2 of 2^12 twice, and 2 of 2^11


def test_two_identical_methods_tie():
    lmfn = real("lmfn", 31.0)
    equal = marks(join("lmfn-1", lmfn, twin(lmfn, "dmphn")), "psnr")
    assert sorted(equal.values(), key=str) == [(False, True, 1.0), (False, True, None)]  # none best where all are equal
    with_worse = marks(join("lmfn-1", lmfn, twin(lmfn, "dmphn"), real("srn", 25.0)), "psnr")
    assert with_worse["lmfn"][:2] == with_worse["dmphn"][:2] == (True, True)  # both best by equal values, and tied
    assert with_worse["srn"][:2] == (False, False) and with_worse["srn"][2] < statistics.LEVEL
    text = formats.markdown(join("lmfn-1", lmfn, twin(lmfn, "dmphn"), real("srn", 25.0)))
    assert text.count("**31.00** ≈") == 2


def test_the_test_is_corrected_over_the_column():
    steps, hard = np.arange(1, 13) / 100, np.random.default_rng(5).normal(30, 3, 12)
    unsure = np.where(np.arange(1, 13) == 12, steps, -steps)  # the largest difference is the other way
    gaps = {"lmfn": 0 * steps, "dmphn": -steps, "srn": unsure, "sis": 1.01 * unsure, "deepdeblur": 1.02 * unsure}
    runs = [real(name, 30) for name in gaps]
    for run, gap in zip(runs, gaps.values(), strict=True):
        run.scores["psnr-rgb8"]["value"] = hard + gap
    marked = marks(join("lmfn-1", *runs), "psnr")
    single = wilcoxon(unsure, method="exact").pvalue
    assert single < statistics.LEVEL < 3 * single  # significant as a single test, not as one of three
    assert {row: p for row, (_, _, p) in marked.items()} == pytest.approx(
        {"lmfn": None, "dmphn": 4 * 2 / 2**12} | dict.fromkeys(("srn", "sis", "deepdeblur"), 3 * single)
    )
    assert {row for row, (_, tie, _) in marked.items() if tie} == {"srn", "sis", "deepdeblur"}
    assert {row for row, (best, *_) in marked.items() if best} == {"lmfn"}


def test_few_images_tie_and_the_legend_explains_it():
    runs = [
        in_memory(make_scores.originals(Spec(name, "gopro", "deblur", psnr, name)), images=5)
        for name, psnr in (("lmfn", 31.0), ("dmphn", 25.0))
    ]
    table = join("lmfn-1", *runs)
    assert marks(table, "psnr")["dmphn"] == (False, True, 2 / 2**5)
    assert "corrected over the column by Holm (5 %); fewer than 6 images tell nothing apart" in formats.markdown(table)


def test_a_cost_is_best_but_not_tested():
    marked = marks(join("lmfn-1", real("lmfn", 31.0), real("dmphn", 30.0)), "model-size")
    assert set(marked.values()) == {(False, False, None)}  # equal sizes: none is the best


def test_doing_nothing_is_not_the_cheapest_method():
    specs = [
        Spec("input", "gopro", "deblur", 25.0, kind="no training", params=0.1),
        Spec("lmfn", "gopro", "deblur", 29.0, params=2.0),
        Spec("mine", "gopro", "deblur", 26.0, params=3.0),
    ]
    (shown,) = overviews.overviews(join_seeds(in_memory(spec) for spec in specs))
    seconds = {line.label: line.measured["seconds"] for line in shown.lines}
    assert min(seconds, key=lambda label: seconds[label].value) == "Input"
    assert [label for label, cell in seconds.items() if cell.best] == ["LMFN"]


# Verdicts -------------------------------------------------------------------------------------------------------------


def judged(
    value: float, low: float | None, high: float | None, text: str, number: float, used: bool = True
) -> Measured:
    """A measured cell judged against a printed number; `used`: in the paper's convention."""
    evaluation = real("lmfn", 30.0)
    cell = Measured(value, low, high, parts=((evaluation, reading.measure(evaluation, "psnr-rgb8", {}), value),))
    protocol = printed.Protocol("psnr-rgb8", "psnr-rgb8" if used else None, used, "Why.")
    column = PUBLISHED.tables["lmfn-1"].columns[0]
    head = Head("psnr", "PSNR", "", "dB", "higher", "psnr-rgb8", printed=column, protocol=protocol)
    verdicts.judge_cell(cell, model.Printed(text, number), head)
    return cell


def test_a_cell_is_judged_by_its_interval():
    inside = judged(30.0, 29.5, 30.5, "30.4", 30.4)
    assert inside.verdict == "reproduced" and inside.difference == pytest.approx(-0.4)
    assert inside.reason == "30.00 against 30.4, inside the 95 % interval"
    assert judged(30.0, 29.5, 30.5, "30.55", 30.55).verdict == "not reproduced"
    assert judged(30.0, 29.5, 30.5, "30.5", 30.55).verdict == "reproduced"  # half a unit of the last digit
    assert judged(10.0, None, None, "10.1", 10.1).verdict == "reproduced"  # a count, within 1 %
    assert judged(10.0, None, None, "10.300", 10.3).verdict == "not reproduced"
    other = judged(30.0, 29.5, 30.5, "30.0", 30.0, used=False)
    assert (other.verdict, other.difference) == ("not comparable", 0)
    assert other.reason == "because of another metric convention: shown is psnr-rgb8, the paper's is not known"


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"origin": OFFLINE}, f"stand-in data ({OFFLINE})"),
        ({"profile": "sample"}, "shorter training (sample profile)"),
        ({"profile": "sample", "kind": "authors' weights"}, "sample profile"),
        ({"partial": True}, "partial data"),
        ({"reduced": ("channels: 64 -> 16",)}, "reduced network"),
        ({"missing_losses": (MissingLoss("style", "no file"),)}, "missing weights (loss terms left out)"),
        ({"random_helpers": (RandomHelper("vgg", ("style",)),)}, "losses through random weights"),
    ],
)
def test_every_reason_why_a_run_is_not_comparable(changes, reason):
    evaluation = real("lmfn", 31.54, ssim_matlab_rgb=0.923)
    table = join("lmfn-1", replace(evaluation, record=replace(evaluation.record, **changes)))
    line = line_of(table, "lmfn")
    for verdict, text in (
        (line.measured["psnr"].verdict, line.measured["psnr"].reason),
        (line.verdict, line.reason),
        (table.verdict, table.reason.partition(";")[0]),
    ):
        assert (verdict, text) == ("not comparable", f"because of {reason}")
    assert f"LMFN(Ours): not comparable, because of {reason}." in formats.markdown(table)


def test_all_26_tables_are_shown_without_a_run():
    published = [table for table in all_tables([], PUBLISHED, custom.load(PUBLISHED)) if table.compares]
    assert [table.id for table in published] == list(PUBLISHED.tables) and len(published) == 26
    layers = [table for table in published if table.kind == printed.LAYERS]
    assert len(layers) == 3 and {table.verdict for table in layers} == {""}
    for table in published:
        assert table in layers or (table.verdict, {line.verdict for line in table.lines}) == ("not run", {"not run"})
        assert len(table.lines) == len(PUBLISHED.tables[table.id].rows) and cell_records(table) == []
        text = formats.markdown(table)
        assert all(value in text for row in PUBLISHED.tables[table.id].rows for value in row.values.values() if value)
        assert (f"Verdict: not run, none of its {len(table.lines)} rows has a run." in text) == (table not in layers)


def test_kendalls_tau_of_a_table_is_scipys():
    printed = {row.method: row.numbers["psnr"] for row in PUBLISHED.tables["lmfn-1"].rows}
    psnr = {"deepdeblur": 28.0, "srn": 29.0, "dmphn": 27.5, "lmfn": 31.0}
    table = join("lmfn-1", *(real(name, value, ssim_matlab_rgb=0.9) for name, value in psnr.items()))
    taus = {head.id: tau for head, tau, _ in verdicts.orders(verdicts.representatives(table.lines), table.heads)}
    assert taus["psnr"] == pytest.approx(kendalltau(list(psnr.values()), [printed[name] for name in psnr]).statistic)


# Formats --------------------------------------------------------------------------------------------------------------


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
    assert [[one.name for one in line.group.evaluations] for line in lines] == [["b"], ["a"]]
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


# A new metric ---------------------------------------------------------------------------------------------------------

LARGEST_ERROR = """
import numpy as np
from bench.scoring.metrics.measure import Image, ImageMetric
from bench.scoring.metrics.values import in_floats


def largest_error(pred: Image, target: Image) -> float:
    pred1, target1 = in_floats(pred, target)
    return 100 * float(np.abs(pred1 - target1).max())


LARGEST_ERROR = ImageMetric(
    id="largest-error",
    title="largest error",
    unit="%",
    better="lower",
    decimals=1,
    compute=largest_error,
    protocol="the largest absolute error of a pixel, in percent of white",
    overview=15,
)
"""


def test_a_new_metric_is_scored_and_printed_as_it_is_declared(tmp_path, monkeypatch):
    """One file with a function and its declaration, added to the catalogue: no other module knows of it."""
    (tmp_path / "largest_error.py").write_text(LARGEST_ERROR, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    module = importlib.import_module("largest_error")
    for name, metric in declared([module], Metric).items():
        monkeypatch.setitem(catalogue.METRICS, name, metric)

    scores = ScoreTable({})
    target = np.full((12, 12, 3), 0.5)
    for i in range(12):
        values = catalogue.compute_all(["largest-error"], target + 0.1 + i / 500, target)
        scores.add(catalogue.find("largest-error"), values["largest-error"], image=f"{i:04d}", input="blurred")
    evaluation = in_memory(Spec("mine", "gopro", "deblur", 29))
    evaluation = replace(
        evaluation, scores={**evaluation.scores, "largest-error": scores.frame().astype({"version": str})}
    )

    (shown,) = overviews.overviews(join_seeds([evaluation]))
    assert [head.id for head in shown.heads][:3] == ["psnr-rgb8", "largest-error", "ssim-gauss11"]
    cell = shown.lines[0].measured["largest-error"]
    assert cell.value == pytest.approx(11.1)
    number = f"| 11.1 [{cell.low:.1f}, {cell.high:.1f}] |"
    text = formats.markdown(shown)
    assert "| largest error ↓ (%) |" in text and number in text
    assert "- Convention: largest-error: the largest absolute error of a pixel, in percent of white\n" in text

    entry = custom_file(tmp_path, "[{run: " + evaluation.name + ", label: Mine}]", columns="[largest-error]")
    table = custom.custom_table(entry, join_seeds([evaluation]))
    assert table is not None and number in formats.markdown(table)


# Tables of your own ---------------------------------------------------------------------------------------------------


def custom_file(folder: Path, rows: str, columns: str = "[psnr-rgb8]") -> custom.CustomTable:
    """A table with these rows."""
    text = "{id: mine, title: Mine, task: deblur, dataset: gopro, columns: " + columns + ", rows: " + rows + "}"
    (folder / "mine.yaml").write_text(text, encoding="utf-8")
    return custom.load(PUBLISHED, folder)[0]


def ablation() -> list[reading.Evaluation]:
    """Five runs of one method, two of one network, and a run of another."""
    networks = {"a": {"paths": 2}, "b": {"paths": 4, "edges": True}, "c": {"paths": 6}, "d": {"paths": 6}}
    specs = [
        Spec(
            "mrfnet",
            "gopro",
            "deblur",
            29,
            "mrfnet",
            named=f"mrfnet-{name}",
            record={"network": network},
        )
        for name, network in networks.items()
    ]
    specs += [
        Spec("mrfnet", "visdrone", "deblur", 29, named="mrfnet-v"),
        Spec("lmfn", "gopro", "deblur", 28, named="l"),
    ]
    return [in_memory(replace(spec, record={**spec.record, "train": {"lr": 1e-4}}), images=3) for spec in specs]


@pytest.mark.parametrize(
    ("rows", "labels"),
    [
        ("{method: mrfnet}", {
            "mrfnet-a": "Mrfnet, paths 2, edges default", "mrfnet-b": "Mrfnet, paths 4, edges True",
            "mrfnet-c": "Mrfnet, paths 6, edges default",
        }),
        ('{run: "*-[ab]"}', {"mrfnet-a": "Mrfnet, paths 2, edges default", "mrfnet-b": "Mrfnet, paths 4, edges True"}),
        ("{method: [lmfn, mrfnet], run: [l, mrfnet-a]}", {"l": "LMFN", "mrfnet-a": "Mrfnet"}),
        ("{method: mrfnet, dataset: gopro, kind: trained, run: mrfnet-c}", {"mrfnet-c": "Mrfnet"}),
    ],
)  # fmt: skip
def test_rows_are_selected_by_what_runs_have(tmp_path, rows, labels):
    entry = custom_file(tmp_path, rows)
    runs = join_seeds(ablation()[:3] + ablation()[4:])
    table = custom.custom_table(entry, runs)
    assert table is not None and {line.row: line.label for line in table.lines} == labels
    assert all(line.measured["psnr-rgb8"].value for line in table.lines)


def test_runs_of_one_network_are_labelled_by_name(tmp_path):
    entry = custom_file(tmp_path, "{run: 'mrfnet-[cd]'}")
    runs = [Group((one,)) for one in ablation()]
    assert custom.select(entry, runs) == {"mrfnet-c": "Mrfnet, mrfnet-c", "mrfnet-d": "Mrfnet, mrfnet-d"}
    assert custom.custom_table(custom_file(tmp_path, "{method: rfr}"), runs) is None  # no run fits


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ("{methode: mrfnet}", "rows: cannot select by 'methode'; the nearest are: method"),
        ("{method: 3}", "rows: method: found 3, expected a name, a pattern or a list of them"),
        ("{method: []}", "rows: method: found"),
        ("{}", "rows: selects by nothing; expected some of run, method"),
        ("mrfnet", "rows: found 'mrfnet', expected list or dict"),
    ],
)
def test_a_faulty_selection_is_refused(tmp_path, rows, message):
    with pytest.raises(DataError, match=message):
        custom_file(tmp_path, rows)


# Reading scores -------------------------------------------------------------------------------------------------------


def test_scores_are_read_as_they_were_written(tmp_path):
    spec = Spec("rfr", "paris-streetview", "inpaint", 29, "rfr")
    frame = make_scores.score_rows(spec, 4)
    frame["mask_band"] = frame["mask_band"].where(frame["mask_band"] != "", None)
    frame.to_parquet(tmp_path / "scores.parquet")
    rows = reading.read_scores(tmp_path / "scores.parquet")
    assert list(rows) == list(dict.fromkeys(frame["metric"])) and len(rows) == frame["metric"].nunique()
    for metric, group in frame.groupby("metric"):
        assert rows[str(metric)]["value"].to_numpy() == pytest.approx(group["value"].to_numpy(), nan_ok=True)
        assert list(rows[str(metric)]["mask_band"]) == list(group["mask_band"].fillna(""))
        assert set(rows.columns(str(metric))["version"]) == {"1"}
    assert "fid" not in rows and "psnr-rgb8" in rows
    evaluation = reading.Evaluation(tmp_path, make_scores.record_of(spec), rows)
    assert reading.measure(evaluation, "psnr-rgb8", {"input": "sharp"}) is reading.measure(
        evaluation, "psnr-rgb8", {"input": "sharp"}
    )


def test_the_training_mse_is_the_mean_of_the_last_tenth(tmp_path):
    """Only of the watched loss of the full-size image, in any order of the rows; without it there is no such score."""
    spec = Spec("mrfnet", "gopro", "deblur", 29, "mrfnet")
    make_scores.score_rows(spec, 4).to_parquet(tmp_path / "scores.parquet")
    plain = reading.read_scores(tmp_path / "scores.parquet", tmp_path / "losses.parquet")
    assert MSE_TRAINING.id not in plain
    steps = np.arange(40)
    losses = pd.concat(
        pd.DataFrame({"step": steps, "phase": "train", "player": "network", "name": name, "value": values})
        for name, values in (("scale_1", steps / 10.0), ("mse", 9.0 + steps))
    )
    losses.iloc[::-1].to_parquet(tmp_path / "losses.parquet")
    rows = reading.read_scores(tmp_path / "scores.parquet", tmp_path / "losses.parquet")
    assert list(rows) == [*plain, MSE_TRAINING.id]
    evaluation = reading.Evaluation(tmp_path, make_scores.record_of(spec), rows)
    stat = reading.measure(evaluation, MSE_TRAINING.id, {"scene": "indoor"})
    assert stat.value == pytest.approx((3.6 + 3.7 + 3.8 + 3.9) / 4)
    assert (stat.better, stat.interval, stat.version) == ("lower", None, "1")
    for metric in plain:
        pd.testing.assert_frame_equal(rows[metric], plain[metric])
    losses[losses["name"] == "mse"].to_parquet(tmp_path / "losses.parquet")
    assert MSE_TRAINING.id not in reading.read_scores(tmp_path / "scores.parquet", tmp_path / "losses.parquet")
    (tmp_path / "losses.parquet").write_bytes(b"PAR1")
    with pytest.raises(DataError, match=r"losses\.parquet: cannot be read as Parquet"):
        reading.read_scores(tmp_path / "scores.parquet", tmp_path / "losses.parquet")

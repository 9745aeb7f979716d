"""Overviews of all runs, and tables that no paper prints."""

from __future__ import annotations

from dataclasses import replace

import pytest

from bench.contracts import DataError
from reports.figures import naming
from reports.tables import custom, formats, overviews
from reports.tables.cells import cell_records
from reports.tables.runs import join_seeds
from tests.make_scores import OFFLINE, Spec
from tests.reports.samples import PUBLISHED, in_memory, real


def test_an_overview_shows_every_run_and_flags_those_that_do_not_beat_the_input():
    runs = [
        in_memory(Spec("input", "gopro", "deblur", 25, kind="no training"), psnr_rgb8=25.0),
        in_memory(Spec("deblurgan", "gopro", "deblur", 25, "deblurgan"), psnr_rgb8=24.58),
        in_memory(Spec("mine", "gopro", "deblur", 29), psnr_rgb8=29.0),
    ]
    (shown,) = overviews.overviews(join_seeds(runs))
    assert shown.id == "overview-deblur-gopro-offline-photographs" and OFFLINE in shown.title
    assert [(line.label, line.flag) for line in shown.lines] == [
        ("MINE", ""), ("Input", ""), ("Deblurgan", "below input by 0.42 dB"),
    ]  # fmt: skip
    assert "LPIPS: the weights of AlexNet are not on this machine" in dict(shown.notes).values()
    assert "not measured" in formats.markdown(shown)


def test_inpainting_has_an_overview_per_input_and_psnr_by_mask():
    runs = [
        in_memory(Spec("telea", "paris-streetview", "inpaint", 27, kind="no training", noise=0)),
        in_memory(Spec("ec", "paris-streetview", "inpaint", 26, "ec", noise=0)),
    ]
    result = {table.id.removesuffix("-offline-photographs"): table for table in overviews.overviews(join_seeds(runs))}
    assert set(result) == {
        f"{kind}-inpaint-paris-streetview-{given}"
        for kind in ("overview", "conditions")
        for given in ("sharp", "blurred")
    }
    below = [line.flag for line in result["overview-inpaint-paris-streetview-sharp"].lines]
    assert below[0] == "" and below[1] == "below telea by 1.00 dB"
    assert len(result["conditions-inpaint-paris-streetview-sharp"].heads) == 6


def test_runs_with_the_same_title_have_different_labels():
    runs = [
        in_memory(Spec("mrfnet", "gopro", "deblur", 29, "mrfnet", seed=seed, named=name, record={"network": {"k": k}}))
        for seed, name, k in ((0, "four", 4), (1, "four-again", 4), (0, "two", 2))
    ] + [in_memory(Spec("lmfn", "gopro", "deblur", 28, "lmfn"))]
    (shown,) = overviews.overviews(join_seeds(runs))
    assert {line.label for line in shown.lines} == {"Mrfnet, four", "Mrfnet, two", "LMFN"}
    assert [naming.run_label(run, runs) for run in runs] == [
        "Mrfnet, four",
        "Mrfnet, four-again",
        "Mrfnet, two",
        "LMFN",
    ]
    assert [naming.run_label(run, runs[:2]) for run in runs[:2]] == ["Mrfnet, seed 0", "Mrfnet, seed 1"]


def test_sharper_inpainting_has_an_overview_per_input():
    run = in_memory(Spec("dffnet", "visdrone", "sharp-inpaint", 27, "dffnet", noise=0))
    result = {table.id: table for table in overviews.overviews(join_seeds([run]))}
    blurred, sharp = (result[f"overview-sharp-inpaint-visdrone-{g}-offline-photographs"] for g in ("blurred", "sharp"))
    assert "sharp-inpaint of blurred images" in blurred.title
    gain = sharp.lines[0].measured["psnr-rgb8"].value - blurred.lines[0].measured["psnr-rgb8"].value
    assert gain == pytest.approx(1.5)  # the loss of the invented scores for a blurred input


def test_the_table_of_paths_shows_what_was_run():
    specs = [
        Spec("mrfnet", "gopro", "deblur", 28.0, "mrfnet-paths2", named="mrfnet-paths2-gopro", params=4.0),
        Spec("mrfnet", "gopro", "deblur", 29.0, "mrfnet", named="mrfnet-gopro", params=6.0),
        Spec("mrfnet", "gopro", "deblur", 30.0, "mrfnet", named="mrfnet-gopro-1", params=6.0, seed=1),
    ]
    runs = join_seeds(in_memory(spec, psnr_rgb8=spec.psnr) for spec in specs)
    (paths,) = [entry for entry in custom.load(PUBLISHED) if entry.id == "mrfnet-paths"]
    shown = custom.custom_table(paths, runs)
    assert shown is not None
    assert [line.row for line in shown.lines] == list(paths.rows) and len(shown.lines) == 6
    assert [head.id for head in shown.heads] == [
        "psnr-rgb8",
        "ssim-gauss11",
        "mse-training",
        "params",
        "macs",
        "seconds",
    ]
    values = {line.row: line.measured["psnr-rgb8"].value for line in shown.lines}
    assert values["mrfnet-paths2-gopro"] == pytest.approx(28) and values["mrfnet-gopro"] == pytest.approx(29.5)
    assert [line.row for line in shown.lines if line.measured["psnr-rgb8"].best] == ["mrfnet-gopro"]
    assert [line.row for line in shown.lines if line.measured["params"].best] == ["mrfnet-paths2-gopro"]
    text = formats.markdown(shown)
    assert OFFLINE in text.splitlines()[0] and text.count("| not run | not run |") == 8 and "is not reproduced" in text
    assert not shown.verdict and not shown.compares and len(cell_records(shown)) == 3 * 5
    assert custom.custom_table(paths, join_seeds([real("lmfn", 30)])) is None  # none of its rows was run


def test_a_table_under_one_input(tmp_path):
    text = "{id: mine, title: Mine, task: inpaint, dataset: places2, input: blurred, columns: [psnr-rgb8, mae-hole], "
    (tmp_path / "mine.yaml").write_text(text + "rows: [{run: one, label: One}]}")
    spec = Spec("rn", "places2", "inpaint", 28.0, "rn", named="one")
    run = in_memory(spec)
    shown = custom.custom_table(custom.load(PUBLISHED, tmp_path)[0], join_seeds([run]))
    assert shown is not None
    rows = run.scores["psnr-rgb8"]
    expected = rows[rows["input"] == "blurred"]["value"].mean()
    assert shown.lines[0].measured["psnr-rgb8"].value == pytest.approx(expected)
    assert shown.lines[0].measured["mae-hole"].value is None  # these scores have none, which the table notes
    assert "mae-hole was not part of this evaluation" in formats.markdown(shown)
    with pytest.raises(DataError, match="one is inpaint on places2, expected deblur on gopro"):
        wrong = replace(custom.load(PUBLISHED, tmp_path)[0], task="deblur", dataset="gopro")
        custom.custom_table(wrong, join_seeds([run]))


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("psnr-rgb8", "psnr-rgb", r"columns: no 'psnr-rgb'; the nearest are: .*psnr-rgb8"),
        ("dataset: gopro", "dataset: gorpo", "dataset: no 'gorpo'; the nearest are: gopro"),
        ("task: deblur", "task: deblurr", "task: no 'deblurr'; the nearest are: deblur"),
        ("title:", "titel:", "titel: unknown field; the nearest are: title"),
        ("task: deblur\n", "", "lacks task"),
        ("id: mrfnet-paths", "id: mrfnet-path", "id: found 'mrfnet-path', expected the file's name"),
        ("mrfnet-paths2-gopro", "mrfnet-paths1-gopro", "rows: 'mrfnet-paths1-gopro' is listed twice"),
        ("label: 1 path}", "labels: 1 path}", "expected run and label"),
        ("task: deblur\n", "task: inpaint\n", "input: found '', expected sharp or blurred"),
        ("task: deblur\n", "task: deblur\ninput: sharp\n", "expected none: deblur has one input"),
        ("task: deblur\n", "task: [\n", "mrfnet-paths.yaml: not YAML: while parsing"),
    ],
)
def test_an_invalid_custom_table_is_refused(tmp_path, old, new, message):
    text = (custom.FOLDER / "mrfnet-paths.yaml").read_text(encoding="utf-8")
    assert old in text
    (tmp_path / "mrfnet-paths.yaml").write_text(text.replace(old, new), encoding="utf-8")
    with pytest.raises(DataError, match=message):
        custom.load(PUBLISHED, tmp_path)

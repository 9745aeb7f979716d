"""Tables that a user declares: which runs they select, and how rows are labelled."""

from __future__ import annotations

from dataclasses import replace

import pytest

from bench.contracts import DataError
from reports.scores import reading
from reports.tables import custom
from reports.tables.runs import Group, join_seeds
from tests.make_scores import Spec
from tests.reports.samples import custom_file, in_memory


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
    runs = [Group((evaluation,)) for evaluation in ablation()]
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

"""Files of a report that are damaged: the check names each as a fault and never fails itself."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from bench.contracts import DataError
from reports.checks import check
from reports.page import render
from tests import make_scores
from tests.make_scores import Spec
from tests.reports.samples import address


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """An evaluation and its report."""
    root, out = tmp_path_factory.mktemp("scores"), tmp_path_factory.mktemp("report") / "sample"
    make_scores.write(root, [Spec("mrfnet", "gopro", "deblur", 29.4, "mrfnet")], images=3)
    render.render(root, out, profile="sample", resolve=address)
    return root, out


def entry_with(text: str, **changes: object) -> str:
    """Return `cells.json` with some values of its first entry changed, or removed where they are None."""
    entries = json.loads(text)
    entries[0] = {name: value for name, value in (entries[0] | changes).items() if value is not ...}
    return json.dumps(entries)


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("cells.json", lambda text: "[{", "cells.json: cannot be read as JSON"),
        ("cells.json", lambda text: "[" * 100_000, "cells.json: cannot be read as JSON"),
        ("cells.json", lambda text: "{}", "cells.json: found {}, expected a list"),
        ("cells.json", lambda text: '["x"]', "cells.json: 'x': table, row"),
        ("cells.json", lambda text: entry_with(text, metric=...), "metric: missing or of another type"),
        ("cells.json", lambda text: entry_with(text, condition=["x"]), "condition: missing or of another type"),
        ("cells.json", lambda text: entry_with(text, table=7), "table: missing or of another type"),
        ("summary.json", lambda text: "null", "summary.json: found None, expected a dict"),
        ("summary.json", lambda text: '{"tables": 7}', "summary.json: tables: not those"),
        ("tables/mrfnet-1.csv", lambda text: "a,b\n1,2\n", "mrfnet-1.csv: cannot be read as the table's CSV"),
        ("tables/mrfnet-1.csv", lambda text: "", "mrfnet-1.csv: cannot be read as the table's CSV"),
    ],
)
def test_a_damaged_file_of_a_report_is_a_fault(made, tmp_path, name, change, message):
    root, out = made
    report = tmp_path / "sample"
    shutil.copytree(out, report)
    (report / name).write_text(change((report / name).read_text()))
    with pytest.raises(DataError) as refusal:
        check.check(report, root, profile="sample", experiment_of=lambda run: "7")
    assert message in str(refusal.value)

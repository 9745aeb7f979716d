"""The published numbers and the protocols: they are complete, and a wrong file is refused."""

from __future__ import annotations

import runpy
import shutil

import pytest

from bench.contracts import DataError
from reports.published import printed
from reports.scores.measures import MEASURES
from tests.reports.samples import PUBLISHED


def test_the_published_files_have_no_faults(tmp_path):
    check = runpy.run_path(str(printed.FOLDER / "check.py"))["check"]
    faults, lines = check(printed.FOLDER)
    assert faults == [] and lines[-1] == "faults 0"
    shutil.copytree(printed.FOLDER, tmp_path, dirs_exist_ok=True)
    text = (tmp_path / "lmfn-1.yaml").read_text(encoding="utf-8")
    (tmp_path / "lmfn-1.yaml").write_text(text.replace('psnr: "31.54"', 'psnr: "31.45"'), encoding="utf-8")
    faults, lines = check(tmp_path)
    assert ["31.45" in fault for fault in faults] == [True] and lines[-2:] == ["faults 1", f"  {faults[0]}"]


def test_every_printed_metric_has_a_protocol_and_every_protocol_a_meaning():
    assert len(PUBLISHED.tables) == 26
    for table in PUBLISHED.tables.values():
        for column in table.columns:
            if table.kind != printed.LAYERS:
                protocol = PUBLISHED.protocols[table.id][column.metric]
                assert {protocol.shown, *protocol.also} <= set(MEASURES)
                assert protocol.why.endswith(".")
    assert PUBLISHED.tables["dmtnet-1"].rows[3].values["params"] == "34.52M"
    assert PUBLISHED.same_as == {"dffnet-44-v3": "dffnet", "dffnet-433-v5": "dffnet"}


def test_a_metric_without_a_protocol_is_named(tmp_path):
    text = printed.PROTOCOLS.read_text(encoding="utf-8").replace("  lmfn-4: lmfn\n", "")
    (tmp_path / "protocols.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(DataError, match="table lmfn-4 prints psnr, which has no protocol"):
        printed.load(protocols=tmp_path / "protocols.yaml")


def test_a_protocol_of_an_unknown_metric_is_refused(tmp_path):
    text = printed.PROTOCOLS.read_text(encoding="utf-8").replace("{shown: fid, ", "{shown: fidd, ")
    (tmp_path / "protocols.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(DataError, match=r"protocols\.dgfnet\.fid: no metric 'fidd'; the nearest are: .*fid"):
        printed.load(protocols=tmp_path / "protocols.yaml")


def test_an_invalid_reading_is_refused(tmp_path):
    text = printed.PROTOCOLS.read_text(encoding="utf-8")
    path = tmp_path / "protocols.yaml"
    path.write_text(
        text.replace("dffnet-4.4-4: {task: sharp-inpaint", "dffnet-4.4-4: {task: sharper"), encoding="utf-8"
    )
    with pytest.raises(DataError, match=r"readings.dffnet-4.4-4: task 'sharper', expected one of deblur"):
        printed.load(protocols=path)
    path.write_text(text.replace("dffnet-4.4-4: {task", "dffnet-4.4-6: {task"), encoding="utf-8")
    with pytest.raises(DataError, match=r"readings.dffnet-4.4-6: no such table; the nearest are: .*dffnet-4.4-4"):
        printed.load(protocols=path)

"""Records: written and read back, and files that are refused."""

from __future__ import annotations

import json
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest

from bench.contracts import DataError
from bench.provenance import Provenance
from bench.record import (
    RECORD,
    VERSION,
    Inside,
    KeptImage,
    MissingLoss,
    RandomHelper,
    Record,
    Source,
    TrainingSet,
    files_of,
    from_json,
    read_file,
    read_record,
    to_json,
    write_record,
)
from tests.images import flip_byte
from tests.make_scores import Spec, record_of

PLACE = Path("scores/one/record.json")


def full() -> Record:
    """A record without an empty field."""
    provenance = Provenance(
        "c0ffee", True, "3.11.9", {"torch": "2.8.0"}, "Linux x86_64", "1" * 64, "2" * 64, "3" * 32, "4" * 64, "5" * 64,
        {"texture": "6" * 64}, "cuda", "cpu", 2, 1, "bfloat16", "2026-01-15T10:00:00Z",
    )  # fmt: skip
    source = Source("a", "7" * 64, "8" * 32)
    return replace(
        record_of(Spec("mrfnet", "gopro", "deblur", 29.4, "mrfnet", seed=3)),
        also=("dffnet",), partial=True, provenance=provenance, network={"channels": 8, "sizes": [1, 2]},
        reduced=("channels: 64 -> 8",), train={"lr": 1e-3}, missing_losses=(MissingLoss("style", "no file"),),
        random_helpers=(RandomHelper("vgg", ("style", "perceptual")),), limits=("slow",), part_of=source,
        sources={"a.pth": "9" * 64}, trained_by=provenance,
        trained_on=(TrainingSet("a", "kohler", "Kohler", "originals", False, "0" * 64),), parts=(source, source),
        images=(KeptImage("median", "0001", {"input": "blurred", "mask_ratio": None}, "i.png", "r.png", "t.png"),),
        watched=("scale_1",), insides=(Inside("map", "m.png", ()), Inside("weights", "", (0.5, 0.25))),
        files={"m.png": "a" * 64},
    )  # fmt: skip


def test_what_is_written_is_read(tmp_path):
    write_record(tmp_path / "record.json", full())
    record = read_record(tmp_path / "record.json")
    assert all(getattr(record, part.name) for part in fields(Record))
    assert record == replace(full(), digest=record.digest)
    assert from_json(to_json(record), PLACE) == record  # the digest does not depend on an earlier one
    values = json.loads((tmp_path / "record.json").read_text())
    assert (values["as"], values["also_as"], values["version"]) == ("mrfnet", ["dffnet"], VERSION)
    assert values["provenance"]["git_commit"] == "c0ffee" and values["images"][0]["restored"] == "r.png"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"version": VERSION + 1}, f"found version {VERSION + 1} of the record, expected {VERSION}"),
        ({"version": None}, "found version None of the record"),
        ({"weight": 3}, "unknown weight"),
        ({"kind": "guessed"}, "kind: found 'guessed': Input should be 'trained', 'no training'"),
        ({"task": "deblurr"}, "task: found 'deblurr': .*no task 'deblurr'; expected one of deblur"),
        ({"seed": "3"}, "seed: found '3': Input should be a valid integer"),
        ({"also_as": "dffnet"}, "also_as: found 'dffnet'"),
        ({"provenance": {}}, r"lacks provenance\.git_commit, provenance\.git_dirty"),
        ({"provenance": []}, r"lacks provenance\.git_commit"),
        ({"images": [{"rule": "median"}]}, r"images\.0\.image: .*Field required"),
    ],
)
def test_a_record_that_cannot_be_read_is_one_message_with_the_file(changes, message):
    text = json.dumps(json.loads(to_json(full())) | changes)
    with pytest.raises(DataError, match=rf"^scores/one/record\.json: {message}.*; train or evaluate the run again$"):
        from_json(text, PLACE)


@pytest.mark.parametrize("key", [part for part in json.loads(to_json(full())) if part != "version"])
def test_every_key_is_required(key):
    values: dict[str, Any] = json.loads(to_json(full()))
    del values[key]
    with pytest.raises(DataError, match=rf"^scores/one/record\.json: lacks {key}"):
        from_json(json.dumps(values), PLACE)


EDITS = {
    "title": "Better", "steps": 401, "train_seconds": 1.0, "seed": 1, "partial": False, "network": {"channels": 9},
    "not_measured": {}, "files": {"m.png": "b" * 64}, "images": [], "digest": "0" * 64, "trained_by": None,
}  # fmt: skip


@pytest.mark.parametrize("key", EDITS)
def test_a_valid_value_in_the_place_of_another_is_refused(key):
    values = json.loads(to_json(full()))
    assert values[key] != EDITS[key]
    with pytest.raises(DataError, match=r"^scores/one/record\.json: has changed since it was written: .*; train or"):
        from_json(json.dumps(values | {key: EDITS[key]}), PLACE)


def test_a_value_of_the_provenance_in_the_place_of_another_is_refused():
    values = json.loads(to_json(full()))
    values["provenance"]["weights_sha256"] = "f" * 64
    with pytest.raises(DataError, match=r"record\.json: has changed since it was written"):
        from_json(json.dumps(values), PLACE)


def test_a_record_that_is_only_formatted_in_another_way_is_read():
    assert from_json(json.dumps(json.loads(to_json(full())), sort_keys=True), PLACE).files == {"m.png": "a" * 64}


def test_a_file_of_a_record_is_read_and_refused_when_it_has_changed(tmp_path):
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "a.png").write_bytes(b"first")
    (tmp_path / "losses.parquet").write_bytes(b"second")
    write_record(tmp_path / RECORD, replace(full(), files=files_of(tmp_path)))
    record = read_record(tmp_path / RECORD)
    assert list(record.files) == ["images/a.png", "losses.parquet"] and files_of(tmp_path) == record.files
    assert read_file(tmp_path, record, "images/a.png") == b"first"
    flip_byte(tmp_path / "images" / "a.png")
    with pytest.raises(DataError, match=r"images/a\.png: has changed since it was written: .*; train or"):
        read_file(tmp_path, record, "images/a.png")
    (tmp_path / "images" / "a.png").write_bytes(b"second")
    with pytest.raises(DataError, match=r"images/a\.png: has changed since it was written"):
        read_file(tmp_path, record, "images/a.png")
    (tmp_path / "images" / "a.png").unlink()
    with pytest.raises(DataError, match=r"images/a\.png: missing; train or evaluate the run again"):
        read_file(tmp_path, record, "images/a.png")
    (tmp_path / "new.png").write_bytes(b"new")
    with pytest.raises(DataError, match=r"new\.png: has changed .*, recorded is none; train or evaluate the run again"):
        read_file(tmp_path, record, "new.png")


@pytest.mark.parametrize(
    ("text", "message"), [("{", "cannot be read as JSON"), ("[]", "found list, expected the keys")]
)
def test_a_file_that_holds_no_record_is_refused(tmp_path, text, message):
    place = tmp_path / "record.json"
    with pytest.raises(DataError, match=r"record\.json: cannot be read .*No such file"):
        read_record(place)
    place.write_text(text)
    with pytest.raises(DataError, match=rf"record\.json: {message}"):
        read_record(place)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"run": "../../victim"}, r"run: found '\.\./\.\./victim', expected ASCII letters"),
        ({"evaluation": "/tmp/x"}, "evaluation: found '/tmp/x', expected ASCII letters"),
        ({"dataset": "a;b"}, "dataset: found 'a;b'"),
        ({"method": ""}, "method: found ''"),
        ({"images": (KeptImage("median", "a", {}, "../i.png", "r.png", "t.png"),)}, r"the file '\.\./i\.png', outside"),
        ({"insides": (Inside("map", "/etc/passwd", ()),)}, "the file '/etc/passwd', outside of the folder"),
        ({"files": {"a/../../b": "0"}}, r"the file 'a/\.\./\.\./b', outside"),
    ],
)
def test_a_record_whose_names_lead_elsewhere_is_refused(change, message):
    with pytest.raises(DataError, match=rf"record\.json: .*{message}"):
        from_json(to_json(replace(full(), **change)), PLACE)


def test_deep_json_is_a_damaged_record():
    with pytest.raises(DataError, match="cannot be read as JSON"):
        from_json("[" * 100_000, PLACE)

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
    VERSION,
    Inside,
    KeptImage,
    MissingLoss,
    RandomHelper,
    Record,
    Source,
    TrainingSet,
    from_json,
    read_record,
    to_json,
    write_record,
)
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
        sources={"a.pth": "9" * 64}, evaluation_id="e" * 64, trained_by=provenance,
        trained_on=(TrainingSet("a", "kohler", "Kohler", "originals", False, "0" * 64),), parts=(source, source),
        images=(KeptImage("median", "0001", {"input": "blurred", "mask_ratio": None}, "i.png", "r.png", "t.png"),),
        watched=("scale_1",), insides=(Inside("map", "m.png", ()), Inside("weights", "", (0.5, 0.25))),
    )  # fmt: skip


def test_what_is_written_is_read(tmp_path):
    record = full()
    assert all(getattr(record, part.name) for part in fields(Record))
    write_record(tmp_path / "record.json", record)
    assert read_record(tmp_path / "record.json") == record
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

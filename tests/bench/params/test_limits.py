"""The upper ends of numbers in `params.yaml`: what torch, NumPy or the machine would refuse later is refused here."""

from __future__ import annotations

import random
from typing import Any

import pytest

from bench import code, settings
from bench.contracts import ParamsError, UserError
from bench.params import loading
from bench.params.resolving import recipe
from tests.bench.params.toys import written
from tests.drill.parameters import FILE, mutate

TRAIN = {
    "betas": ([1.0, 0.9], [0.999, 0.9]),
    "batch_size": (10_001, 10_000),
    "crop_size": (2**14 + 4, 2**14),
    "steps": (10**9 + 1, 10**9),
    "epochs": (10**9 + 1, 10**9),
    "players": ({"network": {"betas": [0.5, 1.0]}}, {"network": {"betas": [0.5, 0.9]}}),
}
"""By field of a recipe: the first value that is too large, and the largest."""
PLACES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "seed": ({"seed": 2**63 - 1}, {"seed": 2**63}),
    "threads": ({"threads": 1024}, {"threads": 1025}),
    "evaluate.sample.cost_size": (
        {"evaluate": {"sample": {"cost_size": [2**14, 2**14]}}},
        {"evaluate": {"sample": {"cost_size": [2**14, 2**14 + 1]}}},
    ),
    "evaluate.sample.keep_images": (
        {"evaluate": {"sample": {"keep_images": 10_000}}},
        {"evaluate": {"sample": {"keep_images": 10_001}}},
    ),
    "search.sample.jobs": ({"search": {"sample": {"jobs": 10_000}}}, {"search": {"sample": {"jobs": 10_001}}}),
    "runs.deblur.plain.title": (
        {"runs": {"deblur": {"plain": {"title": "x" * 200}}}},
        {"runs": {"deblur": {"plain": {"title": "x" * 201}}}},
    ),
}


@pytest.mark.parametrize("field", TRAIN)
def test_a_number_of_a_recipe_has_an_upper_end(tmp_path, field):
    too_large, largest = TRAIN[field]
    recipe(loading.load(written(tmp_path, {"runs": {"deblur": {"plain": {"train": {field: largest}}}}})), "plain")
    with pytest.raises(ParamsError, match=rf"recipe of run plain in profile sample: {field}.*: found .*; "):
        recipe(loading.load(written(tmp_path, {"runs": {"deblur": {"plain": {"train": {field: too_large}}}}})), "plain")


@pytest.mark.parametrize("place", PLACES)
def test_a_number_of_params_yaml_has_an_upper_end(tmp_path, place):
    good, bad = PLACES[place]
    loading.load(written(tmp_path, good))
    with pytest.raises(ParamsError, match=rf"params\.yaml: (?:{place}.*: found|not YAML: the number)"):
        loading.load(written(tmp_path, bad))


@pytest.mark.parametrize("text", [".inf", ".nan", "-.inf", "1.0e+400"])
def test_every_number_is_finite(tmp_path, text):
    path = written(tmp_path)
    path.write_text(f"{path.read_text()}checkpoint_seconds: {text}\n")
    with pytest.raises(ParamsError, match="expected a finite one"):
        loading.load(path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"transfers": {"x": {"run": "plian", "dataset": "kohler"}}}, "transfers.x.run: no run 'plian'; .*: plain"),
        ({"chains": {"x": {"first": "plain", "second": "y", "dataset": "gopro"}}}, "chains.x.second: no run 'y'"),
        (
            {"tour": {"chains": {"x": {"first": "plain", "second": "y", "dataset": "gopro"}}}},
            "tour.chains.x.second: no",
        ),
    ],
)
def test_transfers_and_chains_are_of_runs_that_exist(tmp_path, change, message):
    with pytest.raises(ParamsError, match=message):
        loading.load(written(tmp_path, change))


def test_mutated_files_are_accepted_or_refused_in_short_sentences(tmp_path, monkeypatch):
    """Some of the mutations of `make drill`, in this process."""
    monkeypatch.setattr(code, "of_stage", lambda *_, **__: "")
    monkeypatch.delenv("SHARPBENCH_METHODS", raising=False)
    text, path = FILE.read_text(), tmp_path / "params.yaml"
    accepted = 0
    for number in range(100):
        how, content = mutate(text, random.Random(f"limits-{number}"), number)
        path.write_bytes(content)
        try:
            settings.stages(loading.load(path))
            accepted += 1
        except UserError as error:
            assert len(str(error)) < 2000, how
        except Exception as error:
            pytest.fail(f"{how}: {type(error).__name__}: {error}")
    assert 5 < accepted < 60

"""Names of evaluations, and their rows in the published tables."""

from __future__ import annotations

import contextlib
from dataclasses import replace

import pytest

from bench.contracts import ParamsError
from bench.params import loading, resolving
from bench.record import RECORD, RandomHelper, read_record, write_record
from bench.scoring.plans import find_plan
from tests.conftest import PARAMS

# Rows and insides -----------------------------------------------------------------------------------------------------


def test_a_chain_deblurs_and_then_fills_holes(ready):
    path = ready.folder / "params.yaml"
    text = path.read_text()
    path.write_text(text + "  twice: {first: telea-places2, second: telea-places2, dataset: places2}\n")
    try:
        message = ready.bad("evaluate", "twice")
    finally:
        path.write_text(text)
    assert "twice: found telea-places2 (inpaint) and telea-places2 (inpaint), expected a run that deblurs" in message


def test_an_evaluation_on_another_dataset_does_not_replace_the_runs_own(tmp_path):
    (tmp_path / "params.yaml").write_text(PARAMS)
    with contextlib.chdir(tmp_path):
        loaded = loading.load()
        plans = {
            (name, on): (plan.name, plan.run, plan.dataset, plan.members)
            for name in ("mrfnet-gopro", "mrfnet-kohler", "dmphn+rn")
            for on in ("", "gopro", "kohler", "visdrone", "places2")
            for plan in [find_plan(loaded, name, on)]
        }
        assert find_plan(loaded, "mrfnet-gopro", "kohler").rows == ("mrfnet-gopro-on-kohler",), "no row of a paper"
    both = ("dmphn-places2", "rn-places2")
    assert plans["dmphn+rn", ""] == plans["dmphn+rn", "places2"] == ("dmphn+rn", "dmphn+rn", "places2", both)
    assert plans["dmphn+rn", "visdrone"] == ("dmphn+rn-on-visdrone", "dmphn+rn", "visdrone", both)
    members = ("mrfnet-gopro",)
    assert plans["mrfnet-kohler", "kohler"] == ("mrfnet-kohler", "mrfnet-gopro", "kohler", members)
    assert plans["mrfnet-kohler", "gopro"] == ("mrfnet-kohler-on-gopro", "mrfnet-gopro", "gopro", members)
    assert plans["mrfnet-gopro", "gopro"] == ("mrfnet-gopro", "mrfnet-gopro", "gopro", members)
    assert plans["mrfnet-gopro", "kohler"] == ("mrfnet-gopro-on-kohler", "mrfnet-gopro", "kohler", members)


def test_a_run_a_transfer_and_a_chain_may_have_several_rows(tmp_path):
    text = PARAMS.replace("mrfnet-gopro: {method: mrfnet,", "mrfnet-gopro: {as: [mrfnet, dffnet], method: mrfnet,")
    text = text.replace("{run: mrfnet-gopro, dataset", "{as: [one, two], run: mrfnet-gopro, dataset")
    text = text.replace("{first: dmphn-places2,", "{as: three, first: dmphn-places2,")
    (tmp_path / "params.yaml").write_text(text)
    loaded = loading.load(tmp_path / "params.yaml")
    recipe = resolving.recipe(loaded, "mrfnet-gopro")
    assert (recipe.row, recipe.also) == ("mrfnet", ("dffnet",))
    assert (resolving.recipe(loaded, "rn-places2").row, resolving.recipe(loaded, "rn-places2").also) == ("rn", ())
    assert [find_plan(loaded, name).rows for name in ("mrfnet-gopro", "mrfnet-kohler", "dmphn+rn")] == [
        (), ("one", "two"), ("three",),
    ]  # fmt: skip
    (tmp_path / "params.yaml").write_text(text.replace("[mrfnet, dffnet]", "[mrfnet, 7]"))
    with pytest.raises(ParamsError, match=r"mrfnet-gopro\.as\.1: found 7"):
        loading.load(tmp_path / "params.yaml")


def test_a_chain_has_the_rows_that_the_names_of_its_runs_combine_to(ready):
    """Its own name in the tables is its parts'; each further name of a part gives a further one."""
    place = ready.folder / "out" / "sample" / "runs" / "rn-places2" / RECORD
    before = place.read_text()
    try:
        helper = RandomHelper("vgg", ("style",))
        write_record(place, replace(read_record(place), also=("region",), random_helpers=(helper,)))
        ready.good("evaluate", "dmphn+rn")
    finally:
        place.write_text(before)
    record = ready.record("dmphn+rn")
    assert record.rows == ("dmphn+rn", "dmphn+region")
    assert record.random_helpers == (helper,)

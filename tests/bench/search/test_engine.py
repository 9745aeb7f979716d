"""The command `search`: what it writes, logs and refuses."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from torch import nn

from bench import registry, runs
from bench.contracts import DataError, Helper, UserError
from bench.hashes import write_sealed
from bench.params import loading, values
from bench.record import RECORD, read_record
from bench.search import held_out
from bench.search.results import STUDY, TRIALS
from bench.search.setup import find_metric, prepare
from bench.search.study import Attempt, Pruned
from bench.search.trial import run_trial
from bench.training.divergence import LossWatch
from reports.figures import searches
from reports.page.appendices import search_appendix
from tests.bench.search.toys import RANGE, ROOT, TOY, mlflow_runs, study_of, with_search
from tests.images import flip_byte


def test_the_target_is_quality_never_the_weighted_loss(small):
    """A small `near` makes the weighted loss smallest, by 0.25 times itself, and the images too bright by 0.5."""
    study = study_of(small)
    near = study["winner"]["values"]["weights.near"]
    assert near > 5 and study["winner"]["value"] > study["default"]["value"] + 3
    assert study["default"]["values"] == {"weights.far": 1.0, "weights.near": 0.05}

    def lowest(weight: float) -> float:  # of weight * b^2 + (b - 0.5)^2
        return 0.25 * weight / (1 + weight)

    assert lowest(near) > lowest(0.05)  # a search for a low loss would have kept the default


def test_what_a_search_writes(small):
    study, folder = study_of(small), small.folder / "out" / "sample" / "search" / "mrfnet-gopro"
    table = pd.read_parquet(folder / TRIALS)
    assert list(table["number"]) == list(range(7)) and set(table["state"]) <= {"complete", "pruned"}
    assert list(table["default"]) == [True] + [False] * 6
    assert table["value"][table["state"] == "complete"].max() == study["winner"]["value"]
    assert set(table["weights.far"]) == {1.0} and table["weights.near"].between(0.01, 100).all()
    assert list(table["steps"][0]) == [20, 40]
    assert study["steps"] == 40 and study["rungs"] == [20] and study["origin"] == "offline photographs"
    assert study["held_out"] == 2 == len(study["held_out_first"])
    train = yaml.safe_load((folder / values.WINNER).read_text())["train"]
    assert train["weights"] == {name.split(".")[1]: value for name, value in study["winner"]["values"].items()}
    assert train["searched"] == {
        "run": "mrfnet-gopro", "study": study["study"], "trial": study["winner"]["number"],
        "mlflow_run": study["provenance"]["mlflow_run"],
    }  # fmt: skip


def test_held_out_photographs_are_neither_trained_on_nor_test_images(small):
    setup = prepare(loading.load(), "mrfnet-gopro")
    sources = set(setup.crops.rows["scene"])
    every = setup.built.rows
    assert len(setup.photographs) == 2 and not sources & set(setup.photographs)
    assert sources | set(setup.photographs) == set(every[every["split"] == "train"]["scene"])
    assert not set(setup.photographs) & set(every[every["split"] == "test"]["scene"])
    assert len(setup.images) == 2  # one drawn image of each
    for index in range(len(setup.crops)):  # each crop is of the image that its row names
        row = setup.crops.rows.iloc[index]
        assert setup.crops.packed["target"].starts[index] == row["packed_target"]
        assert tuple(setup.crops.shapes[index]) == (row["height"], row["width"])


def test_trials_are_nested_runs_and_the_same_command_again_adds_none(small):
    before = mlflow_runs()
    parent = next(run for run in before if run.info.run_name == "search mrfnet-gopro · sample")
    nested_runs = [run for run in before if run.data.tags.get("mlflow.parentRunId") == parent.info.run_id]
    table = searches.read(small.folder / "out" / "sample" / "search")[0].trials
    assert len(nested_runs) == 7 and parent.info.status == "FINISHED"
    by_name = {run.info.run_name: run for run in nested_runs}
    for row in table.to_dict("records"):
        run = by_name[f"trial {row['number']}"]
        assert (run.data.tags["state"], run.info.status) == (row["state"], "FINISHED")
        assert float(run.data.params["train.weights.near"]) == row["weights.near"]
        assert run.data.metrics["validation.psnr-rgb8"] == pytest.approx(row["value"])
    study = study_of(small)
    printed = small.good("search", "mrfnet-gopro")
    assert f"on 2 images of 2 held-out photographs ({', '.join(study['held_out_first'])})\n" in printed
    assert len(mlflow_runs()) == len(before) and study_of(small)["winner"] == study["winner"]


@pytest.mark.slow
def test_two_processes_of_one_command(small, tmp_path):
    """Spawned processes import the real method: this one has no toy."""
    other = with_search(
        small, tmp_path, {"weights": {"scale_refinement": 1.0, "mse": {"low": 0.1, "high": 10.0}}}, share=1.0
    )
    values = yaml.safe_load((tmp_path / "params.yaml").read_text())
    values["recipes"]["mrfnet"] = {"sample": {"network": {"channels": 4}, "train": {"steps": 2}}}
    values["defaults"]["sample"]["train"] |= {"steps": 2}
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(values))
    command = [sys.executable, "-m", "bench", "search", "mrfnet-gopro", "--trials", "4", "--jobs", "2"]
    done = subprocess.run(
        command, cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    table = pd.read_parquet(tmp_path / "out" / "sample" / "search" / "mrfnet-gopro" / TRIALS)
    assert sorted(table["number"]) == [0, 1, 2, 3] and study_of(other)["settings"]["trials"] == 4
    assert "best numbers of mrfnet-gopro" in done.stdout


def test_the_winner_is_a_run_whose_record_names_the_study(small):
    study = study_of(small)
    resolved, _ = runs.resolve(loading.load(), "mrfnet-searched")
    base, _ = runs.resolve(loading.load(), "mrfnet-gopro")
    assert (resolved.title, resolved.row) == ("mrfnet (searched)", base.row)
    assert resolved.train.weights["near"] == study["winner"]["values"]["weights.near"]
    changed = {"weights", "searched"}
    assert resolved.train.model_dump(exclude=changed) == base.train.model_dump(exclude=changed)
    small.good("train", "mrfnet-searched")
    record = read_record(small.folder / "out" / "sample" / "runs" / "mrfnet-searched" / RECORD)
    assert record.train["searched"]["study"] == study["study"] and record.steps == 100
    assert "mrfnet-searched" in small.good("list", "runs")


def page_text(study: searches.Study, folder: Path) -> str:
    """The text of the page about a search."""
    return search_appendix(study, folder, set()).text


def test_what_a_report_shows_of_a_search(small, tmp_path):
    [study] = searches.read(small.folder / "out" / "sample" / "search")
    assert study.title == "mrfnet on GOPRO (offline photographs)" and study.score == "psnr-rgb8 (dB)"
    titles = [plot.title for plot in searches.plots(study, tmp_path)]
    assert titles[0] == "Search of mrfnet on GOPRO (offline photographs): trials"
    assert {path.suffix for path in tmp_path.iterdir()} == {".png", ".svg"} and len(
        list(tmp_path.iterdir())
    ) == 2 * len(titles)
    assert (len(titles) == 1) == bool(study.about["importances_missing"])
    table = searches.numbers(study).set_index("name")
    assert table.loc["weights.near", "default"] == 0.05
    assert table.loc["psnr-rgb8", "winner"] == study.about["winner"]["value"]
    held = study.about["held_out_first"]
    assert f" on 2 training photographs that no trial trained on ({', '.join(held)}). T" in page_text(study, tmp_path)
    many = replace(study, about=study.about | {"held_out": 180346, "held_out_first": ["a", "b", "c"]})
    assert " on 180,346 training photographs that no trial trained on (a, b, c, ...). " in page_text(many, tmp_path)
    assert searches.read(tmp_path / "none") == []
    damaged = tmp_path / "search" / "x"
    damaged.mkdir(parents=True)
    write_sealed(damaged / STUDY, {})
    with pytest.raises(DataError, match=r"search/x: lacks run, winner_run.*; run: python -m bench search x"):
        searches.read(tmp_path / "search")


def test_a_trial_that_diverges_is_one_of_the_trials(small, tmp_path):
    """At a rate of 1 the toy swings; a loss that is made infinite ends its trial, and the search goes on."""
    other = with_search(small, tmp_path, {})
    problem = LossWatch.problem

    def infinite_above_one(self, player, losses):
        weight = (losses["total"] - losses["far"]) / losses["near"]
        return problem(self, player, losses | ({"total": float("inf")} if weight > 1 else {}))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(LossWatch, "problem", infinite_above_one)
        other.good("search", "mrfnet-gopro", "--trials", "6")
    table = pd.read_parquet(tmp_path / "out" / "sample" / "search" / "mrfnet-gopro" / TRIALS)
    assert len(table) == 6 and "failed" in set(table["state"])
    reasons = table[table["state"] == "failed"]["reason"]
    assert reasons.str.contains("a loss of network is not finite at step 0").all()
    assert (table[table["state"] == "failed"]["weights.near"] > 1).all()


@pytest.mark.parametrize(
    ("search", "settings", "message"),
    [
        ({"weights": {"naer": RANGE}}, {}, "its search: weights.naer: no loss of this name; the nearest are: "),
        ({"train": {"lr": {"low": 0.1, "high": 10.0}}}, {}, "the search of run mrfnet-gopro: lr: found 10.0; input"),
        ({"train": {"clip_grad_norm": RANGE}}, {}, "train.clip_grad_norm: the recipe does not set this number"),
        ({}, {"metric": "psnr-rgb9"}, "no metric 'psnr-rgb9'; the nearest are: psnr-rgb8"),
        ({}, {"metric": "psnr-rgb8-hole"}, "psnr-rgb8-hole does not apply to the validation images of deblur"),
    ],
)
def test_bad_input_is_found_before_the_first_trial(small, tmp_path, search, settings, message):
    assert message in with_search(small, tmp_path, search, **settings).bad("search", "mrfnet-gopro")


@pytest.mark.parametrize("swapped", [False, True], ids=["one byte", "another value"])
@pytest.mark.parametrize("name", [STUDY, TRIALS])
def test_a_search_whose_files_have_changed_is_not_shown(small, tmp_path, name, swapped):
    folder = tmp_path / "search" / "mrfnet-gopro"
    shutil.copytree(small.folder / "out" / "sample" / "search" / "mrfnet-gopro", folder)
    assert len(searches.read(folder.parent)) == 1
    if not swapped:
        flip_byte(folder / name)
    elif name == STUDY:
        (folder / name).write_text(json.dumps(json.loads((folder / name).read_text()) | {"steps": 1}))
    else:
        trials = pd.read_parquet(folder / name)
        trials.assign(value=trials["value"] + 1).to_parquet(folder / name, index=False)
    with pytest.raises(DataError, match=rf"{name}: .*; run: python -m bench search mrfnet-gopro"):
        searches.read(folder.parent)


@pytest.mark.parametrize("option", ["--trials", "--jobs"])
def test_trials_and_jobs_are_one_or_more(small, option):
    assert f"{option}: 0 is not in the range x>=1" in small.bad("search", "mrfnet-gopro", option, "0")


def test_a_run_without_a_search_and_a_winner_not_yet_found(small, tmp_path):
    other = with_search(small, tmp_path, {})
    assert "searches: no search of run 'input-gopro'; the nearest are: mrfnet-gopro" in other.bad(
        "search", "input-gopro"
    )
    assert "no run 'mrfnet-gorpo'; the nearest are: mrfnet-gopro" in other.bad("search", "mrfnet-gorpo")
    message = other.bad("train", "mrfnet-searched")
    assert "out/sample/search/mrfnet-gopro/winner.yaml: run mrfnet-gopro has not been searched yet" in message
    assert message.endswith("run: python -m bench search mrfnet-gopro\n")


def test_a_dataset_of_one_photograph_is_refused(small, tmp_path):
    loaded = loading.load()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(held_out, "photograph_of", lambda table: np.full(len(table), "china"))
        with pytest.raises(
            DataError, match=r"data/sample/gopro: all \d+ training images are of one photograph, 'china'"
        ):
            prepare(loaded, "mrfnet-gopro")


def test_a_weight_whose_loss_cannot_be_computed_here_is_not_searched(small, tmp_path):
    helper = Helper("vgg19", lambda path: nn.Identity(), ("content",))
    weights = {"far": 1.0, "near": RANGE, "content": RANGE}
    other = with_search(small, tmp_path, {"weights": weights})
    with contextlib.chdir(other.folder), pytest.MonkeyPatch.context() as patch:
        patch.setattr("bench.weights.find", lambda *arguments: None)
        patch.setattr(registry, "method", lambda name: replace(TOY, helpers={"vgg19": helper}))
        setup = prepare(loading.load(), "mrfnet-gopro")
    assert list(setup.not_searched) == ["weights.content"] and "vgg19" in setup.not_searched["weights.content"]
    assert list(setup.space.ranges) == ["weights.near"] and list(setup.defaults) == ["weights.far", "weights.near"]


def test_a_pruned_trial_stops_training_there(small, tmp_path):
    setup = prepare(loading.load(), "mrfnet-gopro")

    def report(step: int, value: float) -> None:
        reported.append((step, value))
        raise Pruned

    reported: list[tuple[int, float]] = []
    values = {"weights.far": 1.0, "weights.near": 1.0}
    began = time.monotonic()
    with pytest.raises(Pruned):
        run_trial(setup, Attempt(0, values, tmp_path / "t", report))
    assert [step for step, _ in reported] == [20] and time.monotonic() - began < 30
    again: list[tuple[int, float]] = []
    run_trial(setup, Attempt(1, values, tmp_path / "u", lambda *point: again.append(point)))
    assert again == reported  # one seed, one order of the data: trials differ by their numbers alone


def test_a_metric_of_one_image_is_needed():
    with pytest.raises(UserError, match="no metric 'fid'"):
        find_metric("fid", "inpaint", "here")
    assert find_metric("psnr-rgb8-hole", "inpaint", "here").better == "higher"

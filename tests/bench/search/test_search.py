"""The search: what it varies, how it scores, and that no trial is lost or run twice by any number of processes."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from torch import nn

from bench import registry, runs
from bench.contracts import DataError, Helper, ParamsError, UserError, supervised
from bench.files import read_json
from bench.params import loading, recipes, schema
from bench.params.schema import Choice, MethodRecipe, Recipe, Train
from bench.search import study as studies
from bench.search import trial as trials_of
from bench.search.space import Space, laid_on, nested, present
from bench.search.study import Attempt, JournalLock, Pruned, estimates, finished, opened, outcome, propose, work
from bench.search.trial import held_out, miniature, photographs, shown_in_turn
from bench.search.winner import STUDY, TRIALS, counted, importances, winner
from bench.tracking import store
from bench.training.divergence import Diverged, LossWatch
from reports.figures import searches
from reports.page.appendices import search_appendix
from tests.conftest import PARAMS, Project

ROOT = Path(__file__).parents[3]


def space_of(**choices: Any) -> Space:
    made = {name.replace("__", "."): Choice.model_validate(value) for name, value in choices.items()}
    return Space({n: (c.low, c.high) for n, c in made.items() if c.low and c.high}, made)


def ranged(*names: str, low: float = 1e-3, high: float = 1e3) -> Space:
    return space_of(**{name: {"low": low, "high": high} for name in names})


def recipe(**train: Any) -> Recipe:
    return Recipe(
        name="plain", method="mrfnet", dataset="gopro", task="deblur", row="mrfnet", title="m", profile="sample",
        seed=0, network={}, paper_network={}, train=Train.model_validate(train),
    )  # fmt: skip


# What is varied -------------------------------------------------------------------------------------------------------


def test_numbers_are_varied_held_tied_or_a_factor_of_another():
    space = space_of(
        weights__a={"low": 0.1, "high": 10.0},
        weights__b=3.0,
        weights__c={"of": "a"},
        weights__d={"of": "c", "times": 2.5},
        weights__critic__e={"of": "b", "times": 0.5},
        lr={"low": 1e-4, "high": 1e-2},
    )
    assert space.values({"weights.a": 4.0, "lr": 1e-3}) == {
        "weights.a": 4.0, "weights.b": 3.0, "weights.c": 4.0, "weights.d": 10.0, "weights.critic.e": 1.5, "lr": 1e-3,
    }  # fmt: skip
    assert space.nearest({"weights.a": 0.0, "lr": 5e-3}) == {"weights.a": 0.1, "lr": 5e-3}


def test_numbers_find_their_place_in_the_recipe():
    values = {"weights.generator.adversarial": 0.3, "weights.l1": 2.0, "lr": 1e-3, "players.critic.lr": 1e-4}
    assert nested(values) == {
        "weights": {"generator.adversarial": 0.3, "l1": 2.0}, "lr": 1e-3, "players": {"critic": {"lr": 1e-4}},
    }  # fmt: skip
    base = recipe(weights={"l1": 1.0, "style": 5.0}, players={"critic": {"updates": 2}})
    train = laid_on(base, values, "here").train
    assert train.weights == {"l1": 2.0, "style": 5.0, "generator.adversarial": 0.3}
    assert (train.lr, train.players["critic"].lr, train.players["critic"].updates) == (1e-3, 1e-4, 2)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"lrr": 0.1}, r"here: lrr: unknown key; the nearest are: lr"),
        ({"lr": 2.0}, r"here: lr: found 2\.0; input should be less than or equal to 1"),
        ({"batch_size": 2.5}, r"here: batch_size: found 2\.5; input should be a valid integer"),
    ],
)
def test_a_number_that_a_recipe_does_not_have_is_refused(values, message):
    with pytest.raises(ParamsError, match=message):
        laid_on(recipe(), values, "here")


def test_the_runs_own_number_is_what_its_training_would_use():
    base = recipe(weights={"adversarial": 0.5, "generator.adversarial": 0.1}, lr=2e-3)
    names = ("weights.generator.adversarial", "weights.critic.adversarial", "weights.l1", "lr")
    assert [present(base, name) for name in names] == [0.1, 0.5, 1.0, 2e-3]
    with pytest.raises(ParamsError, match=r"run plain: train\.clip_grad_norm: the recipe sets no such number"):
        present(base, "clip_grad_norm")


# Photographs ----------------------------------------------------------------------------------------------------------


def rows(sources: str, scenes: str = "") -> pd.DataFrame:
    return pd.DataFrame({"source": list(sources), "scene": list(scenes) or [""] * len(sources)})


def test_whole_photographs_are_held_out():
    table = rows("aaabbbcccddd")
    drawn = {tuple(held_out(table, 0.25, seed, "here")[0]) for seed in range(20)}
    for chosen in drawn:
        assert sum(chosen) == 3 and table["source"][list(chosen)].nunique() == 1
    assert len(drawn) == 4  # by seed each of them
    assert held_out(table, 0.01, 0, "here")[0].sum() == 3 and held_out(table, 0.99, 0, "here")[0].sum() == 9
    away, touched = held_out(table, 0.25, 0, "here")
    assert np.array_equal(away, touched)


def test_an_image_mixed_of_a_held_out_photograph_and_another_is_of_use_to_neither():
    table = rows("aaabbbccc")
    table["other_sources"] = ["[]", '["b"]', '["a"]', "[]", '["c"]', "[]", "[]", '["a", "b"]', '["c"]']
    parts = [set("a"), set("ab"), set("a"), set("b"), set("bc"), set("b"), set("c"), set("abc"), set("c")]
    seen = set()
    for seed in range(20):
        away, touched = held_out(table, 0.34, seed, "here")
        (kept,) = set(table["source"][away])
        seen.add(kept)
        assert list(away) == [part == {kept} for part in parts] and list(touched) == [kept in part for part in parts]
    assert seen == set("abc")
    table["other_sources"] = ['["b"]'] * 3 + ['["a"]'] * 6
    with pytest.raises(
        DataError, match=r"^here: too many training images are mixed .*of 9, 0 show held-out ones alone"
    ):
        held_out(table, 0.34, 0, "here")


def test_frames_of_a_scene_are_one_photograph_and_a_name_that_all_share_is_none():
    assert list(photographs(rows("abcd", "xxyy"))) == ["x", "x", "y", "y"]
    assert list(photographs(rows("aabb", "zzzz"))) == ["a", "a", "b", "b"]
    assert list(photographs(rows("aab", ["x", "y", ""]))) == ["x", "x", "b"]


def test_one_photograph_is_refused():
    with pytest.raises(DataError, match=r"^here: all 3 training images are of one photograph, 'a'; a search needs two"):
        held_out(rows("aaa"), 0.5, 0, "here")


def test_few_images_are_of_all_photographs_in_turn():
    table = rows("aaabbbc")
    assert list(shown_in_turn(table, 5).index) == [0, 3, 6, 1, 4]
    assert len(shown_in_turn(table, 99)) == 7


def test_a_trial_is_the_run_in_miniature():
    method = registry.method("rn")
    step = {"kind": "step", "every_epochs": 10, "warmup_steps": 40}
    short = miniature(recipe(epochs=50, schedule=step), method, 0.1, 30).train
    assert short.phases == {"train": 150} and short.schedule.every_steps == 30 and short.schedule.warmup_steps == 4
    staged = recipe(phases={"train": 60, "finetune": 0})
    assert miniature(staged, registry.method("rfr"), 0.01, 1).train.phases == {"train": 1, "finetune": 0}


# Proposals ------------------------------------------------------------------------------------------------------------


def bowl(best: dict[str, float]) -> Callable[[Attempt], float]:
    """A score with one best weighting."""
    return lambda attempt: -sum(np.log10(attempt.values[name] / value) ** 2 for name, value in best.items())


@pytest.mark.parametrize(("seed", "names"), [(0, "a"), (1, "ab"), (2, "abc")])
def test_a_known_best_weighting_is_found_within_a_tenth_in_40_trials(tmp_path, seed, names):
    best = dict(zip(names, 10 ** np.random.default_rng(seed).uniform(-2, 2, len(names)), strict=True))
    work(tmp_path, ranged(*names), dict.fromkeys(names, 1.0), 40, True, seed, bowl(best))
    found = finished(opened(tmp_path, True))
    assert len(found) == 40
    top = winner(found, True)
    assert top is not None
    for name, value in best.items():
        assert top.params[name] == pytest.approx(value, rel=0.1)


def test_a_lower_score_may_be_the_better_one(tmp_path):
    score = bowl({"a": 5.0})
    work(tmp_path, ranged("a"), {"a": 1.0}, 16, False, 0, lambda attempt: -score(attempt))
    top = winner(finished(opened(tmp_path, False)), False)
    assert top is not None and top.params["a"] == pytest.approx(5.0, rel=0.1)


def test_the_runs_own_numbers_come_first_even_outside_the_ranges_and_win_a_tie(tmp_path):
    seen = []
    space = space_of(a={"low": 0.1, "high": 10.0}, b={"of": "a"})
    work(tmp_path, space, {"a": 0.0, "b": 7.0}, 3, True, 0, lambda attempt: seen.append(dict(attempt.values)) or 1.0)
    found = finished(opened(tmp_path, True))
    assert seen[0] == {"a": 0.0, "b": 7.0} and found[0].params == {"a": 0.1}
    assert all(values["a"] == values["b"] for values in seen[1:])
    assert winner(found, True) is found[0]


def curved(attempt: Attempt) -> float:
    """Trials of a higher `a` are worse, and can be seen to be halfway."""
    for step in (1, 2):
        attempt.report(step, -attempt.values["a"] * (3 - step))
    return -attempt.values["a"]


def test_trials_that_are_behind_are_pruned_but_never_the_runs_own(tmp_path):
    work(tmp_path, ranged("a"), {"a": 1e3}, 16, True, 0, curved)
    found = finished(opened(tmp_path, True))
    states = [outcome(trial) for trial in found]
    assert len(found) == 16 and states[0] == "complete" and "pruned" in states
    for trial in found:
        if outcome(trial) == "pruned":
            assert trial.last_step in (1, 2) and trial.value == trial.intermediate_values[trial.last_step]


def test_to_the_sampler_a_pruned_trial_is_as_far_behind_as_it_was_and_a_diverged_one_the_worst(tmp_path):
    def scripted(attempt: Attempt) -> float:
        number = attempt.number
        if number == 6:
            raise Diverged("a loss is not finite")
        attempt.report(10, 5.0 + number if number < 5 else 4.0)
        return 20.0 + number

    work(tmp_path, ranged("a"), {"a": 1.0}, 7, True, 0, scripted)
    found = finished(opened(tmp_path, True))
    assert [outcome(trial) for trial in found] == ["complete"] * 5 + ["pruned", "failed"]
    assert found[6].user_attrs["reason"] == "a loss is not finite"
    # The median of 5 to 9 is 7, of 20 to 24 it is 22: three behind.
    assert estimates(found, True) == {0: 20.0, 1: 21.0, 2: 22.0, 3: 23.0, 4: 24.0, 5: 19.0, 6: 19.0}
    assert propose(found, ranged("a"), True, 3) == propose(found, ranged("a"), True, 3)
    shares, why = importances(found, True)
    assert shares == {"a": 1.0} and why == ""
    assert importances(found[:3], True) == ({}, "3 complete trials, importances need 5")


# Processes ------------------------------------------------------------------------------------------------------------

WORKER = """
import os, sys, time
from pathlib import Path
from bench.params.schema import Choice
from bench.search.space import Space
from bench.search.study import Attempt, work

folder, wanted = Path(sys.argv[1]), int(sys.argv[2])

def objective(attempt):
    attempt.folder.mkdir(exist_ok=True)
    state = attempt.folder / "state"
    start = int(state.read_text()) if state.is_file() else 0
    for step in range(start, 4):
        time.sleep(0.02)
        attempt.report(step, 1.0)
        state.with_name("part").write_text(str(step + 1))
        state.with_name("part").replace(state)
    with open(folder / "ended", "a") as file:
        file.write(f"{attempt.number} {start} {os.getpid()}\\n")
    return attempt.values["a"]

work(folder, Space({"a": (0.1, 10.0)}, {"a": Choice(low=0.1, high=10.0)}), {"a": 1.0}, wanted, True, 0, objective)
"""


def started(folder: Path, wanted: int) -> subprocess.Popen[bytes]:
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen([sys.executable, "-c", WORKER, str(folder), str(wanted)], env=environment, cwd=ROOT)


def ended(folder: Path) -> list[list[int]]:
    """What objectives that came to their end noted: the trial, the step it went on from, its process."""
    path = folder / "ended"
    return [list(map(int, line.split())) for line in path.read_text().splitlines()] if path.is_file() else []


@pytest.mark.slow
def test_two_processes_run_one_study_without_a_lost_or_doubled_trial(tmp_path):
    workers = [started(tmp_path, 16) for _ in range(2)]
    assert [worker.wait(120) for worker in workers] == [0, 0]
    every = opened(tmp_path, True).get_trials()
    assert [outcome(trial) for trial in every] == ["complete"] * 16
    assert sorted(number for number, _, _ in ended(tmp_path)) == list(range(16))
    assert {process for _, _, process in ended(tmp_path)} == {worker.pid for worker in workers}
    assert len({trial.params["a"] for trial in every}) == 16


@pytest.mark.slow
def test_killed_at_random_moments_the_same_command_goes_on(tmp_path):
    rng, wanted, kept = random.Random(5), 10, {}
    kills, met = 0, False
    while kills < 3 or not met:  # a kill may fall between two trials: one of them is to meet a trial
        kills += 1
        assert kills < wanted, "every kill fell between two trials"
        worker = started(tmp_path, wanted)
        before, until = len(ended(tmp_path)), time.monotonic() + 60
        while len(ended(tmp_path)) == before and worker.poll() is None and time.monotonic() < until:
            time.sleep(0.01)
        time.sleep(rng.uniform(0, 0.25))
        worker.send_signal(signal.SIGKILL)
        worker.wait()
        met = met or any(outcome(trial) == "running" for trial in opened(tmp_path, True).get_trials())
        done = {t.number: (t.value, t.params) for t in finished(opened(tmp_path, True))}
        assert kept.items() <= done.items()
        kept = done
    workers = [started(tmp_path, wanted) for _ in range(2)]
    assert [worker.wait(120) for worker in workers] == [0, 0]
    study = opened(tmp_path, True)
    found = finished(study)
    assert len(found) == wanted and {outcome(trial) for trial in study.get_trials()} <= {"complete", "lost"}
    assert kept.items() <= {trial.number: (trial.value, trial.params) for trial in found}.items()
    # Every lost trial was tried again, once, with the same numbers, and the first one's folder.
    # The numbers are noted before a trial begins, its parameters only then: a kill may come between the two.
    lost = {trial.number: trial.user_attrs["values"] for trial in study.get_trials() if outcome(trial) == "lost"}
    assert lost
    again = {t.user_attrs["retries"]: t.user_attrs["values"] for t in study.get_trials() if "retries" in t.user_attrs}
    assert again == lost
    assert not [path for path in tmp_path.glob("trial-*") if path.is_dir()]


def test_a_lost_trial_goes_on_where_it_was_with_what_it_had_reported(tmp_path):
    def dies(attempt: Attempt) -> float:
        attempt.folder.mkdir()
        (attempt.folder / "state").write_text("half")
        attempt.report(1, 0.25)
        raise MemoryError

    with pytest.raises(MemoryError):
        work(tmp_path, ranged("a"), {"a": 2.0}, 1, True, 0, dies)
    assert outcome(opened(tmp_path, True).get_trials()[0]) == "running"

    def goes_on(attempt: Attempt) -> float:
        assert attempt.number == 1 and (attempt.folder / "state").read_text() == "half"
        attempt.report(2, 0.5)
        return attempt.values["a"]

    work(tmp_path, ranged("a"), {"a": 2.0}, 1, True, 0, goes_on)
    lost, trial = opened(tmp_path, True).get_trials()
    assert (outcome(lost), outcome(trial), trial.value) == ("lost", "complete", 2.0)
    assert trial.intermediate_values == {1: 0.25, 2: 0.5} and trial.user_attrs["default"]


def test_the_runs_own_numbers_count_though_they_were_lost_and_fewer_trials_are_asked_for(tmp_path):
    """Trial 0 dies when others have ended; then two trials are asked for, and there are three without it."""

    def dies(attempt: Attempt) -> float:
        if attempt.number in (0, 4):
            raise MemoryError
        return 1.0

    with pytest.raises(MemoryError):
        work(tmp_path, ranged("a"), {"a": 2.0}, 1, True, 0, dies)
    alive = studies.taken(tmp_path / "trial-0.lock")  # as if its process went on
    assert alive is not None
    with alive, pytest.raises(MemoryError):
        work(tmp_path, ranged("a"), {"a": 2.0}, 6, True, 0, dies)
    assert [trial.number for trial in finished(opened(tmp_path, True))] == [1, 2, 3]
    work(tmp_path, ranged("a"), {"a": 2.0}, 2, True, 0, lambda attempt: 1.0)
    found = finished(opened(tmp_path, True))
    assert [trial.number for trial in found] == [1, 2, 3, 5] and found[3].user_attrs["default"]
    assert [trial.number for trial in counted(found, 2)] == [1, 5]
    assert counted(found, 4) == found
    assert winner(found, True) is found[3]  # of equal ones the run's own numbers


def test_a_line_that_a_kill_left_unfinished_is_cut_off(tmp_path):
    work(tmp_path, ranged("a"), {"a": 2.0}, 2, True, 0, lambda attempt: 1.0)
    journal = tmp_path / studies.JOURNAL
    whole = journal.read_bytes()
    journal.write_bytes(whole + b'{"op_code": 5, "wor')
    lock = JournalLock(journal)
    lock.acquire()
    lock.release()
    assert journal.read_bytes() == whole
    journal.write_bytes(whole + b'{"op_code": 5, "wor')
    work(tmp_path, ranged("a"), {"a": 2.0}, 3, True, 0, lambda attempt: 1.0)
    assert len(finished(opened(tmp_path, True))) == 3


def test_more_trials_go_on_with_the_same_study(tmp_path):
    work(tmp_path, ranged("a"), {"a": 2.0}, 2, True, 0, lambda attempt: attempt.values["a"])
    before = [trial.params for trial in finished(opened(tmp_path, True))]
    work(tmp_path, ranged("a"), {"a": 2.0}, 5, True, 0, lambda attempt: attempt.values["a"])
    after = [trial.params for trial in finished(opened(tmp_path, True))]
    assert after[:2] == before and len(after) == 5
    other = tmp_path / "whole"
    work(other, ranged("a"), {"a": 2.0}, 5, True, 0, lambda attempt: attempt.values["a"])
    assert [trial.params for trial in finished(opened(other, True))] == after


# The command ----------------------------------------------------------------------------------------------------------


class Shift(nn.Module):
    """The input and a number."""

    def __init__(self, start: float = 0.0):
        super().__init__()
        self.by = nn.Parameter(torch.tensor(start))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.by


def pulls(pred: torch.Tensor, target: torch.Tensor) -> dict[str, torch.Tensor]:
    """`near` wants the truth, `far` something brighter by 0.5."""
    return {"near": (pred - target).square().mean(), "far": (pred - target - 0.5).square().mean()}


TOY = supervised("deblur", Shift, pulls)
SEARCH: dict[str, Any] = {
    "method": "mrfnet", "dataset": "gopro", "of": {"group": "all", "run": "mrfnet-gopro"},
    "weights": {"far": 1.0, "near": {"low": 0.01, "high": 100.0}},
}  # fmt: skip


@pytest.fixture(scope="module")
def toy(tmp_path_factory) -> Project:
    """A project whose one method has one parameter, with its dataset built and its run searched."""
    folder = tmp_path_factory.mktemp("toy")
    values = yaml.safe_load(PARAMS)
    values["recipes"]["mrfnet"] = {"sample": {"network": {}, "train": {"lr": 0.05, "weights": {"near": 0.05}}}}
    values["defaults"]["sample"]["train"] |= {"steps": 100}
    values["search"] = {"sample": {"trials": 7, "share": 0.4, "rungs": [0.5], "validation": 0.3, "images": 4}}
    values["searches"] = {"all": {"mrfnet-searched": SEARCH}}
    (folder / "params.yaml").write_text(yaml.safe_dump(values))
    made = Project(folder)
    made.good("build", "gopro")
    with as_toy():
        made.good("search", "mrfnet-gopro")
    return made


@contextlib.contextmanager
def as_toy():
    real = registry.method
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(registry, "method", lambda name: TOY if name == "mrfnet" else real(name))
        patch.setattr(recipes, "method_recipe", lambda name: MethodRecipe.model_validate({}))
        yield


@pytest.fixture
def small(toy):
    with as_toy(), contextlib.chdir(toy.folder):
        yield toy


def found_in(project: Project) -> dict[str, Any]:
    return read_json(project.folder / "out" / "sample" / "search" / "mrfnet-gopro" / STUDY)


def logged(project: Project) -> list[Any]:
    client = store.connect()
    return list(client.search_runs([e.experiment_id for e in client.search_experiments()], max_results=100))


def changed(project: Project, folder: Path, search: dict[str, Any], **settings: Any) -> Project:
    """Return a project beside it with another search on the same built set."""
    values = yaml.safe_load((project.folder / "params.yaml").read_text())
    values["searches"]["all"]["mrfnet-searched"] = SEARCH | search
    values["search"]["sample"] |= settings
    values["paths"] = {"data": str(project.folder / "data")}
    (folder / "params.yaml").write_text(yaml.safe_dump(values))
    return Project(folder)


def test_the_target_is_quality_never_the_weighted_loss(small):
    """A small `near` makes the weighted loss smallest, by 0.25 times itself, and the images too bright by 0.5."""
    study = found_in(small)
    near = study["winner"]["values"]["weights.near"]
    assert near > 5 and study["winner"]["value"] > study["default"]["value"] + 3
    assert study["default"]["values"] == {"weights.far": 1.0, "weights.near": 0.05}

    def lowest(weight: float) -> float:  # of weight * b^2 + (b - 0.5)^2
        return 0.25 * weight / (1 + weight)

    assert lowest(near) > lowest(0.05)  # a search for a low loss would have kept the default


def test_what_a_search_writes(small):
    study, folder = found_in(small), small.folder / "out" / "sample" / "search" / "mrfnet-gopro"
    table = pd.read_parquet(folder / TRIALS)
    assert list(table["number"]) == list(range(7)) and set(table["state"]) <= {"complete", "pruned"}
    assert list(table["default"]) == [True] + [False] * 6
    assert table["value"][table["state"] == "complete"].max() == study["winner"]["value"]
    assert set(table["weights.far"]) == {1.0} and table["weights.near"].between(0.01, 100).all()
    assert list(table["steps"][0]) == [20, 40]
    assert study["steps"] == 40 and study["rungs"] == [20] and study["origin"] == "offline photographs"
    assert study["held_out"] == 2 == len(study["held_out_first"])
    train = yaml.safe_load((folder / schema.WINNER).read_text())["train"]
    assert train["weights"] == {name.split(".")[1]: value for name, value in study["winner"]["values"].items()}
    assert train["searched"] == {
        "run": "mrfnet-gopro", "study": study["study"], "trial": study["winner"]["number"],
        "mlflow_run": study["provenance"]["mlflow_run"],
    }  # fmt: skip


def test_held_out_photographs_are_neither_trained_on_nor_test_images(small):
    shared = trials_of.prepare(loading.load(), "mrfnet-gopro")
    sources = set(shared.crops.rows["scene"])
    every = shared.built.rows
    assert len(shared.held) == 2 and not sources & set(shared.held)
    assert sources | set(shared.held) == set(every[every["split"] == "train"]["scene"])
    assert not set(shared.held) & set(every[every["split"] == "test"]["scene"])
    assert len(shared.cases) == 2  # one drawn image of each
    for index in range(len(shared.crops)):  # each crop is of the image that its row names
        row = shared.crops.rows.iloc[index]
        assert shared.crops.offsets["target"][index] == row["packed_target"]
        assert tuple(shared.crops.shapes[index]) == (row["height"], row["width"])


def test_trials_are_nested_runs_and_the_same_command_again_adds_none(small):
    before = logged(small)
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
    found = found_in(small)
    said = small.good("search", "mrfnet-gopro")
    assert f"on 2 images of 2 held-out photographs ({', '.join(found['held_out_first'])})\n" in said
    assert len(logged(small)) == len(before) and found_in(small)["winner"] == found["winner"]


@pytest.mark.slow
def test_two_processes_of_one_command(small, tmp_path):
    """Spawned processes import the real method: this one has no toy."""
    other = changed(
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
    assert sorted(table["number"]) == [0, 1, 2, 3] and found_in(other)["settings"]["trials"] == 4
    assert "best numbers of mrfnet-gopro" in done.stdout


def test_the_winner_is_a_run_that_says_whose_its_weights_are(small):
    study = found_in(small)
    resolved, _ = runs.resolve(loading.load(), "mrfnet-searched")
    base, _ = runs.resolve(loading.load(), "mrfnet-gopro")
    assert (resolved.title, resolved.row) == ("mrfnet (searched)", base.row)
    assert resolved.train.weights["near"] == study["winner"]["values"]["weights.near"]
    unlike = {"weights", "searched"}
    assert resolved.train.model_dump(exclude=unlike) == base.train.model_dump(exclude=unlike)
    small.good("train", "mrfnet-searched")
    record = read_json(small.folder / "out" / "sample" / "runs" / "mrfnet-searched" / runs.RECORD)
    assert record["train"]["searched"]["study"] == study["study"] and record["steps"] == 100
    assert "mrfnet-searched" in small.good("list", "runs")


def told(study: searches.Study, folder: Path) -> str:
    """What the page says of a search."""
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
    assert f" on 2 training photographs that no trial trained on ({', '.join(held)}). T" in told(study, tmp_path)
    many = replace(study, about=study.about | {"held_out": 180346, "held_out_first": ["a", "b", "c"]})
    assert " on 180,346 training photographs that no trial trained on (a, b, c, ...). " in told(many, tmp_path)
    assert searches.read(tmp_path / "none") == []
    damaged = tmp_path / "search" / "x"
    damaged.mkdir(parents=True)
    (damaged / STUDY).write_text("{}")
    (damaged / TRIALS).write_bytes((study.folder / TRIALS).read_bytes())
    with pytest.raises(DataError, match=r"search/x: lacks run, winner_run.*; run: python -m bench search x"):
        searches.read(tmp_path / "search")


def test_a_trial_that_diverges_is_one_of_the_trials(small, tmp_path):
    """At a rate of 1 the toy swings; a loss that is made infinite ends its trial, and the search goes on."""
    other = changed(small, tmp_path, {})
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


RANGE = {"low": 0.1, "high": 1.0}


@pytest.mark.parametrize(
    ("search", "settings", "message"),
    [
        ({"weights": {"naer": RANGE}}, {}, "its search: weights.naer: no loss of this name; the nearest are: "),
        ({"train": {"lr": {"low": 0.1, "high": 10.0}}}, {}, "the search of run mrfnet-gopro: lr: found 10.0; input"),
        ({"train": {"clip_grad_norm": RANGE}}, {}, "train.clip_grad_norm: the recipe sets no such number"),
        ({}, {"metric": "psnr-rgb9"}, "no metric 'psnr-rgb9'; the nearest are: psnr-rgb8"),
        ({}, {"metric": "psnr-rgb8-hole"}, "psnr-rgb8-hole does not apply to the validation images of deblur"),
    ],
)
def test_bad_input_is_found_before_the_first_trial(small, tmp_path, search, settings, message):
    assert message in changed(small, tmp_path, search, **settings).bad("search", "mrfnet-gopro")


@pytest.mark.parametrize("option", ["--trials", "--jobs"])
def test_trials_and_jobs_are_one_or_more(small, option):
    assert f"{option}: 0 is not in the range x>=1" in small.bad("search", "mrfnet-gopro", option, "0")


def test_a_run_without_a_search_and_a_winner_not_yet_found(small, tmp_path):
    other = changed(small, tmp_path, {})
    assert "searches: no search of run 'input-gopro'; the nearest are: mrfnet-gopro" in other.bad(
        "search", "input-gopro"
    )
    assert "no run 'mrfnet-gorpo'; the nearest are: mrfnet-gopro" in other.bad("search", "mrfnet-gorpo")
    said = other.bad("train", "mrfnet-searched")
    assert "out/sample/search/mrfnet-gopro/winner.yaml: run mrfnet-gopro has not been searched yet" in said
    assert said.endswith("run: python -m bench search mrfnet-gopro\n")


def test_a_set_of_one_photograph_is_refused(small, tmp_path):
    loaded = loading.load()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trials_of, "photographs", lambda table: np.full(len(table), "china"))
        with pytest.raises(
            DataError, match=r"data/sample/gopro: all \d+ training images are of one photograph, 'china'"
        ):
            trials_of.prepare(loaded, "mrfnet-gopro")


def test_a_weight_whose_loss_cannot_be_computed_here_is_not_searched(small, tmp_path):
    helper = Helper("vgg19", lambda path: nn.Identity(), ("content",))
    weights = {"far": 1.0, "near": RANGE, "content": RANGE}
    other = changed(small, tmp_path, {"weights": weights})
    with contextlib.chdir(other.folder), pytest.MonkeyPatch.context() as patch:
        patch.setattr("bench.weights.find", lambda *about: None)
        patch.setattr(registry, "method", lambda name: replace(TOY, helpers={"vgg19": helper}))
        shared = trials_of.prepare(loading.load(), "mrfnet-gopro")
    assert list(shared.not_searched) == ["weights.content"] and "vgg19" in shared.not_searched["weights.content"]
    assert list(shared.space.ranges) == ["weights.near"] and list(shared.own) == ["weights.far", "weights.near"]


def test_a_pruned_trial_stops_training_there(small, tmp_path):
    shared = trials_of.prepare(loading.load(), "mrfnet-gopro")

    def report(step: int, value: float) -> None:
        reported.append((step, value))
        raise Pruned

    reported: list[tuple[int, float]] = []
    values = {"weights.far": 1.0, "weights.near": 1.0}
    began = time.monotonic()
    with pytest.raises(Pruned):
        trials_of.objective(shared, Attempt(0, values, tmp_path / "t", report))
    assert [step for step, _ in reported] == [20] and time.monotonic() - began < 30
    again: list[tuple[int, float]] = []
    trials_of.objective(shared, Attempt(1, values, tmp_path / "u", lambda *point: again.append(point)))
    assert again == reported  # one seed, one order of the data: trials differ by their numbers alone


def test_a_metric_of_one_image_is_needed():
    with pytest.raises(UserError, match="no metric 'fid'"):
        trials_of.judge("fid", "inpaint", "here")
    assert trials_of.judge("psnr-rgb8-hole", "inpaint", "here").better == "higher"

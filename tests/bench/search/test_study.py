"""No trial of a study is lost or run twice, by any number of processes, killed or not."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from bench.search.locks import JournalLock, try_to_hold
from bench.search.outcomes import best_trial, counted, outcome
from bench.search.study import JOURNAL, Attempt, ended_trials, open_study
from tests.bench.search.toys import ROOT, ranged, run_study

WORKER = """
import os, sys, time
from pathlib import Path
from bench.params.schema import Choice
from bench.search.space import Space
from bench.search.study import Plan, work

folder, trials = Path(sys.argv[1]), int(sys.argv[2])

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

space = Space({"a": (0.1, 10.0)}, {"a": Choice(low=0.1, high=10.0)})
work(folder, Plan(space, {"a": 1.0}, trials, True, 0), objective)
"""


def start_worker(folder: Path, trials: int) -> subprocess.Popen[bytes]:
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen([sys.executable, "-c", WORKER, str(folder), str(trials)], env=environment, cwd=ROOT)


def ended_attempts(folder: Path) -> list[list[int]]:
    """What each attempt that came to its end has written: the trial, the step it resumed from, its process."""
    path = folder / "ended"
    return [list(map(int, line.split())) for line in path.read_text().splitlines()] if path.is_file() else []


@pytest.mark.slow
def test_two_processes_run_one_study_without_a_lost_or_doubled_trial(tmp_path):
    workers = [start_worker(tmp_path, 16) for _ in range(2)]
    assert [worker.wait(120) for worker in workers] == [0, 0]
    trials = open_study(tmp_path, True).get_trials()
    assert [outcome(trial) for trial in trials] == ["complete"] * 16
    assert sorted(number for number, _, _ in ended_attempts(tmp_path)) == list(range(16))
    assert {process for _, _, process in ended_attempts(tmp_path)} == {worker.pid for worker in workers}
    assert len({trial.params["a"] for trial in trials}) == 16


@pytest.mark.slow
def test_killed_at_random_moments_the_same_command_continues(tmp_path):
    rng, trials, kept = random.Random(5), 10, {}
    kills, hit = 0, False
    while kills < 3 or not hit:  # a kill may be between two trials; at least one must be within a trial
        kills += 1
        assert kills < trials, "every kill was between two trials"
        worker = start_worker(tmp_path, trials)
        before, until = len(ended_attempts(tmp_path)), time.monotonic() + 60
        while len(ended_attempts(tmp_path)) == before and worker.poll() is None and time.monotonic() < until:
            time.sleep(0.01)
        time.sleep(rng.uniform(0, 0.25))
        worker.send_signal(signal.SIGKILL)
        worker.wait()
        hit = hit or any(outcome(trial) == "running" for trial in open_study(tmp_path, True).get_trials())
        done = {t.number: (t.value, t.params) for t in ended_trials(open_study(tmp_path, True))}
        assert kept.items() <= done.items()
        kept = done
    workers = [start_worker(tmp_path, trials) for _ in range(2)]
    assert [worker.wait(120) for worker in workers] == [0, 0]
    study = open_study(tmp_path, True)
    ended = ended_trials(study)
    assert len(ended) == trials and {outcome(trial) for trial in study.get_trials()} <= {"complete", "lost"}
    assert kept.items() <= {trial.number: (trial.value, trial.params) for trial in ended}.items()
    # Every lost trial was tried again, once, with the same numbers, and the first one's folder.
    # A trial has its numbers before it begins, its parameters only then: a kill may come between the two.
    lost = {trial.number: trial.user_attrs["values"] for trial in study.get_trials() if outcome(trial) == "lost"}
    assert lost
    again = {t.user_attrs["retries"]: t.user_attrs["values"] for t in study.get_trials() if "retries" in t.user_attrs}
    assert again == lost
    assert not [path for path in tmp_path.glob("trial-*") if path.is_dir()]


def test_a_lost_trial_is_resumed_with_the_scores_that_it_had_reported(tmp_path):
    def dies(attempt: Attempt) -> float:
        attempt.folder.mkdir()
        (attempt.folder / "state").write_text("half")
        attempt.report(1, 0.25)
        raise MemoryError

    with pytest.raises(MemoryError):
        run_study(tmp_path, ranged("a"), {"a": 2.0}, 1, dies)
    assert outcome(open_study(tmp_path, True).get_trials()[0]) == "running"

    def resumes(attempt: Attempt) -> float:
        assert attempt.number == 1 and (attempt.folder / "state").read_text() == "half"
        attempt.report(2, 0.5)
        return attempt.values["a"]

    run_study(tmp_path, ranged("a"), {"a": 2.0}, 1, resumes)
    lost, trial = open_study(tmp_path, True).get_trials()
    assert (outcome(lost), outcome(trial), trial.value) == ("lost", "complete", 2.0)
    assert trial.intermediate_values == {1: 0.25, 2: 0.5} and trial.user_attrs["default"]


def test_the_trial_of_the_runs_own_numbers_counts_even_when_it_was_lost_and_fewer_trials_are_asked_for(tmp_path):
    """Trial 0 dies after others have ended; then two trials are asked for, and there are three without it."""

    def dies(attempt: Attempt) -> float:
        if attempt.number in (0, 4):
            raise MemoryError
        return 1.0

    with pytest.raises(MemoryError):
        run_study(tmp_path, ranged("a"), {"a": 2.0}, 1, dies)
    alive = try_to_hold(tmp_path / "trial-0.lock")  # as if its process still ran
    assert alive is not None
    with alive, pytest.raises(MemoryError):
        run_study(tmp_path, ranged("a"), {"a": 2.0}, 6, dies)
    assert [trial.number for trial in ended_trials(open_study(tmp_path, True))] == [1, 2, 3]
    run_study(tmp_path, ranged("a"), {"a": 2.0}, 2, lambda attempt: 1.0)
    ended = ended_trials(open_study(tmp_path, True))
    assert [trial.number for trial in ended] == [1, 2, 3, 5] and ended[3].user_attrs["default"]
    assert [trial.number for trial in counted(ended, 2)] == [1, 5]
    assert counted(ended, 4) == ended
    assert best_trial(ended, True) is ended[3]  # of equal ones the run's own numbers


def test_a_line_that_a_kill_left_unfinished_is_cut_off(tmp_path):
    run_study(tmp_path, ranged("a"), {"a": 2.0}, 2, lambda attempt: 1.0)
    journal = tmp_path / JOURNAL
    whole = journal.read_bytes()
    journal.write_bytes(whole + b'{"op_code": 5, "wor')
    lock = JournalLock(journal)
    lock.acquire()
    lock.release()
    assert journal.read_bytes() == whole
    journal.write_bytes(whole + b'{"op_code": 5, "wor')
    run_study(tmp_path, ranged("a"), {"a": 2.0}, 3, lambda attempt: 1.0)
    assert len(ended_trials(open_study(tmp_path, True))) == 3


def test_more_trials_continue_the_same_study(tmp_path):
    run_study(tmp_path, ranged("a"), {"a": 2.0}, 2, lambda attempt: attempt.values["a"])
    before = [trial.params for trial in ended_trials(open_study(tmp_path, True))]
    run_study(tmp_path, ranged("a"), {"a": 2.0}, 5, lambda attempt: attempt.values["a"])
    after = [trial.params for trial in ended_trials(open_study(tmp_path, True))]
    assert after[:2] == before and len(after) == 5
    other = tmp_path / "whole"
    run_study(other, ranged("a"), {"a": 2.0}, 5, lambda attempt: attempt.values["a"])
    assert [trial.params for trial in ended_trials(open_study(other, True))] == after

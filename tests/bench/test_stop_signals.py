"""Ctrl-C, SIGTERM and a closed terminal: one sentence and a status, whatever the command is doing."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from bench import stop_signals
from bench.cli.main import main
from bench.contracts import UserError

ROOT = Path(__file__).parents[2]
STATUS = {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGHUP: 129}
SIGNAL_WHILE_IMPORTING = """
import os, signal, time
os.kill(os.getpid(), signal.{name})
time.sleep(20)
"""


@pytest.fixture
def project(tmp_path, monkeypatch) -> Path:
    """A folder with a run, and the handlers of a program that was started in a terminal."""
    (tmp_path / "params.yaml").write_text("profile: sample\nruns: {deblur: {a: {method: mrfnet, dataset: gopro}}}\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def started_quietly(folder: Path, *arguments: str) -> subprocess.Popen[str]:
    """Start Python with the signals that a terminal's programs have: pytest may run with SIGINT ignored."""
    code = (
        "import os, signal, sys; signal.signal(signal.SIGINT, signal.SIG_DFL); os.execv(sys.executable, sys.argv[1:])"
    )
    environment = os.environ | {"PYTHONPATH": f"{folder}:{ROOT}"}
    return subprocess.Popen(
        [sys.executable, "-c", code, sys.executable, *arguments], cwd=folder, env=environment, stderr=subprocess.PIPE,
        stdout=subprocess.PIPE, text=True,
    )  # fmt: skip


@pytest.mark.parametrize("number", STATUS)
def test_a_command_that_gets_a_signal_says_one_sentence(project, monkeypatch, capfd, number):
    before = signal.getsignal(number)
    monkeypatch.setattr("bench.training.train.train", lambda *_: signal.raise_signal(number))
    assert main(["train", "a"]) == STATUS[number]
    sentence = f"sharpbench train: stopped by {number.name}; the same command continues\n"
    assert capfd.readouterr().err == sentence
    assert signal.getsignal(number) is before


@pytest.mark.parametrize("raised", [ImportError("numpy"), UserError("a worker was killed"), OSError()])
def test_an_error_that_a_signal_causes_is_the_signal(project, monkeypatch, capfd, raised):
    def train(*_: object) -> None:
        try:
            signal.raise_signal(signal.SIGTERM)
        except KeyboardInterrupt:
            raise raised from None

    monkeypatch.setattr("bench.training.train.train", train)
    assert main(["train", "a"]) == 143
    assert capfd.readouterr().err == "sharpbench train: stopped by SIGTERM; the same command continues\n"


def test_what_ends_because_of_a_signal_prints_no_traceback(capfd):
    with pytest.raises(stop_signals.Stopped), stop_signals.handled():
        try:
            signal.raise_signal(signal.SIGTERM)
        finally:
            thread = threading.Thread(target=lambda: 1 / 0)
            thread.start()
            thread.join()
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("module", ["click", "multiprocessing"])
@pytest.mark.parametrize("number", STATUS)
def test_a_signal_while_modules_are_imported_is_one_sentence(project, number, module):
    """A module of the same name, found first, sends the signal to the process that imports it."""
    (project / f"{module}.py").write_text(SIGNAL_WHILE_IMPORTING.format(name=number.name))
    _, err = (process := started_quietly(project, "-m", "bench", "build", "gopro")).communicate(timeout=60)
    assert (process.returncode, err.partition(": ")[2]) == (
        STATUS[number],
        f"stopped by {number.name}; the same command continues\n",
    )


def test_a_signal_that_is_ignored_stays_ignored(project, monkeypatch):
    """`nohup` and shells without job control start programs so."""
    previous = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        monkeypatch.setattr("bench.training.train.train", lambda *_: signal.raise_signal(signal.SIGHUP))
        assert main(["train", "a"]) == 0
    finally:
        signal.signal(signal.SIGHUP, previous)


def test_a_deferred_signal_is_raised_afterwards_and_a_second_one_at_once(monkeypatch):
    steps = []
    with pytest.raises(stop_signals.Stopped), stop_signals.handled():
        with stop_signals.deferred():
            signal.raise_signal(signal.SIGTERM)
            signal.raise_signal(signal.SIGINT)  # within a second: the same Ctrl-C, passed on
            steps.append(stop_signals.pending())
        stop_signals.raise_pending()
    monkeypatch.setattr(stop_signals, "SAME_SIGNAL_SECONDS", 0.0)
    with pytest.raises(stop_signals.Stopped) as stop, stop_signals.handled(), stop_signals.deferred():
        signal.raise_signal(signal.SIGTERM)
        steps.append(stop_signals.pending())
        signal.raise_signal(signal.SIGINT)
        steps.append("never")
    assert steps == [True, True] and stop.value.status == 143


def test_a_further_signal_while_the_command_cleans_up_ends_it_at_once(tmp_path):
    code = """
import signal, time
from bench import stop_signals
stop_signals.SAME_SIGNAL_SECONDS = 0
with stop_signals.handled():
    try:
        signal.raise_signal(signal.SIGTERM)
    finally:
        signal.raise_signal(signal.SIGINT)
        time.sleep(20)
"""
    began = time.monotonic()
    _, err = (process := started_quietly(tmp_path, "-c", code)).communicate(timeout=60)
    assert (process.returncode, err) == (130, "sharpbench: stopped by SIGINT; the same command continues\n")
    assert time.monotonic() - began < 15


def test_a_fork_of_a_command_ends_quietly_on_sigterm():
    with stop_signals.handled():
        if (child := os.fork()) == 0:
            signal.raise_signal(signal.SIGINT)  # for its parent
            signal.raise_signal(signal.SIGTERM)
            os._exit(1)
        assert os.waitpid(child, 0)[1] == signal.SIGTERM

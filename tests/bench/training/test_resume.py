"""A training that is killed and started again reaches the weights of an undisturbed one."""

from __future__ import annotations

import errno
import io
import random
import shutil
import signal
import subprocess
import time
import zipfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest
import torch
from safetensors.torch import load_file

from bench import stop_signals
from bench.contracts import UserError
from bench.hashes import digest
from bench.tracking import store
from bench.training.checkpoint import check_same_step
from bench.training.train import _training_id
from tests.bench.training.toys import (
    command,
    losses_of,
    toy_setup,
    toy_training,
    train_by_command,
    two_phases,
    weights_of,
)
from tests.images import flip_byte


def kill_at_random(project: Path, name: str, moment: random.Random, started: bool) -> None:
    """Start a training and kill -9 it: at its very beginning, or after it resumed from or wrote a checkpoint."""
    folder = project / ".resume"

    def stamps() -> list[int]:
        pattern = f"sample-{name}-*/{'state.pt' if started else 'run.json'}"
        return [path.stat().st_mtime_ns for path in folder.glob(pattern)]

    before = stamps()
    with subprocess.Popen(**command(project, "-m", "bench", "train", name), stdout=subprocess.DEVNULL) as process:
        deadline = time.monotonic() + 60
        while stamps() == before and time.monotonic() < deadline:
            assert process.poll() is None, process.stderr and process.stderr.read().decode()
            time.sleep(0.01)
        time.sleep(moment.uniform(0, 0.2))
        process.send_signal(signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL, "it had ended before it was killed"


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["plain", "gan"])
def test_killed_three_times_a_training_reaches_the_same_weights_in_one_mlflow_run(project, kind, monkeypatch):
    undisturbed, killed = f"{kind}-undisturbed", f"{kind}-killed"
    folder = project / "out" / "sample" / "runs"
    train_by_command(project, undisturbed)
    moment = random.Random(kind)
    for started in (False, True, True):
        kill_at_random(project, killed, moment, started)
        assert not (folder / killed).exists()
    train_by_command(project, killed)
    expected, weights = (load_file(folder / name / "weights.safetensors") for name in (undisturbed, killed))
    assert expected.keys() == weights.keys()
    assert [name for name in expected if not torch.equal(expected[name], weights[name])] == []
    pd.testing.assert_frame_equal(losses_of(project, undisturbed), losses_of(project, killed))
    assert not list((project / ".resume").glob(f"sample-{kind}-*"))

    monkeypatch.chdir(project)
    client = store.connect()
    experiments = [e.experiment_id for e in client.search_experiments()]
    [run] = client.search_runs(experiments, f"tags.`{store.RUN_TAG}` = '{killed}'")
    assert run.info.status == "FINISHED"
    for (player, loss), rows in losses_of(project, killed).groupby(["player", "name"]):
        history = client.get_metric_history(run.info.run_id, f"loss.{player}.{loss}")
        assert sorted(metric.step for metric in history) == sorted(rows["step"])
        assert sorted(metric.value for metric in history) == sorted(rows["value"])


def stop_after(training: Any, steps: int) -> None:
    """Run a training and stop it with a checkpoint after some steps."""

    def stop(total: int) -> None:
        if total == steps:
            training._save(lambda points: None)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        training.run(after_step=stop)


def test_a_training_is_resumed_exactly_from_any_step(built, tmp_path):
    method = two_phases()
    options = {"phases": {"one": 4, "two": 3}, "augment": ["rotate"]}
    undisturbed = toy_training(built, tmp_path / "undisturbed", method, **options)
    undisturbed.run()
    for steps in (1, 4, 6):
        folder = tmp_path / f"after-{steps}"
        stop_after(toy_training(built, folder, method, **options), steps)
        resumed = toy_training(built, folder, method, **options)
        assert resumed.state.progress.total == steps
        state = resumed.run()
        assert state.progress.total == 7 and [loss.step for loss in state.losses.history[::2]] == list(range(7))
        for name, value in weights_of(undisturbed).items():
            assert torch.equal(value, state.networks.state_dict()[name])


@pytest.mark.parametrize("steps", [1, 3, 6, 7])
def test_a_training_that_gets_sigterm_ends_after_its_step_and_is_resumed_exactly(built, tmp_path, steps):
    method = two_phases()
    options = {"phases": {"one": 4, "two": 3}, "augment": ["rotate"]}
    undisturbed = toy_training(built, tmp_path / "undisturbed", method, **options)
    undisturbed.run()
    done = []

    def terminate(total: int) -> None:
        done.append(total)
        if total == steps:
            signal.raise_signal(signal.SIGTERM)

    stopped = toy_training(built, tmp_path / "stopped", method, **options)
    with pytest.raises(stop_signals.Stopped) as stop, stop_signals.handled():
        stopped.run(after_step=terminate)
    assert done[-1] == steps and stop.value.status == 143
    resumed = toy_training(built, tmp_path / "stopped", method, **options)
    assert resumed.state.progress.total == steps
    resumed.run()
    for name, value in weights_of(undisturbed).items():
        assert torch.equal(value, weights_of(resumed)[name])


def test_a_training_that_gets_sigterm_is_marked_in_mlflow_and_continued(project, monkeypatch):
    arguments = command(project, "-m", "bench", "train", "terminated")
    with subprocess.Popen(**arguments, stdout=subprocess.DEVNULL) as process:
        while not list(project.glob(".resume/sample-terminated-*/state.pt")) and process.poll() is None:
            time.sleep(0.01)
        process.send_signal(signal.SIGTERM)
        assert process.stderr is not None
        sentence = process.stderr.read().decode()
    assert (process.returncode, sentence) == (
        143,
        "sharpbench train: stopped by SIGTERM; the same command continues\n",
    )
    monkeypatch.chdir(project)
    client = store.connect()
    experiments = [e.experiment_id for e in client.search_experiments()]
    query = f"tags.`{store.RUN_TAG}` = 'terminated'"
    [run] = client.search_runs(experiments, query)
    assert run.info.status == "FAILED"
    train_by_command(project, "terminated")
    [run] = client.search_runs(experiments, query)
    assert run.info.status == "FINISHED"


def test_an_ended_training_started_again_changes_nothing(built, tmp_path):
    logged: list[list[Any]] = []
    first = toy_training(built, tmp_path / "a")
    first.run(logged.append)
    again = toy_training(built, tmp_path / "a")
    assert again.run(logged.append).progress.total == 3
    assert all(torch.equal(value, weights_of(first)[name]) for name, value in weights_of(again).items())
    assert [point for points in logged[1:] for point in points] == logged[0]  # the same points, the same times


def zeroed(data: bytearray) -> bytes:
    """Zeros within the largest tensor: torch reads such a file without an error."""
    largest = max(zipfile.ZipFile(io.BytesIO(bytes(data))).infolist(), key=lambda entry: entry.file_size)
    middle = largest.header_offset + largest.file_size // 2
    data[middle : middle + 64] = bytes(64)
    return bytes(data)


def flipped(data: bytearray, place: int) -> bytes:
    data[place] ^= 1
    return bytes(data)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda data: b"", "damaged, or written by another version"),
        (lambda data: data[:100], "has changed since it was written"),
        (lambda data: data[65:], "damaged, or written by another version"),
        (zeroed, "has changed since it was written"),
        (lambda data: flipped(data, 3), "has changed since it was written|damaged, or written by another version"),
        (lambda data: flipped(data, 200), "has changed since it was written"),
        (lambda data: flipped(data, len(data) - 30), "has changed since it was written"),
        (lambda data: f"{digest(b'no zip')}\n".encode() + b"no zip", "cannot be read by torch"),
    ],
    ids=["empty", "cut off", "without its digest", "zeros", "the digest", "the pickle", "the end", "another file"],
)
def test_a_damaged_checkpoint_is_refused_in_one_sentence(built, tmp_path, damage, message):
    toy_training(built, tmp_path / "a").run()
    path = tmp_path / "a" / "state.pt"
    path.write_bytes(damage(bytearray(path.read_bytes())))
    with pytest.raises(UserError, match=rf"state\.pt: ({message}).*; delete it to train this run from the beginning"):
        toy_training(built, tmp_path / "a")


def test_a_whole_checkpoint_of_another_training_is_refused(built, tmp_path):
    """Of equal shapes: torch would load it."""
    for name in ("a", "b"):
        toy_training(built, tmp_path / name).run()
    shutil.copy(tmp_path / "b" / "state.pt", tmp_path / "a" / "state.pt")
    with pytest.raises(UserError, match=r"state\.pt: the checkpoint of another training; delete it to train this run"):
        toy_training(built, tmp_path / "a")


@pytest.mark.parametrize("swapped", [False, True], ids=["one byte", "another training's"])
def test_a_changed_id_of_a_training_is_refused(built, tmp_path, swapped):
    """It would start a second MLflow run."""
    first, other = toy_setup(built, tmp_path / "a"), toy_setup(built, tmp_path / "b")
    assert _training_id(first) == _training_id(first) != _training_id(other)
    if swapped:
        shutil.copy(tmp_path / "b" / "run.json", tmp_path / "a" / "run.json")
    else:
        flip_byte(tmp_path / "a" / "run.json")
    with pytest.raises(
        UserError, match=rf"run\.json: .*; delete {tmp_path / 'a'} to train this run from the beginning"
    ):
        _training_id(first)


def test_a_full_disk_stops_a_checkpoint_with_one_message(built, tmp_path, monkeypatch):
    training = toy_training(built, tmp_path / "a")
    monkeypatch.setattr(Path, "write_bytes", lambda self, data: (_ for _ in ()).throw(OSError(errno.ENOSPC, "full")))
    with pytest.raises(UserError, match=r"state\.pt: the disk is full"):
        training.run()
    assert list((tmp_path / "a").iterdir()) == []


def test_processes_that_loaded_different_checkpoints_are_stopped():
    """As two machines without a shared folder would: one resumes from step 2, the other begins."""
    accelerator: Any = SimpleNamespace(num_processes=2, device="cpu", gather=lambda here: torch.cat([here, here + 2]))
    with pytest.raises(UserError, match="a: the processes loaded checkpoints of the steps 0, 2; all machines must see"):
        check_same_step(accelerator, Path("a"), 0)
    accelerator.gather = lambda here: torch.cat([here, here])
    check_same_step(accelerator, Path("a"), 0)

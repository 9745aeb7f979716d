"""Commands below `python -m bench.warm` run in forks of one server that has imported the heavy packages."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml

from bench import stop_signals, warm
from bench.data.build import Job, build
from bench.files import sha256

ROOT = Path(__file__).parents[2]
RUN = {"method": "mrfnet", "dataset": "places2", "task": "deblur", "network": {"channels": 4}}
TRAIN = {"batch_size": 2, "crop_size": 32}


@pytest.fixture(scope="module")
def project(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("project")
    runs = {
        "here": RUN | {"train": TRAIN | {"steps": 3}},
        "there": RUN | {"train": TRAIN | {"steps": 3}},
        "long": RUN | {"train": TRAIN | {"steps": 10**6}},
    }
    (folder / "params.yaml").write_text(yaml.safe_dump({"profile": "sample", "threads": 1, "runs": {"deblur": runs}}))
    build(Job("places2", None, {"draws": 1, "test_draws": 1}, 0, "sample"), folder / "data" / "sample" / "places2", 1)
    return folder


def command(folder: Path, *arguments: str) -> dict[str, Any]:
    environment = {k: v for k, v in os.environ.items() if k not in ("MLFLOW_TRACKING_URI", "SHARPBENCH_PROFILE")}
    environment |= {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    return {"args": [sys.executable, *arguments], "cwd": folder, "env": environment}


SEVERAL = f"""
import json, os, subprocess, sys
def bench(*arguments, **more):
    done = subprocess.run([sys.executable, "-m", "bench", *arguments], capture_output=True, text=True, **more)
    print(json.dumps([done.returncode, done.stdout, done.stderr]))
    return done
print(os.path.exists(os.environ["{warm.SOCKET_VARIABLE}"]))
bench("list", "runs")
bench("train", "hree")
bench("trian")
bench("list", "runs", cwd="..")
bench("list", "runs", env=os.environ | {{"SHARPBENCH_PROFILE": "nothing"}})
sys.exit(bench("train", "there").returncode + 7)
"""


def test_results_streams_folder_environment_and_status_are_those_of_a_process(project):
    done = subprocess.run(
        **command(project, "-m", "bench.warm", sys.executable, "-c", SEVERAL),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 7 and done.stderr == ""
    socket_exists, *results = done.stdout.splitlines()
    assert socket_exists == "True"
    listed, unknown, usage, elsewhere, profile, trained = map(json.loads, results)
    assert listed[0] == 0 and "runs of profile sample (3)" in listed[1]
    assert unknown[0] == 2 and unknown[2].startswith(
        "sharpbench train: params.yaml: no run 'hree'; the nearest are: here"
    )
    assert usage[0] == 2 and "no command 'trian'; the nearest are: train" in usage[2]
    assert elsewhere[0] == 2 and "params.yaml: no such file" in elsewhere[2]
    assert profile[0] == 2 and "profile: found 'nothing'" in profile[2]
    assert trained[0] == 0 and "there: 3 steps in" in trained[1]

    subprocess.run(**command(project, "-m", "bench", "train", "here"), capture_output=True, check=True)
    first, second = (project / "out/sample/runs" / name / "weights.safetensors" for name in ("here", "there"))
    assert sha256(first) == sha256(second)


def wait_for(condition: Callable[[], Any]) -> Any:
    deadline = time.monotonic() + 60
    while not (value := condition()) and time.monotonic() < deadline:
        time.sleep(0.05)
    return value


def ended(process: psutil.Process) -> bool:
    return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE


def test_killing_a_client_ends_its_fork_and_without_a_server_commands_run_themselves(project):
    script = f"""
import os, subprocess, sys
training = subprocess.Popen([sys.executable, "-m", "bench", "train", "long"])
print(training.pid, flush=True)
training.wait()
print(training.returncode, flush=True)
os.unlink(os.environ["{warm.SOCKET_VARIABLE}"])
sys.exit(subprocess.run([sys.executable, "-m", "bench", "list", "runs"]).returncode)
"""
    with subprocess.Popen(
        **command(project, "-m", "bench.warm", sys.executable, "-c", script), stdout=subprocess.PIPE, text=True
    ) as outer:
        assert outer.stdout is not None
        client = int(outer.stdout.readline())
        server = next(c for c in psutil.Process(outer.pid).children() if "--serve" in c.cmdline())
        resume = project / ".resume"
        assert wait_for(lambda: list(resume.glob("sample-long-*/run.json")))
        (fork,) = server.children()
        os.kill(client, signal.SIGKILL)
        assert wait_for(lambda: ended(fork))
        rest = outer.stdout.read()
    # The training may have printed its expected length before it was killed.
    assert str(-signal.SIGKILL) in rest.splitlines() and "runs of profile sample (3)" in rest
    assert outer.returncode == 0
    assert not server.is_running()


def test_without_a_server_no_command_is_handed_over(monkeypatch):
    monkeypatch.delenv(warm.SOCKET_VARIABLE, raising=False)
    assert warm.run_in_server(["list"]) is None
    monkeypatch.setenv(warm.SOCKET_VARIABLE, "/nowhere/socket")
    assert warm.run_in_server(["list"]) is None


@pytest.fixture
def handlers() -> Iterator[None]:
    """Restore the handlers of signals: a command that has ended needs none."""
    before = {number: signal.getsignal(number) for number in stop_signals.SIGNALS}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture
def warm_training(project) -> Iterator[tuple[subprocess.Popen[str], psutil.Process, psutil.Process]]:
    """`bench.warm` with a long training: it, the server's fork and the client."""
    shutil.rmtree(project / ".resume", ignore_errors=True)
    with subprocess.Popen(
        **command(project, "-m", "bench.warm", sys.executable, "-m", "bench", "train", "long"),
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    ) as outer:  # fmt: skip
        assert wait_for(lambda: list((project / ".resume").glob("sample-long-*/run.json")))
        children = psutil.Process(outer.pid).children()
        server = next(child for child in children if "--serve" in child.cmdline())
        client = next(child for child in children if "train" in child.cmdline())
        yield outer, server.children()[0], client
        outer.kill()


@pytest.mark.parametrize("whom", ["client", "command"])
def test_a_signal_reaches_the_fork_which_says_one_sentence(warm_training, whom):
    outer, fork, client = warm_training
    os.kill(client.pid if whom == "client" else outer.pid, signal.SIGTERM)
    error = outer.communicate(timeout=60)[1]
    assert (outer.returncode, error) == (143, "sharpbench train: stopped by SIGTERM; the same command continues\n")
    assert wait_for(lambda: ended(fork))


def test_killing_the_warm_command_ends_its_server_fork_and_command(warm_training):
    outer, fork, client = warm_training
    outer.kill()
    outer.wait()
    assert wait_for(lambda: ended(fork) and ended(client))


@pytest.mark.parametrize("length", [100, 240])
def test_a_long_folder_for_temporary_files_is_not_used_for_the_socket(tmp_path, monkeypatch, length):
    long = tmp_path / ("x" * length)
    long.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(long))
    with socket.socket(socket.AF_UNIX) as listener:
        path = warm._bind(listener)
        assert len(path) < 107 and stat.S_ISSOCK(os.stat(path).st_mode) and not list(long.iterdir())
        warm._remove_socket(path)
        assert not os.path.exists(os.path.dirname(path))


def test_where_no_socket_can_be_made_commands_run_themselves(handlers, tmp_path, monkeypatch, capfd):
    (long := tmp_path / ("x" * 100)).mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(long))
    monkeypatch.setattr(warm, "SHORT_FOLDERS", ())
    code = f"import os, sys; sys.exit(7 if {warm.SOCKET_VARIABLE!r} in os.environ else 3)"
    monkeypatch.delenv(warm.SOCKET_VARIABLE, raising=False)
    assert warm.run_with_server([sys.executable, "-c", code]) == 3
    assert "no socket can be made in" in capfd.readouterr().err

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from bench.cli import main
from bench.contracts import UserError
from bench.tools import screenshots
from bench.tools.dashboard import addresses, serve
from bench.tracking import store, views
from tests.bench.tracking.test_tracking import made_record

ROOT = Path(__file__).parents[3]
PARAMS = "profile: sample\nruns: {}\n"


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with parameters, a store of two runs and a trial, and something in the report's place."""
    folder = tmp_path_factory.mktemp("project")
    (folder / "params.yaml").write_text(PARAMS)
    (folder / "reports/out/sample").mkdir(parents=True)
    (folder / "reports/out/sample/index.html").write_text("<!doctype html><title>report</title><h1>report</h1>")
    before, variable = Path.cwd(), os.environ.pop("MLFLOW_TRACKING_URI", None)
    os.chdir(folder)
    try:
        client = store.connect()
        store.start(client, made_record(), "a")
        store.start(client, made_record(task="inpaint"), "b")
        store.start(client, made_record(task="inpaint", kind="trial"), "c")
        store.start(client, made_record(task="dual-pixel", profile="tour"), "d")
    finally:
        os.chdir(before)
        if variable is not None:
            os.environ["MLFLOW_TRACKING_URI"] = variable
    return folder


@pytest.fixture
def inside(project: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.delenv("SHARPBENCH_PROFILE", raising=False)
    monkeypatch.chdir(project)
    return project


def taken() -> socket.socket:
    """A port of the loopback address that somebody listens on."""
    held = socket.socket()
    held.bind(("127.0.0.1", 0))
    held.listen()
    return held


# What is opened -------------------------------------------------------------------------------------------------------


def test_the_addresses_are_of_the_tasks_with_runs_of_the_profile(inside):
    client, server = store.connect(), "http://127.0.0.1:5000"
    ids = {name: client.get_experiment_by_name(name).experiment_id for name in ("deblur", "inpaint", "dual-pixel")}
    found = dict(addresses(client, server, "sample"))
    assert list(found) == [
        "deblur: the best first", "deblur: images, curves",
        "inpaint: the best first", "inpaint: images, curves", "inpaint: searches", "checkpoints",
    ]  # fmt: skip
    assert found["deblur: the best first"] == views.experiment_page(server, ids["deblur"], "sample")
    assert found["inpaint: searches"] == views.experiment_page(server, ids["inpaint"], "sample", newest=True)
    assert list(dict(addresses(client, server, "tour"))) == [
        "dual-pixel: the best first", "dual-pixel: images, curves", "checkpoints"
    ]  # fmt: skip
    assert [title for title, _ in addresses(client, server, "paper")] == ["checkpoints"]


# What is refused ------------------------------------------------------------------------------------------------------


def test_a_port_that_is_taken_is_one_message(inside, capsys):
    with taken() as held:
        port = held.getsockname()[1]
        assert main(["dashboard", "--port", str(port)]) == 2
    assert re.fullmatch(
        rf"sharpbench dashboard: port {port} of 127\.0\.0\.1 cannot be had \(.+\): is another dashboard open\? "
        r"Stop it, or choose another port with --port\n",
        capsys.readouterr().err,
    )


def test_a_port_that_cannot_be_is_one_message(inside, capsys):
    assert main(["dashboard", "--port", "70000"]) == 2
    assert capsys.readouterr().err == "sharpbench dashboard: --port: found 70000, expected 1 to 65535\n"


def test_a_server_that_ends_at_once_is_one_message(inside, monkeypatch):
    monkeypatch.setattr(sys, "executable", "/bin/false")
    expected = r"did not answer at http://127\.0\.0\.1:\d+ and ended with status 1"
    with pytest.raises(UserError, match=expected), serve(store.address(), 0):
        pass


def test_screenshots_say_what_is_missing(inside, capsys, monkeypatch, tmp_path):
    page = inside / "reports/out/sample/index.html"
    monkeypatch.setenv("PATH", str(tmp_path))
    assert main(["screenshots"]) == 2
    expected = "no Chromium: none of chromium, chromium-browser, google-chrome is on the PATH"
    assert capsys.readouterr().err.startswith(f"sharpbench screenshots: {expected}")
    with pytest.raises(UserError, match="no Chromium"), screenshots.browser():
        pass
    page.rename(inside / "kept")
    try:
        assert main(["screenshots"]) == 2
    finally:
        (inside / "kept").rename(page)
    assert "reports/out/sample/index.html: no report yet; run: dvc repro" in capsys.readouterr().err
    assert not (inside / "out").exists()


# What is served -------------------------------------------------------------------------------------------------------


def read_until(process: subprocess.Popen[str], end: str) -> str:
    lines = []
    assert process.stdout is not None
    for line in process.stdout:
        lines.append(line)
        if line.startswith(end):
            break
    return "".join(lines)


def check_elsewhere(server: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """A tracking server that somebody else runs is shown and not served."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"{server}/")
    assert main(["dashboard"]) == 0
    printed = capsys.readouterr().out
    assert f"  MLflow                   {server}\n" in printed and "starts on" not in printed
    assert f"  deblur: the best first   {server}/#/experiments/" in printed


@pytest.fixture
def interrupts():
    """Hand SIGINT down to children: a shell's background job, such as a whole suite may be, has it ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.slow
def test_the_dashboard_answers_and_stops_with_all_its_processes(inside, interrupts, capsys, monkeypatch):
    with taken() as held:
        port = held.getsockname()[1]
    process = subprocess.Popen(
        [sys.executable, "-m", "bench", "dashboard", "--port", str(port)],
        env=os.environ | {"PYTHONPATH": str(ROOT)}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    try:
        printed = read_until(process, "Ctrl-C stops it")
        server = f"http://127.0.0.1:{port}"
        assert f"  MLflow                   {server}\n" in printed
        assert f"  inpaint: searches        {server}/#/experiments/" in printed
        assert f"  report                   {(inside / 'reports/out/sample/index.html').as_uri()}\n" in printed
        with urllib.request.urlopen(f"{server}/health", timeout=30) as answer:
            assert answer.status == 200
        listening = {c.laddr.ip for c in psutil.net_connections("tcp") if c.laddr and c.laddr.port == port}
        assert listening == {"127.0.0.1"}  # nobody else's machine
        check_elsewhere(server, capsys, monkeypatch)
        family = psutil.Process(process.pid).children(recursive=True)
        assert len(family) >= 2
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 0
        assert process.stdout is not None and process.stdout.read().strip() == "stopped"
        gone, alive = psutil.wait_procs(family, timeout=10)
        assert alive == [] and len(gone) == len(family)
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()


def test_sigterm_stops_it_as_ctrl_c_does(inside, capsys, monkeypatch):
    events = []

    @contextmanager
    def serving(uri: str, port: int) -> Iterator[str]:
        events.append("started")
        try:
            yield f"http://127.0.0.1:{port}"
        finally:
            events.append("stopped")

    def pause() -> None:
        os.kill(os.getpid(), signal.SIGTERM)

    before = signal.getsignal(signal.SIGTERM)
    monkeypatch.setattr("bench.tools.dashboard.serve", serving)
    monkeypatch.setattr("signal.pause", pause)
    assert main(["dashboard", "--port", "5003"]) == 0
    assert events == ["started", "stopped"] and capsys.readouterr().out.endswith("Ctrl-C stops it\n\nstopped\n")
    assert signal.getsignal(signal.SIGTERM) is before

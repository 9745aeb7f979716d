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

from bench.cli.main import main
from bench.contracts import UserError
from bench.tools import screenshots
from bench.tools.dashboard import addresses, serve
from bench.tracking import store
from bench.tracking.addresses import experiment_page
from tests.bench.tracking.toys import made_record

ROOT = Path(__file__).parents[3]
PARAMS = "profile: sample\nruns: {}\n"


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with parameters, a store of three runs and a trial, and a page in the place of the report."""
    folder = tmp_path_factory.mktemp("project")
    (folder / "params.yaml").write_text(PARAMS)
    (folder / "reports/out/sample").mkdir(parents=True)
    (folder / "reports/out/sample/index.html").write_text("<!doctype html><title>report</title><h1>report</h1>")
    previous, variable = Path.cwd(), os.environ.pop("MLFLOW_TRACKING_URI", None)
    os.chdir(folder)
    try:
        client = store.connect()
        store.start(client, made_record(), "a")
        store.start(client, made_record(task="inpaint"), "b")
        store.start(client, made_record(task="inpaint", kind="trial"), "c")
        store.start(client, made_record(task="dual-pixel", profile="tour"), "d")
    finally:
        os.chdir(previous)
        if variable is not None:
            os.environ["MLFLOW_TRACKING_URI"] = variable
    return folder


@pytest.fixture
def inside(project: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.delenv("SHARPBENCH_PROFILE", raising=False)
    monkeypatch.chdir(project)
    return project


def listening_socket() -> socket.socket:
    """A socket that listens on a free port of the loopback address."""
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen()
    return listener


# Addresses ------------------------------------------------------------------------------------------------------------


def test_addresses_are_listed_for_tasks_with_runs_of_the_profile(inside):
    client, server = store.connect(), "http://127.0.0.1:5000"
    ids = {name: client.get_experiment_by_name(name).experiment_id for name in ("deblur", "inpaint", "dual-pixel")}
    pages = dict(addresses(client, server, "sample", (256, 256)))
    assert list(pages) == [
        "deblur: best first", "deblur: images, curves",
        "inpaint: best first", "inpaint: images, curves", "inpaint: searches", "checkpoints",
    ]  # fmt: skip
    assert pages["deblur: best first"] == experiment_page(server, ids["deblur"], "sample")
    assert pages["inpaint: searches"] == experiment_page(server, ids["inpaint"], "sample", newest=True)
    assert list(dict(addresses(client, server, "tour", (256, 256)))) == [
        "dual-pixel: best first", "dual-pixel: images, curves", "checkpoints"
    ]  # fmt: skip
    assert [title for title, _ in addresses(client, server, "paper", (256, 256))] == ["checkpoints"]


# Bad input ------------------------------------------------------------------------------------------------------------


def test_a_port_in_use_is_one_message(inside, capsys):
    with listening_socket() as listener:
        port = listener.getsockname()[1]
        assert main(["dashboard", "--port", str(port)]) == 2
    assert re.fullmatch(
        rf"sharpbench dashboard: port {port} of 127\.0\.0\.1 is not available \(.+\): is another dashboard open\? "
        r"Stop it, or choose another port with --port\n",
        capsys.readouterr().err,
    )


def test_a_server_that_ends_at_once_is_one_message(inside, monkeypatch):
    monkeypatch.setattr(sys, "executable", "/bin/false")
    expected = r"did not answer at http://127\.0\.0\.1:\d+ and ended with status 1"
    with pytest.raises(UserError, match=expected), serve(store.address(), 0):
        pass


def test_screenshots_without_chromium_or_report_are_refused(inside, capsys, monkeypatch, tmp_path):
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


# The server -----------------------------------------------------------------------------------------------------------


def read_until(process: subprocess.Popen[str], end: str) -> str:
    lines = []
    assert process.stdout is not None
    for line in process.stdout:
        lines.append(line)
        if line.startswith(end):
            break
    return "".join(lines)


def check_remote_server(server: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """A tracking server that runs elsewhere is printed, and no server is started."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"{server}/")
    assert main(["dashboard"]) == 0
    printed = capsys.readouterr().out
    assert f"  MLflow                   {server}\n" in printed and "starting MLflow" not in printed
    assert f"  deblur: best first       {server}/#/experiments/" in printed


@pytest.fixture
def interrupts():
    """Let children receive SIGINT: a background job of a shell ignores it, and so would they."""
    previous = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, previous)


@pytest.mark.slow
def test_the_dashboard_answers_and_stops_with_all_its_processes(inside, interrupts, capsys, monkeypatch):
    with listening_socket() as listener:
        port = listener.getsockname()[1]
    process = subprocess.Popen(
        [sys.executable, "-m", "bench", "dashboard", "--port", str(port)],
        env=os.environ | {"PYTHONPATH": str(ROOT)}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    try:
        printed = read_until(process, "press Ctrl-C to stop")
        server = f"http://127.0.0.1:{port}"
        assert f"  MLflow                   {server}\n" in printed
        assert f"  inpaint: searches        {server}/#/experiments/" in printed
        assert f"  report                   {(inside / 'reports/out/sample/index.html').as_uri()}\n" in printed
        with urllib.request.urlopen(f"{server}/health", timeout=30) as answer:
            assert answer.status == 200
        listening = {c.laddr.ip for c in psutil.net_connections("tcp") if c.laddr and c.laddr.port == port}
        assert listening == {"127.0.0.1"}  # not reachable from other machines
        check_remote_server(server, capsys, monkeypatch)
        children = psutil.Process(process.pid).children(recursive=True)
        assert len(children) >= 2
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 0
        assert process.stdout is not None and process.stdout.read().strip() == "stopped"
        gone, alive = psutil.wait_procs(children, timeout=10)
        assert alive == [] and len(gone) == len(children)
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()


def test_sigterm_stops_the_dashboard_like_ctrl_c(inside, capsys, monkeypatch):
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

    previous = signal.getsignal(signal.SIGTERM)
    monkeypatch.setattr("bench.tools.dashboard.serve", serving)
    monkeypatch.setattr("signal.pause", pause)
    assert main(["dashboard", "--port", "5003"]) == 0
    assert events == ["started", "stopped"] and capsys.readouterr().out.endswith("press Ctrl-C to stop\n\nstopped\n")
    assert signal.getsignal(signal.SIGTERM) is previous

"""MLflow's own pages on this machine's loopback address, and the addresses in them that matter."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.contracts import TASKS, DataError, UserError
from bench.params.schema import Params
from bench.tracking import store, views

if TYPE_CHECKING:
    from mlflow import MlflowClient

PORT = 5000
"""Where the report's links expect the dashboard."""
PATIENCE = 120
"""Seconds that the server may take to answer; usually it takes about eight."""


def local(uri: str) -> bool:
    """Tell whether a tracking URI is a file of this machine, which needs a server to be looked at."""
    return uri.startswith("sqlite:///")


def need_store(uri: str) -> None:
    """Raise DataError when the tracking URI is a file that is not there."""
    if local(uri) and not (database := Path(uri.removeprefix("sqlite:///"))).is_file():
        raise DataError(f"{database}: no runs yet; run: dvc repro")


def addresses(client: MlflowClient, server: str, profile: str) -> list[tuple[str, str]]:
    """Return title and address of each page worth opening: two views a task with runs of the profile, the registry.

    Args:
        server: where MLflow answers: "http://127.0.0.1:5000".
    """
    found = []
    for task in TASKS:
        known = client.get_experiment_by_name(task)
        if known and client.search_runs([known.experiment_id], f"tags.profile = '{profile}'", max_results=1):
            place = store.experiment(client, task, profile)
            found.append((f"{task}: the best first", views.experiment_page(server, place, profile)))
            found.append((f"{task}: images, curves", views.experiment_page(server, place, profile, charts=True)))
            trials = f"tags.profile = '{profile}' and tags.kind = 'trial'"
            if client.search_runs([place], trials, max_results=1):
                found.append((f"{task}: searches", views.experiment_page(server, place, profile, newest=True)))
    return [*found, ("checkpoints", f"{server}/#/models")]


@contextmanager
def serve(uri: str, port: int = PORT, log: Any = subprocess.DEVNULL) -> Iterator[str]:
    """Serve a store on the loopback address until the block ends; give the server's address once it answers.

    Args:
        uri: of the store: "sqlite:///runs/mlflow.db".
        port: 0 takes any free one.
        log: where the server's own lines go, as `subprocess` takes it.

    Raises:
        UserError: the port is taken; the server ends or does not answer.
    """
    port = _free(port)
    command = [sys.executable, "-m", "mlflow", "server", "--backend-store-uri", uri, "--host", "127.0.0.1"]
    command += ["--port", str(port), "--workers", "1"]
    command += ["--default-artifact-root", Path(store.ARTIFACTS).absolute().as_uri()]
    quiet = {"MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "true"}
    # In a session of its own Ctrl-C reaches this process alone, which then stops the server with all its workers.
    server = subprocess.Popen(command, env=os.environ | quiet, stdout=log, stderr=log, start_new_session=True)
    try:
        place = f"http://127.0.0.1:{port}"
        _wait(server, place)
        yield place
    finally:
        _stop(server)


def _free(port: int) -> int:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            raise UserError(
                f"port {port} of 127.0.0.1 cannot be had ({error.strerror}): is another dashboard open? Stop it, or "
                "choose another port with --port"
            ) from None
        return int(probe.getsockname()[1])


def _wait(server: subprocess.Popen[Any], place: str) -> None:
    deadline = time.monotonic() + PATIENCE
    while server.poll() is None and time.monotonic() < deadline:
        try:
            with urllib.request.urlopen(f"{place}/health", timeout=5):
                return
        except OSError:
            time.sleep(0.2)
    ended = "" if server.returncode is None else f" and ended with status {server.returncode}"
    raise UserError(f"MLflow's server did not answer at {place}{ended}; its own words: python -m mlflow server")


def _stop(server: subprocess.Popen[Any]) -> None:
    """End the server and every process that it has started, those too that left its session."""
    import psutil

    try:
        family = psutil.Process(server.pid).children(recursive=True)
    except psutil.NoSuchProcess:
        family = []
    server.terminate()
    try:
        server.wait(10)
    except subprocess.TimeoutExpired:
        server.kill()
        server.wait()
    for process in family:
        if process.is_running():
            process.terminate()
    for process in psutil.wait_procs(family, timeout=5)[1]:
        process.kill()


def dashboard(params: Params, port: int = PORT, browse: bool = False) -> None:
    """Print the addresses that matter and serve the store until Ctrl-C; a tracking server elsewhere serves itself.

    Args:
        port: of the loopback address.
        browse: also open the first address in the person's browser.

    Raises:
        DataError: no store yet.
        UserError: the port is taken, or the store or its server does not answer.
    """
    uri = store.address(params.tracking)
    need_store(uri)
    client = store.connect(params.tracking)
    if not local(uri):
        _show(client, uri.rstrip("/"), params, browse)
        return
    print(f"MLflow starts on 127.0.0.1:{port} ...", flush=True)
    before = signal.signal(signal.SIGTERM, _interrupt)
    try:
        with serve(uri, port) as place:
            _show(client, place, params, browse)
            print("Ctrl-C stops it", flush=True)
            signal.pause()
    except KeyboardInterrupt:
        print("\nstopped")
    finally:
        signal.signal(signal.SIGTERM, before)


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def _show(client: MlflowClient, server: str, params: Params, browse: bool) -> None:
    page = Path(params.paths.reports, params.profile, "index.html").absolute()
    found = [("MLflow", server), *addresses(client, server, params.profile)]
    found += [("report", page.as_uri())] if page.is_file() else []
    width = max(len(title) for title, _ in found)
    for title, place in found:
        print(f"  {title.ljust(width)}  {place}", flush=True)
    if browse:
        import webbrowser

        webbrowser.open(found[1][1])

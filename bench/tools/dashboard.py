"""Serve MLflow on this machine's loopback address, and print the pages worth opening."""

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
from typing import IO, TYPE_CHECKING

from bench.child_processes import supervised
from bench.contracts import DataError, UserError
from bench.params.resolving import evaluation
from bench.params.schema import Params
from bench.tasks import TASKS
from bench.tracking import store
from bench.tracking.addresses import experiment_page
from bench.tracking.views import set_up_experiment

if TYPE_CHECKING:
    from mlflow import MlflowClient

START_TIMEOUT = 120
"""Seconds that the server may take to answer; about eight are usual."""


def is_local(uri: str) -> bool:
    """Return whether a tracking URI is a file on this machine, which can be viewed only through a server."""
    return uri.startswith("sqlite:///")


def need_store(uri: str) -> None:
    """Raise DataError when the tracking URI is a file that does not exist."""
    if is_local(uri) and not (database := Path(uri.removeprefix("sqlite:///"))).is_file():
        raise DataError(f"{database}: no runs yet; run: dvc repro")


def addresses(client: MlflowClient, server: str, profile: str, cost_size: tuple[int, int]) -> list[tuple[str, str]]:
    """Return title and address of each page worth opening: the views of each task with runs, and the model registry.

    Args:
        server: base address of MLflow, for example "http://127.0.0.1:5000".
        profile: only tasks with runs of this profile are listed.
        cost_size: height and width in pixels at which costs are measured, `evaluate.cost_size`.
    """
    pages = []
    for task in TASKS:
        experiment = client.get_experiment_by_name(task)
        if experiment and client.search_runs([experiment.experiment_id], f"tags.profile = '{profile}'", max_results=1):
            key = set_up_experiment(client, task, profile, cost_size)
            pages.append((f"{task}: best first", experiment_page(server, key, profile)))
            pages.append((f"{task}: images, curves", experiment_page(server, key, profile, charts=True)))
            trials = f"tags.profile = '{profile}' and tags.kind = 'trial'"
            if client.search_runs([key], trials, max_results=1):
                pages.append((f"{task}: searches", experiment_page(server, key, profile, newest=True)))
    return [*pages, ("checkpoints", f"{server}/#/models")]


@contextmanager
def serve(uri: str, port: int, log: IO[bytes] | int = subprocess.DEVNULL) -> Iterator[str]:
    """Serve a store on the loopback address until the block ends; yield the server's address once it answers.

    Args:
        uri: the store, for example "sqlite:///runs/mlflow.db".
        port: 0 for any free port.
        log: receives the server's output, as `subprocess.Popen` takes it.

    Raises:
        UserError: the port is in use; the server ends or does not answer.
    """
    port = _free_port(port)
    command = [sys.executable, "-m", "mlflow", "server", "--backend-store-uri", uri, "--host", "127.0.0.1"]
    command += ["--port", str(port), "--workers", "1"]
    command += ["--default-artifact-root", Path(store.ARTIFACTS).absolute().as_uri()]
    quiet = {"MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "true"}
    address = f"http://127.0.0.1:{port}"
    with supervised(command, os.environ | quiet, log) as server:
        _wait(server, address)
        yield address


def _free_port(port: int) -> int:
    """Return the port, or any free one for 0. Raises UserError when it is in use."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            raise UserError(
                f"port {port} of 127.0.0.1 is not available ({error.strerror}): is another dashboard open? Stop it, or "
                "choose another port with --port"
            ) from None
        return int(probe.getsockname()[1])


def _wait(server: subprocess.Popen[bytes], address: str) -> None:
    """Return once the server answers. Raises UserError when it ends or takes longer than START_TIMEOUT."""
    deadline = time.monotonic() + START_TIMEOUT
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # no proxy reaches this machine's loopback
    while server.poll() is None and time.monotonic() < deadline:
        try:
            with opener.open(f"{address}/health", timeout=5):
                return
        except OSError:
            time.sleep(0.2)
    ended = "" if server.returncode is None else f" and ended with status {server.returncode}"
    raise UserError(f"MLflow's server did not answer at {address}{ended}; to see its output: python -m mlflow server")


def dashboard(params: Params, port: int, browse: bool = False) -> None:
    """Print the pages worth opening and serve the store until Ctrl-C; a tracking server elsewhere is only printed.

    Args:
        port: port on the loopback address.
        browse: also open the first page in the browser.

    Raises:
        DataError: the store has not been made yet.
        UserError: the port is in use, or the store or its server does not answer.
    """
    uri = store.address(params.tracking)
    need_store(uri)
    client = store.connect(params.tracking)
    if not is_local(uri):
        _print_pages(client, uri.rstrip("/"), params, browse)
        return
    print(f"starting MLflow on 127.0.0.1:{port} ...", flush=True)
    try:
        with serve(uri, port) as address:
            _print_pages(client, address, params, browse)
            print("press Ctrl-C to stop", flush=True)
            signal.pause()
    except KeyboardInterrupt:  # SIGTERM too
        print("\nstopped")


def _print_pages(client: MlflowClient, server: str, params: Params, browse: bool) -> None:
    report = Path(params.paths.reports, params.profile, "index.html").absolute()
    pages = [("MLflow", server), *addresses(client, server, params.profile, evaluation(params).cost_size)]
    pages += [("report", report.as_uri())] if report.is_file() else []
    width = max(len(title) for title, _ in pages)
    for title, address in pages:
        print(f"  {title.ljust(width)}  {address}", flush=True)
    if browse:
        import webbrowser

        webbrowser.open(pages[1][1])

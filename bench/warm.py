"""Runs a command in which no `python -m bench` imports torch and MLflow anew: `python -m bench.warm COMMAND...`.

Importing them takes 3 to 4 of the 6 seconds that a short stage costs beside its work, and `make repro` has 150 stages.
So one process imports them once and waits at a socket. Each `python -m bench` below the command hands its arguments,
folder, environment and standard streams to it; a fork of it does the work and returns the exit status. What is computed
is the same: a fork has imported what any command imports, and has computed nothing.
"""

from __future__ import annotations

import importlib
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import traceback
from collections.abc import Sequence

ADDRESS = "SHARPBENCH_WARM"
"""The environment variable that holds the socket's path below such a command."""
HEAVY = (
    "accelerate",
    "cv2",
    "mlflow.store.tracking.sqlalchemy_store",
    "pandas",
    "pyarrow.dataset",
    "pyarrow.parquet",
    "pydantic",
    "safetensors.torch",
    "torch._dynamo",  # every optimiser and every tensor without values asks for it
    "yaml",
)


def run(command: Sequence[str]) -> int:
    """Run a command beside a warm process, and return its exit status."""
    with tempfile.TemporaryDirectory() as folder, socket.socket(socket.AF_UNIX) as listener:
        address = os.path.join(folder, "socket")
        listener.bind(address)
        listener.listen()
        serving = [sys.executable, "-m", "bench.warm", "--serve", str(listener.fileno())]
        with subprocess.Popen(serving, pass_fds=[listener.fileno()]) as server:
            listener.close()  # when the process is gone nobody must wait at its socket
            try:
                return subprocess.run(command, env=os.environ | {ADDRESS: address}, check=False).returncode
            except KeyboardInterrupt:  # the command was interrupted too, and has said so
                return 130
            finally:
                server.terminate()


def hand_over(arguments: Sequence[str]) -> int | None:
    """Let the warm process run a command of `python -m bench`; return its exit status, None where there is none."""
    if not (address := os.environ.get(ADDRESS)):
        return None
    request = {"arguments": list(arguments), "folder": os.getcwd(), "environment": dict(os.environ)}
    with socket.socket(socket.AF_UNIX) as connection:
        try:
            connection.connect(address)
        except OSError:
            return None  # it has ended: this process does the work itself, only later
        socket.send_fds(connection, [b"\n"], [0, 1, 2])
        connection.sendall(json.dumps(request).encode() + b"\n")
        while True:
            try:
                answer = connection.recv(1)
            except KeyboardInterrupt:
                continue  # the one that works was interrupted too, and ends
            return answer[0] if answer else 1


def serve(listener: socket.socket) -> None:
    """Import what is heavy, then fork for each request; returns in the forks alone, when their work is done."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # forks that have ended are not waited for
    for name in HEAVY:
        importlib.import_module(name)
    while True:
        connection, _ = listener.accept()
        if os.fork() == 0:
            listener.close()
            signal.signal(signal.SIGINT, signal.default_int_handler)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            work(connection)
            return
        connection.close()


def work(connection: socket.socket) -> None:
    """Do what one request asks for, with its streams, and answer with the exit status."""
    _, streams, _, _ = socket.recv_fds(connection, 1, 3)
    with connection.makefile("rb") as lines:
        request = json.loads(lines.readline())
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    os.chdir(request["folder"])
    os.environ.clear()
    os.environ.update(request["environment"])
    threading.Thread(target=_end_with, args=(connection,), daemon=True).start()
    from bench.cli import main

    try:
        status = main(request["arguments"])
    except SystemExit as stopped:  # argparse's own
        status = stopped.code if isinstance(stopped.code, int) else 1
    except BaseException:
        traceback.print_exc()
        status = 1
    sys.stdout.flush()
    sys.stderr.flush()
    connection.sendall(bytes([status]))


def _end_with(connection: socket.socket) -> None:
    """End this process when the one that waits for it was killed, as the work would have ended in that one."""
    if not connection.recv(1):
        os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--serve"]:
        serve(socket.socket(fileno=int(sys.argv[2])))
    elif len(sys.argv) > 1:
        sys.exit(run(sys.argv[1:]))
    else:
        sys.exit(f"{__doc__}")

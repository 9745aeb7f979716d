"""Run a command whose `python -m bench` calls share one import of torch and MLflow: `python -m bench.warm COMMAND...`.

These imports take 3 to 4 of the 6 seconds that a short stage needs besides its work, and `make repro` has 150 stages.
So one server process imports them once and listens at a socket. Each `python -m bench` started by COMMAND sends its
arguments, folder, environment and standard streams to the server. A fork of the server does the work and returns the
exit status. The results are the same: a fork has imported what any command imports, and has computed nothing.
"""

from __future__ import annotations

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

SOCKET_VARIABLE = "SHARPBENCH_WARM"
"""Environment variable with the path of the server's socket, set for COMMAND and all that it starts."""


def run_with_server(command: Sequence[str]) -> int:
    """Run a command while a server is available to it, and return the command's exit status."""
    with tempfile.TemporaryDirectory() as folder, socket.socket(socket.AF_UNIX) as listener:
        path = os.path.join(folder, "socket")
        listener.bind(path)
        listener.listen()
        server_command = [sys.executable, "-m", "bench.warm", "--serve", str(listener.fileno())]
        with subprocess.Popen(server_command, pass_fds=[listener.fileno()]) as server:
            listener.close()  # only the server holds the socket, so that nobody waits at it once the server has ended
            try:
                return subprocess.run(command, env=os.environ | {SOCKET_VARIABLE: path}, check=False).returncode
            except KeyboardInterrupt:  # the command received it too, and has printed its message
                return 130
            finally:
                server.terminate()


def run_in_server(arguments: Sequence[str]) -> int | None:
    """Let the server run a command of `python -m bench`.

    Args:
        arguments: the command line without the program's name.

    Returns:
        The exit status; None where no server is available, so that the caller must run the command itself.
    """
    if not (path := os.environ.get(SOCKET_VARIABLE)):
        return None
    request = {"arguments": list(arguments), "folder": os.getcwd(), "environment": dict(os.environ)}
    with socket.socket(socket.AF_UNIX) as connection:
        try:
            connection.connect(path)
        except OSError:
            return None  # the server has ended
        socket.send_fds(connection, [b"\n"], [0, 1, 2])
        connection.sendall(json.dumps(request).encode() + b"\n")
        while True:
            try:
                answer = connection.recv(1)
            except KeyboardInterrupt:
                continue  # the fork received it too and ends, which ends the wait
            return answer[0] if answer else 1


def serve(listener: socket.socket) -> None:
    """Import the heavy packages, then fork for each request. Returns only in a fork, after its work is done."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # forks that have ended need no wait()
    import_heavy_packages()
    while True:
        connection, _ = listener.accept()
        if os.fork() == 0:
            listener.close()
            signal.signal(signal.SIGINT, signal.default_int_handler)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            answer_request(connection)
            return
        connection.close()


def import_heavy_packages() -> None:
    """Import what takes long, so that forks find it imported."""
    import accelerate  # noqa: F401
    import cv2  # noqa: F401
    import mlflow.store.tracking.sqlalchemy_store  # noqa: F401
    import pandas  # noqa: F401
    import pyarrow.dataset
    import pyarrow.parquet  # noqa: F401
    import pydantic  # noqa: F401
    import safetensors.torch  # noqa: F401
    import torch._dynamo  # noqa: F401  # every optimiser imports it
    import yaml  # noqa: F401


def answer_request(connection: socket.socket) -> None:
    """Run the command of one request with its streams, folder and environment, and send back the exit status."""
    _, streams, _, _ = socket.recv_fds(connection, 1, 3)
    with connection.makefile("rb") as lines:
        request = json.loads(lines.readline())
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    os.chdir(request["folder"])
    os.environ.clear()
    os.environ.update(request["environment"])
    threading.Thread(target=_end_with_client, args=(connection,), daemon=True).start()
    from bench.cli.main import main

    try:
        status = main(request["arguments"])
    except BaseException:
        traceback.print_exc()
        status = 1
    sys.stdout.flush()
    sys.stderr.flush()
    connection.sendall(bytes([status]))


def _end_with_client(connection: socket.socket) -> None:
    """Kill this process when its client was killed, as the work would have ended in the client itself."""
    if not connection.recv(1):
        os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--serve"]:
        serve(socket.socket(fileno=int(sys.argv[2])))
    elif len(sys.argv) > 1:
        sys.exit(run_with_server(sys.argv[1:]))
    else:
        sys.exit(f"{__doc__}")

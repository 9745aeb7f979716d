"""Run a command whose `python -m bench` calls share one import of torch and MLflow: `python -m bench.warm COMMAND...`.

These imports take 3 to 4 of the 6 seconds that a short stage needs besides its work, and `make repro` has 150 stages.
So one server process imports them once and listens at a socket. Each `python -m bench` started by COMMAND sends its
arguments, folder, environment and standard streams to the server. A fork of the server does the work and returns the
exit status. The results are the same: a fork has imported what any command imports, and has computed nothing.
"""

from __future__ import annotations

import json
import os
import select
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from types import FrameType
from typing import TYPE_CHECKING

from bench import stop_signals

if TYPE_CHECKING:
    import psutil

SOCKET_VARIABLE = "SHARPBENCH_WARM"
"""Environment variable with the path of the server's socket, set for COMMAND and all that it starts."""
SHORT_FOLDERS = ("/tmp", "/var/tmp")
"""Where the socket goes when TMPDIR cannot hold it: the path of a socket has at most 107 bytes."""
LENGTH = struct.Struct("!Q")
"""The number of bytes of a request, which comes before it."""
PASSED_ON = 2
"""Signals that a client passes on to its fork; a further one ends the client itself, which ends the fork."""


def run_with_server(command: Sequence[str]) -> int:
    """Run a command while a server is available to it, and return the command's exit status."""
    with _server() as (path, server):
        program = subprocess.Popen(command, env=os.environ | ({SOCKET_VARIABLE: path} if path else {}))
        if server is not None and server.stdin is not None:
            server.stdin.write(f"{program.pid}\n".encode())
            server.stdin.flush()

        def pass_on(number: int, frame: FrameType | None) -> None:
            if number != signal.SIGINT or not _in_terminal():  # a terminal sends Ctrl-C to the command too
                program.send_signal(number)

        stop_signals.on_signals(pass_on)
        status = program.wait()
    return status if status >= 0 else 128 - status


def _in_terminal() -> bool:
    """Return whether a terminal sends Ctrl-C to the group of this process."""
    try:
        return os.tcgetpgrp(0) == os.getpgrp()
    except OSError:
        return False


@contextmanager
def _server() -> Iterator[tuple[str, subprocess.Popen[bytes] | None]]:
    """Run a server until the block ends or this process does; yield its socket's path and itself, or "" and None."""
    with socket.socket(socket.AF_UNIX) as listener:
        path = _bind(listener)
        if not path:
            stop_signals.write_line(
                f"sharpbench: no socket can be made in {', '.join(_folders())}; every command imports torch by itself"
            )
            yield "", None
            return
        listener.listen()
        server_command = [sys.executable, "-m", "bench.warm", "--serve", str(listener.fileno())]
        # When this process is killed the pipe is closed: the server then ends the command and itself.
        server = subprocess.Popen(server_command, pass_fds=[listener.fileno()], stdin=subprocess.PIPE)
    # Only the server holds the socket now, so that nobody waits at it once the server has ended.
    with server:
        try:
            yield path, server
        finally:
            server.terminate()
            _remove_socket(path)


def _folders() -> list[str]:
    return list(dict.fromkeys([tempfile.gettempdir(), *SHORT_FOLDERS]))


def _bind(listener: socket.socket) -> str:
    """Bind a socket in a new folder that only this user can enter; return its path, "" where none is possible."""
    for parent in _folders():
        with suppress(OSError):
            folder = tempfile.mkdtemp(dir=parent)
            try:
                listener.bind(path := os.path.join(folder, "socket"))
                return path
            except OSError:
                os.rmdir(folder)
                raise
    return ""


def _remove_socket(path: str) -> None:
    shutil.rmtree(os.path.dirname(path), ignore_errors=True)


def run_in_server(arguments: Sequence[str]) -> int | None:
    """Let the server run a command of `python -m bench`.

    Args:
        arguments: the command line without the program's name.

    Returns:
        The exit status; None where no server is available, so that the caller must run the command itself.
    """
    if not (path := os.environ.get(SOCKET_VARIABLE)):
        return None
    try:
        request = {"arguments": list(arguments), "folder": os.getcwd(), "environment": dict(os.environ)}
    except FileNotFoundError:  # the current folder has been deleted: the command says so
        return None
    content = json.dumps(request).encode()
    with socket.socket(socket.AF_UNIX) as connection:
        try:
            connection.connect(path)
            socket.send_fds(connection, [b"\n"], [0, 1, 2])
            connection.sendall(LENGTH.pack(len(content)) + content)
        except OSError:
            return None  # the server has ended
        passed_on = _pass_signals_on(connection)
        answer = b""
        with suppress(ConnectionError):
            answer = connection.recv(1)
    if answer:
        return answer[0]
    if passed_on:
        return stop_signals.Stopped(passed_on[0]).status
    stop_signals.write_line("sharpbench: the process that ran this command was killed, perhaps because memory ran out")
    return 1


def _pass_signals_on(connection: socket.socket) -> list[int]:
    """Send signals to the fork that works for this process; return the list that they are added to."""
    passed_on: list[int] = []

    def pass_on(number: int, frame: FrameType | None) -> None:
        if len(passed_on) == PASSED_ON:
            stop_signals.end_at_once(number)
        passed_on.append(number)
        with suppress(OSError):  # the fork has ended
            connection.send(bytes([number]))

    stop_signals.on_signals(pass_on)
    return passed_on


def serve(listener: socket.socket) -> None:
    """Import the heavy packages, then fork for each request.

    Returns in a fork, after its work is done, and in the server once the process that started it was killed: that
    closes the pipe at the standard input, which has given the number of the command's process. Forks end with their
    clients.
    """
    import psutil

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # forks that have ended need no wait()
    import_heavy_packages()
    command: psutil.Process | None = None
    while True:
        if 0 in select.select([listener.fileno(), 0], [], [])[0]:
            if number := os.read(0, 64):
                with suppress(psutil.NoSuchProcess):
                    command = psutil.Process(int(number))
                continue
            _remove_socket(listener.getsockname())
            _end(command)
            return
        connection, _ = listener.accept()
        if os.fork() == 0:
            listener.close()
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            signal.signal(signal.SIGINT, signal.SIG_DFL)  # before the next line, which leaves ignored signals ignored
            stop_signals.on_signals(stop_signals.end_at_once)
            answer_request(connection)
            return
        connection.close()


def _end(command: psutil.Process | None) -> None:
    """Send SIGTERM to a command and to all that it has started, if it still runs."""
    import psutil

    with suppress(psutil.NoSuchProcess):
        for process in [command, *command.children(recursive=True)] if command and command.is_running() else []:
            with suppress(psutil.NoSuchProcess):
                process.terminate()


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
    (size,) = LENGTH.unpack(_receive(connection, LENGTH.size))
    request = json.loads(_receive(connection, size))
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    os.environ.clear()
    os.environ.update(request["environment"])
    threading.Thread(target=_follow_client, args=(connection,), daemon=True).start()
    from bench.cli.main import main

    try:
        os.chdir(request["folder"])
        status = main(request["arguments"])
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else 1
    except Exception as error:
        from bench import crash

        status = crash.end(error, "sharpbench", request["arguments"])
    sys.stdout.flush()
    sys.stderr.flush()
    connection.sendall(bytes([status]))


def _receive(connection: socket.socket, size: int) -> bytes:
    """Receive exactly `size` bytes: the signals that a client passes on come after its request."""
    content = b""
    while len(content) < size:
        part = connection.recv(size - len(content))
        if not part:
            sys.exit()  # the client was killed
        content += part
    return content


def _follow_client(connection: socket.socket) -> None:
    """Pass the client's signals to this process; kill it when its client was killed, as a command ends with itself."""
    while number := connection.recv(1):
        os.kill(os.getpid(), number[0])
    os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--serve"]:
        serve(socket.socket(fileno=int(sys.argv[2])))
    elif len(sys.argv) > 1:
        stop_signals.on_signals(stop_signals.end_at_once)
        sys.exit(run_with_server(sys.argv[1:]))
    else:
        sys.exit(f"{__doc__}")

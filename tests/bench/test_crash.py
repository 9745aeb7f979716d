"""The last guard: an error that nobody expected is a file and one sentence; bad input and signals are not."""

from __future__ import annotations

import json
import os
import re
import socket
import tempfile
import threading
from pathlib import Path

import click
import pytest

from bench import crash
from bench.cli import main as cli
from bench.contracts import UserError


@pytest.fixture(autouse=True)
def temporary(tmp_path, monkeypatch) -> Path:
    """The folder for temporary files."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def failing(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    """Let the command `doctor` raise an error."""

    @click.command("doctor")
    def command() -> None:
        raise error

    monkeypatch.setattr(cli.CommandGroup, "load", lambda self, name: command)


def test_an_unexpected_error_is_a_file_and_one_sentence(monkeypatch, capsys, temporary):
    failing(monkeypatch, ZeroDivisionError("division\nby zero"))
    assert cli.main(["--params", "my params.yaml", "doctor"]) == 70
    printed = capsys.readouterr().err
    match = re.fullmatch(
        r"sharpbench doctor: an error that nobody expected: ZeroDivisionError: division; please report it with the "
        r"file (\S+)\n",
        printed,
    )
    assert match is not None, printed
    path = Path(match[1])
    text = path.read_text()
    assert path.parent == temporary and path.stat().st_mode & 0o77 == 0
    for part in ("python -m bench --params 'my params.yaml' doctor", "Python 3", "torch 2", "raise error", "by zero"):
        assert part in text


def test_without_a_folder_for_the_file_the_traceback_is_printed(monkeypatch, capsys):
    monkeypatch.setattr(tempfile, "mkstemp", lambda **_: (_ for _ in ()).throw(FileNotFoundError("no folder")))
    failing(monkeypatch, KeyError("column"))
    assert cli.main(["doctor"]) == 70
    printed = capsys.readouterr().err
    assert "no file can be written for a report" in printed and "Traceback (most recent call last)" in printed


@pytest.mark.parametrize(
    ("error", "status", "message"),
    [
        (UserError("wrong"), 2, "sharpbench doctor: wrong\n"),
        (KeyboardInterrupt(), 130, "sharpbench doctor: stopped by SIGINT; the same command continues\n"),
        (click.UsageError("which?"), 2, "sharpbench doctor: which; see: python -m bench doctor --help\n"),
    ],
)
def test_what_a_person_did_is_no_crash(monkeypatch, capfd, temporary, error, status, message):
    failing(monkeypatch, error)
    assert cli.main(["doctor"]) == status
    assert capfd.readouterr().err.strip("\n") == message.strip("\n")
    assert list(temporary.iterdir()) == []


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        RuntimeError("[enforce fail at alloc_cpu.cpp:117] DefaultCPUAllocator: can't allocate memory: you tried to"),
        RuntimeError("CUDA out of memory. Tried to allocate 20.00 GiB"),
        OSError(12, "Cannot allocate memory"),
    ],
    ids=repr,
)
def test_memory_that_is_not_there_is_one_sentence(monkeypatch, capsys, temporary, error):
    failing(monkeypatch, error)
    assert cli.main(["doctor"]) == 2
    printed = capsys.readouterr().err
    assert printed.startswith("sharpbench doctor: memory ran out; use smaller networks, crops, batches")
    assert printed.count("\n") == 1 and list(temporary.iterdir()) == []


@pytest.mark.parametrize(
    ("number", "message"),
    [(36, "File name too long"), (28, "the disk is full"), (24, "Too many open files"), (5, "Input/output error")],
)
def test_limits_of_the_system_are_one_sentence(monkeypatch, capsys, temporary, number, message):
    failing(monkeypatch, OSError(number, os.strerror(number), "data/a.png"))
    assert cli.main(["doctor"]) == 2
    printed = capsys.readouterr().err
    assert printed.startswith(f"sharpbench doctor: data/a.png: {message}")
    assert printed.count("\n") == 1 and list(temporary.iterdir()) == []


def test_an_error_of_another_kind_is_no_lack_of_memory():
    assert not crash.ran_out_of_memory(RuntimeError("the tensors differ in size"))
    assert not crash.ran_out_of_memory(ValueError("out of memory"))


def test_a_process_of_a_search_ends_with_the_same_sentence(monkeypatch, capsys, temporary):
    from bench.search import engine

    def fails(*_: object) -> None:
        raise KeyError("trial")

    monkeypatch.setattr(engine, "end_with_parent", lambda: None)
    monkeypatch.setattr(engine, "prepare", fails)
    with pytest.raises(SystemExit) as ended:
        engine._worker(engine.WorkerArguments(None, "mrfnet-gopro", None, temporary, "", ""))  # type: ignore[arg-type]
    assert ended.value.code == 70
    assert "sharpbench search: an error that nobody expected: KeyError: 'trial'; please" in capsys.readouterr().err
    (path,) = temporary.glob("sharpbench-*.txt")
    assert "python -m bench search mrfnet-gopro" in path.read_text()


def test_a_fork_of_the_warm_server_ends_with_the_same_sentence(monkeypatch, capfd, temporary):
    from bench import warm

    failing(monkeypatch, LookupError("no such thing"))
    client, server = socket.socketpair()
    request = {"arguments": ["doctor"], "folder": str(temporary), "environment": dict(os.environ)}
    content = json.dumps(request).encode()
    socket.send_fds(client, [b"\n"], [0, 1, 2])
    client.sendall(warm.LENGTH.pack(len(content)) + content)
    monkeypatch.setattr(threading, "Thread", lambda **_: type("NoThread", (), {"start": lambda self: None})())
    folder = os.getcwd()
    try:
        warm.answer_request(server)
    finally:
        os.chdir(folder)
    assert client.recv(1) == bytes([70])
    assert "sharpbench doctor: an error that nobody expected: LookupError: no such thing" in capfd.readouterr().err

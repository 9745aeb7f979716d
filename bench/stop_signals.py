"""Ctrl-C, SIGTERM and a closed terminal end a command with one sentence and the status that a shell expects.

A command runs inside `handled`: a signal raises `Stopped` where the command is, so that files are left whole and
child processes are ended. A training runs inside `deferred`: the signal is noted, and the training stops after its
step. This module imports nothing heavy, so that it is in place before anything else is imported.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
SAME_SIGNAL_SECONDS = 1.0
"""Signals within this time count as one: after Ctrl-C a process gets SIGINT from the terminal and SIGTERM from torchrun
or from the command that started it."""


class Stopped(KeyboardInterrupt):
    """A signal asks this process to end.

    Args:
        number: of the signal.
    """

    def __init__(self, number: int):
        super().__init__(number)
        self.number = number

    @property
    def status(self) -> int:
        """The exit status: 130 after SIGINT, 143 after SIGTERM, 129 after SIGHUP."""
        return 128 + self.number

    def message(self, command: str) -> str:
        """Return one sentence that names the command and the signal."""
        return f"{command}: stopped by {signal.Signals(self.number).name}; the same command continues"


class _Received:
    """What this process has received. A plain class: `dataclasses` takes as long to import as all the rest here."""

    def __init__(self) -> None:
        self.reset(handling=False)

    def reset(self, handling: bool) -> None:
        """Forget what was received; `handling` is whether a command is inside `handled`."""
        self.handling = handling
        self.number = 0  # the first signal; 0 before it
        self.seconds = 0.0  # when it came, on the monotonic clock
        self.raised = False  # whether `Stopped` was raised for it
        self.deferring = False  # whether the command waits for the end of a step


_received = _Received()


def end_at_once(number: int, frame: FrameType | None = None) -> None:
    """Handle a signal while there is nothing to clean up, as while modules are imported: print the sentence and end."""
    write_line(Stopped(number).message("sharpbench"))
    os._exit(Stopped(number).status)


def on_signals(handler: Callable[[int, FrameType | None], object]) -> None:
    """Let a function handle the signals. Those that are ignored stay ignored (nohup)."""
    for number in SIGNALS:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, handler)


@contextmanager
def handled() -> Iterator[None]:
    """Raise `Stopped` in the block when a signal arrives; a second signal ends the process at once.

    An exception that a library raises because of the signal becomes `Stopped` too: numpy turns a KeyboardInterrupt
    during its import into an ImportError. In a thread, or where signals are ignored, nothing is changed.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    _received.reset(handling=True)
    previous = {number: handler for number in SIGNALS if (handler := signal.getsignal(number)) is not None}
    hooks = sys.unraisablehook, threading.excepthook
    sys.unraisablehook, threading.excepthook = _quiet_after_signal(hooks[0]), _quiet_after_signal(hooks[1])
    on_signals(_on_signal)
    try:
        yield
    except BaseException as error:
        if _received.number and not isinstance(error, Stopped):
            raise Stopped(_received.number) from error
        raise
    finally:
        _received.handling = False
        for number, handler in previous.items():
            signal.signal(number, handler)
        sys.unraisablehook, threading.excepthook = hooks


@contextmanager
def deferred() -> Iterator[None]:
    """Only note the first signal while the block runs: see `pending`. A second one raises `Stopped` at once."""
    _received.deferring = True
    try:
        yield
    finally:
        _received.deferring = False


def pending() -> bool:
    """Return whether a signal was noted whose `Stopped` is still to be raised."""
    return bool(_received.number) and not _received.raised


def raise_pending() -> None:
    """Raise `Stopped` if a signal was noted."""
    if pending():
        _received.raised = True
        raise Stopped(_received.number)


def _on_signal(number: int, frame: FrameType | None) -> None:
    now = time.monotonic()
    if not _received.number:
        _received.number, _received.seconds = number, now
        if _received.deferring:
            return
    elif now - _received.seconds < SAME_SIGNAL_SECONDS:
        return
    if _received.raised:
        end_at_once(number)
    raise_pending()


def _quiet_after_signal(hook: Callable[[Any], object]) -> Callable[[Any], object]:
    """Wrap a hook that prints an exception: after a signal such exceptions are its consequences."""

    def quiet(arguments: Any) -> None:
        if not _received.number:
            hook(arguments)

    return quiet


def write_line(text: str) -> None:
    """Write a line to the standard error, unless that is closed: a handler of signals cannot use `print`."""
    with suppress(OSError):
        os.write(2, f"{text}\n".encode())


def _reset_in_fork() -> None:
    """Let a fork of a command, which is a worker of it, end on SIGTERM; Ctrl-C is for the command, which ends it."""
    if _received.handling:
        _received.reset(handling=False)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        for number in (signal.SIGTERM, signal.SIGHUP):
            if signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, signal.SIG_DFL)


os.register_at_fork(after_in_child=_reset_in_fork)

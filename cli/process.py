"""The process of a command: its standard streams, the signals that stop it, and its exit status."""

from __future__ import annotations

import codecs
import io
import json
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

import click

from nagindex.workers.interrupts import is_importing

SIGNALS = (signal.SIGINT, signal.SIGTERM)
SECONDS_OF_IMPORT = 0.05
"""After so long a signal that came during an import looks again whether it has ended."""

ESCAPES = "nagindex.escapes"
"""The error handler of the standard streams: what their encoding lacks is written as in JSON, such as \\u00e9."""

ASCII = "nagindex_ascii"
"""ASCII under a name of its own: click takes that of a stream for a mistake of the system's, and writes UTF-8."""
_stops: list[int] = []
"""The signal that stopped the command that runs."""


class Stopped(click.ClickException):
    """The end of a command that a signal stopped; the status is 128 + the signal's number, as shells have it."""

    def __init__(self, message: str) -> None:
        super().__init__(f"interrupted; {message}")
        self.exit_code = 128 + (_stops[0] if _stops else signal.SIGINT)  # type: ignore[misc]  # click reads it of the instance


def was_stopped() -> bool:
    """Return whether a signal has stopped the command: libraries may raise an error of their own for it."""
    return bool(_stops)


def _stop(number: int, frame: FrameType | None) -> None:
    """Raise KeyboardInterrupt, after an import that is under way: unfinished files are removed, complete ones published.

    A second Ctrl-C ends the process at once.
    """
    if number != signal.SIGALRM:
        _stops.append(number)
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # schedulers send it to a process, and again to its group
    if not is_importing(frame):
        raise KeyboardInterrupt
    signal.signal(signal.SIGALRM, _stop)
    signal.setitimer(signal.ITIMER_REAL, SECONDS_OF_IMPORT)


@contextmanager
def stopping_on_signals() -> Iterator[None]:
    """Handle Ctrl-C, and SIGTERM, which schedulers send, alike."""
    _stops.clear()
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = [(number, signal.signal(number, _stop)) for number in SIGNALS]
    before.append((signal.SIGALRM, signal.getsignal(signal.SIGALRM)))
    try:
        yield
    finally:
        if was_stopped():
            signal.setitimer(signal.ITIMER_REAL, 0)
        for number, handler in before:
            signal.signal(number, handler)


class OutputError(Exception):
    """Stdout takes no more: its reader has gone, as `| head` does, or it cannot be written, for the reason that is the message."""


class _Output(io.FileIO):
    """Stdout, whose failures are told from those of other files; after one, what is left to write goes nowhere."""

    failed = False

    def write(self, data: Any, /) -> int:
        if self.failed:
            return len(memoryview(data).cast("B"))
        try:
            return super().write(data)
        except BrokenPipeError:
            self.failed = True
            raise OutputError from None
        except OSError as error:
            self.failed = True
            raise OutputError(error.strerror) from error


@contextmanager
def standard_streams() -> Iterator[None]:
    """Make the standard streams safe to write to: none is missing, and none fails for a character that its encoding lacks.

    Raises:
        click.ClickException: stdout cannot be written.
    """
    for descriptor, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:  # closed by the caller; a file opened later must not take its number
            os.open(os.devnull, os.O_RDONLY if name == "stdout" else os.O_RDWR)  # what writes results is to fail
            setattr(sys, name, open(descriptor, "w" if descriptor else "r", encoding="utf-8", closefd=False))  # noqa: SIM115
            setattr(sys, f"__{name}__", getattr(sys, name))
    codecs.register_error(ESCAPES, _escape)
    codecs.register(_ascii)
    own = sys.__stdout__
    if own is not None and sys.stdout is own:  # neither captured nor replaced by an embedding program
        raw = _Output(own.fileno(), "w", closefd=False)
        sys.stdout = io.TextIOWrapper(
            io.BufferedWriter(raw), _encoding(own), errors=ESCAPES, line_buffering=raw.isatty()
        )
    if isinstance(sys.stderr, io.TextIOWrapper):
        sys.stderr.reconfigure(encoding=_encoding(sys.stderr), errors=ESCAPES)
    try:
        yield
        sys.stdout.flush()
    except OutputError as error:
        if reason := str(error):
            raise click.ClickException(f"stdout: cannot be written ({reason}); the output is not complete") from error


def _encoding(stream: Any) -> str:
    """Return the encoding to write a stream in."""
    return ASCII if codecs.lookup(stream.encoding or "utf-8").name == "ascii" else stream.encoding


def _ascii(name: str) -> codecs.CodecInfo | None:
    plain = codecs.lookup("ascii")
    return (
        codecs.CodecInfo(*plain, plain.incrementalencoder, plain.incrementaldecoder, name=name)
        if name == ASCII
        else None
    )


def _escape(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return json.dumps(error.object[error.start : error.end])[1:-1], error.end

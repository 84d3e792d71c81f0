"""Progress of long steps: what runs at any depth reports to the callback of the public method that was called."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import wraps
from typing import ParamSpec, TypeVar

from nagindex.arguments import checked

SECONDS_BETWEEN_EVENTS = 0.05

P = ParamSpec("P")
T = TypeVar("T")

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Progress:
    """How far a step is. A step begins with `done` at `known` and ends with `done` at `total`.

    Attributes:
        stage: what is being done, such as `encoding documents`.
        done: units done, those of earlier runs included.
        total: units in all; an estimate, which may change, where the sources of a build do not state their rows.
        unit: what is counted; empty for a step that is counted as a whole.
        known: units that earlier runs did: they count neither in a rate nor in the time left.
        tokens: of a build, the tokens that the backbone has read in this run.
        committed: of a build, the documents of this run that a published version holds.
        waited: of a build, the share of its time, 0 to 1, in which the device waited for reading or publishing.
    """

    stage: str
    done: int
    total: int
    unit: str = "documents"
    known: int = 0
    tokens: int = 0
    committed: int = 0
    waited: float = 0.0


ProgressCallback = Callable[[Progress], None]

_callback: ContextVar[ProgressCallback | None] = ContextVar("nagindex_progress", default=None)


@checked
@contextmanager
def reporting(callback: ProgressCallback | None) -> Iterator[None]:
    """Send the progress of all that runs in a `with` block, on this thread, to a callback.

    Args:
        callback: called with a `Progress` as each step begins, advances and ends; None leaves the callback that is set.
    """
    before = _callback.set(callback or _callback.get())
    try:
        yield
    finally:
        _callback.reset(before)


def reports_progress(function: Callable[P, T]) -> Callable[P, T]:
    """Return a function that sends the progress of all it runs to its keyword argument `progress`."""

    @wraps(function)
    def run(*arguments: P.args, **keywords: P.kwargs) -> T:
        with reporting(keywords.get("progress")):  # type: ignore[arg-type]  # the function's own signature types it
            return function(*arguments, **keywords)

    return run


def report(progress: Progress) -> None:
    """Send progress to the callback, if one is set."""
    callback = _callback.get()
    if callback is not None:
        callback(progress)


@contextmanager
def step(stage: str, total: int = 1, unit: str = "") -> Iterator[Callable[[int], None]]:
    """Report the beginning and the end of a step, and log its seconds; yields f(count), which reports that so many more units are done.

    Args:
        stage: what is being done.
        total: units in all.
        unit: what is counted; empty for a step that is counted as a whole.
    """
    started = last = time.monotonic()
    done = 0

    def advance(count: int) -> None:
        nonlocal done, last
        done += count
        now = time.monotonic()
        if done < total and now - last >= SECONDS_BETWEEN_EVENTS:
            last = now
            report(Progress(stage, done, total, unit))

    report(Progress(stage, 0, total, unit))
    yield advance
    report(Progress(stage, total, total, unit))
    log_end(stage, total, unit, time.monotonic() - started)


def log_end(stage: str, count: int, unit: str, seconds: float) -> None:
    """Log that a step has ended, with its units and its seconds."""
    logger.info("%s: %s%.2f s", stage, f"{count:,} {unit}, " if unit else "", seconds)

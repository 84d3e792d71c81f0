"""Progress on stderr: a bar on a terminal, a line now and then elsewhere, or JSON for other programs."""

from __future__ import annotations

import json
import os
import shutil
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from .options import duration, size

if TYPE_CHECKING:
    from nagindex import Progress

MODES = ("auto", "bar", "lines", "json", "none")
SECONDS = {"bar": (0.3, 0.2), "lines": (30.0, 30.0), "json": (0.0, 1.0)}
"""Seconds until a step is first shown, and from then on between two states of it; a shorter step of a bar or of lines is not shown."""
SECONDS_BETWEEN_TICKS = 0.1
SECONDS_UNTIL_ETA = 1.0
WIDEST, NARROWEST_BAR = 110, 6


class ProgressDisplay:
    """Shows progress; call it with each new state, and `close` it at the end."""

    def __init__(self, mode: str = "auto", *, clock: Callable[[], float] = time.monotonic) -> None:
        on_terminal = sys.stderr.isatty() and os.environ.get("TERM") != "dumb"
        self.mode = mode if mode != "auto" else "bar" if on_terminal else "lines"
        self._clock, self._lock = clock, threading.RLock()
        self._state: Progress | None = None
        self._started = self._shown_at = 0.0
        self._shown = self._closed = False
        self._ticker: threading.Thread | None = None

    def __call__(self, progress: Progress) -> None:
        """Take the state of a step, and show it if that is due."""
        if self.mode == "none":
            return
        with self._lock:
            before = self._state
            if before is None or before.stage != progress.stage or progress.done < before.done:
                self._end()
                self._started, self._shown = self._clock(), False
            self._state = progress
            if progress.done >= progress.total:
                self._end()
            else:
                self.tick()
                self._keep_ticking()

    def tick(self) -> None:
        """Show the step that runs if that is due; its seconds pass even where nothing is reported."""
        with self._lock:
            first, between = SECONDS[self.mode]
            since = self._shown_at + between if self._shown else self._started + first
            if self._state is not None and not self._closed and self._clock() >= since:
                self._show(self._state)

    def clear(self) -> None:
        """Take the bar away, before other text is printed; it comes back with the next state."""
        with self._lock:
            if self.mode == "bar" and self._shown:
                _write("\r\x1b[K")
                self._shown = False

    def close(self) -> None:
        """End the display."""
        with self._lock:
            self.clear()
            self._state, self._closed = None, True

    def _show(self, state: Progress, *, last: bool = False) -> None:
        self._shown, self._shown_at = True, self._clock()
        seconds = self._shown_at - self._started
        if self.mode == "bar":
            _write(f"\r{bar(state, seconds, _columns())}\x1b[K")
        else:
            text = json.dumps(record(state, seconds)) if self.mode == "json" else line(state, seconds, last=last)
            _write(text + "\n")

    def _end(self) -> None:
        """End the step that runs: the last state of one that was shown is shown, and a bar goes."""
        ended = self._state is not None and self._state.done >= self._state.total
        if self._state is not None and ended and (self.mode == "json" or (self.mode == "lines" and self._shown)):
            self._show(self._state, last=True)
        self.clear()
        self._state = None

    def _keep_ticking(self) -> None:
        """Start the thread that shows the seconds of a step that reports nothing, such as the loading of a model."""

        def run() -> None:
            while not self._closed:
                time.sleep(SECONDS_BETWEEN_TICKS)
                self.tick()

        if self._ticker is None:
            self._ticker = threading.Thread(target=run, name="progress", daemon=True)
            self._ticker.start()


def bar(state: Progress, seconds: float, columns: int) -> str:
    """Return a state as a line of at most so many columns: as many of its figures as fit, and a bar in the room that is left."""
    from tqdm import tqdm

    columns = min(columns, WIDEST)
    left = state.stage if _is_whole(state) else f"{state.stage} {_share(state):3.0%}"
    figures = [duration(seconds)] if _is_whole(state) else _figures(state, seconds)
    while figures and len("  ".join([left, *figures])) > columns:
        figures.pop()
    right = "  ".join(figures)
    with_bar = not _is_whole(state) and columns - len(left) - len(right) - 2 >= NARROWEST_BAR
    fitted: str = tqdm.format_meter(
        state.done,
        state.total,
        seconds,
        ncols=columns,
        ascii=not _can_draw(),
        bar_format="{left} {bar} {right}" if with_bar else "{left}  {right}",
        left=left,
        right=right,
    )
    return fitted[:columns].rstrip()  # older versions of tqdm cut no line without a bar


def line(state: Progress, seconds: float, *, last: bool = False) -> str:
    """Return a state as a line of a log."""
    if _is_whole(state) or last:
        count = f"{_amount(state.total, state.unit)} {state.unit}".removesuffix(" bytes") if state.unit else ""
        return f"{state.stage}: {'done, ' * last}{f'{count} in ' * bool(count)}{duration(seconds)}"
    return f"{state.stage}: {_share(state):.0%}, {', '.join(_figures(state, seconds))}"


def record(state: Progress, seconds: float) -> dict[str, Any]:
    """Return a state as JSON values; those of a build have further figures."""
    rate, eta = _rate(state, seconds), _eta(state, seconds)
    values: dict[str, Any] = {"stage": state.stage, "done": state.done, "total": state.total, "unit": state.unit}
    values |= {"rate": None if rate is None else round(rate, 2), "seconds": round(seconds, 2)}
    values["eta"] = None if eta is None else round(eta, 1)
    if state.tokens or state.known:
        values |= {"known": state.known, "tokens": state.tokens, "committed": state.committed}
        values["waited"] = round(state.waited, 3)
    return values


def _is_whole(state: Progress) -> bool:
    """Return whether a step is not counted in units: only its seconds tell something."""
    return not state.unit and state.total == 1


def _share(state: Progress) -> float:
    """Return the share done, below 1 until all is done, which rounding must not say before."""
    share = state.done / max(state.total, 1)
    return share if state.done >= state.total else min(share, 0.99)


def _figures(state: Progress, seconds: float) -> list[str]:
    """Return the figures of a state, the most telling first."""
    rate, eta = _rate(state, seconds), _eta(state, seconds)
    figures = [] if eta is None else [f"{duration(eta)} left"]
    if state.unit:
        done, total = _amount(state.done, state.unit), _amount(state.total, state.unit)
        figures.append(f"{done} of {total} {state.unit}".removesuffix(" bytes"))
        figures += [] if rate is None else [f"{_amount(rate, state.unit)}/s"]
    if state.tokens:
        figures += [f"{state.tokens / max(seconds, 1e-9):,.0f} tokens/s", f"waited {state.waited:.0%}"]
    return [*figures, f"{state.committed:,} committed"] if state.committed else figures


def _amount(count: float, unit: str) -> str:
    if unit == "bytes":
        return size(count)
    return f"{count:,.1f}" if isinstance(count, float) and count < 10 else f"{count:,.0f}"


def _rate(state: Progress, seconds: float) -> float | None:
    """Return units a second of this run; None before there is any."""
    new = state.done - state.known
    return new / seconds if new > 0 and seconds > 0 else None


def _eta(state: Progress, seconds: float) -> float | None:
    rate = _rate(state, seconds)
    return None if rate is None or seconds < SECONDS_UNTIL_ETA else (state.total - state.done) / rate


def _columns() -> int:
    """Return the columns of stderr's terminal that a line may take without a wrap."""
    try:
        columns = os.get_terminal_size(sys.stderr.fileno()).columns
    except (OSError, ValueError):
        columns = 0
    return (columns or shutil.get_terminal_size().columns) - 1


def _can_draw() -> bool:
    """Return whether stderr can show the blocks of a bar."""
    try:
        "\u2588\u258f".encode(sys.stderr.encoding or "ascii")
    except (UnicodeError, LookupError):
        return False
    return True


def _write(text: str) -> None:
    with suppress(OSError, ValueError):  # nobody reads any more: the work goes on
        sys.stderr.write(text)
        sys.stderr.flush()

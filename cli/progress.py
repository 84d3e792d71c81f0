"""How far a build is, on stderr: one line that changes on a terminal, a plain line every thirty seconds elsewhere."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING

from .options import duration

if TYPE_CHECKING:
    from nagindex import EncodingProgress, SketchProgress

SECONDS_BETWEEN_LINES = 30.0
SECONDS_BETWEEN_REDRAWS = 0.2


class ProgressLine:
    """Prints a build's progress; call it with each new state, and `close` it at the end."""

    def __init__(self) -> None:
        self.terminal = sys.stderr.isatty()
        self.started = self.last = time.monotonic()
        self.drawn = False

    def __call__(self, progress: EncodingProgress) -> None:
        """Print the state if enough time has passed since the last one."""
        now = time.monotonic()
        if now - self.last < (SECONDS_BETWEEN_REDRAWS if self.terminal else SECONDS_BETWEEN_LINES):
            return
        self.last = now
        line = self._line(progress, now - self.started)
        if self.terminal:
            sys.stderr.write(f"\r{line}\x1b[K")
            self.drawn = True
        else:
            sys.stderr.write(line + "\n")
        sys.stderr.flush()

    def close(self) -> None:
        """Leave the terminal's line."""
        if self.drawn:
            sys.stderr.write("\r\x1b[K")
            self.drawn = False

    def _line(self, progress: EncodingProgress, elapsed: float) -> str:
        share = progress.bytes_done / max(1, progress.bytes_total)
        new, ahead = progress.bytes_done - progress.bytes_known, progress.bytes_total - progress.bytes_done
        left = f"  {duration(elapsed / new * ahead)} left" if new > 0 and ahead > 0 else ""
        committed = f"  {progress.committed:,} committed" if progress.committed else ""
        worked = max(elapsed, 1e-9)
        waited = progress.waited / max(progress.waited + progress.busy, 1e-9)
        return (
            f"{share:4.0%}  {progress.documents:,} documents  {progress.documents / worked:,.0f}/s  "
            f"{progress.tokens / worked:,.0f} tokens/s  waited {waited:.0%}{committed}{left}"
        )


class StepLine:
    """Prints how far the making of sketches or graphs is, as `ProgressLine` does; leaves the terminal's line at the end."""

    def __init__(self) -> None:
        self.terminal = sys.stderr.isatty()
        self.last = ""

    def __enter__(self) -> StepLine:
        return self

    def __exit__(self, *_: object) -> None:
        if self.terminal and self.last:
            sys.stderr.write("\r\x1b[K")

    def __call__(self, progress: SketchProgress) -> None:
        """Print the state; where there is no terminal, only what it is doing."""
        line = (
            progress.stage if not self.terminal else f"{progress.stage}  {progress.documents:,} of {progress.total:,}"
        )
        if line == self.last:
            return
        self.last = line
        sys.stderr.write(f"\r{line}\x1b[K" if self.terminal else line + "\n")
        sys.stderr.flush()

"""When a signal may raise KeyboardInterrupt."""

from __future__ import annotations

from types import FrameType


def is_importing(frame: FrameType | None) -> bool:
    """Return whether an import is under way: a compiled module, duckdb's for one, aborts the process when its is interrupted.

    Args:
        frame: the frame that a signal handler was called in.
    """
    while frame is not None and frame.f_code.co_filename != "<frozen importlib._bootstrap>":
        frame = frame.f_back
    return frame is not None

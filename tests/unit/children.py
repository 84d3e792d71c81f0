"""Helpers of the tests of child processes: start, await and interrupt one, and check that none is left."""

import os
import signal
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

import pytest

from nagindex.workers.parent import Child

SOON = 60  # seconds that only a hang takes


@pytest.fixture(autouse=True)
def nothing_left():
    """Every test leaves no more open descriptors and threads than before, and no child process."""

    def held():
        own = set()
        for task in Path("/proc/self/task").iterdir():
            with suppress(OSError):  # a thread that has just ended
                own |= set((task / "children").read_text().split())
        return len(os.listdir("/proc/self/fd")), threading.active_count(), own

    descriptors, threads, processes = held()
    yield
    until(lambda: (now := held())[0] <= descriptors and now[1] <= threads and now[2] <= processes)


def until(condition):
    """Wait until a condition holds; fail after a minute."""
    deadline = time.monotonic() + SOON
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def child(name, *arguments, **settings):
    return Child(f"child_functions:{name}", *(str(a) if isinstance(a, Path) else a for a in arguments), **settings)


def gone(pid):
    """Whether a process has ended, reaped or not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


def interrupt_when(*steps):
    """Interrupt this process for each (path, function) once the path exists and the main thread is in the function."""
    main = threading.main_thread().ident

    def is_in(function):
        frame, names = sys._current_frames()[main], []
        while frame:
            names.append((frame.f_globals["__name__"], frame.f_code.co_name))
            frame = frame.f_back
        return names[0][0] == "nagindex.workers.parent" and ("nagindex.workers.parent", function) in names

    def run():
        for path, function in steps:
            until(path.exists)
            until(lambda function=function: is_in(function))
            signal.pthread_kill(main, signal.SIGINT)

    thread = threading.Thread(target=run)
    thread.start()
    return thread

"""Generator functions that the tests of nagindex.workers.parent run in child processes."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from nagindex import errors

FOR_EVER = 120


class LocalError(Exception):
    def __init__(self, one, two):
        super().__init__(f"{one} and {two}")


class StatefulError(Exception):
    def __reduce__(self):
        raise TypeError("not to be pickled")


RAISED = {
    "ValueError": lambda: ValueError("wrong\nin two lines"),
    "FileNotFoundError": lambda: FileNotFoundError(2, "no such file", "x.txt"),
    "KeyboardInterrupt": lambda: KeyboardInterrupt("its own"),
    "SystemExit": lambda: SystemExit("leaving"),
    "LocalError": lambda: LocalError(1, 2),
    "StatefulError": lambda: StatefulError("a text"),
    "DamagedIndexError": lambda: errors.DamagedIndexError(Path("a/b"), "too short"),
}


def count(n, size=0):
    for number in range(n):
        yield (number, b"x" * size) if size else number


def counting_in(path, size):
    for number in range(1000):
        Path(path).write_text(str(number))
        yield number, b"x" * size


def pause(path):
    """Create a file to signal that this point is reached, then wait."""
    Path(path).touch()
    time.sleep(FOR_EVER)


def raising(name):
    yield 1
    yield 2
    raise RAISED[name]() if name in RAISED else getattr(errors, name)(f"{name} of a child")


def printing(n):
    os.write(1, b"raw text\n")
    for number in range(n):
        print("a print", number, flush=True)
        subprocess.run(["echo", "a program"], check=True)
        yield number
    print("an error line", file=sys.stderr)


def unpicklable():
    yield 1
    yield lambda: 2


def dying(number):
    yield 1
    if os.fork() == 0:
        signal.alarm(20)  # a grandchild that outlives the child, but not the tests
        signal.pause()
    os.kill(os.getpid(), number)
    time.sleep(FOR_EVER)


def leaving(code):
    yield 1
    os._exit(code)


def publishing(path, size, started):
    """When stopped, write a file and send more than a pipe holds."""
    try:
        yield 0
        pause(started)
    except KeyboardInterrupt:
        for number in range(1, 21):
            yield number, b"x" * size
    finally:
        time.sleep(0.2)
        Path(path).write_text("published")


def endless(path=None, size=0):
    number = 0
    try:
        while True:
            yield (number, b"x" * size) if size else number
            number += 1
    finally:
        if path:
            Path(path).write_text("stopped")


def failing_at_the_end(started):
    try:
        yield 1
        pause(started)
    finally:
        raise ValueError("could not publish")


def stubborn(started):
    yield os.getpid()
    for _ in range(2):
        try:
            pause(started)
        except KeyboardInterrupt:
            Path(f"{started}.asked").touch()


def environment(name):
    yield os.environ[name], sys.modules["__main__"].__dict__.get("__file__"), list(sys.path)


def swallowing(started, path):
    """Lose the first stop, as a finalizer would; then wait for another, and take its time to end."""

    class Waiting:
        def __del__(self):
            Path(started).touch()
            while True:
                time.sleep(0.01)

    waiting = Waiting()
    try:
        del waiting
        yield from endless_sleep()
    finally:
        time.sleep(2.5)
        Path(path).write_text("finished")


def importing(folder, started, path):
    """Import a module that takes its time; when stopped, write down whether it was imported whole."""
    slow = f"import pathlib, time; pathlib.Path({started!r}).touch(); time.sleep(0.5); whole = 'imported'"
    (Path(folder) / "half_made.py").write_text(slow)
    sys.path.insert(0, folder)
    try:
        import half_made

        yield from endless_sleep()
    finally:
        Path(path).write_text(half_made.whole)


def endless_sleep():
    while True:
        time.sleep(0.01)
    yield

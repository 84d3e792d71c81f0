"""A child process's side of `processes.Child`: it runs the generator it is told of and sends its items as frames."""

from __future__ import annotations

import importlib
import os
import pickle
import select
import signal
import struct
import sys
import threading
import traceback
from collections.abc import Generator
from typing import Any

from nagindex.errors import NagIndexError

HEAD = struct.Struct("<cQ")  # what a frame holds, and the bytes that follow
ITEM, ERROR, END = b"i", b"e", b"."
STOPPED = 128 + signal.SIGTERM  # the exit code of a child that stopped when asked


def serve(descriptor: int) -> None:
    """Return when the generator that stdin names has ended and its items are written to a pipe."""
    items = _requested()
    asked = told = False

    def interrupt(number: int, frame: object) -> None:
        nonlocal asked, told
        # Between two steps of the generator a frame may be half written: the loop below tells it then.
        if not asked:
            asked, told = True, items.gi_running  # type: ignore[attr-defined]
            if told:
                raise KeyboardInterrupt

    def forked() -> None:
        # A grandchild must neither hold the pipe open when the child dies nor clean up in its place.
        os.close(descriptor)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)

    def send(kind: bytes, content: bytes) -> None:
        nonlocal asked
        try:
            for part in (HEAD.pack(kind, len(content)), content):
                view = memoryview(part)
                while view:
                    view = view[os.write(descriptor, view) :]
        except BrokenPipeError:  # the parent is gone
            asked = True

    os.set_inheritable(descriptor, False)
    os.register_at_fork(after_in_child=forked)
    signal.signal(signal.SIGTERM, interrupt)
    signal.signal(signal.SIGINT, interrupt)
    error = None
    try:
        while True:
            if asked and not told:
                told = True
                item = items.throw(KeyboardInterrupt())
            else:
                item = next(items)
            send(ITEM, pickle.dumps(item, protocol=5))
    except StopIteration:
        pass
    except BaseException as raised:
        error = raised
    if error is not None and not (asked and isinstance(error, KeyboardInterrupt)):
        send(ERROR, packed(error))
        items.close()
    elif asked:
        sys.exit(STOPPED)  # not END: whoever sent the signal, these may not be all items
    else:
        send(END, b"")


def _requested() -> Generator[Any, None, None]:
    """Return the items of the function named on stdin; importing it is a step that a stop can interrupt."""
    parent = os.getppid()
    function, arguments = pickle.load(sys.stdin.buffer)  # noqa: S301 - written by our own parent
    threading.Thread(target=_watch, args=(parent,), daemon=True).start()
    module, _, name = function.partition(":")
    yield from getattr(importlib.import_module(module), name)(*arguments)


def _watch(parent: int) -> None:
    """Return when the parent has died, which stops this process."""
    # A fork of the parent may hold our stdin open, hence the look at the process number.
    while os.getppid() == parent and not select.select([0], [], [], 1.0)[0]:
        pass
    os.kill(os.getpid(), signal.SIGTERM)


def packed(error: BaseException) -> bytes:
    """Return an error as bytes, with its text for a parent that cannot unpickle it."""
    text, trace = str(error) or type(error).__name__, "".join(traceback.format_exception(error))
    try:
        whole = pickle.dumps(error, protocol=5)
        again = pickle.loads(whole)  # noqa: S301 - our own bytes
        if type(again) is not type(error) or str(again) != str(error):
            whole = b""
    except Exception:
        whole = b""
    return pickle.dumps((text, trace, whole))


def unpacked(content: bytes) -> BaseException:
    """Return, in the parent, the error that `packed` made bytes of."""
    text, trace, whole = pickle.loads(content)  # noqa: S301 - written by our own child
    try:
        error: BaseException = pickle.loads(whole)  # noqa: S301 - written by our own child
    except Exception:
        error = NagIndexError(text)
    error.add_note(f"in a worker process:\n{trace}")
    return error

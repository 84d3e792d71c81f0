"""The child's side of `parent.Child`: run a generator and send its items through a pipe.

A frame is a header with its kind and size, and a content: a pickled item, a pickled error, or nothing at the end.
"""

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
from types import FrameType
from typing import Any

from nagindex.errors import NagIndexError
from nagindex.workers.interrupts import is_importing

HEADER = struct.Struct("<cQ")  # kind of a frame, and length of its content in bytes
ITEM, ERROR, END = b"i", b"e", b"."
RETRY_SECONDS = 1.0  # a stop is raised again then: it came during an import, or a library has swallowed it
STOPPED = 128 + signal.SIGTERM  # exit code of a child that stopped on request


def serve(descriptor: int) -> None:
    """Run the generator named on stdin and write its items to a pipe.

    SIGTERM and SIGINT stop it: KeyboardInterrupt is raised in the generator, again if it was swallowed, and the items that
    it yields while it ends are sent too. Neither its `finally` blocks nor its imports are interrupted. The process then exits
    with the code STOPPED.

    Args:
        descriptor: file descriptor of the pipe.
    """
    items = _requested_items()
    stop_requested = stop_raised = False

    def request_stop(number: int, frame: FrameType | None) -> None:
        nonlocal stop_requested, stop_raised
        if not stop_requested:
            signal.setitimer(signal.ITIMER_REAL, RETRY_SECONDS, RETRY_SECONDS)
        stop_requested = True
        # Outside the generator a frame may be half written, so the loop below raises the stop in the generator then.
        if items.gi_running and not _is_ending() and not is_importing(frame):  # type: ignore[attr-defined]
            stop_raised = True
            raise KeyboardInterrupt

    def release_pipe_after_fork() -> None:
        # A grandchild must not keep the pipe open after the child's death, nor run the child's cleanup.
        os.close(descriptor)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)

    def send(kind: bytes, content: bytes) -> None:
        nonlocal stop_requested
        try:
            _write_frame(descriptor, kind, content)
        except BrokenPipeError:  # the parent has ended
            stop_requested = True

    os.set_inheritable(descriptor, False)
    os.register_at_fork(after_in_child=release_pipe_after_fork)
    signal.signal(signal.SIGTERM, request_stop)
    signal.signal(signal.SIGINT, request_stop)
    signal.signal(signal.SIGALRM, request_stop)
    error = None
    try:
        while True:
            if stop_requested and not stop_raised:
                stop_raised = True
                item = items.throw(KeyboardInterrupt())
            else:
                item = next(items)
            send(ITEM, pickle.dumps(item, protocol=5))
    except StopIteration:
        pass
    except BaseException as raised:
        error = raised
    if error is not None and not (stop_requested and isinstance(error, KeyboardInterrupt)):
        send(ERROR, pack_error(error))
        items.close()
    elif stop_requested:
        sys.exit(STOPPED)  # no END frame: the items may be incomplete
    else:
        send(END, b"")


def _is_ending() -> bool:
    """Whether a KeyboardInterrupt is being handled, so that `finally` blocks may be running."""
    error = sys.exception()
    while error is not None and not isinstance(error, KeyboardInterrupt):
        error = error.__context__
    return error is not None


def _write_frame(descriptor: int, kind: bytes, content: bytes) -> None:
    for part in (HEADER.pack(kind, len(content)), content):
        view = memoryview(part)
        while view:
            view = view[os.write(descriptor, view) :]


def _requested_items() -> Generator[Any, None, None]:
    """Yield the items of the function named on stdin."""
    parent = os.getppid()
    function, arguments = pickle.load(sys.stdin.buffer)  # noqa: S301 - written by our own parent
    threading.Thread(target=_stop_with_parent, args=(parent,), daemon=True).start()
    module, _, name = function.partition(":")
    yield from getattr(importlib.import_module(module), name)(*arguments)


def _stop_with_parent(parent: int) -> None:
    """Wait until the parent process has ended, then stop this process."""
    # A fork of the parent may keep stdin open, so the parent's process id is checked too.
    while os.getppid() == parent and not select.select([0], [], [], 1.0)[0]:
        pass
    os.kill(os.getpid(), signal.SIGTERM)


def pack_error(error: BaseException) -> bytes:
    """Serialize an error, together with its text and traceback in case it cannot be unpickled."""
    text, trace = str(error) or type(error).__name__, "".join(traceback.format_exception(error))
    try:
        pickled = pickle.dumps(error, protocol=5)
        copy = pickle.loads(pickled)  # noqa: S301 - our own bytes
        if type(copy) is not type(error) or str(copy) != str(error):
            pickled = b""
    except Exception:
        pickled = b""
    return pickle.dumps((text, trace, pickled))


def unpack_error(content: bytes) -> BaseException:
    """Deserialize an error, in the parent, with the child's traceback as a note.

    An error that cannot be unpickled becomes a NagIndexError with its text.
    """
    text, trace, pickled = pickle.loads(content)  # noqa: S301 - written by our own child
    try:
        error: BaseException = pickle.loads(pickled)  # noqa: S301 - written by our own child
    except Exception:
        error = NagIndexError(text)
    error.add_note(f"in a worker process:\n{trace}")
    return error

"""The parent's side of child processes: run a generator function in one and iterate over its items."""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
import threading
import weakref
from collections import deque
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue
from types import TracebackType
from typing import Any, BinaryIO

from nagindex.errors import BadInputError, NagIndexError
from nagindex.workers.child import END, ERROR, HEADER, ITEM, STOPPED, unpack_error

# The child takes over the parent's sys.path before it imports nagindex, so that both import the same modules.
SECONDS_OF_WAIT = 1.0
BOOTSTRAP = """import pickle, sys
sys.path[:] = pickle.load(sys.stdin.buffer)
from nagindex.workers.child import serve
serve(int(sys.argv[1]))"""


@dataclass
class _Link:
    """State that a `Child` shares with its reader thread, which has no reference to the `Child`.

    An unreferenced `Child` can therefore be collected, which stops the process. The threads synchronize through
    SimpleQueues alone, since an interrupt inside an Event or a Semaphore, which are implemented in Python, can leave
    its lock held.

    Attributes:
        function: `module:function`, for messages.
        process: the child process.
        pipe: read end of the pipe that the child writes frames to.
        request: bytes for the child's stdin.
        credits: one entry for each item that may still be read ahead.
        frames: (kind, content) of frames that were read and not taken yet.
        wake: receives an entry for each frame, and one more at the end; several children may share it.
        ended: whether the child has ended and been reaped.
        stopping: whether the child was asked to stop.
        owner: id of the process that started the child.
    """

    function: str
    process: subprocess.Popen[bytes]
    pipe: BinaryIO
    request: bytes
    credits: SimpleQueue[None] = field(default_factory=SimpleQueue)
    frames: deque[tuple[bytes, Any]] = field(default_factory=deque)
    wake: SimpleQueue[None] = field(default_factory=SimpleQueue)
    ended: bool = False
    stopping: bool = False
    owner: int = field(default_factory=os.getpid)

    def put(self, kind: bytes, content: Any = None) -> None:
        self.frames.append((kind, content))
        self.wake.put(None)

    def read(self) -> None:
        """Send the request, read frames until the child ends, and reap it; run by the reader thread.

        The last frame is always END, after an error too.
        """
        try:
            with suppress(BrokenPipeError):
                self.process.stdin.write(self.request)  # type: ignore[union-attr]
                self.process.stdin.flush()  # type: ignore[union-attr]
            self.request = b""
            while (frame := self._read_frame())[0] == ITEM:
                self.put(*frame)
        except Exception as error:
            self.process.kill()
            frame = ERROR, error
        if frame[0] == ERROR:
            self.put(*frame)
        self.put(END)
        self.process.wait()
        self.pipe.close()
        with suppress(BrokenPipeError):
            self.process.stdin.close()  # type: ignore[union-attr]
        self.ended = True
        self.wake.put(None)

    def _read_frame(self) -> tuple[bytes, Any]:
        """Return the kind and content of the next frame, or an ERROR frame if the child died."""
        if not self.stopping:
            self.credits.get()
        header = self.pipe.read(HEADER.size)
        kind, size = HEADER.unpack(header) if len(header) == HEADER.size else (b"", 1)
        content = self.pipe.read(size)
        if len(content) == size:
            return kind, unpack_error(content) if kind == ERROR else content
        code = self.process.wait()
        if self.stopping and code in (STOPPED, -signal.SIGTERM):
            return END, None
        number = -code if code < 0 else code - 128
        death = f"was killed by signal {number}" if number > 0 else f"ended early with exit code {code}"
        hint = "; the system does so when memory runs out" if number == signal.SIGKILL else ""
        return ERROR, NagIndexError(f"a worker process {death} in {self.function}{hint}")

    def stop(self) -> None:
        """Ask the child to stop; the reader thread keeps reading the frames that it still sends."""
        if self.stopping or os.getpid() != self.owner:
            return  # a fork of the owner must leave the child alone
        self.stopping = True
        self.credits.put(None)
        if not self.frames or self.frames[-1][0] != END:
            self.process.terminate()

    def wait(self, *, kill: bool = False) -> None:
        """Wait until the child has ended; with `kill`, kill it first."""
        if os.getpid() == self.owner and not sys.is_finalizing():  # then the reader thread no longer runs
            if kill:
                self.process.kill()
            # Not Thread.join: an interrupt in it marks a running thread as ended in Python 3.11.
            while not self.ended:
                _wait(self.wake)


class Child:
    """A child process that runs a generator function; iterating over it yields the generator's items.

    The child runs in its own session, so that an interrupt at the terminal reaches only this process, which stops the
    child when it leaves the iteration. A stop raises KeyboardInterrupt in the generator, whose `finally` blocks run to
    completion; an interrupt while this process waits for them kills the child. A child also stops when its parent has
    died. Its standard output goes to stderr.

    Args:
        function: `module:function` of an importable module.
        *arguments: picklable arguments of the function.
        ahead: maximum number of items read ahead of the iteration, at least 1; the pipe may hold a few more.
        environment: variables added to the environment of this process.

    Raises:
        NagIndexError: the child died during the iteration. The generator's own errors are raised unchanged, after the
            items before them.
    """

    def __init__(
        self, function: str, *arguments: object, ahead: int = 4, environment: dict[str, str] | None = None
    ) -> None:
        if ahead < 1:
            raise BadInputError(
                f"a worker process of {function} cannot be read {ahead} items ahead; give `ahead` 1 or more"
            )
        request = pickle.dumps(sys.path) + pickle.dumps((function, arguments), protocol=5)
        read_end, write_end = os.pipe()
        try:
            # -P: no module of the working directory may shadow what BOOTSTRAP imports.
            process = subprocess.Popen(  # noqa: S603 - this interpreter
                [sys.executable, "-P", "-c", BOOTSTRAP, str(write_end)],
                stdin=subprocess.PIPE,
                stdout=2,
                pass_fds=(write_end,),
                env={**os.environ, **(environment or {})},
                start_new_session=True,
            )
        except BaseException:
            os.close(read_end)
            raise
        finally:
            os.close(write_end)
        self._link = _Link(function, process, os.fdopen(read_end, "rb"), request)
        for _ in range(ahead):
            self._link.credits.put(None)
        threading.Thread(target=self._link.read, name=f"reader of {function}", daemon=True).start()
        weakref.finalize(self, self._link.stop)

    def __iter__(self) -> Iterator[Any]:
        with closing(merged([self])) as pairs:
            for _, item in pairs:
                yield item

    def close(self) -> list[Any]:
        """Stop the child, wait until it has ended, and return the items that were not iterated over.

        Raises:
            BaseException: the generator's own error, unless an iteration has raised it already.
        """
        _stop_all([self])
        items = []
        while (taken := self._take()) is not None:
            items += taken
        return items

    def _take(self) -> list[Any] | None:
        """Take the next frame: a list of one item, or None at the end. An error is raised."""
        if not self._link.frames or self._link.frames[0][0] == END:
            return None
        kind, content = self._link.frames.popleft()
        self._link.credits.put(None)
        if kind == ERROR:
            raise content
        return [pickle.loads(content)]  # noqa: S301 - written by our own child

    def __enter__(self) -> Child:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self.close()
        except Exception as child_error:
            if error is None:
                raise
            error.add_note(f"and a worker process failed: {child_error}")


def merged(children: Sequence[Child]) -> Generator[tuple[int, Any], None, None]:
    """Yield (index of the child, item) from several children in order of arrival, until all have ended.

    If a child fails or the iteration is left, all children are stopped before the error propagates.

    Raises:
        NagIndexError: a child died. A generator's own error is raised unchanged.
    """
    wake: SimpleQueue[None] = SimpleQueue()
    running = dict(enumerate(children))
    for child in children:
        child._link.wake = wake
    try:
        while running:
            while not wake.empty():
                wake.get()
            ready = [(number, child) for number, child in running.items() if child._link.frames]
            for number, child in ready:
                if (taken := child._take()) is None:
                    del running[number]
                else:
                    yield number, taken[0]
            if not ready:
                _wait(wake)
    finally:
        _stop_all(children)


def _wait(wake: SimpleQueue[None]) -> None:
    """Wait for an entry, or a second: an interrupt in the instant before the wait is seen only when the wait ends."""
    with suppress(Empty):
        wake.get(timeout=SECONDS_OF_WAIT)


def _stop_all(children: Sequence[Child]) -> None:
    """Ask all children to stop and wait until they have ended; an interrupt while waiting kills them."""
    try:
        for child in children:
            child._link.stop()
        for child in children:
            child._link.wait()
    except BaseException:
        for child in children:
            child._link.wait(kill=True)
        raise

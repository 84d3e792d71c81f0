"""Generators in child processes: a function of an importable module runs there, and its items arrive here."""

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
from queue import SimpleQueue
from types import TracebackType
from typing import Any, BinaryIO

from nagindex.errors import BadInputError, NagIndexError
from nagindex.workers.child import END, ERROR, HEAD, ITEM, STOPPED, unpacked

# The parent's path comes before nagindex is imported, so that both import the same modules.
BOOT = """import pickle, sys
sys.path[:] = pickle.load(sys.stdin.buffer)
from nagindex.workers.child import serve
serve(int(sys.argv[1]))"""


@dataclass
class _Link:
    """One child as its reading thread sees it; the thread knows no `Child`, which so can become garbage.

    What the main thread waits for and tells is in SimpleQueues: an interrupt inside an Event or a Semaphore, which are written
    in Python, may leave its lock as it must not be.

    Attributes:
        room: one token for each item that may yet be read ahead.
        wake: one for each entry, and one more at the end; several children may share it.
        ended: whether the child has been reaped.
    """

    function: str
    process: subprocess.Popen[bytes]
    frames: BinaryIO
    request: bytes
    room: SimpleQueue[None] = field(default_factory=SimpleQueue)
    entries: deque[tuple[bytes, Any]] = field(default_factory=deque)
    wake: SimpleQueue[None] = field(default_factory=SimpleQueue)
    ended: bool = False
    stopping: bool = False
    owner: int = field(default_factory=os.getpid)

    def put(self, kind: bytes, content: Any = None) -> None:
        self.entries.append((kind, content))
        self.wake.put(None)

    def read(self) -> None:
        """Return when the child has ended and been reaped; its frames are entries then, the last of them END."""
        try:
            with suppress(BrokenPipeError):
                self.process.stdin.write(self.request)  # type: ignore[union-attr]
                self.process.stdin.flush()  # type: ignore[union-attr]
            self.request = b""
            while (entry := self._frame())[0] == ITEM:
                self.put(*entry)
        except Exception as error:
            self.process.kill()
            entry = ERROR, error
        if entry[0] == ERROR:
            self.put(*entry)
        self.put(END)
        self.process.wait()
        self.frames.close()
        with suppress(BrokenPipeError):
            self.process.stdin.close()  # type: ignore[union-attr]
        self.ended = True
        self.wake.put(None)

    def _frame(self) -> tuple[bytes, Any]:
        """Return what the child sent next, or how it died."""
        if not self.stopping:
            self.room.get()
        head = self.frames.read(HEAD.size)
        kind, size = HEAD.unpack(head) if len(head) == HEAD.size else (b"", 1)
        content = self.frames.read(size)
        if len(content) == size:
            return kind, unpacked(content) if kind == ERROR else content
        code = self.process.wait()
        if self.stopping and code in (STOPPED, -signal.SIGTERM):
            return END, None
        number = -code if code < 0 else code - 128
        how = f"was killed by signal {number}" if number > 0 else f"ended early with exit code {code}"
        hint = "; the system does so when memory runs out" if number == signal.SIGKILL else ""
        return ERROR, NagIndexError(f"a worker process {how} in {self.function}{hint}")

    def stop(self) -> None:
        """Return once the child is asked to stop; the thread takes in all that still comes."""
        if self.stopping or os.getpid() != self.owner:
            return  # a forked copy of this process does not own the child
        self.stopping = True
        self.room.put(None)
        if not self.entries or self.entries[-1][0] != END:
            self.process.terminate()

    def wait(self, *, kill: bool = False) -> None:
        """Return when the child has ended, killed or by itself."""
        if os.getpid() == self.owner and not sys.is_finalizing():  # when no thread runs any more
            if kill:
                self.process.kill()
            # An interrupt in Thread.join of Python 3.11 marks a running thread as ended.
            while not self.ended:
                self.wake.get()


class Child:
    """One child process that runs a generator function; iterating yields the items that this yields, in order.

    The child has its own session: an interrupt at the terminal reaches only this process, which asks the child to stop
    when the iteration is left. A stop raises KeyboardInterrupt in the generator, whose `finally` blocks run to
    their end, however long; an interrupt while this process waits for them kills the child. A child whose parent
    died stops too. What it prints goes to stderr.

    Args:
        function: `module:function`.
        *arguments: of the function, picklable.
        ahead: items read before they are asked for, at least 1; beside them the child runs on for what fits a pipe.
        environment: variables added to this process's own.

    Raises:
        NagIndexError: while iterating, the child died. Its own errors arrive as they are, after the items before them.
    """

    def __init__(
        self, function: str, *arguments: object, ahead: int = 4, environment: dict[str, str] | None = None
    ) -> None:
        if ahead < 1:
            raise BadInputError(f"a worker process of {function} cannot be read {ahead} items ahead; give 1 or more")
        request = pickle.dumps(sys.path) + pickle.dumps((function, arguments), protocol=5)
        receiving, sending = os.pipe()
        try:
            # -P: no module of the working directory may shadow what BOOT imports.
            process = subprocess.Popen(  # noqa: S603 - this interpreter
                [sys.executable, "-P", "-c", BOOT, str(sending)],
                stdin=subprocess.PIPE,
                stdout=2,
                pass_fds=(sending,),
                env={**os.environ, **(environment or {})},
                start_new_session=True,
            )
        except BaseException:
            os.close(receiving)
            raise
        finally:
            os.close(sending)
        self._link = _Link(function, process, os.fdopen(receiving, "rb"), request)
        for _ in range(ahead):
            self._link.room.put(None)
        threading.Thread(target=self._link.read, name=f"reading {function}", daemon=True).start()
        weakref.finalize(self, self._link.stop)

    def __iter__(self) -> Iterator[Any]:
        with closing(merged([self])) as pairs:
            for _, item in pairs:
                yield item

    def close(self) -> list[Any]:
        """Return the items that nobody took, once the child has stopped.

        Raises:
            BaseException: the child's own error, if no iteration has raised it.
        """
        _end([self])
        items = []
        while (entry := self._take()) is not None:
            items += entry
        return items

    def _take(self) -> list[Any] | None:
        """Return the next item that has arrived, in a list of one, or None at the end."""
        if not self._link.entries or self._link.entries[0][0] == END:
            return None
        kind, content = self._link.entries.popleft()
        self._link.room.put(None)
        if kind == ERROR:
            raise content
        return [pickle.loads(content)]  # noqa: S301 - written by our own child

    def __enter__(self) -> Child:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        try:
            self.close()
        except Exception as own:
            if error is None:
                raise
            error.add_note(f"and a worker process failed: {own}")


def merged(children: Sequence[Child]) -> Generator[tuple[int, Any], None, None]:
    """Return (number of the child, item) from several children as they come, until all have ended.

    When one raises, or the iteration is left, all are stopped before the error goes on.

    Raises:
        NagIndexError: a child died. A child's own error is raised as it is.
    """
    wake: SimpleQueue[None] = SimpleQueue()
    running = dict(enumerate(children))
    for child in children:
        child._link.wake = wake
    try:
        while running:
            while not wake.empty():
                wake.get()
            ready = [(number, child) for number, child in running.items() if child._link.entries]
            for number, child in ready:
                if (entry := child._take()) is None:
                    del running[number]
                else:
                    yield number, entry[0]
            if not ready:
                wake.get()
    finally:
        _end(children)


def _end(children: Sequence[Child]) -> None:
    """Return once all have been asked to stop and have; an interrupt while waiting kills them."""
    try:
        for child in children:
            child._link.stop()
        for child in children:
            child._link.wait()
    except BaseException:
        for child in children:
            child._link.wait(kill=True)
        raise

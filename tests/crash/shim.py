"""Runs a command of nagindex with a fault at the k-th step that changes files below a folder: shim.c, compiled and loaded."""

from __future__ import annotations

import ctypes
import io
import os
import shutil
import subprocess
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from harness import Content, Outcome, Server

ACTIONS = ("kill before", "kill after", "no space", "i/o error", "short write")
KINDS = {"w": "write", "s": "fsync", "l": "link", "r": "rename", "t": "resize", "c": "create", "m": "mkdir"}

INDEX = "i.nagindex"
Fault = tuple[int, str]
"""At which step, and what happens there."""


class _Step(ctypes.Structure):
    _fields_ = (("kind", ctypes.c_char), ("path", ctypes.c_char * 240))


def compiled(folder: Path) -> Path:
    """Compile the shim into a folder and return the library."""
    library, compiler = folder / "shim.so", shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        raise RuntimeError("the fault tests compile tests/crash/shim.c: install a C compiler (no cc or gcc on PATH)")
    source = Path(__file__).with_name("shim.c")
    subprocess.run([compiler, "-O1", "-shared", "-fPIC", "-Wall", "-Werror", "-o", library, source], check=True)
    return library


class Faults:
    """Arms this process, for the rest of its life."""

    def __init__(self, library: str, below: str, fault_at: int, action: str) -> None:
        self.library = ctypes.CDLL(library)
        refused = self.library.shim_arm(os.fsencode(below), ctypes.c_long(fault_at), ACTIONS.index(action))
        if refused:
            raise RuntimeError(
                f"the fault tests need seccomp filters, which this kernel refuses: {os.strerror(refused)}"
            )

    def hit(self) -> str:
        """Return the path that the fault struck, nothing where it struck none."""
        return os.fsdecode((ctypes.c_char * 4096).in_dll(self.library, "shim_hit").value)

    def steps(self) -> list[list[str]]:
        """Return kind and path of each step so far."""
        count = self.library.shim_count()
        found = (_Step * count).in_dll(self.library, "shim_steps")
        return [[KINDS[step.kind.decode()], os.fsdecode(step.path)] for step in found]


def run_command(request: dict[str, Any]) -> dict[str, Any]:
    """Run the command line `arguments` with a fault; return what it said, how it failed, and what the fault struck."""
    import click
    from nagindex.cli import main

    os.environ["XDG_CACHE_HOME"] = request["cache"]
    faults = Faults(request["library"], request["below"], request.get("fault_at", 0), request.get("action", "no space"))
    out, err, raised = io.StringIO(), io.StringIO(), None
    with redirect_stdout(out), redirect_stderr(err):
        try:
            status = main(request["arguments"], prog_name="nagindex", standalone_mode=False) or 0
        except click.ClickException as told:
            told.show()
            status, raised = told.exit_code, told.__cause__ or told
        except BaseException as error:
            status, raised = "traceback", error
    classes = [f"{each.__module__}.{each.__name__}" for each in type(raised).__mro__] if raised is not None else []
    return {
        "status": status,
        "stderr": err.getvalue(),
        "classes": classes,
        "raised": repr(raised),
        "hit": faults.hit(),
        "steps": faults.steps() if request.get("trace") else [],
    }


@dataclass(frozen=True)
class Disk:
    """What it takes to run a command line on a folder of its own with a fault in that folder."""

    server: Server
    library: Path
    place: Path

    def run(self, world: Path, arguments: tuple[str, ...], **fault: Any) -> Outcome:
        filled = [text.format(place=self.place, world=world) for text in arguments]
        return self.server.run(
            "faulted",
            world / INDEX,
            library=self.library,
            below=world,
            cache=world / "cache",
            arguments=filled,
            **fault,
        )

    def finish(self, world: Path, *arguments: str, **fault: Any) -> dict[str, Any]:
        outcome = self.run(world, arguments, **fault)
        if outcome.killed or outcome.said.get("status") != 0:
            raise AssertionError(outcome)
        return outcome.said


@dataclass(frozen=True)
class Command:
    """A command line run unbroken, to compare with.

    Attributes:
        before: the folder that it starts from: index, cache of notes, and what the output replaces.
        arguments: of the program.
        steps: kind and path of each step that touches the folder.
        allowed: content of each version on the way; None for a moment without any.
        after: content in the end.
        output: rows of the file that it writes, if it writes one.
        left: names of all files after a vacuum, without what is random in them.
    """

    before: Path
    arguments: tuple[str, ...]
    steps: list[list[str]]
    allowed: list[Content | None]
    after: Content
    output: list[Any] | None
    left: list[str]

    def every(self) -> list[Fault]:
        """Return each action at each step where it means something."""
        return [
            (k, action)
            for k, (kind, _) in enumerate(self.steps, 1)
            for action in ACTIONS
            if kind == "write" or action != "short write"
        ]

"""Run the commands of docs/tutorial.md and write what they print below them.

python docs/scripts/tutorial.py
"""

from __future__ import annotations

import io
import os
import re
import shlex
import shutil
import tempfile
from collections.abc import Callable
from contextlib import chdir, redirect_stderr, redirect_stdout
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "tutorial.md"
WIDTH = 100
"""Columns of the terminal."""
SESSION = re.compile(r"^```console\n(.*?)^```$", re.MULTILINE | re.DOTALL)
PROGRESS = re.compile(r"^[a-z ]+: (?:\d+ (?:s|min)|\d+%.*|done.*)$")
"""What long steps print where stderr is no terminal."""


def commands_of(page: str) -> list[list[str]]:
    """Return the commands of each session of a page."""
    return [re.findall(r"^\$ (.*)$", session, re.MULTILINE) for session in SESSION.findall(page)]


class Terminal(io.StringIO):
    """What a terminal shows."""

    def isatty(self) -> bool:
        """Return that it is a terminal."""
        return True


def run_nagindex(command: str) -> str:
    """Return what a nagindex command shows on a terminal, without progress and colors; it must succeed."""
    import click
    from nagindex.cli import main

    program, *arguments = shlex.split(command)
    if program != "nagindex":
        raise ValueError(f"{command}: the page runs nagindex alone")
    shown = Terminal()
    os.environ.update(COLUMNS=str(WIDTH), TERM="dumb", PAGER="cat")
    with redirect_stdout(shown), redirect_stderr(shown):
        status = main(arguments, prog_name=program, standalone_mode=False)
    if status:
        raise RuntimeError(f"{command}: status {status}\n{shown.getvalue()}")
    lines = click.unstyle(shown.getvalue()).splitlines()
    return "".join(f"{line.rstrip()}\n" for line in lines if not PROGRESS.match(line))


def rewritten(page: str, run: Callable[[str], str]) -> str:
    """Return a page with what its commands print, run one after the other in the current folder."""

    def session(match: re.Match[str]) -> str:
        commands = re.findall(r"^\$ (.*)$", match[1], re.MULTILINE)
        lines = "\n".join(f"$ {command}\n{run(command).strip()}\n" for command in commands)
        return f"```console\n{lines.strip()}\n```"

    return SESSION.sub(session, page)


def run_page(page: str, folder: Path) -> str:
    """Return a page with what its commands print in an empty folder, beside a copy of the sample data."""
    shutil.copytree(ROOT / "data", folder / "data")
    with chdir(folder):
        return rewritten(page, run_nagindex)


def main() -> None:
    """Write the page again."""
    os.environ["HF_HUB_OFFLINE"] = "1"
    with tempfile.TemporaryDirectory() as folder:
        PAGE.write_text(run_page(PAGE.read_text(), Path(folder)))


if __name__ == "__main__":
    main()

"""Progress as a user sees it, and the options of every command: how much a command says, and where."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import re
import select
import signal
import struct
import termios
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click
import pytest
from nagindex.cli import COMMANDS, main
from shell import Shell, jsonl

CLI = Path(__file__).parents[2] / "cli"
COMMON = ("--quiet", "--verbose", "--log-file", "--progress")


class Screen:
    """A terminal of some width, and all that was drawn on it."""

    def __init__(self, columns: int) -> None:
        self.ours, self.theirs = pty.openpty()
        fcntl.ioctl(self.theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
        self.text = ""

    def read(self, seconds: float) -> bool:
        """Take what is drawn within some time; return whether anything was."""
        if not select.select([self.ours], [], [], seconds)[0]:
            return False
        self.text += os.read(self.ours, 1 << 16).decode(errors="replace")
        return True

    def wait_for(self, pattern: str, *, seconds: float = 120) -> None:
        """Wait until something is drawn."""
        until = time.monotonic() + seconds
        while not re.search(pattern, self.text):
            assert time.monotonic() < until, self.text
            self.read(0.1)

    def close(self) -> None:
        os.close(self.ours)
        os.close(self.theirs)


@contextmanager
def screen(columns: int) -> Iterator[Screen]:
    shown = Screen(columns)
    try:
        yield shown
    finally:
        shown.close()


@pytest.mark.parametrize("columns", [40, 100])
def test_a_terminal_shows_one_line_that_fits_and_nothing_of_it_stays(shell: Shell, columns: int) -> None:
    """Ctrl-C ends the build as soon as the progress of encoding has been drawn, long before the corpus ends."""
    shell.write("corpus/a.jsonl", jsonl({"id": f"a{i}", "text": f"river {i} garden"} for i in range(40_000)))
    environment = {**os.environ, "TERM": "xterm", "PYTHONIOENCODING": "utf-8"}
    with screen(columns) as shown:
        process = shell.start("build", "corpus", "--model", shell.model, stderr=shown.theirs, env=environment)
        try:
            shown.wait_for(r"\rloading ")
            shown.wait_for(r"\rencoding documents +\d+%")
            process.send_signal(signal.SIGINT)
            process.wait(60)
        finally:
            process.kill()
            process.communicate()
        while shown.read(0.2):
            pass
    assert process.returncode == 130
    drawn, message = shown.text.split("Error: ")
    assert message.endswith("committed in index.nagindex; run the same command to go on\r\n")
    assert drawn.endswith("\r\x1b[K"), "the bar goes before the message comes"
    assert "\n" not in drawn
    states = [state.removesuffix("\x1b[K") for state in drawn.split("\r")]
    assert max(map(len, states)) < columns
    assert columns < 100 or any(" documents  " in state for state in states)


def test_other_programs_read_progress_as_json(pool: Shell) -> None:
    pool.write("t.jsonl", '{"text":"river"}\n{"text":"garden"}\n')
    done = pool.run("query", "t.jsonl", "-n", "2", "-o", "s.parquet", "--progress", "json")
    *states, last = done.stderr.splitlines()
    assert last.startswith("Selected 2 documents")
    states = [json.loads(state) for state in states]
    stages = {f"loading {pool.model}", "encoding texts", "verifying checksums", "scanning the pool"}
    assert {state["stage"] for state in states} == stages
    for state in states:
        assert list(state) == ["stage", "done", "total", "unit", "rate", "seconds", "eta"]
    assert [(s["done"], s["total"], s["unit"]) for s in states if s["stage"] == "encoding texts"][-1] == (2, 2, "texts")
    built = pool.build("pool", "-i", "new.nagindex", "--progress", "json", "-q").stderr.splitlines()
    last = json.loads(built[-1])
    assert (last["stage"], last["done"], last["total"], last["committed"]) == ("encoding documents", 6, 6, 6)


def test_a_log_of_a_short_command_has_no_progress(pool: Shell) -> None:
    pool.write("t.jsonl", '{"text":"river"}\n')
    for mode in ("lines", "none", "auto"):
        [line] = pool.run("query", "t.jsonl", "-n", "2", "-o", "s.parquet", "--progress", mode).stderr.splitlines()
        assert line.startswith("Selected 2 documents")


def commands() -> Iterator[tuple[str, click.Command]]:
    context = click.Context(main)
    for name in COMMANDS:
        command = main.get_command(context, name)
        assert command is not None
        inner = command.commands if isinstance(command, click.Group) else {}
        yield from ((f"{name} {own}", found) for own, found in inner.items()) if inner else [(name, command)]


def test_every_command_has_the_common_options_last_in_its_help(shell: Shell) -> None:
    found = dict(commands())
    assert len(found) > len(COMMANDS)
    for name, command in found.items():
        text = shell.run(*name.split(), "--help").stdout
        listed = re.findall(r"^ +(?:-\w, )?(--[\w-]+)", text, re.MULTILINE)
        assert tuple(listed[-5:]) == (*COMMON, "--help"), name
        flags = [flag for own in command.params for flag in own.opts]
        assert len(flags) == len(set(flags)), name


def test_quiet_leaves_the_result_and_the_warnings(pool: Shell) -> None:
    pool.write("t.jsonl", '{"text":"river"}\n{"text":null}\n')
    done = pool.run("query", "t.jsonl", "-n", "2", "--format", "jsonl", "-q")
    assert len(done.stdout.splitlines()) == 2
    assert re.fullmatch(r"Warning: not an example: \S*t.jsonl, row 1: null text\n", done.stderr)
    assert pool.run("verify", "-q").stderr == ""
    assert pool.run("optimize", "--quiet").stderr == ""
    pool.write("more/c.jsonl", '{"text":"kettle","label":"odd"}\n')
    assert pool.run("append", "more", "-q").stderr == ""
    assert pool.error("query", "t.jsonl", "-n", "2", "-q", "-i", "none").startswith("none: no index here")


def test_verbose_says_versions_engine_and_the_seconds_of_each_step(pool: Shell) -> None:
    pool.write("t.jsonl", '{"text":"river"}\n')
    said = pool.run("query", "t.jsonl", "-n", "2", "-o", "s.parquet", "-v").stderr
    assert re.match(r"nagindex \S+, torch .*; Python 3", said)
    for wanted in (
        r"^encoding texts: 1 texts, \d+\.\d\d s$", r"^scanning the pool: 6 documents, \d+\.\d\d s$", r"^engine scan: exact"
    ):  # fmt: skip
        assert re.search(wanted, said, re.MULTILINE), said
    assert said.splitlines()[-1].startswith("Selected 2 documents")
    assert "corpus: 1 sources" in pool.run("append", "pool/a.jsonl", "-v").stderr


def test_quiet_and_verbose_contradict_each_other(pool: Shell) -> None:
    done = pool.run("info", "-q", "-v", status=2)
    assert "-q prints less and -v more; leave one of the two out" in done.stderr


def test_a_log_file_gets_everything_with_times_and_stderr_stays_as_it_is(pool: Shell) -> None:
    pool.write("t.jsonl", '{"text":"river"}\n{"text":null}\n')
    done = pool.run("query", "t.jsonl", "-n", "2", "-o", "s.parquet", "--log-file", "run.log")
    assert len(done.stderr.splitlines()) == 2
    pool.error("query", "t.jsonl", "-n", "2", "-i", "none", "--log-file", "run.log", "-q")
    lines = (pool.folder / "run.log").read_text().splitlines()
    assert all(re.match(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} (INFO|WARNING|ERROR) \S", line) for line in lines)
    texts = [line.split(" ", 3)[2:] for line in lines]
    assert [kind for kind, _ in texts].count("WARNING") == 1
    assert any(text.startswith("scanning the pool: 6 documents, ") for _, text in texts)
    assert any(text.startswith("Selected 2 documents") for _, text in texts)
    assert texts[-1][0] == "ERROR"
    assert texts[-1][1].startswith("none: no index here; make one with: nagindex build")
    assert "its folder does not exist" in pool.error("info", "--log-file", "nowhere/run.log")


def test_a_config_holds_no_option_of_the_command_line_alone(pool: Shell) -> None:
    pool.write("t.jsonl", '{"text":"river"}\n')
    pool.write("c.yaml", "n: 2\nquiet: true\n")
    assert "no option 'quiet'" in pool.error("query", "t.jsonl", "--config", "c.yaml", status=2)


def test_commands_print_on_stderr_through_note_and_warn_alone() -> None:
    """So that -q and --log-file hold for all that they say."""
    places = [
        path.name
        for path in CLI.glob("*.py")
        if "err=True" in path.read_text() or "sys.stderr.write" in path.read_text()
    ]
    assert sorted(places) == ["messages.py", "progress.py", "session.py"]

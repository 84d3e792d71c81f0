"""Clocks that jump, and schedulers that end a command: versions increase, and nothing that is in use goes away."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from shell import INDEX, PROGRAM, Shell, jsonl

import nagindex


class Clock(datetime):
    """A clock that a test sets."""

    ahead = timedelta()

    @classmethod
    def now(cls, tz: Any = None) -> datetime:
        return datetime.now(tz) + cls.ahead


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> type[Clock]:
    """The clock of this process; what files are stamped with stays the kernel's."""
    real = time.time
    monkeypatch.setattr(Clock, "ahead", timedelta())
    monkeypatch.setattr("nagindex.storage.manifest.datetime", Clock)
    monkeypatch.setattr("time.time", lambda: real() + Clock.ahead.total_seconds())
    return Clock


def test_versions_increase_whatever_the_clock_does(pool: Shell, clock: type[Clock]) -> None:
    for number, days in enumerate((-400, 400, -1, 0)):
        clock.ahead = timedelta(days=days)
        pool.write(f"pool/c{number}.jsonl", jsonl([{"id": f"c{number}", "text": "violin", "label": "x"}]))
        pool.run("append", "pool")
    found = json.loads(pool.run("info", "--json").stdout)
    assert found["versions"] == list(range(1, 8))
    assert pool.docs("id")[-4:] == ["c0", "c1", "c2", "c3"]
    stamps = [
        datetime.fromisoformat(json.loads(p.read_text())["created"])
        for p in sorted((pool.folder / INDEX / "manifests").glob("[0-9]*.json"))
    ]
    assert stamps != sorted(stamps)
    assert max(stamps) - datetime.now(UTC) > timedelta(days=300)


@pytest.mark.parametrize("days", [-400, 400])
def test_vacuum_leaves_what_was_written_within_the_hour_by_either_clock(
    pool: Shell, clock: type[Clock], days: int
) -> None:
    """A running writer's segment, which no version names yet, and the version that a running reader has pinned."""
    strays = pool.folder / INDEX / "segments" / "0123456789abcdef"
    strays.mkdir()
    (strays / "nags.npy").write_bytes(b"being written")
    reader = nagindex.open(INDEX)
    pool.run("delete", "--where", "id = 'd0'")
    clock.ahead = timedelta(days=days)
    pool.run("delete", "--where", "id = 'd1'")
    pool.run("compact")
    pool.run("vacuum")
    assert (strays / "nags.npy").exists()
    assert len(reader.docs.fetchall()) == 6


def test_sigterm_clears_away_what_is_half_done_as_ctrl_c_does(pool: Shell) -> None:
    """The query is stopped where it is sure to be: while it reads its targets from a pipe, its output begun."""
    pipe = pool.folder / "t.jsonl"
    os.mkfifo(pipe)
    said = []
    for kind in (signal.SIGTERM, signal.SIGINT):
        with subprocess.Popen(
            [str(PROGRAM), "query", "t.jsonl", "-n", "1", "-o", "out.parquet"],
            stderr=subprocess.PIPE,
            stdout=subprocess.PIPE,
        ) as process:
            held = os.open(pipe, os.O_WRONLY)
            process.send_signal(kind)
            out, err = process.communicate(timeout=120)
            os.close(held)
        said.append((process.returncode, out, err.decode()))
    assert said == [(128 + kind, b"", "Error: interrupted; run the same command again\n") for kind in (15, 2)]
    assert not list(pool.folder.glob("*out.parquet*"))
    pool.run("verify")

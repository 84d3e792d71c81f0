"""The installed program as its own process: exit statuses, stdout against stderr, signals."""

from __future__ import annotations

import errno
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from shell import PROGRAM, Shell, jsonl


@contextmanager
def started(shell: Shell, *arguments: object) -> Iterator[subprocess.Popen[bytes]]:
    """The running program, which is gone when the block ends."""
    process = shell.start(*arguments)
    try:
        yield process
    finally:
        process.kill()  # before anything waits for it
        with process:
            pass


def finish(process: subprocess.Popen[bytes]) -> tuple[int, str, str]:
    """Wait for the program; return its status, stdout and stderr."""
    out, err = process.communicate(timeout=120)
    return process.returncode, out.decode(errors="replace"), err.decode()


def test_results_go_to_stdout_and_all_else_to_stderr_with_status_0_1_or_2(pool: Shell) -> None:
    pool.write("t.jsonl", '{"text":"river"}\n{"text":null}\n')
    pool.run(
        "query", "t.jsonl", "-n", "1", "-o", "warm.parquet"
    )  # its targets are in the cache: no model is loaded below
    with (
        started(pool, "query", "t.jsonl", "-n", "99", "--format", "jsonl") as good,
        started(pool, "query", "t.jsonl", "-n", "1", "-i", "none.nagindex") as failed,
    ):
        status, out, err = finish(good)
        assert status == 0
        assert len([json.loads(line) for line in out.splitlines()]) == 6
        assert [line.split(":")[0] for line in err.splitlines()[:2]] == ["Warning", "Warning"]
        assert err.splitlines()[-1].startswith("Selected 6 documents")
        status, out, err = finish(failed)
        assert (status, out) == (1, "")
        assert err == "Error: none.nagindex: no index here; make one with: nagindex build CORPUS -i none.nagindex\n"
    with started(pool, "query", "t.jsonl") as wrong:
        status, out, err = finish(wrong)
        assert (status, out) == (2, "")
        assert err.startswith("Usage: nagindex query ")


def test_a_reader_that_leaves_early_is_no_error(pool: Shell) -> None:
    pool.write("t.jsonl", '{"text":"river"}\n')
    pool.run("query", "t.jsonl", "-n", "1", "-o", "warm.parquet")
    read_end, write_end = os.pipe()
    os.close(read_end)
    process = pool.start("query", "t.jsonl", "-n", "9", "--format", "jsonl", stdout=write_end)
    os.close(write_end)
    with process:
        _, err = process.communicate(timeout=120)
    assert process.returncode == 0
    assert b"Traceback" not in err
    assert b"Error" not in err
    assert b"Exception" not in err


def hold_at(fifo: Path, process: subprocess.Popen[bytes]) -> int:
    """Wait until a program starts to read a named pipe, and keep it waiting there; return the descriptor that holds it."""
    until = time.monotonic() + 120
    while time.monotonic() < until and process.poll() is None:
        try:
            return os.open(fifo, os.O_WRONLY | os.O_NONBLOCK)
        except OSError as error:
            if error.errno != errno.ENXIO:
                raise
            time.sleep(0.02)
    raise AssertionError(f"the program never came to {fifo}: {process.poll()}")


@pytest.mark.parametrize("kind", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_build_commits_what_is_complete_says_how_to_go_on_and_ends_as_an_unbroken_one(
    shell: Shell, kind: signal.Signals
) -> None:
    """The build is stopped where it is sure to be: nine windows of 256 documents done, the rest of the file in its tenth."""
    first = [{"id": f"a{i}", "text": f"river {i} garden {i % 7}"} for i in range(2500)]
    last = [{"id": f"b{i}", "text": f"violin {i}"} for i in range(300)]
    shell.write("corpus/a.jsonl", jsonl(first))
    pipe = shell.folder / "corpus" / "b.jsonl"
    os.mkfifo(pipe)
    with started(shell, "build", "corpus", "--model", shell.model, "--dtype", "fp32") as process:
        held = hold_at(pipe, process)
        process.send_signal(kind)
        status, out, err = finish(process)
        os.close(held)
    assert (status, out) == (128 + kind, "")
    assert "Traceback" not in err
    *_, line = err.splitlines()  # a slow machine gets to progress lines before
    assert line.startswith("Error: interrupted; 2,304 documents are committed in index.nagindex")
    assert "run the same command to go on" in line
    pipe.unlink()
    assert shell.docs("id") == [f"a{i}" for i in range(2304)]
    shell.run("verify")

    shell.write("corpus/b.jsonl", jsonl(last))
    assert "Added 496 documents" in shell.build("corpus").stderr
    shell.build("corpus", "-i", "unbroken.nagindex")
    assert shell.state() == shell.state(index="unbroken.nagindex")


@pytest.mark.parametrize("kind", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_query_ends_with_one_line_and_the_status_of_the_signal(
    pool: Shell, kind: signal.Signals
) -> None:
    pipe = pool.folder / "t.jsonl"
    os.mkfifo(pipe)
    with started(pool, "query", "t.jsonl", "-n", "1") as process:
        held = hold_at(pipe, process)
        process.send_signal(kind)
        assert finish(process) == (128 + kind, "", "Error: interrupted; run the same command again\n")
        os.close(held)


STOPPED_TWICE = """
import time
from nagindex.cli.process import stopping_on_signals
with stopping_on_signals():
    try:
        print("running", flush=True)
        time.sleep(100)
    finally:
        print("ending", flush=True)
        time.sleep(100)
"""


def test_a_second_ctrl_c_ends_at_once_and_a_second_sigterm_does_not() -> None:
    """Schedulers send SIGTERM to a process and again to its group: what it ends with must not be cut off by that."""
    with subprocess.Popen(
        [sys.executable, "-c", STOPPED_TWICE], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"running\n"
        process.send_signal(signal.SIGTERM)
        assert process.stdout.readline() == b"ending\n"
        process.send_signal(signal.SIGTERM)
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(0.3)
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == -signal.SIGINT
        assert process.stderr is not None
        assert process.stderr.read() == b""


IMPORTING = """
import time
from nagindex.cli.process import stopping_on_signals
with stopping_on_signals():
    try:
        import half_made
        time.sleep(100)
    except KeyboardInterrupt:
        print(half_made.whole)
"""
HALF_MADE = """
import time
print("importing", flush=True)
time.sleep(0.5)
whole = "imported"
"""


@pytest.mark.parametrize("kind", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_during_an_import_waits_for_its_end(tmp_path: Path, kind: signal.Signals) -> None:
    """Compiled modules abort the process when their import is interrupted: duckdb's does."""
    (tmp_path / "half_made.py").write_text(HALF_MADE)
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    with subprocess.Popen([sys.executable, "-c", IMPORTING], env=environment, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"importing\n"
        process.send_signal(kind)
        assert process.communicate(timeout=60)[0] == b"imported\n"
        assert process.returncode == 0


WRITES = (
    ["sql", "SELECT * FROM docs"],
    ["info"],
    ["query", "--help"],
    ["--help"],
    ["sql", "--json", "SELECT * FROM docs"],
)


@pytest.mark.parametrize("arguments", WRITES, ids=" ".join)
def test_a_stdout_that_cannot_be_written_is_one_line_and_status_1(pool: Shell, arguments: list[str]) -> None:
    for redirection, reason in ((">/dev/full", "No space left on device"), (">&-", "Bad file descriptor")):
        done = redirected(pool, redirection, *arguments)
        assert done.returncode == 1
        assert done.stderr == f"Error: stdout: cannot be written ({reason}); the output is not complete\n"


@pytest.mark.parametrize("arguments", WRITES, ids=" ".join)
def test_any_command_may_be_left_by_its_reader(pool: Shell, arguments: list[str]) -> None:
    read_end, write_end = os.pipe()
    os.close(read_end)
    process = pool.start(*arguments, stdout=write_end)
    os.close(write_end)
    with process:
        assert (process.communicate(timeout=120)[1], process.returncode) == (b"", 0)


def test_a_command_runs_without_standard_streams(pool: Shell) -> None:
    assert redirected(pool, "<&- 2>&-", "info").returncode == 0
    assert redirected(pool, "<&- >&- 2>&-", "verify").returncode == 0
    assert redirected(pool, "2>&-", "info", "-i", "none").returncode == 1


def test_what_an_ascii_terminal_cannot_show_is_escaped_as_json_does(pool: Shell) -> None:
    environment = {**os.environ, "PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0", "LC_ALL": "C"}
    text = "chr(233) || chr(128512)"
    with pool.start("sql", f"SELECT {text} AS x", env=environment) as process:
        out, err = process.communicate(timeout=120)
    assert (process.returncode, err) == (0, b"")
    assert out.splitlines()[-1] == rb"\u00e9\ud83d\ude00"
    with pool.start("sql", "--json", f"SELECT {text} AS x", env=environment) as process:
        assert json.loads(process.communicate(timeout=120)[0]) == {"x": "\u00e9\U0001f600"}
    with pool.start("sql", f"SELECT ({text})::INTEGER", env=environment) as process:
        assert rb"'\u00e9\ud83d\ude00'" in process.communicate(timeout=120)[1]
    assert process.returncode == 1


def redirected(shell: Shell, redirection: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the program as a shell does with some redirections."""
    command = f'"$0" "$@" {redirection}'
    return subprocess.run(
        ["sh", "-c", command, PROGRAM, *arguments], cwd=shell.folder, capture_output=True, text=True, timeout=120
    )


@pytest.mark.slow
def test_ctrl_c_in_the_middle_of_encoding_keeps_a_whole_index(shell: Shell) -> None:
    """Wherever the signal lands, the message is true: so many documents are committed, a prefix of the corpus."""
    total = 60_000
    shell.write("corpus/a.jsonl", jsonl({"id": i, "text": f"river {i} garden {i % 7} mountain"} for i in range(total)))
    with started(shell, "build", "corpus", "--model", shell.model, "--dtype", "fp32") as process:
        manifest = shell.folder / "index.nagindex" / "manifests" / f"{1:012d}.json"
        while not manifest.exists() and process.poll() is None:
            time.sleep(0.02)
        time.sleep(1.5)
        process.send_signal(signal.SIGINT)
        status, _, err = finish(process)
    assert status == 130
    told = re.fullmatch(r"Error: interrupted; ([\d,]+) documents are committed in index.nagindex; .*\n", err)
    assert told, err
    committed = int(told[1].replace(",", ""))
    assert 0 < committed < total
    assert committed % 256 == 0
    assert shell.docs("id") == [str(i) for i in range(committed)]
    shell.run("verify")

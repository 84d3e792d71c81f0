"""Child processes: closed, interrupted, forgotten or orphaned, they finish what they must and end."""

import signal
import subprocess
import sys
import weakref
from pathlib import Path

import pytest
from children import SOON, child, gone, interrupt_when, nothing_left, until  # noqa: F401 - nothing_left is a fixture

from nagindex.workers.parent import merged

HERE = str(Path(__file__).parent)


def test_close_lets_the_child_finish_and_returns_what_came(tmp_path):
    one = child("publishing", tmp_path / "out", 50_000, tmp_path / "started", ahead=1)
    until((tmp_path / "started").exists)
    items = one.close()
    assert [item if item == 0 else item[0] for item in items] == list(range(21))
    assert (tmp_path / "out").read_text() == "published"


def test_close_stops_a_child_that_waits_for_its_reader(tmp_path):
    one = child("endless", tmp_path / "out", 1 << 20, ahead=1)
    assert next(iter(one))[0] == 0
    one.close()
    assert (tmp_path / "out").read_text() == "stopped"


def test_a_stop_that_was_swallowed_is_raised_again_and_never_in_a_finally_block(tmp_path):
    one = child("swallowing", tmp_path / "started", tmp_path / "out")
    until((tmp_path / "started").exists)
    assert one.close() == []
    assert (tmp_path / "out").read_text() == "finished"


def test_a_stop_waits_for_the_end_of_an_import(tmp_path):
    """Compiled modules abort the process when their import is interrupted: duckdb's does."""
    one = child("importing", tmp_path, tmp_path / "started", tmp_path / "out")
    until((tmp_path / "started").exists)
    assert one.close() == []
    assert (tmp_path / "out").read_text() == "imported"


def test_close_before_the_child_began():
    assert child("endless").close() is not None


def test_leaving_the_loop_stops_the_child(tmp_path):
    for number in child("endless", tmp_path / "out"):
        if number == 10:
            break
    assert (tmp_path / "out").read_text() == "stopped"


def test_close_raises_what_went_wrong_while_stopping(tmp_path):
    one = child("failing_at_the_end", tmp_path / "started")
    until((tmp_path / "started").exists)
    with pytest.raises(ValueError, match="could not publish"):
        one.close()


def test_an_error_in_flight_carries_what_went_wrong_while_stopping(tmp_path):
    def fail():
        with child("failing_at_the_end", tmp_path / "started"):
            until((tmp_path / "started").exists)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError) as raised:
        fail()
    assert raised.value.__notes__ == ["and a worker process failed: could not publish"]


def test_a_forgotten_child_is_stopped(tmp_path):
    one = child("endless", tmp_path / "out", 1 << 20)
    items = iter(one)
    next(items)
    known = weakref.ref(one)
    link = one._link
    until(lambda: len(link.frames) == 4)
    items = one = None
    assert known() is None
    until(lambda: link.ended)
    assert (tmp_path / "out").read_text() == "stopped"


def test_a_child_nobody_iterated_is_stopped_when_forgotten(tmp_path):
    one = child("endless", tmp_path / "out", 1 << 20)
    until(lambda: one._link.frames)
    link = one._link
    one = None
    until(lambda: link.ended)
    assert (tmp_path / "out").read_text() == "stopped"


def test_an_interrupt_stops_the_child(tmp_path):
    items = iter(child("publishing", tmp_path / "out", 50_000, tmp_path / "started"))
    assert next(items) == 0
    thread = interrupt_when((tmp_path / "started", "merged"))
    with pytest.raises(KeyboardInterrupt):
        list(items)
    thread.join()
    assert (tmp_path / "out").read_text() == "published"


def test_an_interrupt_at_any_step_of_waiting_stops_the_child():
    """Wherever it comes, it leaves nothing locked that the thread which reads, or the end, would wait for."""
    left = 0

    def interrupt(frame, event, argument):
        nonlocal left
        left -= 1
        if left == 0:
            signal.raise_signal(signal.SIGINT)

    for step in range(1, 100):
        pairs, left = merged([child("count", 1)]), step
        sys.settrace(interrupt)  # called at each call of a function, where Python looks for signals
        try:
            assert next(pairs) == (0, 0)
        except KeyboardInterrupt:
            continue
        finally:
            sys.settrace(None)
            pairs.close()
        break
    assert 2 < step < 99


def test_a_second_interrupt_kills_the_child(tmp_path):
    one = child("stubborn", tmp_path / "started")
    items = iter(one)
    next(items)
    thread = interrupt_when((tmp_path / "started", "merged"), (tmp_path / "started.asked", "_stop_all"))
    with pytest.raises(KeyboardInterrupt):
        list(items)
    thread.join()
    assert one._link.process.returncode == -signal.SIGKILL


@pytest.mark.parametrize("killed", [True, False], ids=["killed", "just ended"])
def test_a_parent_that_is_gone_takes_its_child_along(tmp_path, killed):
    code = f"""
import sys, time; sys.path.insert(0, {HERE!r})
from nagindex.workers.parent import Child
child = Child("child_functions:endless", {str(tmp_path / "out")!r}, 100_000)
items = iter(child)
next(items)
print(child._link.process.pid, flush=True)
time.sleep({600 if killed else 0})
"""
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as parent:
        pid = int(parent.stdout.readline())
        if killed:
            assert not gone(pid)
            parent.kill()
        output = parent.communicate(timeout=SOON)
    until(lambda: gone(pid))
    assert (tmp_path / "out").read_text() == "stopped"
    assert (parent.returncode, output) == (-signal.SIGKILL if killed else 0, ("", ""))

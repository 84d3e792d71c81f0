"""What the command line draws of a step's state: at any width, on a terminal, in a log, and for other programs."""

from __future__ import annotations

import io
import json
import re

import pytest
from nagindex.cli import progress as display
from nagindex.cli.progress import ProgressDisplay, bar, line, record

from nagindex import Progress

BUILD = Progress("encoding documents", 123_456, 1_000_000, "documents", 23_456, 12_000_000, 99_840, 0.05)
BYTES = Progress("verifying files", 1_000_000_000, 3_400_000_000, "bytes")
LOADING = Progress("loading Qwen/Qwen3-0.6B-Base", 0, 1, "")


class Terminal(io.StringIO):
    encoding = "utf-8"

    def __init__(self, *, tty):
        super().__init__()
        self.tty = tty

    def isatty(self):
        return self.tty


@pytest.fixture
def shown(monkeypatch):
    """Return f(mode): a display whose time is what the test says, without its thread, and where it writes."""

    def make(mode="auto", *, tty=False):
        clock, stream = [0.0], Terminal(tty=tty)
        monkeypatch.setattr("sys.stderr", stream)
        monkeypatch.setenv("TERM", "xterm")
        monkeypatch.setattr(ProgressDisplay, "_keep_ticking", lambda self: None)
        monkeypatch.setattr(display, "_columns", lambda: 79)
        return ProgressDisplay(mode, clock=lambda: clock[0]), clock, stream

    return make


@pytest.mark.parametrize("state", [BUILD, BYTES, LOADING], ids=lambda state: state.stage)
@pytest.mark.parametrize("columns", [10, 20, 39, 60, 79, 99, 200])
def test_a_bar_fits_its_terminal_and_cuts_no_figure(state, columns):
    drawn = bar(state, 1200.0, columns)
    assert len(drawn) <= columns
    assert "\n" not in drawn
    assert drawn.startswith(state.stage[:columns].rstrip())
    if columns < len(state.stage) + len(" 100%"):
        return  # not even the step's name fits
    figures = re.findall(r"\d[\d,.]*", drawn.removeprefix(state.stage))
    whole = re.findall(r"\d[\d,.]*", " ".join([bar(state, 1200.0, 500), "  ".join(display._figures(state, 1200.0))]))
    assert set(figures) <= set(whole)


def test_what_tells_most_is_what_a_narrow_terminal_shows():
    assert bar(BUILD, 1200.0, 39).split("  ") == ["encoding documents 12%", "2.9 h left"]
    assert bar(LOADING, 12.0, 39) == "loading Qwen/Qwen3-0.6B-Base  12 s"
    assert re.fullmatch(r"verifying files 29% \S+ +29 s left  1.0 GB of 3.4 GB  83.3 MB/s", bar(BYTES, 12.0, 79))


def test_a_terminal_without_blocks_gets_a_bar_of_ascii(monkeypatch):
    stream = Terminal(tty=True)
    stream.encoding = "ascii"
    monkeypatch.setattr("sys.stderr", stream)
    assert bar(BYTES, 12.0, 79).isascii()


def test_what_an_earlier_run_did_counts_in_the_share_and_not_in_the_rate():
    """100,000 of this run's documents in 1,000 s; 876,544 are left."""
    values = record(BUILD, 1000.0)
    assert (values["rate"], values["eta"]) == (100.0, 8765.4)
    assert values["known"] == 23_456
    assert display._share(BUILD) == pytest.approx(0.123456)


def test_a_share_is_not_rounded_to_all_before_all_is_done():
    assert "99%" in bar(Progress("sorting", 9_999, 10_000), 5.0, 79)
    assert "100%" not in line(Progress("sorting", 9_999, 10_000), 5.0)


def test_a_log_gets_a_line_every_thirty_seconds_and_the_end_of_what_took_longer(shown):
    progress, clock, stream = shown("lines")
    for second in range(0, 100, 5):
        clock[0] = float(second)
        progress(Progress("sorting", second, 100, "files"))
    clock[0] = 100.0
    progress(Progress("sorting", 100, 100, "files"))
    assert stream.getvalue().splitlines() == [
        "sorting: 30%, 70 s left, 30 of 100 files, 1.0/s",
        "sorting: 60%, 40 s left, 60 of 100 files, 1.0/s",
        "sorting: 90%, 10 s left, 90 of 100 files, 1.0/s",
        "sorting: done, 100 files in 2 min",
    ]


def test_a_log_has_nothing_of_a_short_step(shown):
    progress, clock, stream = shown("lines")
    for stage in ("loading", "sorting"):
        progress(Progress(stage, 0, 1, ""))
        clock[0] += 20.0
        progress(Progress(stage, 1, 1, ""))
    progress.close()
    assert stream.getvalue() == ""


def test_time_passes_in_a_step_that_reports_nothing(shown):
    """As the loading of a model does: the thread of the display calls `tick`."""
    progress, clock, stream = shown("lines")
    progress(LOADING)
    for second in range(70):
        clock[0] = float(second)
        progress.tick()
    assert stream.getvalue().splitlines() == [f"{LOADING.stage}: 30 s", f"{LOADING.stage}: 60 s"]


def test_a_bar_goes_when_its_step_ends_and_a_short_one_never_comes(shown):
    progress, clock, stream = shown(tty=True)
    assert progress.mode == "bar"
    progress(Progress("sorting", 0, 10, "files"))
    clock[0] = 0.2
    progress(Progress("sorting", 2, 10, "files"))
    assert stream.getvalue() == ""
    clock[0] = 0.4
    progress(Progress("sorting", 4, 10, "files"))
    assert stream.getvalue().startswith("\rsorting 40%")
    progress(Progress("sorting", 10, 10, "files"))
    assert stream.getvalue().endswith("\r\x1b[K")
    before = stream.getvalue()
    progress.close()
    progress.tick()
    assert stream.getvalue() == before


def test_a_bar_that_is_left_by_an_error_is_cleared(shown):
    progress, clock, stream = shown(tty=True)
    progress(LOADING)
    clock[0] = 1.0
    progress.tick()
    progress.close()
    assert stream.getvalue().endswith("\r\x1b[K")


def test_other_programs_get_the_first_and_the_last_state_and_one_a_second(shown):
    progress, clock, stream = shown("json")
    for tenth in range(26):
        clock[0] = tenth / 10
        progress(Progress("sorting", 4 * tenth, 100, "files"))
    progress.close()
    states = [json.loads(text) for text in stream.getvalue().splitlines()]
    assert [state["done"] for state in states] == [0, 40, 80, 100]
    assert states[1] == {
        "stage": "sorting", "done": 40, "total": 100, "unit": "files", "rate": 40.0, "seconds": 1.0, "eta": 1.5}  # fmt: skip
    assert (states[0]["rate"], states[0]["eta"], states[-1]["eta"]) == (None, None, 0.0)


def test_the_same_step_again_starts_its_clock_anew(shown):
    progress, clock, stream = shown("json")
    for start in (0.0, 50.0):
        clock[0] = start
        progress(Progress("scanning", 0, 10))
        clock[0] = start + 2
        progress(Progress("scanning", 10, 10))
    assert [json.loads(text)["seconds"] for text in stream.getvalue().splitlines()] == [0, 2, 0, 2]


def test_none_shows_nothing_and_a_dumb_terminal_gets_lines(shown, monkeypatch):
    progress, clock, stream = shown("none", tty=True)
    for second in (0.0, 50.0, 100.0):
        clock[0] = second
        progress(BUILD)
    assert stream.getvalue() == ""
    monkeypatch.setenv("TERM", "dumb")
    assert ProgressDisplay().mode == "lines"


def test_a_terminal_that_is_gone_stops_nothing(shown, monkeypatch):
    progress, _clock, stream = shown("json")
    monkeypatch.setattr(stream, "write", lambda text: (_ for _ in ()).throw(OSError(5, "Input/output error")))
    progress(BUILD)

"""Where a selection goes: a table on a terminal, JSON lines with texts into a pipe, files by their suffix; and score curves."""

from __future__ import annotations

import csv
import fcntl
import gzip
import json
import os
import pty
import re
import struct
import subprocess
import termios
from pathlib import Path

import click
import pytest
from click.testing import CliRunner
from nagindex.cli import main
from nagindex.cli.query import query
from nagindex.cli.query_options import SECTIONS
from parquet_files import read
from shell import PROGRAM, Shell, jsonl

import nagindex
from nagindex.corpus.text_files import read_lines

COLUMNS = ["rank", "id", "score", "tokens", "file", "row", "label"]


@pytest.fixture
def two(pool: Shell) -> Shell:
    """A pool of six documents and two target files, `odd` and `even`."""
    texts = {row[0]: row[1] for row in _texts(pool)}
    for name, ids in {"odd": ("d1", "d3"), "even": ("d0", "d2")}.items():
        pool.write(f"{name}.jsonl", jsonl({"text": texts[i]} for i in ids))
    return pool


def _texts(shell: Shell) -> list[tuple[str, str]]:
    lines = [json.loads(line) for path in sorted(Path("pool").iterdir()) for line in path.read_text().splitlines()]
    return [(record["id"], record["text"]) for record in lines]


def on_terminal(shell: Shell, *arguments: str, columns: int) -> list[str]:
    """Run the program with a terminal as stdout and return the lines that it shows."""
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
    environment = {k: v for k, v in os.environ.items() if k not in ("COLUMNS", "LINES")}
    process = subprocess.Popen(
        [str(PROGRAM), *arguments], cwd=shell.folder, stdout=slave, stderr=subprocess.PIPE, env=environment
    )
    os.close(slave)
    shown = b""
    while True:
        try:
            chunk = os.read(master, 4096)
        except OSError:  # the other end is closed
            break
        if not chunk:
            break
        shown += chunk
    os.close(master)
    assert process.wait(60) == 0, process.stderr.read() if process.stderr else b""
    if process.stderr:
        process.stderr.close()
    return (
        shown.decode().removesuffix("\x1b[0m").replace("\r\n", "\n").splitlines()
    )  # colorama, which numba uses, resets at the end


def test_a_terminal_shows_the_beginnings_of_the_texts_in_its_width(two: Shell) -> None:
    lines = on_terminal(two, "query", "odd.jsonl", "-n", "3", columns=76)
    assert lines[0].split() == ["rank", "id", "score", "tokens", "label", "text"]
    assert max(map(len, lines)) == 76, lines
    assert [line.split()[1] for line in lines[2:]] == two_ids(two, "odd.jsonl")
    texts = dict(_texts(two))
    for line in lines[2:]:
        own = texts[line.split()[1]]
        shown = line[lines[0].index("text") :]
        assert own.startswith(shown.removesuffix("..."))
        assert shown == own or shown.endswith("...")


def two_ids(shell: Shell, target: str) -> list[str]:
    return [row["id"] for row in shell.selected(target, "-n", "3")]


def test_a_pipe_gets_json_lines_with_texts(two: Shell) -> None:
    texts = dict(_texts(two))
    for options in ([], ["-o", "-"], ["--format", "jsonl"]):
        rows = [json.loads(line) for line in two.run("query", "odd.jsonl", "-n", "3", *options).stdout.splitlines()]
        assert list(rows[0]) == [*COLUMNS, "text"]
        assert all(row["text"] == texts[row["id"]] for row in rows)
    assert "text" not in json.loads(two.run("query", "odd.jsonl", "-n", "1", "--no-text").stdout)


def test_texts_that_nobody_asked_for_are_left_out_where_their_source_is_gone(two: Shell) -> None:
    expected = two.selected("odd.jsonl", "-n", "3")
    Path("elsewhere").mkdir()
    moved = ("--corpus-root", "elsewhere")
    done = two.run("query", "odd.jsonl", "-n", "3", *moved)
    assert [json.loads(line) for line in done.stdout.splitlines()] == expected
    assert "Warning: written without texts: " in done.stderr
    assert "--corpus-root" in done.stderr
    assert "a.jsonl" in two.error("query", "odd.jsonl", "-n", "3", "--with-text", *moved)


@pytest.mark.parametrize("name", ["s.jsonl", "s.jsonl.gz", "s.jsonl.zst", "s.ndjson", "s.csv", "s.csv.gz", "s.csv.zst"])
def test_the_suffix_names_format_and_compression(two: Shell, name: str) -> None:
    expected = two.selected("odd.jsonl", "-n", "3")
    two.run("query", "odd.jsonl", "-n", "3", "-o", name)
    data = Path(name).read_bytes()
    assert (data[:2] == b"\x1f\x8b", data[:4] == b"\x28\xb5\x2f\xfd") == (name.endswith(".gz"), name.endswith(".zst"))
    [source] = nagindex.find_sources([name]).sources
    lines = [line for _, line in read_lines(source)]
    if ".csv" in name:
        rows = list(csv.DictReader(lines))
        assert [{k: str(v) for k, v in row.items()} for row in expected] == rows
    else:
        assert [json.loads(line) for line in lines] == expected


def test_a_text_file_holds_ids_that_other_commands_read(two: Shell) -> None:
    expected = [row["id"] for row in two.selected("odd.jsonl", "-n", "3")]
    two.run("query", "odd.jsonl", "-n", "3", "-o", "first.txt")
    assert Path("first.txt").read_text().splitlines() == expected
    two.run("query", "odd.jsonl", "-n", "3", "-o", "first.txt.gz")
    assert gzip.decompress(Path("first.txt.gz").read_bytes()).decode().splitlines() == expected
    rest = two.selected("odd.jsonl", "-n", "9", "--exclude", "first.txt")
    assert sorted([*expected, *(row["id"] for row in rest)]) == [f"d{i}" for i in range(6)]
    two.run("delete", "--ids", "first.txt")
    assert len(nagindex.open("index.nagindex")) == 3
    assert two.run("query", "odd.jsonl", "-n", "3", "--format", "ids").stdout.split() == [r["id"] for r in rest]


def test_the_format_that_is_named_comes_before_the_suffix(two: Shell) -> None:
    expected = two.selected("odd.jsonl", "-n", "3")
    two.run("query", "odd.jsonl", "-n", "3", "-o", "data.bin", "--format", "jsonl")
    assert [json.loads(line) for line in Path("data.bin").read_text().splitlines()] == expected
    two.run("query", "odd.jsonl", "-n", "3", "-o", "data.csv", "--format", "parquet")
    assert [row[1] for row in read(Path("data.csv"))] == [row["id"] for row in expected]
    assert "leave --with-text out" in two.error("query", "odd.jsonl", "-n", "3", "--with-text", "-o", "ids.txt")


def test_an_id_of_two_lines_is_not_written_among_ids(shell: Shell, words: list[str]) -> None:
    shell.write("c.jsonl", jsonl({"id": f"a\nb{i}", "text": " ".join(words[i : i + 5])} for i in range(3)))
    shell.build("c.jsonl")
    assert "does not fit a line of ids" in shell.error("query", "c.jsonl", "-n", "2", "-o", "ids.txt")
    assert not Path("ids.txt").exists()


def test_the_default_mix_selects_no_document_twice_and_says_how_many_are_distinct(two: Shell) -> None:
    shared = ["query", "odd.jsonl", "even.jsonl", "-n", "6", "-o", "s.jsonl"]
    done = two.run(*shared, "--json")
    ids = [json.loads(line)["id"] for line in Path("s.jsonl").read_text().splitlines()]
    assert len(ids) == len(set(ids)) == 6
    assert "Selected 6 documents (" in done.stderr
    assert json.loads(done.stdout)["distinct"] == 6
    done = two.run(*shared, "--mix", "merge", "--json")
    ids = [json.loads(line)["id"] for line in Path("s.jsonl").read_text().splitlines()]
    assert len(ids) == 6 > len(set(ids))
    assert f"Selected 6 documents, {len(set(ids))} distinct (" in done.stderr
    assert json.loads(done.stdout)["distinct"] == len(set(ids))


def test_a_terminal_shows_documents_of_each_target(two: Shell) -> None:
    lines = on_terminal(two, "query", "odd.jsonl", "even.jsonl", "-n", "6", columns=100)
    column = lines[0].split().index("target")
    assert {line.split()[column] for line in lines[2:8]} == {"odd", "even"}


def test_a_minimum_score_selects_all_that_reach_it(two: Shell) -> None:
    everything = two.selected("odd.jsonl", "-n", "6")
    least = everything[3]["score"]
    wanted = [row for row in everything if row["score"] >= least]
    assert two.selected("odd.jsonl", "--min-score", str(least)) == wanted
    assert two.selected("odd.jsonl", "--min-score", str(least), "-n", "2") == wanted[:2]
    reason = two.error("query", "odd.jsonl", "--min-score", "1.5")
    assert "none has a score of at least 1.5; --score-curve shows the scores that there are" in reason
    two.run("query", "odd.jsonl", "--min-score", str(least), "-o", "first.parquet")
    two.run("query", "--config", "first.parquet", "-o", "again.parquet")
    assert read(Path("again.parquet")) == read(Path("first.parquet"))
    assert "there is none" in two.error("query", "odd.jsonl", "--min-score", "0.1", "--cap", "label=0.5")


def test_a_score_curve_has_the_score_at_each_rank(two: Shell) -> None:
    scores = {name: [row["score"] for row in two.selected(f"{name}.jsonl", "-n", "6")] for name in ("odd", "even")}
    done = two.run("query", "odd.jsonl", "even.jsonl", "--score-curve", "--json")
    curve = json.loads(done.stdout)
    assert (curve["documents"], curve["ranks"]) == (6, [1, 2, 5, 6])
    assert curve["scores"] == {name: [own[0], own[1], own[4], own[5]] for name, own in scores.items()}
    lines = two.run("query", "odd.jsonl", "--score-curve").stdout.splitlines()
    assert lines[0].split() == ["rank", "share", "of", "pool", "score"]
    assert lines[2].split() == ["1", "16.67%", f"{scores['odd'][0]:.4f}"]
    even = [row["score"] for row in two.selected("odd.jsonl", "-n", "6", "--where", "label = 'even'")]
    done = two.run("query", "odd.jsonl", "--score-curve", "--json", "--where", "label = 'even'")
    assert json.loads(done.stdout) == {"documents": 3, "ranks": [1, 2, 3], "scores": {"odd": even}}


def test_examples_come_from_stdin_and_from_the_command_line(two: Shell) -> None:
    expected = two.selected("odd.jsonl", "-n", "4")
    lines = Path("odd.jsonl").read_text()
    texts = [json.loads(line)["text"] for line in lines.splitlines()]
    plain = "\n".join(["", *texts, ""])
    for given in (lines, "\n" + lines, plain):
        done = two.run("query", "-", "-n", "4", "--no-text", stdin=given)
        assert [json.loads(line) for line in done.stdout.splitlines()] == expected
    spoken = [part for text in texts for part in ("--text", text)]
    assert two.selected(*spoken, "-n", "4") == expected
    two.run("query", *spoken, "-n", "4", "-o", "first.parquet")
    two.run("query", "--config", "first.parquet", "-o", "again.parquet")
    assert read(Path("again.parquet")) == read(Path("first.parquet"))


def test_stdin_texts_and_files_are_targets_beside_each_other(two: Shell) -> None:
    rows = two.run(
        "query", "odd.jsonl", "-", "--text", "river mountain", "-n", "6", "--no-text", stdin="solver kettle"
    ).stdout
    assert {json.loads(line)["target"] for line in rows.splitlines()} == {"odd", "stdin", "text"}
    rows = two.run("query", "o=odd.jsonl", "--text", "river mountain", "-n", "4", "--no-text").stdout
    assert {json.loads(line)["target"] for line in rows.splitlines()} == {"o", "text"}


@pytest.mark.parametrize(
    ("arguments", "stdin", "reason", "status"),
    [
        ([], None, "Missing argument 'TARGETS...'; name files of examples, or give --text", 2),
        (["-"], "\n \n", "stdin: no example", 1),
        (["-"], b"caf\xe9", "stdin: not UTF-8 at byte 3", 1),
        (["--text", "odd.jsonl"], None, "--text takes an example itself, and odd.jsonl is a file", 2),
        (["odd.jsonl", "--text-column", "a", "--text-column", "b"], None, "two columns for all targets", 2),
        (["odd.jsonl", "--text-column", "even=a"], None, "--text-column even=a: no such target; there are odd", 1),
    ],
)
def test_examples_that_are_none_are_refused(
    two: Shell, arguments: list[str], stdin: str | bytes | None, reason: str, status: int
) -> None:
    assert reason in two.error("query", *arguments, "-n", "1", status=status, stdin=stdin)


def test_each_target_may_have_its_own_column_of_texts(two: Shell) -> None:
    texts = dict(_texts(two))
    two.write("q.jsonl", jsonl([{"question": texts["d1"], "text": texts["d0"]}]))
    two.write("a.jsonl", jsonl([{"answer": texts["d2"]}]))
    columns = ["--text-column", "q=question", "--text-column", "answer"]
    two.run("query", "q.jsonl", "a.jsonl", *columns, "-n", "2", "-o", "first.jsonl")
    rows = [json.loads(line) for line in Path("first.jsonl").read_text().splitlines()]
    assert [(row["target"], row["id"]) for row in rows] == [("q", "d1"), ("a", "d2")]
    two.run("query", "q.jsonl", "a.jsonl", *columns, "-n", "2", "-o", "first.parquet")
    two.run("query", "--config", "first.parquet", "-o", "again.parquet")
    assert read(Path("again.parquet")) == read(Path("first.parquet"))


def test_the_help_of_query_lists_every_option_in_a_section() -> None:
    shown = CliRunner().invoke(main, ["query", "--help"]).stdout
    titles = re.findall(r"^(\S.*):$", shown, re.MULTILINE)
    assert titles[:7] == ["Targets", "Budget", "Candidates", "Scoring", "Rules", "Output", "Search"]
    for option in query.params:
        if isinstance(option, click.Option) and not option.hidden:
            assert option.opts[0] in shown
    listed = {name for names in SECTIONS.values() for name in names.split()}
    own = {option.name for option in query.params if isinstance(option, click.Option)}
    assert own - listed <= {"quiet", "verbose", "log_file", "progress"}
    assert listed <= own


def test_a_query_without_constraints_does_not_speak_of_them(two: Shell) -> None:
    both = ("query", "odd.jsonl", "even.jsonl", "-o", "s.jsonl")
    told = two.run(*both, "-n", "40").stderr
    assert told.count("selected: no other is left") == 2
    assert "constraint" not in told
    assert "Warning" not in two.run(*both, "--min-score", "0.2").stderr


def test_a_score_curve_takes_no_options_of_a_selection(two: Shell) -> None:
    for options in (
        ["--cap", "label=0.5"],
        ["--dedup", "0.9"],
        ["-n", "3"],
        ["--with-text"],
        ["--quality-column", "q"],
    ):
        reason = two.error("query", "odd.jsonl", "--score-curve", *options, status=2)
        assert (
            reason == f"--score-curve selects nothing, and {options[0]} is about a selection; leave one of the two out"
        )


def test_suffixes_are_read_in_any_case_and_a_bare_compression_names_no_format(two: Shell) -> None:
    two.run("query", "odd.jsonl", "-n", "2", "-o", "S.JSONL.GZ")
    assert len(gzip.decompress(Path("S.JSONL.GZ").read_bytes()).splitlines()) == 2
    assert "no known suffix" in two.error("query", "odd.jsonl", "-n", "2", "-o", "s.gz", status=2)


def test_texts_of_other_names_are_not_replayed_as_one_target(two: Shell) -> None:
    index = nagindex.open("index.nagindex")
    texts = dict(_texts(two))
    selection = index.query({"a": [texts["d0"], texts["d1"]], "b": [texts["d2"]]}, n=4)
    assert selection.settings["query"]["targets"] == []
    assert "text" not in selection.settings["query"]
    assert index.query([texts["d0"]], n=2).settings["query"]["text"] == [texts["d0"]]


def test_a_log_is_not_written_over_another_file(two: Shell) -> None:
    before = Path("odd.jsonl").read_bytes()
    reason = two.error("query", "odd.jsonl", "-n", "1", "--log-file", "odd.jsonl")
    assert reason == "odd.jsonl: no log of nagindex, and not overwritten; give another --log-file"
    assert Path("odd.jsonl").read_bytes() == before
    for lines in (1, 2):
        two.run("query", "odd.jsonl", "-n", "1", "-o", "s.jsonl", "--log-file", "run.log")
        assert Path("run.log").read_text().count("nagindex 0.") == lines


def test_a_narrow_terminal_keeps_ids_whole_and_leaves_other_columns_out(two: Shell) -> None:
    lines = on_terminal(two, "query", "odd.jsonl", "-n", "3", columns=44)
    assert lines[0].split() == ["rank", "id", "score", "text"]
    assert max(map(len, lines)) <= 44
    assert [line.split()[1] for line in lines[2:]] == two_ids(two, "odd.jsonl")


def test_python_does_not_write_over_what_a_query_read(two: Shell) -> None:
    Path("seen.txt").write_text("d5\n")
    selection = nagindex.open("index.nagindex").query("odd.jsonl", n=2, exclude="seen.txt")
    for name in ("odd.jsonl", "seen.txt"):
        before = Path(name).read_bytes()
        with pytest.raises(nagindex.BadInputError, match=r"is an input|is the same file"):
            selection.write(name, format="jsonl")
        assert Path(name).read_bytes() == before
    with pytest.raises(nagindex.BadInputError, match="no column 'nope' in the selection"):
        selection.column("nope")

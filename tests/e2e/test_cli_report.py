"""`nagindex report` and `query --report`: the page, its command, and what is refused."""

from __future__ import annotations

import json
import re
import shlex
from html import unescape
from pathlib import Path

from shell import Shell

import nagindex


def lines_of(page: str) -> list[str]:
    """Return the lines of a page without those that name its time."""
    return [line for line in Path(page).read_text().splitlines() if "Made by" not in line]


def test_a_page_beside_the_selection_and_one_made_later_are_the_same(ready: Shell) -> None:
    ready.run("query", "odd.jsonl", "even.jsonl", "-n", "4", "-o", "best.parquet", "--report", "first.html")
    told = ready.run("report", "best.parquet").stderr
    assert re.search(r"Wrote a report to best\.html \(\d+\.\d kB\)", told)
    assert lines_of("best.html") == lines_of("first.html")
    page = Path("best.html").read_text()
    assert "<title>4 documents for odd and even</title>" in page
    first = nagindex.open("index.nagindex").selection("best.parquet").head(1, with_text=True)[0]
    assert first["text"] in unescape(page)


def test_the_command_on_the_page_selects_the_same(ready: Shell) -> None:
    options = (
        "--weights",
        "log-ratio:3",
        "--cap",
        "label=0.8",
        "--where",
        "label IN ('odd', 'even')",
        "--layers",
        "last",
    )
    ready.run("query", "odd.jsonl", "even.jsonl", "-n", "4", *options, "-o", "best.parquet", "--report", "best.html")
    found = re.search(r'<pre id="command".*?><code>(.*?)</code>', Path("best.html").read_text(), re.DOTALL)
    assert found is not None
    program, *arguments = shlex.split(unescape(found[1]).replace("\\\n", " "))
    assert program == "nagindex"
    ready.run(*arguments)
    assert list(nagindex.open("index.nagindex").selection("selection.parquet")) == list(
        nagindex.open("index.nagindex").selection("best.parquet")
    )


def test_no_text_title_and_json(ready: Shell) -> None:
    done = ready.run("query", "odd.jsonl", "-n", "3", "-o", "best.parquet", "--report", "a.html", "--no-text", "--json")
    assert json.loads(done.stdout)["documents"] == 3
    text = nagindex.open("index.nagindex").texts(["d1"])["d1"]
    assert text not in unescape(Path("a.html").read_text())
    ready.run("report", "best.parquet", "-o", "b.html", "--title", "Mine & yours", "--no-text")
    assert "<title>Mine &amp; yours</title>" in Path("b.html").read_text()
    assert text not in unescape(Path("b.html").read_text())


def test_targets_and_indexes_that_were_moved(ready: Shell) -> None:
    ready.run("query", "odd.jsonl", "-n", "3", "-o", "best.parquet")
    Path("odd.jsonl").rename("moved.jsonl")
    Path("index.nagindex").rename("moved.nagindex")
    assert "index.nagindex" in ready.error("report", "best.parquet")
    assert "odd.jsonl" in ready.error("report", "best.parquet", "-i", "moved.nagindex")
    done = ready.run("report", "best.parquet", "-i", "moved.nagindex", "--targets", "moved.jsonl")
    assert "Wrote a report to best.html" in done.stderr


def test_the_page_is_of_the_version_that_was_searched_as_long_as_it_is_there(ready: Shell) -> None:
    ready.run("query", "odd.jsonl", "-n", "3", "-o", "best.parquet")
    gone = nagindex.open("index.nagindex").selection("best.parquet").ids[0]
    ready.run("delete", "--where", f"id = '{gone}'")
    done = ready.run("report", "best.parquet")
    assert "Warning" not in done.stderr
    assert "3 documents for odd" in Path("best.html").read_text()
    ready.run("vacuum", "--grace", "0")
    done = ready.run("report", "best.parquet")
    assert "no longer in the index: 1 document of the selection" in done.stderr
    page = Path("best.html").read_text()
    assert "2 documents for odd" in page
    assert "the index was at version" in page


def test_what_is_refused_is_refused_before_anything_is_made(ready: Shell) -> None:
    ready.run("query", "odd.jsonl", "-n", "3", "-o", "best.parquet")
    assert "none.parquet: no such file" in ready.error("report", "none.parquet")
    assert "not a selection" in ready.error("report", "odd.jsonl", "-o", "x.html")
    for command in (("report", "best.parquet", "-o"), ("query", "odd.jsonl", "-n", "3", "-o", "x.parquet", "--report")):
        assert "ends in .html" in ready.error(*command, "x.pdf", status=2)
        assert "index.nagindex" in ready.error(*command, "index.nagindex/x.html")
    assert not Path("x.parquet").exists()
    assert not Path("x.html").exists()

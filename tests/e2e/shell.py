"""The command line as a user runs it: in this process for speed, or as the installed program where a process is the point."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from click.testing import CliRunner, Result
from nagindex.cli import main

import nagindex

INDEX = "index.nagindex"
FIXED = ("--dtype", "fp32", "--preset", "paper")
"""What a test's build has unless it names others: codes are compared on any processor, and most tests are not about impact."""
PROGRAM = Path(sys.executable).with_name("nagindex")


class Shell:
    """A folder to work in, with a backbone at hand; the index is ./index.nagindex unless a test names another."""

    def __init__(self, folder: Path, model: Path) -> None:
        self.folder, self.model = folder, model

    def write(self, name: str, content: str | bytes) -> Path:
        """Write a file of the folder and return its path."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    def run(self, *arguments: object, status: int = 0, stdin: str | bytes | None = None) -> Result:
        """Run a command and return its result, which must have this exit status, no traceback and at most one error."""
        done = CliRunner().invoke(main, [str(a) for a in arguments], input=stdin, prog_name="nagindex")
        if done.exception is not None and not isinstance(done.exception, SystemExit):
            raise AssertionError(f"a traceback for the user: {done.exception!r}") from done.exception
        assert done.exit_code == status, done.stderr or done.stdout
        assert "Traceback" not in done.stderr
        assert len(errors_of(done.stderr)) == (status != 0), done.stderr
        return done

    def build(self, *arguments: object, status: int = 0) -> Result:
        """Run `build` with the backbone; by default in float32, as codes are compared on any processor, and with the paper's preset."""
        return self.run("build", *FIXED, *arguments, "--model", self.model, status=status)

    def error(self, *arguments: object, status: int = 1, stdin: str | bytes | None = None) -> str:
        """Run a command that must fail and return its one-line reason, the last thing on stderr; stdout must be empty."""
        done = self.run(*arguments, status=status, stdin=stdin)
        assert done.stdout == ""
        assert done.stderr.splitlines()[-1].startswith("Error: "), done.stderr
        return done.stderr.splitlines()[-1].removeprefix("Error: ")

    def build_error(self, *arguments: object) -> str:
        """Run `build` with the backbone; it must fail: return the reason."""
        return self.error("build", *FIXED, *arguments, "--model", self.model)

    def docs(self, columns: str = "id, file, row", *, index: object = INDEX) -> list[Any]:
        """Return some columns of the documents in the index's order; of one column its values."""
        relation = nagindex.open(self.folder / str(index)).docs
        rows = relation.order("_segment, _position").project(columns).fetchall()
        return [row[0] for row in rows] if len(relation.project(columns).columns) == 1 else rows

    def state(self, *, index: object = INDEX) -> list[Any]:
        """Return the documents with all their columns and NAGs, after verifying the index."""
        self.run("verify", "-i", index)
        opened = nagindex.open(self.folder / str(index))
        rows = opened.docs.order("_segment, _position")
        places = rows.project("_segment, _position").fetchall()
        codes = opened.codes
        return [
            (row, codes[segment][position].tobytes())
            for row, (segment, position) in zip(
                rows.project("* EXCLUDE (_segment, _position)").fetchall(), places, strict=True
            )
        ]

    def skipped(self, *, index: object = INDEX) -> list[tuple[str, int, str]]:
        """Return (file, row, reason) of the rows that `info --skipped --json` lists."""
        rows = json.loads(self.run("info", "--skipped", "--json", "-i", index).stdout)
        return [(row["file"], row["row"], row["reason"]) for row in rows]

    def selected(self, *arguments: object) -> list[dict[str, Any]]:
        """Run `query` and return the records, without texts unless they are asked for."""
        text = () if "--with-text" in arguments else ("--no-text",)
        return [json.loads(line) for line in self.run("query", *arguments, *text).stdout.splitlines()]

    def start(self, *arguments: object, **options: Any) -> subprocess.Popen[bytes]:
        """Start the installed program in the folder."""
        return subprocess.Popen(
            [str(PROGRAM), *map(str, arguments)],
            cwd=self.folder,
            **({"stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | options),
        )


def errors_of(stderr: str) -> list[str]:
    """Return the lines that report an error."""
    return [line for line in stderr.splitlines() if line.startswith("Error: ")]


def jsonl(records: Iterable[Any]) -> str:
    """Return records as JSON lines."""
    return "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records)

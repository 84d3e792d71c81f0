"""SQL over an index reads its documents and nothing else: no writes, no other files, one statement, one condition."""

from __future__ import annotations

import json

import pytest
from shell import Shell


def test_sql_answers_as_a_table_and_as_json_lines(pool: Shell) -> None:
    statement = "SELECT label, count(*) AS n FROM docs GROUP BY label ORDER BY label"
    lines = pool.run("sql", statement).stdout.splitlines()
    assert [line.split() for line in lines if not line.startswith("-")] == [["label", "n"], ["even", "3"], ["odd", "3"]]
    rows = [json.loads(line) for line in pool.run("sql", statement, "--json").stdout.splitlines()]
    assert rows == [{"label": "even", "n": 3}, {"label": "odd", "n": 3}]


def test_docs_has_the_documented_columns(pool: Shell) -> None:
    row = json.loads(pool.run("sql", "SELECT * FROM docs WHERE id = 'd4'", "--json").stdout)
    assert {k: v for k, v in row.items() if not k.startswith("_")} == {
        "id": "d4", "file": "b.jsonl", "row": 0, "tokens": row["tokens"], "label": "even",
    }  # fmt: skip


def test_times_can_be_selected(pool: Shell) -> None:
    assert "20" in pool.run("sql", "SELECT now() AS t").stdout


@pytest.mark.parametrize(
    "statement",
    [
        "",
        "DELETE FROM docs",
        "DROP VIEW docs",
        "CREATE TABLE x AS SELECT 1",
        "INSERT INTO _deleted VALUES (0, 1)",
        "SELECT 1; SELECT 2",
        "SELECT 1; DROP VIEW docs",
        "COPY docs TO 'stolen.csv'",
        "COPY (SELECT 1) TO 'stolen.csv'",
        "ATTACH 'stolen.db'",
        "INSTALL httpfs",
        "LOAD httpfs",
        "SET enable_external_access = true",
        "PRAGMA database_list",
        "EXPORT DATABASE 'stolen'",
        "CALL pragma_version()",
    ],
)
def test_anything_but_one_select_is_refused(pool: Shell, statement: str) -> None:
    before, files = pool.state(), sorted(pool.folder.rglob("*"))
    assert "one SELECT statement is needed" in pool.error("sql", statement)
    assert pool.state() == before
    assert sorted(pool.folder.rglob("*")) == files


HERE = "{folder}/secret.csv"
READS = [
    *((source, HERE) for source in ("read_text('{}')", "read_csv('{}')", "read_blob('{}')", "'{}'", "glob('{}')")),
    *(("read_text('{}')", path) for path in ("/etc/passwd", "secret.csv", "index.nagindex/../secret.csv")),
]


@pytest.mark.parametrize(("source", "path"), READS)
def test_no_file_outside_the_index_can_be_read(pool: Shell, source: str, path: str) -> None:
    """Neither the system's files nor those of the working folder, which in these tests lies in the temporary folder."""
    pool.write("secret.csv", "a,b\n1,2\n")
    reason = pool.error("sql", f"SELECT * FROM {source.format(path.format(folder=pool.folder))}")
    assert "Permission Error" in reason or "does not exist" in reason


def test_a_mistake_in_sql_is_told_in_one_readable_line(pool: Shell) -> None:
    reason = pool.error("sql", "SELECT lable FROM docs")
    assert '"lable" not found' in reason
    assert "^" not in reason


CONDITIONS = [
    "true); DROP VIEW docs; --",
    "true); DELETE FROM docs WHERE (true",
    "true; SELECT 1",
    "1=1) OR (1=1",
    "false) UNION SELECT 0, 1, 5 FROM docs WHERE (true",
    "false) UNION ALL (SELECT 0, 99, 5",
    "true UNION SELECT 0, 1, 5",
    "id IN (SELECT content FROM read_text('/etc/passwd'))",
    "true LIMIT 1",
    "",
    " ",
    "-- nothing",
    "true /*",
    "nope = 1",
    "SELECT",
]


@pytest.mark.parametrize("condition", CONDITIONS)
def test_delete_where_takes_one_condition_and_nothing_more(pool: Shell, condition: str) -> None:
    before = pool.state()
    pool.error("delete", "--where", condition)
    assert pool.state() == before


@pytest.mark.parametrize(
    ("condition", "gone"),
    [
        ("label = 'odd'", ["d1", "d3", "d5"]),
        ("id = 'd1' -- the first", ["d1"]),
        ("row = 0 OR id = 'd5'", ["d0", "d4", "d5"]),
        ("id IN (SELECT max(id) FROM docs)", ["d5"]),
        ("id = 'it''s; not'", []),
        ("file LIKE 'b%' AND tokens > 0", ["d4", "d5"]),
    ],
)
def test_delete_where_deletes_what_the_condition_holds_for(pool: Shell, condition: str, gone: list[str]) -> None:
    done = pool.run("delete", "--where", condition)
    assert f"Deleted {len(gone)} document{'' if len(gone) == 1 else 's'}; " in done.stderr
    assert pool.docs("id") == [f"d{i}" for i in range(6) if f"d{i}" not in gone]
    pool.run("verify")


def test_delete_by_ids_reads_a_file_or_stdin_and_tells_of_unknown_ids(pool: Shell) -> None:
    pool.write("ids.txt", "d1\nd2\nd1\n\nunknown\n")
    done = pool.run("delete", "--ids", "ids.txt")
    assert "Warning: 1 id of 3" in done.stderr
    assert "Deleted 2 documents; 4 documents left" in done.stderr
    assert "Deleted 1 document; 3 documents left" in pool.run("delete", "--ids", "-", stdin="d5").stderr
    assert "Deleted 0 documents; 3 documents left" in pool.run("delete", "--ids", "-", stdin="d5\n").stderr
    assert pool.docs("id") == ["d0", "d3", "d4"]


def test_ids_to_delete_are_data_and_never_sql(pool: Shell) -> None:
    before = pool.state()
    pool.run("delete", "--ids", "-", stdin="' OR 1=1 --\nd1'; DROP VIEW docs; --\n%\nd?\n")
    assert pool.state() == before


def test_ids_that_are_not_utf8_are_refused(pool: Shell) -> None:
    before = pool.state()
    pool.write("ids.txt", b"d1\n\xff\n")
    assert pool.error("delete", "--ids", "ids.txt").startswith("ids.txt: not UTF-8 at byte 3")
    assert pool.state() == before

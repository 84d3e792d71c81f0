"""A truncated or corrupt source stops the command; what was committed before stays, and mending the file is enough to go on."""

from __future__ import annotations

import gzip
import json
import random
import sys
from pathlib import Path

import duckdb
import pytest
from shell import Shell, jsonl

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

RECORDS = [{"id": f"n{i}", "text": f"garden {random.Random(i).randbytes(30).hex()}"} for i in range(60)]
LINES = jsonl(RECORDS).encode()
GZIP, ZSTD = gzip.compress(LINES), zstd.compress(LINES)


def parquet_bytes(folder: Path) -> bytes:
    path = folder / "whole.parquet"
    with duckdb.connect() as connection:
        connection.execute(
            f"COPY (SELECT 'n' || i AS id, 'garden ' || md5(i::VARCHAR) AS text FROM range(2000) t(i)) TO '{path}' (FORMAT parquet)"
        )
    return path.read_bytes()


DAMAGED = {
    "cut.jsonl": (LINES[:-40], "line 60"),
    "cut.json": (json.dumps(RECORDS).encode()[:-40], "record 59"),
    "unclosed.json": (json.dumps(RECORDS).encode()[:-1], "record 60"),
    "trailing.json": (json.dumps(RECORDS).encode() + b" x", "record 60"),
    "cut.jsonl.gz": (GZIP[: len(GZIP) // 2], ""),
    "end.jsonl.gz": (GZIP[:-1], ""),
    "crc.jsonl.gz": (GZIP[:-8] + bytes(4) + GZIP[-4:], "CRC"),
    "flip.jsonl.gz": (GZIP[:500] + bytes([GZIP[500] ^ 255]) + GZIP[501:], ""),
    "plain.jsonl.gz": (LINES, "gzip"),
    "cut.jsonl.zst": (ZSTD[: len(ZSTD) // 2], ""),
    "end.csv.zst": (zstd.compress(b"id,text\na,river\n")[:-1], ""),
    "plain.jsonl.zst": (LINES, ""),
    "cut.parquet": (None, ""),
    "head.parquet": (None, ""),
    "flip.parquet": (None, ""),
    "plain.parquet": (LINES, ""),
}


@pytest.mark.parametrize("name", DAMAGED)
def test_a_damaged_file_stops_the_append_and_what_was_committed_stays(shell: Shell, name: str, tmp_path: Path) -> None:
    content, place = DAMAGED[name]
    if content is None:
        whole = parquet_bytes(tmp_path)
        cuts = {
            "cut": whole[:-30],
            "head": whole[: len(whole) // 2],
            "flip": whole[:1000] + bytes(200) + whole[1200:],
        }
        content = cuts[name.partition(".")[0]]
    shell.write("pool/a.jsonl", jsonl([{"id": "a", "text": "river"}]))
    shell.build("pool")
    shell.write("pool/b.jsonl", jsonl([{"id": "b", "text": "garden"}]))
    shell.run("append", "pool")
    before = shell.state()
    path = shell.write(f"more/{name}", content)
    reason = shell.error("append", "more")
    assert reason.startswith(str(path))
    said = reason.removeprefix(str(path))
    assert place in said
    assert "remove" in said or "mend" in said, "the remedy is missing"
    assert shell.state() == before


def test_damage_late_in_a_corpus_keeps_the_complete_windows_and_mending_it_ends_as_an_unbroken_build(
    shell: Shell,
) -> None:
    """1,500 good rows, then a truncated file: the first 1,280 (five windows) are committed, and the same command goes on from there."""
    many = [{"id": f"m{i}", "text": f"river {i} garden {i % 7}"} for i in range(1500)]
    shell.write("corpus/a.jsonl", jsonl(many))
    broken = shell.write("corpus/b.jsonl.gz", GZIP[: len(GZIP) // 2])
    assert str(broken) in shell.build_error("corpus")
    kept = shell.state()
    assert [row[0] for row, _ in kept] == [f"m{i}" for i in range(1280)]
    assert str(broken) in shell.build_error("corpus")
    assert shell.state() == kept
    broken.write_bytes(GZIP)
    assert "Added 280 documents" in shell.build("corpus").stderr
    shell.build("corpus", "-i", "unbroken.nagindex")
    assert shell.state() == shell.state(index="unbroken.nagindex")


def test_a_good_file_beside_a_damaged_one_is_in_once_the_damaged_one_is_gone(pool: Shell) -> None:
    pool.write("more/a.jsonl", jsonl([{"id": "new", "text": "violin", "label": "x"}]))
    broken = pool.write("more/b.jsonl", '{"id":"bro')
    pool.error("append", "more")
    broken.unlink()
    pool.run("append", "more")
    assert pool.docs("id") == [*(f"d{i}" for i in range(6)), "new"]


@pytest.mark.parametrize("name", ["cut.jsonl", "cut.jsonl.gz", "plain.parquet"])
def test_a_damaged_target_file_stops_the_query_and_leaves_the_old_output(pool: Shell, name: str) -> None:
    content = DAMAGED[name][0]
    assert content is not None
    path = pool.write(name, content)
    out = pool.write("out.parquet", "the old selection")
    assert pool.error("query", name, "-n", "1", "-o", "out.parquet").startswith(str(path))
    assert out.read_text() == "the old selection"

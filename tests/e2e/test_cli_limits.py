"""The stated limits as a user meets them: long ids, odd paths, media that cannot be written to, a disk that is full."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import duckdb
import pytest
from shell import INDEX, PROGRAM, Shell, jsonl

KIB_64 = 65_536
NAMES = ["a b  c", 'it\'s "quoted"', "文 é e\u0301 🙂", "two\nlines\ttab", "[a]*?{b}$HOME;#%41~", "-dash"]


@pytest.mark.parametrize("size", [KIB_64 - 1, KIB_64, KIB_64 + 1, 1_000_000])
def test_ids_of_64_kib_and_longer_stay_byte_for_byte(shell: Shell, size: int) -> None:
    """None is cut or skipped: two that differ in their last byte are two documents, in every command."""
    start = "é'" + "x" * (size - 4)
    ids = [start + "a", start + "b", "short"]
    assert len(ids[0].encode()) == size
    shell.write("corpus/x.jsonl", jsonl({"id": i, "text": f"river {n} garden"} for n, i in enumerate(ids)))
    shell.build("corpus")
    assert shell.docs("id") == ids
    assert shell.skipped() == []
    assert "already in the index" in shell.run("append", "corpus").stderr
    shell.write("again/y.jsonl", jsonl([{"id": ids[1], "text": "violin"}]))
    shell.run("append", "again")
    assert shell.skipped() == [("y.jsonl", 0, "duplicate id")]
    shell.write("t.jsonl", '{"text":"river 1 garden"}\n')
    assert {row["id"] for row in shell.selected("t.jsonl", "-n", "3")} == set(ids)
    shell.run("query", "t.jsonl", "-n", "1", "-o", "out.parquet")
    assert duckdb.sql(f"SELECT id FROM '{shell.folder}/out.parquet'").fetchall() == [(ids[1],)]
    told = json.loads(shell.run("sql", "SELECT id FROM docs WHERE id LIKE '%b'", "--json").stdout)
    assert told == {"id": ids[1]}
    assert "Deleted 1 document;" in shell.run("delete", "--ids", "-", stdin=ids[0] + "\n").stderr
    shell.run("compact")
    assert shell.docs("id") == ids[1:]
    shell.run("verify")


@pytest.mark.parametrize("name", NAMES)
def test_paths_may_hold_any_character(shell: Shell, name: str) -> None:
    """Corpus, index, targets and output lie in a folder of this name, and are called so themselves."""
    here = shell.folder / name
    records = [{"id": f"d{n}", "text": f"river {n} violin"} for n in range(4)]
    corpus = shell.write(f"{name}/corpus {name}/{name}.jsonl", jsonl(records[:2])).parent
    with duckdb.connect() as connection:
        connection.execute("CREATE TABLE t AS SELECT 'p' || i AS id, 'garden ' || i AS text FROM range(3) r(i)")
        connection.execute("COPY t TO 'table.parquet' (FORMAT parquet)")
    (shell.folder / "table.parquet").rename(corpus / f"{name}.parquet")
    targets = shell.write(f"{name}/t {name}.jsonl", '{"text":"river 1 violin"}\n')
    index, out = here / f"i {name}.nagindex", here / f"o {name}.parquet"
    shell.build(corpus, "-i", index)
    shell.write(f"{name}/corpus {name}/more.jsonl", jsonl(records[2:]))
    shell.run("append", corpus, "-i", index)
    assert sorted(shell.docs("id", index=index)) == sorted(["p0", "p1", "p2", "d0", "d1", "d2", "d3"])
    assert {row[1] for row in shell.docs(index=index)} == {f"{name}.jsonl", f"{name}.parquet", "more.jsonl"}
    shell.run("optimize", "-i", index)
    shell.run("query", targets, "-n", "2", "-i", index, "-o", out, "--with-text", "--exclude", _ids(shell, name))
    with duckdb.connect() as connection:
        out.rename(shell.folder / "out.parquet")
        assert connection.sql("SELECT text FROM 'out.parquet' ORDER BY rank").fetchall()[0] == ("river 1 violin",)
    shell.run("query", targets, "-n", "2", "-i", index, "-o", out, "--approx")
    shell.run("encode", targets, "-i", index, "-o", here / f"n {name}.nags.parquet")
    assert len(shell.selected(here / f"n {name}.nags.parquet", "-n", "3", "-i", index)) == 3
    assert "7" in shell.run("sql", "SELECT count(*) FROM docs", "-i", index).stdout
    assert name.split("\n")[0] in shell.run("info", "-i", index).stdout
    shell.run("append", "--check", corpus, "-i", index)
    shell.run("delete", "--where", "id = 'd0'", "-i", index)
    shell.run("compact", "-i", index)
    shell.run("vacuum", "--grace", "0", "-i", index)
    shell.run("verify", "-i", index)
    assert len(shell.docs("id", index=index)) == 6
    assert name.split("\n")[0] in shell.error("query", here / f"none {name}.jsonl", "-n", "1", "-i", index)


def _ids(shell: Shell, name: str) -> Path:
    return shell.write(f"{name}/ids {name}.txt", "d3\n")


def confined(script: str, folder: Path, **variables: object) -> subprocess.CompletedProcess[str]:
    """Run a shell script, with mounts of its own where this system lets us make any."""
    own = [] if os.geteuid() == 0 else ["-r"]
    environment = os.environ | {k: str(v) for k, v in variables.items()} | {"NAGINDEX_PROGRAM": str(PROGRAM)}
    can = subprocess.run(
        ["unshare", "-m", *own, "mount", "-t", "tmpfs", "none", "/mnt"], capture_output=True, check=False
    )
    prefix = ["unshare", "-m", *own] if can.returncode == 0 else []
    return subprocess.run(
        [*prefix, "bash", "-c", script],
        cwd=folder,
        env=environment | {"MOUNTS": str(int(can.returncode == 0))},
        capture_output=True,
        text=True,
        check=False,
    )


READ_ONLY = """
set -u
if [ $MOUNTS = 1 ]; then
    mount --bind "$PWD" "$PWD" && mount -o remount,bind,ro "$PWD" && cd "$PWD" || exit 90
    run() { "$NAGINDEX_PROGRAM" "$@"; }
else
    chmod -R a-w .
    drop=""
    [ "$(id -u)" = 0 ] && drop="setpriv --bounding-set=-dac_override"
    run() { $drop "$NAGINDEX_PROGRAM" "$@"; }
fi
touch probe 2>/dev/null && [ $MOUNTS = 1 ] && exit 91
fails=0
run query t.jsonl -n 3 -o "$OUT/warm.parquet" || fails=1
run query new.jsonl -n 3 --format jsonl --no-text > "$OUT/fresh" || fails=2
run info --json > "$OUT/info" || fails=4
run sql "SELECT count(*) AS n FROM docs" --json > "$OUT/sql" || fails=5
run verify || fails=6
run neighbors d1 -k 2 --json > "$OUT/neighbors" || fails=7
run delete --where "id = 'd1'" 2> "$OUT/delete"; echo $? >> "$OUT/delete"
run append more.jsonl 2> "$OUT/append"; echo $? >> "$OUT/append"
run optimize --refit 2> "$OUT/optimize"; echo $? >> "$OUT/optimize"
chmod -R u+w . 2>/dev/null
exit $fails
"""


def test_an_index_on_read_only_media_is_read_and_not_written(pool: Shell, tmp_path: Path) -> None:
    """The cache of targets and the notes of checked files lie there too: that new texts cannot be cached is one warning."""
    pool.write("t.jsonl", '{"text":"river"}\n')
    pool.write("new.jsonl", '{"text":"violin salmon"}\n')
    pool.write("more.jsonl", jsonl([{"id": "new", "text": "violin", "label": "x"}]))
    pool.run("query", "t.jsonl", "-n", "1", "-o", "warm.parquet")
    pool.run("optimize")
    wanted = {name: pool.selected(f"{name}.jsonl", "-n", "3", "--no-cache") for name in ("t", "new")}
    before = {path: path.read_bytes() for path in (pool.folder / INDEX).rglob("*") if path.is_file()}
    out = tmp_path / "out"
    out.mkdir()
    done = confined(READ_ONLY, pool.folder, OUT=out, XDG_CACHE_HOME=pool.folder / "cache", HF_HUB_OFFLINE=1)
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    assert "Error" not in done.stderr
    warning, approximate = [line for line in done.stderr.splitlines() if line.startswith("Warning: ")]
    assert approximate.startswith("Warning: approximate: "), "neighbors are a graph's"
    assert "the cache of encoded targets cannot be written" in warning
    assert [json.loads(line) for line in (out / "fresh").read_text().splitlines()] == wanted["new"]
    found = duckdb.sql(f"SELECT id, score FROM '{out}/warm.parquet' ORDER BY rank").fetchall()
    assert found == [(row["id"], row["score"]) for row in wanted["t"]]
    assert json.loads((out / "info").read_text())["documents"] == 6
    assert json.loads((out / "sql").read_text()) == {"n": 6}
    assert (out / "neighbors").read_text()
    for command in ("delete", "append", "optimize"):
        *told, status = (out / command).read_text().splitlines()
        assert status == "1", command
        assert told[-1].startswith("Error: "), told
        assert len([line for line in told if line.startswith("Error: ")]) == 1
        assert "Traceback" not in "".join(told)
        assert "ead-only" in told[-1] or "ermission" in told[-1]
    assert {path: path.read_bytes() for path in (pool.folder / INDEX).rglob("*") if path.is_file()} == before


FULL_DISK = """
set -u
mkdir disk
if [ $MOUNTS = 1 ]; then mount -t tmpfs -o size=$ROOM none disk || exit 90; fi
cp -r "$TEMPLATE" disk/index.nagindex
run() { if [ $MOUNTS = 1 ]; then "$NAGINDEX_PROGRAM" "$@"; else (ulimit -f $KILOBYTES; exec "$NAGINDEX_PROGRAM" "$@"); fi; }
run $COMMAND -i disk/index.nagindex 2> told; echo $? > status
"$NAGINDEX_PROGRAM" verify -i disk/index.nagindex 2> verified; echo $? >> verified
find disk -name '*.tmp' > strays
"""


@pytest.fixture(scope="module")
def bulky(tmp_path_factory: pytest.TempPathFactory, model: Path) -> Path:
    """A folder with an index of 1,500 documents and a corpus of as many more, whose ids alone fill a small disk."""
    folder = tmp_path_factory.mktemp("bulky")
    shell = Shell(folder, model)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        shell.write("first.jsonl", jsonl({"id": f"a{n}", "text": f"river {n} garden"} for n in range(1500)))
        shell.build("first.jsonl")
        ids = (os.urandom(700).hex() for _ in range(1500))
        shell.write("second.jsonl", jsonl({"id": i, "text": f"violin {n}"} for n, i in enumerate(ids)))
        shell.write("t.jsonl", '{"text":"river"}\n')
    return folder


@pytest.mark.parametrize(
    "command",
    ["append {0}/second.jsonl", "optimize", "query {0}/t.jsonl -n 1500 -o disk/out.parquet"],
    ids=["append", "optimize", "query"],
)
def test_a_full_disk_is_a_clear_error_and_leaves_the_index_whole(bulky: Path, tmp_path: Path, command: str) -> None:
    index = bulky / INDEX
    used = sum(-(-path.stat().st_size // 4096) * 4096 for path in index.rglob("*") if path.is_file())
    room = used + 4096
    work = tmp_path / "work"
    work.mkdir()
    done = confined(
        FULL_DISK,
        work,
        TEMPLATE=index,
        ROOM=room,
        KILOBYTES=8,
        COMMAND=command.format(bulky),
        XDG_CACHE_HOME=work,
        HF_HUB_OFFLINE=1,
    )
    told = (work / "told").read_text()
    assert (work / "status").read_text() == "1\n", done.stderr + told
    [error] = [line for line in told.splitlines() if line.startswith("Error: ")]
    assert "o space left" in error or "File too large" in error, error
    assert "Traceback" not in told
    verified, status = (work / "verified").read_text().splitlines()
    assert (status, "is whole, 1,500 documents" in verified) == ("0", True)
    assert (work / "strays").read_text() == ""

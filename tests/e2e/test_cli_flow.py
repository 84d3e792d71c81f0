"""The main job from a folder of mixed files to a selection: build, append, query, delete, compact, vacuum, verify, info, sql."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from mixed_files import DEFAULT_IDS, FILES, TEXTS, whole_tokens, write_parquet
from parquet_files import read, types
from shell import Shell, jsonl


def test_files_of_every_format_in_nested_folders_go_in_with_one_call(mixed: Shell) -> None:
    places = sorted((name, row) for key, name in FILES.items() for row in range(len(TEXTS[key])))
    assert mixed.docs() == [(f"{name}:{row}", name, row) for name, row in places]
    info = json.loads(mixed.run("info", "--json").stdout)
    assert (info["documents"], info["sources"], info["skipped"]) == (len(DEFAULT_IDS), len(FILES), 0)


def test_tokens_are_counted_over_the_whole_document_and_not_only_what_is_read(mixed: Shell) -> None:
    counted = dict(mixed.docs("id, tokens"))
    assert counted == {i: whole_tokens(mixed.model, text) for i, text in DEFAULT_IDS.items()}
    assert counted[f"{FILES['p']}:2"] > 16
    assert json.loads(mixed.run("info", "--json").stdout)["tokens"] == sum(counted.values())


def test_files_globs_and_folders_name_the_same_corpus(mixed: Shell) -> None:
    globs = ["corpus/tables/*.parquet", "corpus/tables/*.[ct]sv", "corpus/**/*.txt"]
    named = ["corpus/lines", "corpus/j.json", "corpus/books"]
    mixed.build(*named, *globs, "--max-length", "16", "-i", "named.nagindex")
    assert mixed.state(index="named.nagindex") == mixed.state()


def test_corpus_root_decides_the_names(mixed: Shell) -> None:
    mixed.build("corpus/lines", "--corpus-root", mixed.folder, "-i", "named.nagindex")
    assert "corpus/lines/l.jsonl:0" in mixed.docs("id", index="named.nagindex")
    reason = mixed.build_error("corpus/j.json", "--corpus-root", "corpus/lines", "-i", "x.nagindex")
    assert "lies outside the corpus root" in reason


COLUMNS = {
    "label": ("VARCHAR", ["a", None, "c"]),
    "quality": ("DOUBLE", [0.5, 1.0, None]),
    "stars": ("BIGINT", [1, None, 3]),
    "good": ("BOOLEAN", [True, False, None]),
}


def kept_corpus(folder: Path, kind: str, key: str) -> None:
    """Write three documents with kept columns and a token column."""
    columns = {
        "id": ("VARCHAR", [f"{key}{i}" for i in range(3)]),
        "text": ("VARCHAR", ["river", "garden", "violin"]),
        "token_count": ("BIGINT", [100, 200, 300]),
        **COLUMNS,
    }
    records = [{name: values[i] for name, (_, values) in columns.items()} for i in range(3)]
    folder.mkdir(exist_ok=True)
    if kind == "parquet":
        write_parquet(folder / f"{key}.parquet", columns)
    elif kind == "jsonl":
        (folder / f"{key}.jsonl").write_text(jsonl(records))
    else:
        fields = [
            ["" if v is None else v if isinstance(v, str) else json.dumps(v) for v in r.values()] for r in records
        ]
        (folder / f"{key}.csv").write_text("".join(",".join(row) + "\n" for row in [columns, *fields]))


def test_kept_columns_and_their_types_and_stated_tokens_come_through_from_every_format(shell: Shell) -> None:
    for kind, key in [("parquet", "p"), ("jsonl", "j"), ("csv", "c")]:
        kept_corpus(shell.folder / "corpus", kind, key)
    keep = [part for name in COLUMNS for part in ("--keep-column", name)]
    shell.build("corpus", *keep)
    expected = list(zip(*(values for _, values in COLUMNS.values()), strict=True))
    assert shell.docs("label, quality, stars") == 3 * [row[:3] for row in expected]
    assert shell.docs("tokens") == 3 * [100, 200, 300]
    shell.write("t.jsonl", '{"text":"garden"}\n')
    shell.run("query", "t.jsonl", "-n", "9", "-o", "out.parquet")
    rows = read(shell.folder / "out.parquet", "id, label, quality, stars")
    assert sorted(rows) == sorted((f"{key}{i}", *expected[i][:3]) for key in "pjc" for i in range(3))
    assert types(shell.folder / "out.parquet") == {
        "rank": "BIGINT", "id": "VARCHAR", "score": "DOUBLE", "tokens": "BIGINT", "file": "VARCHAR", "row": "BIGINT",
        "label": "VARCHAR", "quality": "DOUBLE", "stars": "BIGINT", "good": types(shell.folder / "out.parquet")["good"],
    }  # fmt: skip
    statement = "SELECT sum(quality) AS q FROM docs WHERE stars = 1"
    assert json.loads(shell.run("sql", statement, "--json").stdout) == {"q": 1.5}


@pytest.mark.parametrize("kind", ["parquet", "jsonl"])
def test_a_boolean_column_stays_boolean(shell: Shell, kind: str) -> None:
    kept_corpus(shell.folder / "corpus", kind, "x")
    shell.build("corpus", "--keep-column", "good")
    assert shell.docs("good") == [True, False, None]


def test_named_columns_are_used(shell: Shell) -> None:
    shell.write("x.jsonl", '{"id":"wrong","text":"wrong","url":"u1","words":"river garden","count":7,"n_tokens":1}\n')
    shell.build("x.jsonl", "--text-column", "words", "--id-column", "url", "--token-column", "count")
    assert shell.docs("id, tokens") == [("u1", 7)]
    shell.write("t.jsonl", '{"text":"river garden"}\n')
    [row] = shell.selected("t.jsonl", "-n", "1", "--with-text")
    assert (row["id"], row["score"], row["text"]) == ("u1", 1.0, "river garden")


def test_the_whole_life_of_an_index(mixed: Shell) -> None:
    """build -> append -> query -> delete -> compact -> vacuum -> verify -> info -> sql, each step visible in the next."""
    mixed.write("later/x.jsonl", jsonl([{"id": f"x{i}", "text": f"copper {i}"} for i in range(4)]))
    assert "Added 4 documents" in mixed.run("append", "later").stderr
    everything = {i: nag for (i, *_), nag in mixed.state()}
    assert set(everything) == {*DEFAULT_IDS, *(f"x{i}" for i in range(4))}

    before = mixed.selected("targets.jsonl", "-n", "1k")
    best = before[0]["id"]
    mixed.run("delete", "--ids", "-", stdin=f"{best}\n")
    mixed.run("delete", "--where", "id = 'x3'")
    after = mixed.selected("targets.jsonl", "-n", "1k")
    assert [(r["id"], r["score"]) for r in after] == [
        (r["id"], r["score"]) for r in before if r["id"] not in (best, "x3")
    ]
    living = mixed.state()

    mixed.run("compact")
    assert mixed.state() == living
    assert mixed.selected("targets.jsonl", "-n", "1k") == after
    info = json.loads(mixed.run("info", "--json").stdout)
    assert (info["segments"], info["deleted"], info["documents"]) == (1, 0, len(living))
    assert info["tokens"] == sum(mixed.docs("tokens"))

    assert "Removed 0 versions and 0 files" in mixed.run("vacuum").stderr
    assert len(json.loads(mixed.run("info", "--json").stdout)["versions"]) == info["version"]
    mixed.run("vacuum", "--grace", "0")
    info = json.loads(mixed.run("info", "--json").stdout)
    assert info["versions"] == [info["version"]]
    assert mixed.state() == living
    [segment] = (mixed.folder / "index.nagindex" / "segments").iterdir()
    assert {p.name for p in segment.iterdir()} == {"nags.npy", "docs.parquet", "sources.parquet", "skipped.parquet"}
    assert mixed.selected("targets.jsonl", "-n", "1k") == after

    described = mixed.run("info").stdout
    assert f"documents   {len(living)}\n" in described
    assert "top 10" in described
    assert json.loads(mixed.run("sql", "SELECT count(*) AS n FROM docs", "--json").stdout) == {"n": len(living)}
    damage = json.loads(mixed.run("verify", "--json").stdout)
    assert (damage["damage"], damage["version"]) == ([], info["version"])


def test_older_versions_can_be_looked_at_until_vacuum(mixed: Shell) -> None:
    mixed.run("delete", "--where", "row = 1")
    assert json.loads(mixed.run("info", "--version", "2", "--json").stdout)["documents"] == len(DEFAULT_IDS)
    mixed.run("vacuum", "--grace", "0")
    assert "version 2" in mixed.error("info", "--version", "2")


def test_deleting_everything_leaves_an_index_that_can_be_appended_to(mixed: Shell) -> None:
    mixed.run("delete", "--where", "true")
    assert "holds no document" in mixed.error("query", "targets.jsonl", "-n", "1")
    mixed.run("compact")
    mixed.run("verify")
    mixed.write("later/x.jsonl", jsonl([{"id": "x", "text": "copper"}]))
    mixed.run("append", "later")
    assert mixed.docs("id") == ["x"]

"""The main job from a folder of mixed files to a selection: build, append, query, delete, compact, vacuum, verify, info, sql."""

from __future__ import annotations

import gzip
import io
import json
import shutil
import sys
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pytest
from shell import Shell, jsonl

import nagindex

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

LONG = " ".join(["river mountain solver kettle"] * 12)
TEXTS = {
    "p": ["proof garden theorem", "a text\nof two lines", LONG],
    "l": ["violin salmon planet", 'quotes " and \\ back', "日本 café 🙂"],
    "g": ["engine harvest window", "market letter"],
    "z": ["oxygen carbon", "winter summer painter"],
    "j": ["captain harbour", "lantern puzzle fraction"],
    "c": ["triangle, number", "story\ndragon", 'forest "python"'],
    "t": ["function loop\tarray", "string compile"],
    "one": ["return value\n\nclass object\n"],
    "two": [" green yellow "],
}
FILES = {
    "p": "tables/p.parquet",
    "l": "lines/l.jsonl",
    "g": "lines/deep/g.jsonl.gz",
    "z": "lines/deep/z.ndjson.zst",
    "j": "j.json",
    "c": "tables/c.csv",
    "t": "tables/t.tsv",
    "one": "books/one.txt",
    "two": "books/old/two.txt.gz",
}
DEFAULT_IDS = {f"{FILES[k]}:{row}": text for k, texts in TEXTS.items() for row, text in enumerate(texts)}


def write_parquet(path: Path, columns: dict[str, tuple[str, list[Any]]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    select = ", ".join(f"unnest(?::{kind}[]) AS {name}" for name, (kind, _) in columns.items())
    with duckdb.connect() as connection:
        connection.execute(f"CREATE TABLE t AS SELECT {select}", [values for _, values in columns.values()])
        connection.execute(f"COPY t TO '{path}' (FORMAT parquet)")


def write_corpus(folder: Path) -> None:
    """Write `TEXTS` in every format that is read."""

    def lines(key: str) -> bytes:
        return jsonl({"text": text} for text in TEXTS[key]).encode()

    def table(key: str, comma: str) -> bytes:
        quoted = [text.replace('"', '""') for text in TEXTS[key]]
        return (f"n{comma}text\n" + "".join(f'{i}{comma}"{text}"\n' for i, text in enumerate(quoted))).encode()

    write_parquet(folder / FILES["p"], {"text": ("VARCHAR", TEXTS["p"])})
    contents = {
        "l": lines("l"),
        "g": gzip.compress(lines("g")),
        "z": zstd.compress(lines("z")),
        "j": json.dumps([{"text": text} for text in TEXTS["j"]], indent=2).encode(),
        "c": table("c", ","),
        "t": table("t", "\t"),
        "one": TEXTS["one"][0].encode(),
        "two": gzip.compress(TEXTS["two"][0].encode()),
    }
    for key, content in contents.items():
        path = folder / FILES[key]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def whole_tokens(model: Path, text: str) -> int:
    from transformers import AutoTokenizer

    return len(AutoTokenizer.from_pretrained(model)(text, add_special_tokens=False)["input_ids"])


@pytest.fixture(scope="module")
def mixed_template(tmp_path_factory: pytest.TempPathFactory, model: Path) -> Path:
    """A folder with an index over the corpus in every format, targets and nothing else."""
    folder = tmp_path_factory.mktemp("mixed")
    write_corpus(folder / "corpus")
    (folder / "targets.jsonl").write_text(jsonl({"text": TEXTS[k][0]} for k in "lgz"))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        Shell(folder, model).build("corpus", "--max-length", "16")
    return folder


@pytest.fixture
def mixed(shell: Shell, mixed_template: Path) -> Shell:
    """A working folder with a corpus in every format and its index; the sources' recorded root is the template's."""
    shutil.copytree(mixed_template, shell.folder, dirs_exist_ok=True)
    return shell


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


def read(path: Path | io.BytesIO, columns: str = "*") -> list[Any]:
    with duckdb.connect() as connection:
        return connection.execute(f"SELECT {columns} FROM read_parquet('{path}')").fetchall()


def types(path: Path) -> dict[str, str]:
    with duckdb.connect() as connection:
        rows = connection.execute(f"DESCRIBE SELECT * FROM read_parquet('{path}')").fetchall()
    return {row[0]: row[1] for row in rows}


def metadata(path: Path) -> dict[str, Any]:
    with duckdb.connect() as connection:
        rows = connection.execute(f"SELECT key, value FROM parquet_kv_metadata('{path}')").fetchall()
    return json.loads(dict(rows)[b"nagindex"])


def oracle(index: nagindex.Index, target_ids: list[str]) -> list[tuple[str, float]]:
    """Return (id, similarity) of all documents by the definition (section 2), for targets that are documents of the index."""
    places = {row[0]: row[1:] for row in index.docs.project("id, _segment, _position").fetchall()}
    codes = {i: index.codes[segment][position] for i, (segment, position) in places.items()}
    scores = {}
    for i, nag in codes.items():
        pairs = [(mine, theirs) for t in target_ids for mine, theirs in zip(nag, codes[t], strict=True)]
        scores[i] = float(np.mean([len(set(mine) & set(theirs)) / len(mine) for mine, theirs in pairs]))
    return sorted(scores.items(), key=lambda item: (-round(item[1], 9), item[0]))


def test_a_selection_is_ranked_by_the_definition_with_all_its_columns_and_the_querys_settings(mixed: Shell) -> None:
    done = mixed.run("query", "targets.jsonl", "-n", "7", "-o", "out.parquet")
    assert done.stdout == ""
    assert "Selected 7 documents" in done.stderr
    rows = read(mixed.folder / "out.parquet")
    opened = nagindex.open("index.nagindex")
    expected = oracle(opened, [f"{FILES[k]}:0" for k in "lgz"])[:7]
    assert [row[1] for row in rows] == [i for i, _ in expected]
    assert [row[2] for row in rows] == pytest.approx([score for _, score in expected], abs=1e-12)
    assert [row[0] for row in rows] == list(range(1, 8))
    tokens = dict(mixed.docs("id, tokens"))
    assert [(row[3], f"{row[4]}:{row[5]}") for row in rows] == [(tokens[i], i) for i, _ in expected]
    assert list(types(mixed.folder / "out.parquet")) == ["rank", "id", "score", "tokens", "file", "row"]

    stated = metadata(mixed.folder / "out.parquet")
    assert stated["nagindex"] == nagindex.__version__
    assert stated["index"]["version"] == 2
    assert stated["fingerprint"] == json.loads(mixed.run("info", "--json").stdout)["fingerprint"]
    assert 7 in stated["query"].values()
    assert "targets.jsonl" in json.dumps(stated["query"]["targets"])


@pytest.mark.parametrize("share", [0.2, 0.5, 1.0])
def test_token_budgets_and_fractions_keep_rows_while_the_sum_fits(mixed: Shell, share: float) -> None:
    everything = mixed.selected("targets.jsonl", "-n", "1k")
    budget = int(sum(row["tokens"] for row in everything) * share)
    running = np.cumsum([row["tokens"] for row in everything])
    expected = [row["id"] for row, used in zip(everything, running, strict=True) if used <= budget]
    assert [row["id"] for row in mixed.selected("targets.jsonl", "--tokens", budget)] == expected
    assert [row["id"] for row in mixed.selected("targets.jsonl", "--fraction", share)] == expected


def test_a_token_budget_below_the_first_document_keeps_that_one(mixed: Shell) -> None:
    [best] = mixed.selected("targets.jsonl", "-n", "1")
    assert mixed.selected("targets.jsonl", "--tokens", "1") == [best]


def test_stdout_carries_the_selection_and_nothing_else(mixed: Shell, tmp_path: Path) -> None:
    mixed.run("query", "targets.jsonl", "-n", "5", "-o", "out.parquet")
    for options in ([], ["-o", "-"]):
        done = mixed.run("query", "targets.jsonl", "-n", "5", *options)
        (tmp_path / "piped.parquet").write_bytes(done.stdout_bytes)
        assert read(tmp_path / "piped.parquet") == read(mixed.folder / "out.parquet")
        assert metadata(tmp_path / "piped.parquet") == metadata(mixed.folder / "out.parquet")
        assert "Selected 5 documents" in done.stderr


def test_json_lines_hold_the_same_rows_as_parquet(mixed: Shell) -> None:
    mixed.run("query", "targets.jsonl", "-n", "5", "-o", "out.parquet")
    mixed.run("query", "targets.jsonl", "-n", "5", "-o", "out.jsonl")
    records = [json.loads(line) for line in (mixed.folder / "out.jsonl").read_text().splitlines()]
    assert [tuple(record.values()) for record in records] == read(mixed.folder / "out.parquet")
    assert list(records[0]) == list(types(mixed.folder / "out.parquet"))
    assert records == mixed.selected("targets.jsonl", "-n", "5")


def test_the_json_summary_says_what_was_selected(mixed: Shell) -> None:
    done = mixed.run("query", "targets.jsonl", "-n", "5", "-o", "out.parquet", "--json")
    summary = json.loads(done.stdout)
    rows = read(mixed.folder / "out.parquet", "tokens, score")
    assert (summary["documents"], summary["tokens"]) == (5, sum(row[0] for row in rows))
    assert (summary["best"], summary["worst"]) == (rows[0][1], rows[-1][1])
    assert summary["output"] == "out.parquet"
    assert "--json" in mixed.error("query", "targets.jsonl", "-n", "5", "--json", status=2)


@pytest.mark.parametrize("form", ["parquet", "jsonl"])
def test_with_text_gives_back_the_texts_of_every_format(mixed: Shell, form: str) -> None:
    out = mixed.folder / f"out.{form}"
    mixed.run("query", "targets.jsonl", "-n", "1k", "--with-text", "-o", out.name)
    if form == "parquet":
        found = dict(read(out, "id, text"))
    else:
        found = {r["id"]: r["text"] for r in map(json.loads, out.read_text().splitlines())}
    assert found == DEFAULT_IDS


def test_with_text_after_append_delete_and_compact_still_gives_each_document_its_own_text(mixed: Shell) -> None:
    mixed.write("later/x.jsonl", jsonl([{"text": "copper silver"}, {"text": None}, {"text": "crimson"}]))
    mixed.run("append", "later")
    mixed.run("delete", "--where", "row = 1")
    mixed.run("compact")
    found = {row["id"]: row["text"] for row in mixed.selected("targets.jsonl", "-n", "1k", "--with-text")}
    expected = {i: t for i, t in DEFAULT_IDS.items() if not i.endswith(":1")}
    assert found == expected | {"x.jsonl:0": "copper silver", "x.jsonl:2": "crimson"}


@pytest.mark.parametrize(
    ("key", "damage"),
    [
        ("p", "removed"),
        ("p", "same length"),
        ("g", "changed"),
        ("c", "same length"),
        ("one", "removed"),
        ("one", "changed"),
    ],
)
def test_a_missing_or_changed_source_is_named_and_the_old_output_stays(mixed: Shell, key: str, damage: str) -> None:
    out = mixed.write("out.parquet", "the old selection")
    path = mixed.folder / "corpus" / FILES[key]
    content = path.read_bytes()
    path.unlink()
    if damage != "removed":
        path.write_bytes(content + b"\n" if damage == "changed" else bytes([content[0] ^ 1]) + content[1:])
    files = sorted(mixed.folder.rglob("*"))
    # The copy's sources are found by --corpus-root, as its index remembers where the original's lay.
    query = ["query", "targets.jsonl", "-n", "1k", "--no-cache", "-o", "out.parquet"]
    reason = mixed.error(*query, "--with-text", "--corpus-root", "corpus")
    assert Path(reason.partition(": ")[0]).resolve() == path.resolve()
    assert "--corpus-root" in reason
    assert out.read_text() == "the old selection"
    assert sorted(mixed.folder.rglob("*")) == files
    mixed.run(*query)
    assert len(read(out)) == len(DEFAULT_IDS)


def test_corpus_root_says_where_moved_sources_lie(shell: Shell) -> None:
    write_corpus(shell.folder / "corpus")
    shell.build("corpus")
    (shell.folder / "corpus").rename(shell.folder / "archive")
    shell.write("targets.jsonl", jsonl([{"text": TEXTS["l"][0]}]))
    assert "--corpus-root" in shell.error("query", "targets.jsonl", "-n", "1k", "--with-text")
    rows = shell.selected("targets.jsonl", "-n", "1k", "--with-text", "--corpus-root", "archive")
    assert {row["id"]: row["text"] for row in rows} == DEFAULT_IDS


def test_an_output_is_replaced_whole_and_leaves_no_other_file(mixed: Shell) -> None:
    mixed.run("query", "targets.jsonl", "-n", "5", "-o", "out.parquet")
    files = sorted(mixed.folder.rglob("*"))
    mixed.run("query", "targets.jsonl", "-n", "3", "-o", "out.parquet")
    assert len(read(mixed.folder / "out.parquet")) == 3
    assert sorted(mixed.folder.rglob("*")) == files


@pytest.mark.parametrize(
    ("output", "said"), [("no/where.parquet", "its folder does not exist"), ("corpus", "is a folder")]
)
def test_an_output_that_cannot_be_written_is_named(mixed: Shell, output: str, said: str) -> None:
    assert said in mixed.error("query", "targets.jsonl", "-n", "5", "-o", output)


@pytest.mark.parametrize("command", ["query", "encode"])
def test_an_encode_or_query_into_a_missing_folder_names_the_output_as_the_user_did(mixed: Shell, command: str) -> None:
    options = ["-n", "5"] if command == "query" else []
    reason = mixed.error(command, "targets.jsonl", *options, "-o", "no/where.parquet")
    assert reason.startswith("no/where.parquet")
    assert ".tmp" not in reason


def test_saved_nags_select_what_the_texts_select(mixed: Shell) -> None:
    assert "Encoded 3 texts" in mixed.run("encode", "targets.jsonl", "-o", "t.nags.parquet").stderr
    assert mixed.selected("t.nags.parquet", "-n", "1k") == mixed.selected("targets.jsonl", "-n", "1k")
    mixed.write("more.jsonl", jsonl({"text": text} for text in TEXTS["c"]))
    both = mixed.selected("t.nags.parquet", "more.jsonl", "-n", "9")
    assert both == mixed.selected("targets.jsonl", "more.jsonl", "-n", "9")


@pytest.mark.parametrize(
    ("setting", "option", "mine", "theirs"),
    [("top_k", "--top-k", "5", "10"), ("max_length", "--max-length", "32", "16")],
)
def test_saved_nags_of_another_encoding_are_refused_naming_both_values(
    mixed: Shell, setting: str, option: str, mine: str, theirs: str
) -> None:
    mixed.run("encode", "targets.jsonl", "-o", "t.nags.parquet")
    others = [] if setting == "max_length" else ["--max-length", "16"]
    mixed.build("corpus/lines", option, mine, *others, "-i", "other.nagindex")
    reason = mixed.error("query", "t.nags.parquet", "-n", "1", "-i", "other.nagindex")
    assert "t.nags.parquet" in reason
    assert f"{setting} is {mine} in the index and {theirs} " in reason


def test_targets_asked_for_before_need_no_model(shell: Shell, tmp_path: Path) -> None:
    home, moved = tmp_path / "home", tmp_path / "moved"
    shutil.copytree(shell.model, home)
    write_corpus(shell.folder / "corpus")
    shell.write("t.jsonl", jsonl([{"text": TEXTS["l"][0]}, {"text": ""}]))
    shell.write("new.jsonl", jsonl([{"text": TEXTS["c"][0]}]))
    shell.run("build", "corpus", "--model", home)
    first = shell.selected("t.jsonl", "-n", "9")
    home.rename(moved)
    assert shell.selected("t.jsonl", "-n", "9") == first
    assert str(home) in shell.error("query", "new.jsonl", "-n", "1")
    assert str(home) in shell.error("query", "t.jsonl", "-n", "1", "--no-cache")
    assert shell.selected("t.jsonl", "-n", "9", "--no-cache", "--model", moved) == first
    assert shell.selected("new.jsonl", "-n", "1", "--model", moved)[0]["id"] == f"{FILES['c']}:0"
    assert len(shell.selected("new.jsonl", "-n", "1")) == 1


def test_a_damaged_cache_of_targets_costs_a_new_encoding_and_nothing_else(mixed: Shell) -> None:
    first = mixed.selected("targets.jsonl", "-n", "9")
    [cached] = (mixed.folder / "index.nagindex" / "derived" / "targets").glob("*.npy")
    content = bytearray(cached.read_bytes())
    content[-3] ^= 1
    cached.write_bytes(bytes(content))
    assert mixed.selected("targets.jsonl", "-n", "9") == first
    cached.write_bytes(b"")
    assert mixed.selected("targets.jsonl", "-n", "9") == first
    mixed.run("verify")


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

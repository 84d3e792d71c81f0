"""What a query gives: its order, columns, budgets, texts, outputs and saved targets."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pytest
from mixed_files import DEFAULT_IDS, FILES, TEXTS, write_corpus
from parquet_files import read, types
from shell import Shell, jsonl

import nagindex


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
        done = mixed.run("query", "targets.jsonl", "-n", "5", "--format", "parquet", *options)
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
    [("top_k", "--top-k", "20", "10"), ("max_length", "--max-length", "32", "16")],
)
def test_saved_nags_of_another_encoding_are_refused_naming_both_values(
    mixed: Shell, setting: str, option: str, mine: str, theirs: str
) -> None:
    mixed.run("encode", "targets.jsonl", "-o", "t.nags.parquet")
    others = [] if setting == "max_length" else ["--max-length", "16"]
    mixed.build("corpus/lines", option, mine, *others, "-i", "other.nagindex")
    reason = mixed.error("query", "t.nags.parquet", "-n", "1", "-i", "other.nagindex")
    assert "t.nags.parquet" in reason
    assert f"{option} is {mine} in the index and {theirs} " in reason


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

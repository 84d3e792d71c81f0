"""Wrong usage is status 2 and says what is right; help, the index's place and numbers work as documented."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from shell import Shell, jsonl

from nagindex.encode.encoder import Encoder

COMMANDS = ["build", "append", "query", "encode", "info", "verify", "delete", "compact", "vacuum", "sql"]


@pytest.fixture
def target(pool: Shell, words: list[str]) -> str:
    """A target file beside the pool, equal to document d2."""
    pool.write("t.jsonl", jsonl([{"text": " ".join(words[10:17])}]))
    return "t.jsonl"


def test_help_lists_every_command(shell: Shell) -> None:
    text = shell.run("--help").stdout
    assert all(f"\n  {command} " in text for command in COMMANDS)
    assert text == shell.run("-h").stdout


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_that_says_what_it_does_and_names_the_index_option(shell: Shell, command: str) -> None:
    text = shell.run(command, "--help").stdout
    assert text.startswith(f"Usage: nagindex {command} ")
    assert "-i, --index" in text
    assert "$NAGINDEX" in text


@pytest.mark.parametrize("command", COMMANDS)
def test_an_unknown_option_is_wrong_usage(pool: Shell, command: str) -> None:
    assert "--bogus" in pool.error(command, "--bogus", status=2)


def test_an_unknown_command_is_wrong_usage(shell: Shell) -> None:
    assert "'inspect'" in shell.error("inspect", status=2)


@pytest.mark.parametrize(
    "options",
    [[], ["-n", "1", "--tokens", "5"], ["-n", "1", "--fraction", "0.5"], ["--tokens", "1", "--fraction", "1"]],
)
def test_a_query_needs_exactly_one_budget(pool: Shell, target: str, options: list[str]) -> None:
    reason = pool.error("query", target, *options, status=2)
    assert reason == "give one budget: -n (documents), --tokens or --fraction; or --min-score"


BAD_BUDGETS = [("-n", value) for value in ("0", "-5", "ten", "1.5", "1kk", "", "1e-3", "k")]


@pytest.mark.parametrize(("option", "value"), [*BAD_BUDGETS, ("--tokens", "0"), ("--tokens", "ten")])
def test_a_budget_that_is_no_positive_whole_number_is_wrong_usage(
    pool: Shell, target: str, option: str, value: str
) -> None:
    assert option in pool.error("query", target, option, value, status=2)


@pytest.mark.parametrize("value", ["0", "1.01", "-0.1", "half"])
def test_a_fraction_outside_0_to_1_is_wrong_usage(pool: Shell, target: str, value: str) -> None:
    assert "--fraction" in pool.error("query", target, "--fraction", value, status=2)


IMPOSSIBLE = [
    ["build"],
    ["append"],
    ["query", "-n", "1"],
    ["encode", "-o", "x.parquet"],
    ["encode", "t.jsonl"],
    ["sql"],
    ["delete"],
    ["delete", "--where", "true", "--ids", "-"],
    ["build", "x.jsonl", "--top-k", "0"],
    ["build", "x.jsonl", "--max-length", "0"],
    ["build", "x.jsonl", "--neuron-type", "sideways"],
    ["append", "x.jsonl", "--on-duplicate", "panic"],
]


@pytest.mark.parametrize("arguments", IMPOSSIBLE, ids=" ".join)
def test_a_missing_or_impossible_argument_is_wrong_usage(pool: Shell, arguments: list[str]) -> None:
    before = pool.state()
    pool.error(*arguments, status=2)
    assert pool.state() == before


NUMBERS = {"1": 1, "0.002k": 2, "0.000003M": 3, "0.000000004b": 4, "1K": 6, "1B": 6, "1_000": 6, "1,000": 6}


@pytest.mark.parametrize(("value", "documents"), NUMBERS.items())
def test_numbers_take_k_m_and_b(pool: Shell, target: str, value: str, documents: int) -> None:
    assert len(pool.selected(target, "-n", value)) == documents


def test_more_than_the_pool_gives_the_pool_and_a_warning(pool: Shell, target: str) -> None:
    done = pool.run("query", target, "-n", "1k", "-o", "out.parquet")
    assert "Warning: 1,000 documents asked for, and the pool has 6: all of it is selected" in done.stderr
    assert "Selected 6 documents" in done.stderr


def test_the_environment_names_the_index_and_an_option_overrides_it(
    pool: Shell, target: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (pool.folder / "index.nagindex").rename(pool.folder / "elsewhere.nagindex")
    monkeypatch.setenv("NAGINDEX", str(pool.folder / "elsewhere.nagindex"))
    assert json.loads(pool.run("info", "--json").stdout)["documents"] == 6
    assert len(pool.selected(target, "-n", "2")) == 2
    assert pool.error("info", "-i", "other.nagindex").startswith("other.nagindex: no index here")


def test_a_dry_run_counts_the_documents_and_builds_nothing(shell: Shell) -> None:
    shell.write("corpus/a.jsonl", jsonl([{"id": f"a{i}", "text": f"river {i}"} for i in range(37)]))
    shell.write("corpus/b/c.csv", "id,text\n" + "".join(f"c{i},garden\n" for i in range(11)))
    shell.write("corpus/d.txt", "violin")
    before = sorted(shell.folder.rglob("*"))
    found = json.loads(shell.build("corpus", "--dry-run", "--json").stdout)
    text = shell.build("corpus", "--dry-run")
    assert sorted(shell.folder.rglob("*")) == before
    assert (found["sources"], found["documents"], found["counted"]) == (3, 49, True)
    assert "documents   49" in text.stdout
    assert "Nothing was built" in text.stderr
    shell.build("corpus")
    info = json.loads(shell.run("info", "--json").stdout)
    assert info["documents"] == found["documents"]
    assert found["tokens"] == pytest.approx(info["tokens"], rel=0.25)
    assert set(found) >= {"documents", "tokens", "index_bytes", "seconds"}


def test_a_dry_run_of_several_types_costs_one_pass_and_the_bytes_of_all(
    shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where a launcher tells of shards: it is about the whole corpus."""
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    shell.write("a.jsonl", jsonl([{"id": f"a{i}", "text": f"river {i}"} for i in range(37)]))
    arguments = ("a.jsonl", "--dry-run", "--neuron-type")
    passes: list[tuple[Any, ...]] = []
    monkeypatch.setattr("nagindex.ingest.estimate.Encoder", lambda *given: passes.append(given) or Encoder(*given))
    found = json.loads(shell.build(*arguments, "up,q", "--json").stdout)
    assert [[backbone.neuron_type for backbone in backbones] for backbones, *_ in passes] == 3 * [["up", "q"]], (
        "each way"
    )
    alone = [json.loads(shell.build(*arguments, kind, "--json").stdout) for kind in ("up", "q")]
    assert {one["documents"] for one in (found, *alone)} == {37}
    assert found["index_bytes"] == pytest.approx(sum(one["index_bytes"] for one in alone), abs=1)
    told = shell.build(*arguments, "up,q")
    assert "\n2 indexes   about " in told.stdout
    assert "Shard" not in told.stderr


OTHER_SETTINGS = {
    "top_k": (["--top-k", "5"], "10", "5"),
    "max_length": (["--max-length", "64"], "120", "64"),
    "keep_columns": (["--keep-column", "words=text"], "label", "words=text"),
    "text_column": (["--text-column", "text"], "not given", "text"),
    "id_column": (["--id-column", "id"], "not given", "id"),
    "dtype": (["--dtype", "fp16"], "float", "float16"),
}


@pytest.mark.parametrize("setting", OTHER_SETTINGS)
def test_building_on_with_other_settings_is_refused_naming_both_values(pool: Shell, setting: str) -> None:
    options, mine, theirs = OTHER_SETTINGS[setting]
    keep = [] if setting == "keep_columns" else ["--keep-column", "label"]
    before = pool.state()
    reason = pool.build_error("pool", *keep, *options)
    assert reason.startswith("index.nagindex (version 3, 6 documents): ")
    flag = f"--{setting.replace('_', '-').removesuffix('s')}"
    mine_stated, _, theirs_stated = reason.partition(f"{flag} is ")[2].partition(" in the index and ")
    assert mine in mine_stated
    assert theirs in theirs_stated.partition(" here")[0]
    assert pool.state() == before


def test_building_on_with_another_model_is_refused_naming_both_hashes(pool: Shell, tmp_path: Path) -> None:
    from safetensors.numpy import load_file, save_file

    other = tmp_path / "other"
    other.mkdir()
    for file in pool.model.iterdir():
        (other / file.name).write_bytes(file.read_bytes())
    weights = load_file(other / "model.safetensors")
    save_file({k: v + 1 for k, v in weights.items()}, other / "model.safetensors", metadata={"format": "pt"})
    before = pool.state()
    mine = json.loads(pool.run("info", "--json").stdout)["fingerprint"]["weights"]
    reason = pool.error("build", "pool", "--keep-column", "label", "--model", other)
    assert reason.startswith(f"index.nagindex (version 3, 6 documents): weights is '{mine[:12]}' in the index and '")
    assert mine not in reason
    assert pool.error("append", "pool", "--model", other).partition(": ")[2] == reason.partition(": ")[2]
    assert pool.state() == before


def test_building_again_with_the_same_settings_adds_nothing(pool: Shell) -> None:
    before = pool.state()
    assert "Added 0 documents" in pool.build("pool", "--keep-column", "label").stderr
    assert pool.state() == before


def test_json_reports_of_build_and_append_are_one_object_each(shell: Shell) -> None:
    shell.write("a.jsonl", jsonl([{"id": "a", "text": "river"}, {"id": "a", "text": "river"}, {"text": None}]))
    report = json.loads(shell.build("a.jsonl", "--json").stdout)
    assert (report["documents"], report["sources"]) == (1, 1)
    assert report["skipped"] == {"duplicate id": 1, "null text": 1}
    assert json.loads(shell.run("append", "a.jsonl", "--json").stdout)["already_in"] == 1


def test_an_index_of_several_types_is_named_if_its_suffix_was_left_out(pool: Shell) -> None:
    pool.build("pool", "--neuron-type", "up,down", "-i", "several")
    assert Path("several.down.nagindex").is_dir()
    assert (
        pool.error("info", "-i", "several.down") == "several.down: no index here; there is one in several.down.nagindex"
    )
    assert "make one with: nagindex build CORPUS -i elsewhere" in pool.error("info", "-i", "elsewhere")


def test_a_k_above_the_width_is_clipped_and_said(pool: Shell) -> None:
    told = pool.build("pool", "--top-k", "100000", "-i", "wide.nagindex").stderr
    spec = json.loads(pool.run("info", "--json", "-i", "wide.nagindex").stdout)["fingerprint"]["spec"]
    assert spec["top_k"] == min(spec["widths"]) < 100_000
    assert (
        f"Warning: --top-k 100000: the narrowest layer of up has {spec['top_k']} neurons, and all of them are kept"
        in told
    )


def test_older_spellings_of_options_are_understood_and_not_listed(pool: Shell) -> None:
    pool.write("t.jsonl", json.dumps({"text": "river"}) + "\n")
    pool.write("s.csv", "id,value\n" + "".join(f"d{i},{i}\n" for i in range(6)))
    asked = ("query", "t.jsonl", "-n", "3", "--scores", "s.csv", "--format", "jsonl")
    new = pool.run(*asked, "--normalize", "rank").stdout
    assert pool.run(*asked, "--normalise", "rank").stdout == pool.run(*asked, "--normalise=rank").stdout == new
    assert "normalise" not in pool.run("query", "--help").stdout
    pool.write("q.yaml", "targets: [t.jsonl]\nn: 3\nscores: s.csv\nnormalise: rank\n")
    assert pool.run("query", "--config", "q.yaml", "--format", "jsonl").stdout == new

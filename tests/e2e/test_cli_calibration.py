"""Relative impact, layers and presets as a user gives them: build, calibrate, append, query, info, and every error in one line."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from shell import Shell, jsonl

FP32 = ("--dtype", "fp32")
RELATIVE = ("--impact", "relative", "--calibrate", "16", *FP32)


@pytest.fixture
def corpus(shell: Shell, words: list[str]) -> Shell:
    """A working folder with a corpus of forty documents in two files, more of them, and a target that equals d3."""
    rng = np.random.default_rng(0)
    records = [{"id": f"d{i}", "text": " ".join([f"{i}", *rng.choice(words, 12)])} for i in range(50)]
    shell.write("corpus/a.jsonl", jsonl(records[:25]))
    shell.write("corpus/b.jsonl", jsonl(records[25:40]))
    shell.write("more.jsonl", jsonl(records[40:]))
    shell.write("t.jsonl", jsonl(records[3:4]))
    return shell


def neurons(shell: Shell, index: str = "index.nagindex") -> str:
    """Return type, layer numbers, width, K and impact that `info --json` gives."""
    found = json.loads(shell.run("info", "--json", "-i", index).stdout)["fingerprint"]
    spec = found["spec"]
    numbers = spec.get("numbers", [*range(len(spec["widths"]))])
    return (
        f"{spec['neuron_type']} {numbers} x {spec['widths'][0]}, top {spec['top_k']}, {found.get('impact', 'absolute')}"
    )


def calibration(shell: Shell, index: str = "index.nagindex") -> str:
    """Return the calibration's hash that `info --json` gives."""
    found: str = json.loads(shell.run("info", "--json", "-i", index).stdout)["fingerprint"]["calibration"]
    return found


def first(shell: Shell, *arguments: object) -> tuple[str, float]:
    best = shell.selected("t.jsonl", "-n", "1", *arguments)[0]
    return best["id"], best["score"]


def test_a_calibrated_index_from_build_to_vacuum(corpus: Shell) -> None:
    """Built, appended to, queried, trimmed and vacuumed, with one calibration that info and verify know."""
    assert "Added 40 documents" in corpus.build("corpus", *RELATIVE).stderr
    stored = calibration(corpus)
    assert [path.name for path in (corpus.folder / "index.nagindex/calibration").iterdir()] == [f"{stored}.npy"]
    assert neurons(corpus) == "up [0, 1] x 64, top 5, relative"
    assert json.loads(corpus.run("info", "--json").stdout)["settings"]["calibrate"] == 16
    assert first(corpus) == ("d3", 1.0)
    assert "Added 10 documents" in corpus.run("append", "more.jsonl").stderr
    assert "2 sources already in the index, passed over" in corpus.build("corpus", *RELATIVE).stderr
    state = corpus.state()
    corpus.run("delete", "--where", "id LIKE '%7'")
    corpus.run("compact")
    corpus.run("vacuum", "--grace", "0")
    assert corpus.state() == [row for row in state if not row[0][0].endswith("7")]
    assert calibration(corpus) == stored
    assert first(corpus) == ("d3", 1.0)
    path = corpus.folder / "index.nagindex" / "calibration" / f"{stored}.npy"
    damaged = bytearray(path.read_bytes())
    damaged[-1] ^= 1
    path.write_bytes(damaged)
    assert "calibration" in corpus.run("verify", status=1).stdout
    assert f"{stored}.npy" in corpus.error("append", "t.jsonl", "--id-column", "text")
    path.unlink()
    assert f"{stored}.npy: missing" in corpus.error("query", "t.jsonl", "-n", "1")


def test_shards_of_a_relative_build_make_the_whole(corpus: Shell) -> None:
    """Each shard's own command draws the same sample, or takes what the first one stored."""
    corpus.build("corpus", "-i", "whole.nagindex", *RELATIVE)
    for number in (1, 0):
        corpus.build("corpus", *RELATIVE, "--shard", f"{number}/2")
    assert calibration(corpus) == calibration(corpus, "whole.nagindex")
    assert sorted(corpus.state(), key=str) == sorted(corpus.state(index="whole.nagindex"), key=str)


def test_a_calibration_is_a_file_that_indexes_share(corpus: Shell) -> None:
    """`calibrate` writes it, over itself too; a build takes it, or another index's, and says no sample's size."""
    for _ in range(2):
        done = corpus.run("calibrate", "corpus", "-o", "c.npz", "--calibrate", "16", "--model", corpus.model, *FP32)
        assert (done.stdout, done.stderr.splitlines()[-1]) == ("", "Calibrated on 16 documents: c.npz")
    corpus.build("corpus", "-i", "drawn.nagindex", *RELATIVE)
    stored = calibration(corpus, "drawn.nagindex")
    for name, given in (("file", "c.npz"), ("index", "drawn.nagindex")):
        corpus.build("more.jsonl", "-i", f"{name}.nagindex", "--impact", "relative", "--calibration", given, *FP32)
        assert calibration(corpus, f"{name}.nagindex") == stored
        assert neurons(corpus, f"{name}.nagindex") == "up [0, 1] x 64, top 5, relative"
    assert corpus.state(index="file.nagindex") == corpus.state(index="index.nagindex")
    few = ("--calibration", "c.npz", "--preset", "calibrated", "--layers", "1", *FP32)
    corpus.build("corpus", "-i", "few.nagindex", *few)
    assert neurons(corpus, "few.nagindex") == "up [1] x 64, top 5, relative"
    assert first(corpus, "-i", "few.nagindex") == ("d3", 1.0)


@pytest.mark.parametrize(
    ("arguments", "shape", "reads"),
    [
        (("--preset", "paper"), "up [0, 1] x 64, top 10, absolute", 120),
        (("--preset", "calibrated"), "up [0, 1] x 64, top 5, relative", 120),
        (("--preset", "fast"), "up [0] x 64, top 5, relative", 32),
        (("--preset", "fast", "--impact", "absolute"), "up [0] x 64, top 5, absolute", 32),
        (("--preset", "fast", "--layers", "all", "--top-k", "7"), "up [0, 1] x 64, top 7, relative", 32),
        (("--preset", "calibrated", "--max-length", "9"), "up [0, 1] x 64, top 5, relative", 9),
        (("--layers", "last"), "up [1] x 64, top 10, absolute", 120),
        (("--layers", "first-half", "--neuron-type", "q"), "q [0] x 32, top 10, absolute", 120),
    ],
)
def test_presets_and_layers_are_what_info_says(
    corpus: Shell, arguments: tuple[str, ...], shape: str, reads: int
) -> None:
    """A preset's settings, one of them changed, or layers alone; and a document is its own best match."""
    corpus.build("corpus", *arguments, *FP32)
    assert neurons(corpus) == shape
    assert f"the first {reads} tokens in float32" in corpus.run("info").stdout
    assert first(corpus)[1] == 1.0
    assert "2 sources already in the index" in corpus.build("corpus", *arguments, *FP32).stderr


def test_several_types_are_calibrated_in_one_command(corpus: Shell) -> None:
    """Each index has its own means, and the codes of a build of its own."""
    corpus.build("corpus", "-i", "x.nagindex", "--neuron-type", "up,v", *RELATIVE)
    assert calibration(corpus, "x.up.nagindex") != calibration(corpus, "x.v.nagindex")
    for kind in ("up", "v"):
        corpus.build("corpus", "-i", "alone.nagindex", "--neuron-type", kind, *RELATIVE)
        assert corpus.state(index=f"x.{kind}.nagindex") == corpus.state(index="alone.nagindex")
        shutil.rmtree("alone.nagindex")


def test_a_dry_run_says_what_cheaper_encodings_cost(corpus: Shell) -> None:
    """Each with its flags and what it reads, as text and as JSON; nothing is drawn, built or written."""
    before = sorted(path.name for path in corpus.folder.rglob("*"))
    for arguments, top_k in ((FP32, 10), (RELATIVE, 5)):
        out = corpus.build("corpus", "--dry-run", *arguments).stdout
        assert re.search(r"^documents   40$", out, re.MULTILINE)
        found = json.loads(corpus.build("corpus", "--dry-run", "--json", *arguments).stdout)
        shapes = {"--layers first-half": (1, top_k, 120), "--preset fast": (1, 5, 32)}
        for cost in found["cheaper"]:  # those that turned out to be faster, which the machine's load decides
            assert (cost["layers"], cost["top_k"], cost["max_length"]) == shapes[cost["option"]]
            assert 0 < cost["seconds"] < found["seconds"]
        pattern = (
            r"  or        about \d+ s at [\d,]+ documents/s \([\d.]+x\), [\d.]+ \w+, with (--\S+ \S+): 1 layer, "
            r"K = (\d+), (\d+) tokens a document"
        )
        for line in out.splitlines()[5:]:
            told = re.match(pattern, line)
            assert told, line
            assert (1, int(told[2]), int(told[3])) == shapes[told[1]]
    assert sorted(path.name for path in corpus.folder.rglob("*")) == before


@pytest.mark.parametrize(
    ("arguments", "status", "reason"),
    [
        (("--calibrate", "8"), 1, "--calibrate is for relative impact; add --impact relative or --preset calibrated"),
        (("--calibration", "x"), 1, "x: no such index or file; give --calibration one that exists"),
        (
            ("--preset", "fast", "--calibrate", "8", "--calibration", "x"),
            1,
            "--calibrate draws a sample, and --calibration names",
        ),
        (("--preset", "fast", "--calibrate", "0"), 2, "'--calibrate': '0' is not a whole number of at least 1"),
        (("--preset", "best"), 2, "'--preset': 'best' is not one of 'paper', 'calibrated', 'fast'"),
        (("--impact", "loud"), 2, "'--impact': 'loud' is not one of 'absolute', 'relative'"),
        (("--layers", "2"), 1, "layers '2': "),
        (
            ("--layers", "first-fifth"),
            1,
            "write last, first, all, 0-13, 0,2,5 or first-quarter, first-third, first-half",
        ),
        (("--preset", "fast", "--calibration", "corpus/a.jsonl"), 1, "make one with nagindex calibrate"),
        (("--preset", "fast", "--calibration", "corpus"), 1, "corpus: no index here"),
        (("--preset", "fast", "--calibration", "plain.nagindex"), 1, "an index of absolute impact has no calibration"),
    ],
)
def test_what_cannot_be_is_one_line(corpus: Shell, arguments: tuple[str, ...], status: int, reason: str) -> None:
    """With flags in place of parameters; and no index is left."""
    if "plain.nagindex" in arguments:
        corpus.build("more.jsonl", "-i", "plain.nagindex", *FP32)
    if arguments == ("--calibration", "x"):
        arguments = ("--impact", "relative", *arguments)
    told = corpus.error("build", "corpus", "--model", corpus.model, *arguments, *FP32, status=status)
    assert reason in told
    assert "`" not in told
    assert not Path("index.nagindex").exists()


@pytest.mark.parametrize("arguments", [("--preset", "paper"), RELATIVE])
def test_a_build_without_preset_goes_on_as_an_index_was_begun(corpus: Shell, arguments: tuple[str, ...]) -> None:
    """With its impact, its calibration and the size of its sample."""
    corpus.build("corpus/a.jsonl", *arguments, "--corpus-root", "corpus")
    encoding = neurons(corpus)
    assert "Added 15 documents" in corpus.run("build", "corpus", "--model", corpus.model).stderr
    assert neurons(corpus) == encoding
    wanted = "absolute" if "paper" in arguments else "relative"
    assert encoding.endswith(wanted)


def test_a_calibration_for_an_absolute_index_is_refused(corpus: Shell) -> None:
    corpus.build("corpus", "--preset", "paper")
    told = corpus.build_error("corpus", "--calibrate", "16", "--impact", "relative")
    assert "--impact is 'absolute' in the index and 'relative' here" in told


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("--impact", "absolute"), "--impact is 'relative' in the index and 'absolute' here"),
        (("--preset", "paper"), "--impact is 'relative' in the index and 'absolute' here"),
        (("--preset", "calibrated", "--calibrate", "17"), "--calibrate is 16 in the index and 17 here"),
        (("--impact", "relative", "--calibrate", "16", "--layers", "0"), "--layers is 2 in the index and '0' here"),
        (("--impact", "relative", "--calibration", "c.npz"), "in the index and"),
        (("--impact", "relative", "--calibrate", "16", "--top-k", "6"), "--top-k is 5 in the index and 6 here"),
    ],
)
def test_another_encoding_of_an_index_is_one_line_with_both_values(
    corpus: Shell, arguments: tuple[str, ...], reason: str
) -> None:
    """And the index stays as it is."""
    corpus.run("calibrate", "more.jsonl", "-o", "c.npz", "--model", corpus.model, *FP32)
    corpus.build("corpus", *RELATIVE)
    before = corpus.state()
    told = corpus.build_error("corpus", *arguments, *FP32)
    assert reason in told
    assert "use the index's settings, or build another index" in told
    assert corpus.state() == before


@pytest.mark.parametrize(
    ("arguments", "status", "reason"),
    [
        (("corpus", "-o", "c.npy"), 1, "c.npy: a calibration is a file that ends in .npz"),
        (("corpus", "-o", "index.nagindex/c.npz"), 1, "lies inside the index"),
        (("corpus", "-o", "nowhere/c.npz"), 1, "its folder does not exist"),
        (("nowhere.jsonl", "-o", "c.npz"), 1, "nowhere.jsonl"),
        (("corpus",), 2, "Missing option '-o' / '--output'"),
        (("-o", "c.npz"), 2, "Missing argument 'CORPUS...'"),
        (("corpus", "-o", "c.npz", "--neuron-type", "up,q"), 2, "'up,q' is not one of 'up', 'down'"),
        (("corpus", "-o", "c.npz", "--text-column", "body"), 1, "available columns are"),
        (("empty.jsonl", "-o", "c.npz"), 1, "name the text column with --text-column, or give a --calibration"),
        (("corpus", "-o", "c.npz", "--calibrate", "none"), 2, "--calibrate"),
    ],
)
def test_what_cannot_be_calibrated_is_one_line(
    corpus: Shell, arguments: tuple[str, ...], status: int, reason: str
) -> None:
    """And no file is left."""
    corpus.build("more.jsonl", *FP32)
    corpus.write("empty.jsonl", jsonl([{"text": None}]))
    assert reason in corpus.error("calibrate", *arguments, "--model", corpus.model, status=status)
    assert [path.name for path in corpus.folder.glob("**/*.npz")] == []


def test_layers_that_an_index_lacks_are_named(corpus: Shell) -> None:
    """A query asks in the backbone's numbers."""
    corpus.build("corpus", "--layers", "last", *FP32)
    assert first(corpus, "--layers", "1") == ("d3", 1.0)
    assert corpus.error("query", "t.jsonl", "-n", "1", "--layers", "0") == "layers '0': the index has layers 1"

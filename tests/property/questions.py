"""What the state machine asks of an index, and what the model answers."""

from __future__ import annotations

import json
from contextlib import ExitStack, contextmanager, nullcontext
from itertools import count
from unittest import mock

import numpy as np
import oracle
import oracle_query as naive
from machine import LAYERS, TOP_K, WIDTH, Corpus, Row

from nagindex.errors import BadInputError
from nagindex.nag import CODE_DTYPE
from nagindex.query import rows
from nagindex.search import top_n

KINDS = np.random.default_rng(0).random((14, LAYERS, WIDTH)).argsort(axis=-1)[..., :TOP_K].tolist()
IDS = [*(f"d{i:02d}" for i in range(24)), "007", "7", "1e3", "é", "文", "a'b", "a\nb", '"', " "]
CONDITIONS = {
    "tokens >= 20": lambda row: row.tokens >= 20,
    "label = 'a'": lambda row: row.label == "a",
    "id < 'd12'": lambda row: row.id.encode() < b"d12",
    "tokens BETWEEN 5 AND 30 AND label <> 'b'": lambda row: 5 <= row.tokens <= 30 and row.label != "b",
    "row % 3 = 1": lambda row: row.row % 3 == 1,
    "false": lambda row: False,
}


def expected(rows, targets, budget, options):
    """Return for each target all candidates as (id, score), best first, and how many of them are to be returned."""
    layers = [LAYERS - 1] if options.get("layers") else list(range(LAYERS))
    pool = naive.seen([row.codes for row in rows], layers, TOP_K)
    ids, tokens = [row.id for row in rows], [row.tokens for row in rows]
    alive = [CONDITIONS[options["where"]](row) if "where" in options else True for row in rows]
    amount = budget.get("n") or budget["tokens"]
    found = {}
    for name, share in zip(targets, naive.shares(amount, list(targets), {}, documents="n" in budget), strict=True):
        examples = naive.seen(targets[name], layers, TOP_K)
        weights, nearest = options.get("weights", "frequency"), 1 if "score" in options else None
        sums, scale = naive.sums(pool, examples, nearest=nearest, weights=weights, background=range(len(pool)))
        limit = {"n": share} if "n" in budget else {"tokens": tokens, "budget": share}
        most = len(oracle.select(sums, ids, alive=alive, **limit))
        found[name] = [(ids[i], sums[i] / scale) for i in oracle.ranking(sums, ids, alive)], most
    return found


def approximates(answer, lists, n):
    """Return whether an answer by graphs lists candidates with their own scores in order, as many as there are to be had."""
    for name, (hits, most) in lists.items():
        own, place = [hit[1:] for hit in answer if hit[0] == name], {hit: at for at, hit in enumerate(hits)}
        places = [place.get(hit, -1) for hit in own]
        if len(own) > most or places != sorted(set(places)) or -1 in places or (most == len(hits) and len(own) < most):
            return False
    return [hit[0] for hit in answer] == sorted(hit[0] for hit in answer)


def refusal(error, state, approx, budget, options):
    """Return whether a question is rightly refused: for want of candidates or graphs, or by their nature."""
    if "no document" in str(error):
        keep = CONDITIONS[options["where"]] if "where" in options else lambda row: True
        return not any(map(keep, state.rows))
    if "a budget of tokens" in str(error):
        return approx and "tokens" in budget
    return "there are no graphs" in str(error) and approx


def drawn_corpus(dice, number):
    """Return a source of one to four windows; names recur with other content, ids within a source and among sources."""
    name = dice.choice(("one.jsonl", "two.jsonl", "three.jsonl"))
    rows, windows = count(), []
    for _ in range(dice.choice((1, 1, 2, 3))):
        windows.append(
            tuple(
                Row(
                    dice.choice(IDS),
                    tuple(map(tuple, dice.choice(KINDS))),
                    dice.choice("abc"),
                    dice.choice((0, 1, 7, 20, 40)),
                    name,
                    next(rows),
                )
                for _ in range(dice.randint(1, 4))
            )
        )
    return Corpus(name, f"{number:064x}", tuple(windows), dice.choice(("skip", "skip", "replace")))


@contextmanager
def little_memory():
    """Let collectors keep every hit in files, look through them two at a time, and sort rows in a database of 8 MB."""
    limits = {
        (top_n, "HITS_IN_MEMORY"): 0,
        (top_n, "CAPACITY"): 1,
        (top_n, "ROWS_PER_BLOCK"): 2,
        (rows, "MEMORY"): 1 << 20,
    }
    with ExitStack() as stack:
        for (module, name), value in limits.items():
            stack.enter_context(mock.patch.object(module, name, value))
        yield


def ask(index, state, dice, approx=None):
    """Ask a drawn question of an index, half the time with little memory, and hold the answer against the oracle's."""
    names = "xyz"[: dice.choice((1, 1, 2, 3))]
    targets = {name: [dice.choice(KINDS) for _ in range(dice.choice((1, 3)))] for name in names}
    budget = dice.choice(({"n": dice.randint(3, 60)}, {"n": dice.randint(3, 9)}, {"tokens": dice.randint(30, 2000)}))
    weighted = {"weights": dice.choice(("log-ratio", "log-odds:3"))}
    options = dice.choice(
        ({}, {}, {"layers": "last"}, {"score": "max"}, {"where": dice.choice(list(CONDITIONS))}, weighted, weighted)
    )
    drawn = dice.random() < 0.2
    approx = drawn if approx is None else approx
    codes = {name: np.array(nags, CODE_DTYPE) for name, nags in targets.items()}
    try:
        with little_memory() if dice.random() < 0.5 else nullcontext():
            found = index.query(codes, approx=approx, threads=1, mix="merge", **budget, **options)
    except BadInputError as error:
        if refusal(error, state, approx, budget, options):
            return
        raise
    of = found.column("target").tolist() if len(names) > 1 else ["x"] * len(found)
    answer = list(zip(of, found.ids.tolist(), found.scores.tolist(), strict=True))
    lists = expected(state.rows, targets, budget, options)
    if found.plan.engine == "graph":
        assert approximates(answer, lists, budget["n"])
    else:
        assert answer == [(name, *hit) for name, (hits, most) in lists.items() for hit in hits[:most]]


def living(index):
    """Return the documents of an open index as the library tells of them: id, label, tokens, codes."""
    told = index.sql("SELECT _segment, _position, id, label, tokens FROM docs ORDER BY 1, 2").fetchall()
    codes = index.codes
    return [(*row, tuple(map(tuple, codes[segment][place].tolist()))) for segment, place, *row in told]


def unpublished(path):
    """Return the files of an index that no version names, and those in derived/ that no JSON there, nor their name, stands for."""
    named = {path / "manifests" / "latest.json", *path.glob("derived/popularity/[0-9a-f]*.npy")}
    for manifest in (path / "manifests").glob("[0-9]*.json"):
        named.add(manifest)
        for entry in json.loads(manifest.read_bytes())["segments"]:
            named |= {path / "segments" / entry["id"] / name for name in entry["files"]}
    for told in (path / "derived").glob("graph-*/[!.]*.json"):
        named |= {told, told.with_suffix(".npy"), told.with_suffix(".usearch")}
    return {file for file in path.rglob("*") if file.is_file()} - named

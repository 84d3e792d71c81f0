"""Reads the reference's files under data/; README.md beside it says how each was made."""

import json
from functools import cache
from pathlib import Path

import duckdb
import numpy as np

DATA = Path(__file__).parent / "data"
ARCHITECTURES = ("qwen3", "llama", "smollm3")
LAYERS, TOP_K, WIDTH, MAX_LENGTH = 4, 20, 256, 120
TYPES = {  # the reference's names and ours: it repeats keys and values for every query head that shares them
    "fwd_up": "up",
    "fwd_down": "down",
    "att_q": "q",
    "att_k": "k_repeated",
    "att_v": "v_repeated",
    "att_o": "o",
}


@cache
def table(name):
    """Return the rows of a Parquet file as dicts, in file order."""
    with duckdb.connect() as connection:
        scan = f"read_parquet('{DATA / name}', file_row_number = true)"
        result = connection.execute(f"SELECT * EXCLUDE (file_row_number) FROM {scan} ORDER BY file_row_number")
        names = [column[0] for column in result.description]
        return [dict(zip(names, row, strict=True)) for row in result.fetchall()]


@cache
def features(arch, part, kind="fwd_up"):
    """Return the reference's lists of a type, uint16 [n, 4, 20], of `docs` or `targets`, in the order of their Parquet file."""
    rows = [json.loads(line) for line in (DATA / "features" / arch / f"{part}.jsonl").read_text().splitlines()]
    assert [row["docid"] for row in rows] == [row["docid"] for row in table(f"{part}.parquet")]
    lists = [row[f"{kind}_feature"]["layer_topk_value_index"] for row in rows]
    return np.array(lists, np.uint16).reshape(len(rows), LAYERS, TOP_K)


@cache
def scores(arch, kind="fwd_up"):
    """Return the real-valued scores behind the lists, float32 [55, 4, width], the pool's texts and then the targets'."""
    files = [DATA / "scores" / f"{arch}_{part}.npz" for part in ("pool", "target")]
    return np.concatenate([np.load(file)[kind] for file in files])


def distances(arch, target, kind="fwd_up"):
    """Return the reference's distance of each pool document, float64 [42], to a target set."""
    return np.load(DATA / "distances" / arch / f"{kind}__{target}.npy")


def of_target(target):
    """Return a mask over the target texts: those of one set, or all."""
    return np.array([target in ("all", row["dataset"]) for row in table("targets.parquet")])

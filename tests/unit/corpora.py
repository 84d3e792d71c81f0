"""Short ways to make, write and read a source."""

import json

import duckdb
import numpy as np

from nagindex.corpus.columns import Columns
from nagindex.corpus.reading import read_documents
from nagindex.corpus.sources import find_sources

WORDS = [
    "river",
    "sand",
    "fox",
    "graph",
    "neuron",
    "sea",
    "light",
    "water",
    "mats",
    "dogs",
    "cats",
    "loops",
    "the",
    "a",
]


def texts_of(seed, count):
    """Return texts of 1 to 29 words, no two the same."""
    rng = np.random.default_rng(seed)
    return [f"{i} " + " ".join(rng.choice(WORDS, size)) for i, size in enumerate(rng.integers(1, 30, count))]


def source(path):
    [found] = find_sources([path]).sources
    return found


def read(path, *, start=0, **columns):
    return list(read_documents(source(path), Columns(**columns), start=start))


def pairs(path, **options):
    return [(d.id, d.text) for d in read(path, **options)]


def json_lines(records):
    return "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records).encode()


def write_parquet(path, select):
    with duckdb.connect() as connection:
        connection.execute(f"COPY ({select}) TO '{path}' (FORMAT parquet, COMPRESSION uncompressed)")
    return path

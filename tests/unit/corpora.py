"""Short ways to write and read a source, for the tests of reading."""

import json

import duckdb

from nagindex.corpus.columns import Columns
from nagindex.corpus.reading import read_documents
from nagindex.corpus.sources import find_sources


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

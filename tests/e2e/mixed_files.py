"""A small corpus in every format that is read."""

from __future__ import annotations

import gzip
import json
import sys
from pathlib import Path
from typing import Any

import duckdb
from shell import jsonl

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

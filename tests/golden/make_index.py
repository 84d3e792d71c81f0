"""Writes the golden index of the current format version: once, when the format is released; from then on it must stay readable.

    python tests/golden/make_index.py

What it must hold stands beside it in expected.json. Sums of queries are computed here from the codes, in plain Python, and not by
the product. What its files say of places is a made-up one, not that of the machine on which it is made.
"""

from __future__ import annotations

import dataclasses
import json
import random
import shutil
import tempfile
from pathlib import Path
from unittest import mock

import duckdb

from nagindex import build
from nagindex.backbone.load import load_backbone
from nagindex.corpus.columns import Columns
from nagindex.storage import segment
from nagindex.storage.manifest import FORMAT_VERSION
from nagindex.targets.saved import write_nags

HERE = Path(__file__).parent
MODEL = HERE / "data" / "models" / "qwen3"
POOL = "/pool"
"""Where the files of the index say that its corpus lay."""
KEEP = ("flag", "count", "share", "label", "late")
WORDS = "river mountain garden theorem salmon planet engine harvest winter painter lantern dragon array string"
WORDS = WORDS.split()
DELETED = ["007", "b-3"]
QUERIES = [
    {"n": 5},
    {"n": 4, "layers": "1-2", "top_k": 3},
    {"n": 30},
    {"n": 3, "where": "count > 4 AND label IS NOT NULL"},
]


def write_corpus(folder: Path) -> None:
    """Write two sources with kept columns of each type, ids that look like numbers, and rows that become no document."""
    draw = random.Random(6)

    def text() -> str:
        return " ".join(draw.choices(WORDS, k=draw.randint(3, 30)))

    ids = ["007", "1e3", "2024-01-01", "文", "a'b\"c", "line\nfeed", *(f"a-{n}" for n in range(6, 14))]
    first = [
        {
            "id": i,
            "text": text(),
            "flag": n % 3 == 0,
            "count": n,
            "share": n / 7,
            "label": None if n == 5 else f"é{n % 4}",
            "late": None,
        }
        for n, i in enumerate(ids)
    ]
    first += [{"id": "null", "text": None}, {"id": "empty", "text": ""}, {"id": "1e3", "text": "twice"}]
    second = [
        {
            "id": f"b-{n}",
            "text": text(),
            "flag": None,
            "count": 1 << (4 * n),
            "share": -0.5,
            "label": "b",
            "late": f"l{n}",
        }
        for n in range(12)
    ]
    folder.mkdir()
    for name, records in (("first", first), ("second", second)):
        lines = [json.dumps(record, ensure_ascii=False) + "\n" for record in records]
        (folder / f"{name}.jsonl").write_text("".join(lines))


def make(into: Path, place: Path) -> None:
    """Build the index and everything that goes with it, and write them and what they hold into a folder that must be new."""
    write_corpus(place / "corpus")
    backbone = load_backbone(str(MODEL), neuron_type="down", device="cpu", dtype="float32")
    backbone = dataclasses.replace(backbone, name="a random Qwen3")
    index, _ = build(
        place / "corpus" / "first.jsonl",
        place / "index",
        neuron_type="down",
        preset="paper",
        top_k=6,
        columns=Columns(keep_columns=KEEP),
        backbone=backbone,
    )
    index.append(place / "corpus")
    index.delete(ids=DELETED)
    (place / "targets.jsonl").write_text(
        "".join(json.dumps({"text": " ".join(WORDS[i : i + 6])}) + "\n" for i in range(7))
    )
    [target] = index.encode(place / "targets.jsonl")
    write_nags(place / "targets.nags.parquet", [target], index.manifest.fingerprint)
    index.optimize()
    index.query(place / "targets.jsonl", n=4).to_parquet(place / "here.parquet")
    move(place / "here.parquet", place / "chosen.parquet", str(place))

    rows = index.docs.order("_segment, _position").fetchall()
    columns = index.docs.columns
    places = [(row[columns.index("_segment")], row[columns.index("_position")]) for row in rows]
    codes = [index.codes[segment][position].tolist() for segment, position in places]
    documents = [dict(zip(columns, row, strict=True)) for row in rows]
    expected = {
        "format_version": FORMAT_VERSION,
        "documents": documents,
        "codes": codes,
        "skipped": [[row.file, row.row, row.reason, row.id] for row in index.skipped()],
        "ids_of_version_2": [json.loads(line)["id"] for line in (place / "corpus" / "first.jsonl").open()][:14],
        "target_texts": target.texts,
        "target_codes": target.codes.tolist(),
        "chosen": sums(codes, documents, target.codes.tolist(), {"n": 4}),
        "queries": [
            {"asked": asked, "answer": sums(codes, documents, target.codes.tolist(), asked)} for asked in QUERIES
        ],
    }
    into.mkdir(parents=True)
    (into / "expected.json").write_text(json.dumps(expected, ensure_ascii=False, indent=1) + "\n")
    for name in ("index", "corpus"):
        shutil.copytree(place / name, into / name)
    for name in ("targets.nags.parquet", "chosen.parquet"):
        shutil.copy(place / name, into / name)


def written_elsewhere(path: Path, spans: list, write: object = segment.write_spans) -> None:
    """Write sources.parquet as if the corpus lay elsewhere."""
    write(path, [dataclasses.replace(span, root=f"{POOL}/corpus") for span in spans])


def move(path: Path, to: Path, place: str) -> None:
    """Write a selection again as if everything that it names lay elsewhere."""
    [(told,)] = duckdb.sql(f"SELECT value FROM parquet_kv_metadata('{path}') WHERE key = 'nagindex'::BLOB").fetchall()
    metadata = told.decode().replace(place, POOL).replace("'", "''")
    duckdb.sql(f"COPY (FROM '{path}' ORDER BY rank) TO '{to}' (FORMAT parquet, KV_METADATA {{nagindex: '{metadata}'}})")


def sums(codes: list, documents: list, examples: list, asked: dict) -> list[tuple[str, int]]:
    """Return the best documents' ids with how often, in all, an example holds one of their neurons: S times |D| L K."""
    first, _, last = str(asked.get("layers", f"0-{len(codes[0]) - 1}")).partition("-")
    layers, k = range(int(first), int(last) + 1), asked.get("top_k", len(codes[0][0]))
    found = []
    for document, own in zip(documents, codes, strict=True):
        if "where" in asked and not (document["count"] > 4 and document["label"] is not None):
            continue
        total = sum(
            neuron in example[layer][:k] for example in examples for layer in layers for neuron in own[layer][:k]
        )
        found.append((-total, document["id"].encode()))
    return [(name.decode(), -total) for total, name in sorted(found)[: asked["n"]]]


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder, mock.patch.object(segment, "write_spans", written_elsewhere):
        make(HERE / "indexes" / str(FORMAT_VERSION), Path(folder))

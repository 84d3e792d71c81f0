"""Writes the golden index of the current format version: once, when the format is released; from then on it must stay readable.

    python tests/golden/make_index.py

What it must hold stands beside it in expected.json. Sums of queries are computed here from the codes, in plain Python, and not by
the product. The index is built at a fixed place under /tmp, whose name is all that its files know of the machine.
"""

from __future__ import annotations

import dataclasses
import json
import random
import shutil
from pathlib import Path

from nagindex import build
from nagindex.backbone import load_backbone
from nagindex.corpus import Columns
from nagindex.nagfiles import write_nags
from nagindex.storage.manifest import FORMAT_VERSION

HERE = Path(__file__).parent
MODEL = HERE / "data" / "models" / "qwen3"
PLACE = Path("/tmp/nagindex-golden")
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


def make(into: Path) -> None:
    """Build the index and everything that goes with it, and write them and what they hold into a folder that must be new."""
    PLACE.mkdir()
    write_corpus(PLACE / "corpus")
    backbone = load_backbone(str(MODEL), neuron_type="down", device="cpu", dtype="float32")
    backbone = dataclasses.replace(backbone, name="a random Qwen3")
    index, _ = build(
        PLACE / "corpus" / "first.jsonl",
        PLACE / "index",
        neuron_type="down",
        top_k=6,
        columns=Columns(keep=KEEP),
        backbone=backbone,
    )
    index.append(PLACE / "corpus")
    index.delete(ids=DELETED)
    (PLACE / "targets.jsonl").write_text(
        "".join(json.dumps({"text": " ".join(WORDS[i : i + 6])}) + "\n" for i in range(7))
    )
    [target] = index.encode(PLACE / "targets.jsonl")
    write_nags(PLACE / "targets.nags.parquet", [target], index.manifest.fingerprint)
    index.optimize(graph=True)
    index.query(PLACE / "targets.jsonl", n=4).to_parquet(PLACE / "chosen.parquet")

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
        "ids_of_version_2": [json.loads(line)["id"] for line in (PLACE / "corpus" / "first.jsonl").open()][:14],
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
        shutil.copytree(PLACE / name, into / name)
    for name in ("targets.nags.parquet", "chosen.parquet"):
        shutil.copy(PLACE / name, into / name)
    shutil.rmtree(PLACE)


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
    make(HERE / "indexes" / str(FORMAT_VERSION))

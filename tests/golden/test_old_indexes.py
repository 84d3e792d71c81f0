"""An index of every released format version, as it was written then, is read, searched and added to by today's code."""

import json
import shutil
from functools import cache
from pathlib import Path

import duckdb
import numpy as np
import pytest

from nagindex.errors import BadInputError
from nagindex.index import Index
from nagindex.query.export import settings_of
from nagindex.storage.manifest import FORMAT_VERSION, versions
from nagindex.targets.cache import TargetCache

INDEXES = Path(__file__).parent / "indexes"
MODEL = Path(__file__).parent / "data" / "models" / "qwen3"
VERSIONS = sorted(int(path.name) for path in INDEXES.iterdir())


@cache
def expected(version):
    return json.loads((INDEXES / str(version) / "expected.json").read_text())


@pytest.fixture(params=VERSIONS)
def old(request, tmp_path):
    """A copy of a version's golden folder, and what its index must hold."""
    folder = tmp_path / "old"
    shutil.copytree(INDEXES / str(request.param), folder)
    return folder, expected(request.param)


def documents(index):
    relation = index.docs.order("_segment, _position")
    return [dict(zip(relation.columns, row, strict=True)) for row in relation.fetchall()]


def codes(index):
    """Return the NAGs of the living documents by id."""
    parts = index.codes
    return {row["id"]: parts[row["_segment"]][row["_position"]].tolist() for row in documents(index)}


def sums(selection, examples, layers, top_k):
    """Return a selection as (id, S |D| L K), whole numbers."""
    totals = selection.scores * (examples * layers * top_k)
    np.testing.assert_allclose(totals, np.rint(totals), rtol=0, atol=1e-9)
    return [[name, int(total)] for name, total in zip(selection.ids, np.rint(totals), strict=True)]


def shape_of(asked, wanted):
    layers = wanted["codes"][0]
    first, _, last = asked.get("layers", f"0-{len(layers) - 1}").partition("-")
    return len(wanted["target_codes"]), int(last) - int(first) + 1, asked.get("top_k", len(layers[0]))


def test_there_is_an_index_of_every_format_version():
    assert list(range(1, FORMAT_VERSION + 1)) == VERSIONS
    assert [expected(version)["format_version"] for version in VERSIONS] == VERSIONS


def test_it_holds_what_was_written(old):
    folder, wanted = old
    index = Index.open(folder / "index")
    assert documents(index) == wanted["documents"]
    assert list(codes(index).values()) == wanted["codes"]
    assert [[row.file, row.row, row.reason, row.id] for row in index.skipped()] == wanted["skipped"]
    assert [segment.entry.deleted_documents for segment in index.segments] == [1, 1]
    assert {type(row[name]) for row in wanted["documents"] for name in ("flag", "count", "share", "label")} >= {
        bool,
        int,
        float,
        str,
    }


def test_it_verifies(old):
    assert list(Index.open(old[0] / "index").verify()) == []


def test_its_older_versions_are_read(old):
    folder, wanted = old
    assert versions(folder / "index") == [1, 2, 3, 4]
    before = Index.open(folder / "index", version=2)
    assert [row["id"] for row in documents(before)] == wanted["ids_of_version_2"]
    assert len(Index.open(folder / "index", version=1)) == 0


def test_every_query_gives_the_same_documents_with_the_same_sums(old):
    folder, wanted = old
    index = Index.open(folder / "index")
    assert len(wanted["queries"]) == 4
    for query in wanted["queries"]:
        found = index.query(folder / "targets.nags.parquet", **query["asked"])
        assert sums(found, *shape_of(query["asked"], wanted)) == query["answer"]
        assert not [line for line in found.warnings if "sketch" in line or "graph" in line]


def test_its_sketches_and_graph_are_not_read_and_a_vacuum_removes_them(old):
    folder, wanted = old
    index, derived = Index.open(folder / "index"), folder / "index" / "derived"
    [query] = [query for query in wanted["queries"] if query["asked"] == {"n": 5}]
    former = list(derived.glob("sketch-*/*"))
    assert {path.suffix for path in former} == {".json", ".npy", ".usearch"}
    with pytest.raises(BadInputError, match="there are no graphs"):
        index.query(folder / "targets.nags.parquet", n=5, approx=True)
    own = dict(zip((row["id"] for row in wanted["documents"]), wanted["codes"], strict=True))
    shared = {
        name: sum(len(set(a) & set(b)) for a, b in zip(own["a-7"], nag, strict=True))
        for name, nag in own.items()
        if name != "a-7"
    }
    best = min(shared, key=lambda name: (-shared[name], name))
    for _ in range(2):
        assert index.neighbors("a-7", k=1).rows[0]["id"] == best
        index.optimize()
    found = index.query(folder / "targets.nags.parquet", n=5, approx=True)
    assert found.plan.engine == "graph"
    assert sums(found, *shape_of({}, wanted)) == query["answer"]
    index.vacuum(keep=4, grace=0)
    assert [path.name for path in derived.iterdir() if path.name.startswith(("sketch", "graph"))] == ["graph-000001"]
    assert list(index.verify()) == []
    assert index.query(folder / "targets.nags.parquet", n=5, approx=True).ids.tolist() == found.ids.tolist()


def test_targets_encoded_then_are_in_its_cache(old):
    folder, wanted = old
    fingerprint = Index.open(folder / "index").manifest.fingerprint
    found = TargetCache(folder / "index" / "derived" / "targets", fingerprint).get(wanted["target_texts"])
    assert [found[text].tolist() for text in wanted["target_texts"]] == wanted["target_codes"]


def test_a_selection_made_then_is_read(old):
    folder, wanted = old
    index = Index.open(folder / "index")
    chosen = folder / "chosen.parquet"
    rows = duckdb.sql(f"SELECT id, score FROM '{chosen}' ORDER BY rank").fetchall()
    examples, layers, top_k = shape_of({}, wanted)
    assert [[name, round(score * examples * layers * top_k)] for name, score in rows] == wanted["chosen"]
    assert settings_of(chosen)["index"]["version"] == 4
    rest = index.query(folder / "targets.nags.parquet", n=30, exclude=[str(chosen)])
    assert set(rest.ids) == {row["id"] for row in wanted["documents"]} - {name for name, _ in rows}


def test_its_documents_are_encoded_again_from_their_sources(old):
    """With other libraries rounding may differ in a code here and there; the texts and what is made of them may not."""
    folder, wanted = old
    index = Index.open(folder / "index")
    found = index.recheck(folder / "corpus", model=str(MODEL), device="cpu")
    assert found.documents == len(wanted["documents"])
    assert found.differing_neurons <= 0.02 * found.codes
    assert found.recorded == {name: [version] for name, version in index.manifest.fingerprint.libraries.items()}


def test_it_is_appended_to_compacted_and_vacuumed(old):
    folder, wanted = old
    index = Index.open(folder / "index")
    before = codes(index)
    (folder / "corpus" / "third.jsonl").write_text(
        "".join(
            json.dumps(
                {
                    "id": f"c-{n}",
                    "text": "river salmon",
                    "flag": True,
                    "count": n,
                    "share": 1.5,
                    "label": "c",
                    "late": None,
                }
            )
            + "\n"
            for n in range(3)
        )
    )
    report = index.append(folder / "corpus", model=str(MODEL), device="cpu", accept_libraries=True)
    assert (report.documents, report.already_in, report.skipped.total()) == (3, 2, 0)
    assert index.delete(ids=["a-6"]) == 1
    left = {name: own for name, own in before.items() if name != "a-6"}
    index.compact()
    assert len(index.segments) == 1
    after = codes(index)
    assert {name: after[name] for name in left} == left
    assert after.keys() - left.keys() == {"c-0", "c-1", "c-2"}
    index.vacuum(grace=0)
    assert list(index.verify()) == []
    rows = {row["id"]: row for row in documents(index)}
    for row in wanted["documents"]:
        if row["id"] != "a-6":
            assert {k: v for k, v in rows[row["id"]].items() if k[0] != "_"} == {
                k: v for k, v in row.items() if k[0] != "_"
            }
    found = index.query(folder / "targets.nags.parquet", n=30)
    same = dict(wanted["queries"][2]["answer"])
    assert {n: total for n, total in sums(found, *shape_of({}, wanted)) if n in left} == {n: same[n] for n in left}

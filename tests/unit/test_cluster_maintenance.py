"""verify, compact and optimize by tasks on a cluster do what they do without one; tasks are run in this process."""

import dataclasses
import shutil

import numpy as np
import pytest
from click.testing import CliRunner
from cluster_tasks import Here, run_here
from nagindex.cli import main

import nagindex
from nagindex.cluster import connection
from nagindex.cluster.tasks import run
from nagindex.maintenance import compact, verify
from nagindex.search import hnsw
from nagindex.sketches import build
from nagindex.storage.commit import commit
from nagindex.storage.files import FileEntry

LAYERS, TOP_K, WIDTH, DOCUMENTS = 3, 4, 30, 400
CUTS = (30, 30, 90, 91, 200, 260, 300, 340, 390)


@pytest.fixture(scope="module")
def made(tmp_path_factory, write_index, random_codes):
    """An index of ten segments, one of them empty, with deleted documents; do not change it."""
    rng = np.random.default_rng(0)
    ids = [f"{number:03d}" for number in rng.permutation(DOCUMENTS)]
    codes, tokens = random_codes(rng, DOCUMENTS, LAYERS, TOP_K, WIDTH), rng.integers(0, 60, DOCUMENTS)
    kept = [("ab"[number % 2],) for number in range(DOCUMENTS)]
    path = tmp_path_factory.mktemp("made") / "i"
    index = write_index(path, codes, ids, tokens, width=WIDTH, cuts=CUTS, kept=kept, keep=("tongue",))
    index.delete(ids=[*ids[10:20], *ids[95:97]])
    return path


@pytest.fixture
def two(made, tmp_path):
    """Two copies of the index, in folders of one length: one to work on here, one for the cluster."""
    return [nagindex.open(shutil.copytree(made, tmp_path / name / "i")) for name in ("here", "away")]


@pytest.fixture
def cluster(monkeypatch):
    """`ray=` has tasks run in this process."""
    run_here(monkeypatch, verify, compact, build)


def flip(path, place=-1):
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)


def layout(index):
    """Return what a version says of its segments, without their names."""
    return [
        (own.documents, own.tokens, own.skipped, own.files, own.deleted_documents) for own in index.manifest.segments
    ]


def command(*arguments):
    """Return what a command prints and its exit status."""
    done = CliRunner().invoke(main, [*map(str, arguments), "--progress", "none"])
    return done.stdout, done.stderr, done.exit_code


def test_verify_finds_the_same_damage_in_the_same_order(two, cluster):
    """Of codes, tables, files that only an older version names, a lost version, counts of neurons."""
    index, _ = two
    for number in (7, 6, 0):
        index.delete(where=f"_segment = {number} AND _position < 5")
    index.optimize()
    entries = index.manifest.segments
    segments = [index.path / "segments" / own.id for own in entries]
    for number in (0, 4, 7):
        flip(segments[number] / "nags.npy")
    (segments[2] / "docs.parquet").unlink()
    [older] = [path for path in segments[0].glob("deleted-*.npy") if path.name != entries[0].deleted]
    for path in (older, segments[6] / str(entries[6].deleted)):
        flip(path)
    (index.path / "manifests" / f"{index.manifest.version - 1:012d}.json").unlink()
    for path in sorted((index.path / "derived" / "popularity").iterdir())[:2]:
        flip(path)
    here, away = index.verify(), index.verify(ray="local")
    assert [(type(error), str(error)) for error in away] == [(type(error), str(error)) for error in here]
    assert len(here) == 9
    assert len(Here.started) == 4


def test_codes_and_rows_are_checked_by_tasks(two, cluster):
    """Damage that no checksum shows: the manifest states it."""
    _, index = two
    entry = index.manifest.segments[0]
    wrong = np.array(index.codes[0])
    wrong[3, 0, 0] = wrong[3, 0, 1]
    path = index.path / "segments" / entry.id / "nags.npy"
    path.write_bytes(path.read_bytes()[: -wrong.nbytes] + wrong.tobytes())
    files = entry.files | {"nags.npy": FileEntry.of(path)}

    def change(current):
        return current.following("damage", (dataclasses.replace(entry, files=files), *current.segments[1:]))

    commit(index.path, change)
    index.refresh()
    here, away = index.verify(), index.verify(ray="local")
    assert [*map(str, away)] == [*map(str, here)]
    assert any("row 3 of segment" in str(error) for error in away)


def test_compact_writes_the_same_segments(two, cluster, monkeypatch):
    monkeypatch.setattr(compact, "SEGMENT_DOCUMENTS", 120)
    here, away = two
    here.compact()
    away.compact(ray="local")
    assert [function for function, _ in Here.started] == ["nagindex.maintenance.compact:merge_there"] * 4
    assert layout(away) == layout(here)
    assert len(away.segments) == 4
    assert away.docs.order("_segment, _position").fetchall() == here.docs.order("_segment, _position").fetchall()
    assert away.verify() == []


def test_segments_that_another_writer_changes_meanwhile_are_left_alone(two, cluster, monkeypatch):
    _, index = two
    monkeypatch.setattr(compact, "SEGMENT_DOCUMENTS", 120)
    whole = compact._merge

    def merge(path, spec, group):
        merged = whole(path, spec, group)
        if group[0].id == index.manifest.segments[0].id:
            nagindex.open(path).delete(where="_segment = 0 AND _position = 1")
        return merged

    monkeypatch.setattr(compact, "_merge", merge)
    index.compact(ray="local")
    assert len(index) == DOCUMENTS - 12 - 1
    assert index.manifest.segments[0].deleted_documents == 11
    assert len(index.segments) == 4 + 3
    assert index.verify() == []


def test_a_task_that_is_run_again_merges_and_connects_nothing_twice(two, cluster, monkeypatch):
    """Its node was lost after it had published."""
    _, index = two
    monkeypatch.setattr(compact, "SEGMENT_DOCUMENTS", 120)
    index.compact(ray="local")
    index.optimize(ray="local")
    kept = sorted(path.name for path in index.path.rglob("*"))
    version = index.manifest.version
    for function, arguments in [*Here.started]:
        (state, _), *_ = run(1, nagindex.__version__, function, *arguments)
        assert state == "done"
    index.refresh()
    assert index.manifest.version == version
    assert sorted(path.name for path in index.path.rglob("*")) == kept


def test_optimize_covers_the_same_segments(two, cluster, monkeypatch):
    monkeypatch.setattr(hnsw, "GROUP_DOCUMENTS", 150)
    done, names = [], []
    for index, ray in zip(two, (None, "local"), strict=True):
        optimized = index.optimize(ray=ray)
        order = {own.id: number for number, own in enumerate(index.manifest.segments)}
        graphs = optimized.graphs.graphs(index.manifest.segments)
        done.append((optimized.documents, optimized.why, sorted([order[i] for i in own.segments] for own in graphs)))
        names.append(sorted(path.name for path in (index.path / "derived" / "popularity").iterdir()))
        assert index.verify() == []
        assert index.optimize(ray=ray).documents == 0
    assert done[0] == done[1]
    assert done[0][0] == DOCUMENTS
    assert len(done[0][2]) >= 3
    assert names[0] == names[1]  # names hold the hash of the counts


def test_optimize_starts_tasks_for_what_is_left_alone(two, cluster, monkeypatch):
    """Segments are counted where they are connected; a cluster is asked for only if there is something to do."""
    monkeypatch.setattr(hnsw, "GROUP_DOCUMENTS", 150)
    _, index = two
    index.optimize(ray="local")
    assert {function.rpartition(":")[2] for function, _ in Here.started} == {"connect_there"}
    counts = sorted((index.path / "derived" / "popularity").iterdir())
    assert len(counts) == len(CUTS)
    counts[0].unlink()
    Here.started.clear()
    index.optimize(ray="local")
    assert [function.rpartition(":")[2] for function, _ in Here.started] == ["count_there"]
    assert sorted((index.path / "derived" / "popularity").iterdir()) == counts
    monkeypatch.setattr(build, "tasks", None)
    assert index.optimize(ray="local").documents == 0


def test_new_graphs_of_another_process_are_not_mixed_with_these(two, cluster):
    _, index = two
    index.optimize()
    with pytest.raises(nagindex.NagIndexError, match="another process has begun new graphs"):
        build.connect_there(
            str(index.path), index.manifest.fingerprint.spec, "graph-000009", index.manifest.segments, 1
        )


def test_the_commands_print_and_exit_as_without_a_cluster(two, cluster, monkeypatch):
    monkeypatch.setattr(compact, "SEGMENT_DOCUMENTS", 120)
    here, away = (index.path for index in two)

    def both(*arguments):
        plain, remote = command(*arguments, "-i", here), command(*arguments, "-i", away, "--ray", "local")
        assert [text.replace(str(away), str(here)) for text in remote[:2]] == [*plain[:2]]
        assert remote[2] == plain[2]
        return plain

    codes = [path / "segments" / two[0].manifest.segments[2].id / "nags.npy" for path in (here, away)]
    for path in codes:
        flip(path)
    out, _, status = both("verify")
    assert (status, out.count("nags.npy")) == (1, 1)
    for path in codes:
        flip(path)
    assert both("verify")[2] == 0
    assert both("optimize")[2] == 0
    assert both("compact")[2] == 0
    assert both("compact")[1].startswith("Nothing to compact")
    assert both("verify", "--json")[2] == 0


def test_a_node_that_does_not_see_the_index_is_no_damage(two, cluster, monkeypatch):
    _, index = two
    monkeypatch.setattr(verify, "absolute_location", lambda path: f"{path}-elsewhere")
    with pytest.raises(nagindex.InputNotFoundError, match="not there on node"):
        index.verify(ray="local")


def test_damage_ends_a_compaction_with_the_local_message(two, cluster):
    said = []
    for index, ray in zip(two, (None, "local"), strict=True):
        flip(index.path / "segments" / index.manifest.segments[0].id / "nags.npy")
        with pytest.raises(nagindex.DamagedIndexError) as error:
            index.compact(ray=ray)
        said.append(str(error.value).replace(str(index.path), "I"))
    assert said[0] == said[1]


@pytest.mark.parametrize("method", ["verify", "compact", "optimize"])
def test_without_ray_or_with_a_wrong_address_nothing_is_begun(two, monkeypatch, method):
    index, _ = two
    with pytest.raises(nagindex.BadInputError, match="no address of a cluster"):
        getattr(index, method)(ray="corpus/")
    monkeypatch.setattr(connection, "find_spec", lambda name: None)
    with pytest.raises(nagindex.MissingDependencyError, match=r"pip install 'nagindex\[ray\]'"):
        getattr(index, method)(ray="local")

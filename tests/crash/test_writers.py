"""Several writers at once: every document once, and windows that stay where they are."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

from harness import Content, Server, Unbroken, content, faults, make_corpus, versions

from nagindex.corpus.sources import find_sources
from nagindex.ingest.coverage import Coverage
from nagindex.ingest.options import IngestOptions
from nagindex.ingest.windows import SourceReport, read_windows
from nagindex.storage.manifest import Manifest, read_manifest


def test_two_builders_of_one_corpus_end_with_every_document_once(server: Server, unbroken: Unbroken, tmp_path: Path):
    """Neither fails, whoever is first."""
    index = tmp_path / "both.nagindex"
    both = [server.start("build", index, corpus=unbroken.corpus, segment_documents=size) for size in (16, 24)]
    ends = [server.wait(pid) for pid in both]
    assert [end.status for end in ends] == [0, 0], ends
    assert faults(index) == []
    assert content(index).differences(unbroken.content) == []
    assert sum(end.said["documents"] for end in ends) == len(unbroken.content.rows)


def test_a_builder_killed_beside_another_takes_nothing_along(server: Server, unbroken: Unbroken, tmp_path: Path):
    """The other one finishes the corpus."""
    index = tmp_path / "both.nagindex"
    killed = server.start("build", index, corpus=unbroken.corpus, die_at=unbroken.steps // 2)
    other = server.start("build", index, corpus=unbroken.corpus)
    assert server.wait(other).status == 0
    server.wait(killed)
    assert faults(index) == []
    assert content(index).differences(unbroken.content) == []


def test_two_appends_at_once_are_both_there(server: Server, unbroken: Unbroken, tmp_path: Path):
    """Appends never conflict: the loser of a version number re-reads and goes on."""
    index, expected = tmp_path / "both.nagindex", {}
    shutil.copytree(unbroken.index, index)
    running = []
    for seed, name in ((3, "left"), (4, "right")):
        corpus = make_corpus(tmp_path / name, seed=seed, rows=32, name=name)
        server.finish("build", tmp_path / f"{name}.nagindex", corpus=corpus)
        expected[name] = content(tmp_path / f"{name}.nagindex")
        running.append((corpus, name))
    pids = [server.start("append", index, corpus=corpus, segment_documents=8) for corpus, _ in running]
    ends = [server.wait(pid) for pid in pids]
    assert [end.status for end in ends] == [0, 0], ends
    assert faults(index) == []
    found = content(index)
    assert part(found, unbroken.corpus).differences(unbroken.content) == []
    for corpus, name in running:
        assert part(found, corpus).differences(expected[name]) == []
    assert len(found.rows) == len(unbroken.content.rows) + sum(len(each.rows) for each in expected.values())


def part(whole: Content, corpus: Path) -> Content:
    """Return what a content holds of one corpus, in order."""
    names = {path.name for path in corpus.iterdir()}
    chosen = [i for i, row in enumerate(whole.rows) if row[1] in names]
    return replace(
        whole,
        rows=[whole.rows[i] for i in chosen],
        codes=whole.codes[chosen],
        skipped=[row for row in whole.skipped if row[0] in names],
    )


def test_windows_stay_where_they_are_when_another_writer_is_ahead(unbroken: Unbroken):
    """Batches are formed inside fixed windows of the input, so that rounding repeats whoever encodes a window."""
    sources = find_sources([unbroken.corpus]).sources
    manifests = [read_manifest(unbroken.index, version) for version in versions(unbroken.index)]

    def windows(learnt: Manifest) -> list[tuple[bool, list[tuple[str, int]]]]:
        """Return each window's rows, and whether it was of use, for a builder that learns of a version after its first."""
        coverage, found = Coverage(unbroken.index, manifests[0]), []
        for window in read_windows(
            sources, manifests[0].settings, coverage, IngestOptions(on_error="skip"), SourceReport()
        ):
            useful = not all(coverage.covers_span(span) for span in window.spans)
            found.append((useful, [(name, document.row) for name, document in window.documents]))
            coverage.update(learnt)
        return found

    fixed = [rows for _, rows in windows(manifests[0])]
    shifted = [
        (m.version, rows) for m in manifests[1:-1] for useful, rows in windows(m) if useful and rows not in fixed
    ]
    assert shifted == []

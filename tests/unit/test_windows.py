"""Windows and coverage: what N processes read between them is what one would, each row once, and nothing twice."""

import json
import os
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from nagindex.corpus.sources import Source, find_sources
from nagindex.errors import BadInputError, SettingsMismatchError, SourceChangedError
from nagindex.ingest import sharding, windows
from nagindex.ingest.coverage import Coverage, JointCoverage
from nagindex.ingest.options import IngestOptions, Shard
from nagindex.ingest.sharding import group_sources, shard_bytes
from nagindex.ingest.windows import SourceReport, read_windows
from nagindex.storage.segment import SourceSpan
from nagindex.storage.settings import Settings

EXAMPLES = settings(
    max_examples=300, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
RECORD, BLANK, NULL = '{"text": "a river"}\n', " \n", '{"text": null}\n'

# A source is None, a .txt of one row, or the lines of a .jsonl; a corpus of either many tiny texts or mixed files.
mixed = st.lists(st.none() | st.lists(st.sampled_from([RECORD, RECORD, BLANK, NULL]), max_size=14), max_size=7)
corpora = mixed | st.lists(st.none(), min_size=8, max_size=40)
sizes = st.integers(1, 7)
deals = st.fixed_dictionaries(
    {
        "GROUP_BYTES": st.sampled_from([1, 70, 200, 1 << 20]),
        "GROUPS_PER_SHARD": st.sampled_from([1, 8]),
        "WINDOWS_PER_CHUNK": st.sampled_from([1, 2, 8]),
    }
)


def no_coverage():
    return Coverage(Path("/nowhere"), SimpleNamespace(segments=()))


@contextmanager
def corpus_of(files, deal):
    """The sources that `files` describe, while windows are dealt out as `deal` says."""
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        for name, value in deal.items():
            patch.setattr(sharding, name, value)
        for number, lines in enumerate(files):
            path = Path(folder, f"{number:02}.{'txt' if lines is None else 'jsonl'}")
            path.write_text("some text" if lines is None else "".join(lines))
        yield find_sources(folder).sources if files else []


def rows_of(lines):
    """Return the rows of a source that are no blank lines, and its length: blank lines at its end are no part of it."""
    rows = [0] if lines is None else [row for row, line in enumerate(lines) if line != BLANK]
    return rows, max(rows, default=-1) + 1


def expected_windows(sources, files, size):
    """Return {(group, window): (documents as (name, row), spans as (name, start, stop, complete))}, naively."""
    found, group, filled, base = {}, -1, None, 0
    for source, lines in zip(sources, files, strict=True):
        if filled is None or filled >= sharding.GROUP_BYTES:
            group, filled, base = group + 1, 0, 0
        filled += source.path.stat().st_size
        rows, length = rows_of(lines)
        of_window = {}
        for row in range(length):
            of_window.setdefault((base + row) // size, []).append(row)
        for number, held in (of_window or {base // size: []}).items():
            documents, spans = found.setdefault((group, number), ([], []))
            documents += [(source.name, row) for row in held if row in rows]
            stop = held[-1] + 1 if held else 0
            spans.append((source.name, held[0] if held else 0, stop, stop == length))
        base += length
    return found


def read(sources, size, shard=Shard(), coverage=None):
    """Return the windows of a shard, as `expected_windows` has them, in the order they come."""
    windows_read = read_windows(
        sources, Settings(window=size), coverage or no_coverage(), IngestOptions(shard), SourceReport()
    )
    return [
        (
            [(name, document.row) for name, document in window.documents],
            [(s.name, s.start, s.stop, s.complete) for s in window.spans],
        )
        for window in windows_read
    ]


@given(corpora, sizes, st.integers(1, 5), deals)
@example([[RECORD] * 4, [], [RECORD] * 4], 4, 2, {"GROUP_BYTES": 1 << 20, "WINDOWS_PER_CHUNK": 1})
@example([None] * 40, 3, 2, {"GROUP_BYTES": 1, "GROUPS_PER_SHARD": 8})
@EXAMPLES
def test_the_windows_of_n_shards_are_those_of_one(files, size, count, deal):
    """Windows lie on a grid that the sources alone decide; every row is in one window, and that in one shard."""
    with corpus_of(files, deal) as sources:
        expected = list(expected_windows(sources, files, size).values())
        assert read(sources, size) == expected
        parts = [read(sources, size, Shard(index, count)) for index in range(count)]
        assert sorted(window for part in parts for window in part) == sorted(expected)
        for part in parts:
            assert part == [window for window in expected if window in part], "a shard's windows come in order"
        spans = [span for part in parts for _, spans in part for span in spans]
    for source, lines in zip(sources, files, strict=True):
        mine = [span for span in spans if span[0] == source.name]
        accounted = sorted(row for _, start, stop, _ in mine for row in range(start, stop))
        assert accounted == list(range(rows_of(lines)[1])), "each row is accounted for exactly once"
        assert [stop for _, _, stop, complete in mine if complete] == [rows_of(lines)[1]]


@given(corpora, sizes, st.integers(1, 4), deals, st.data())
@EXAMPLES
def test_what_is_covered_is_not_read_again_and_all_else_is(files, size, count, deal, data):
    """From any state that versions can hold, gaps included, the shards together read what is missing and end complete."""
    with corpus_of(files, deal) as sources:
        known, covered = no_coverage(), {}
        for source, lines in zip(sources, files, strict=True):
            length = rows_of(lines)[1]
            edges = data.draw(
                st.lists(st.tuples(st.integers(0, length), st.integers(0, length)), min_size=1, max_size=4)
            )
            spans = [tuple(sorted(pair)) for pair in edges]
            covered[source.name] = {row for start, stop in spans for row in range(start, stop)}
            for start, stop in spans:
                complete = stop == length and data.draw(st.booleans())
                known.add(SourceSpan(source.name, source.root, source.size, _sha(source), start, stop, complete))
        whole = {source.name for source in sources if known.length(source, _sha(source)) is not None}
        expected = []
        for documents, spans in expected_windows(sources, files, size).values():
            spans = [span for span in spans if span[0] not in whole]
            if not all(map(known.covers_span, _spans(sources, spans))):
                expected.append(([(name, row) for name, row in documents if row not in covered[name]], spans))
        parts = [read(sources, size, Shard(index, count), known) for index in range(count)]
        assert sorted(window for part in parts for window in part) == sorted(expected), (
            "the grid is that of a first run"
        )
        for span in _spans(sources, [span for _, spans in expected for span in spans]):
            known.add(span)
        for source, lines in zip(sources, files, strict=True):
            assert known.length(source, _sha(source)) == rows_of(lines)[1]
        assert [read(sources, size, Shard(index, count), known) for index in range(count)] == [[]] * count


def _spans(sources, spans):
    hashes = {source.name: _sha(source) for source in sources}
    return [SourceSpan(name, "/corpus", 1, hashes[name], *rows) for name, *rows in spans]


def _sha(source):
    return windows.digest_of(source)


@pytest.mark.parametrize(("group_bytes", "dealt"), [(1, "groups"), (1 << 20, "windows")])
def test_shards_share_the_work_evenly(group_bytes, dealt):
    """Each of N gets its share, whether whole groups of sources are dealt out or the windows of one group."""
    files = [[RECORD] * 5] * 64
    with corpus_of(files, {"GROUP_BYTES": group_bytes, "WINDOWS_PER_CHUNK": 2}) as sources:
        assert len(group_sources(sources)) == (64 if dealt == "groups" else 1)
        documents = [sum(len(d) for d, _ in read(sources, 5, Shard(index, 4))) for index in range(4)]
        assert documents == [80] * 4
        total = sum(source.size for source in sources)
        assert shard_bytes(sources, Shard(1, 4)) == (total // 4 if dealt == "groups" else total)
        assert shard_bytes(sources, Shard()) == total


def test_a_shard_that_does_not_exist_is_refused():
    """Shards of N are 0 to N - 1, and parts of shards are shards."""
    for index, count in ((3, 3), (-1, 2), (0, 0)):
        with pytest.raises(BadInputError, match=rf"shard {index}/{count}: "):
            Shard(index, count)
    parts = [Shard(index, 3).part(part, 2) for index in range(3) for part in range(2)]
    assert parts == [Shard(number, 6) for number in range(6)]


def test_options_are_checked_where_they_are_made():
    """A way to handle duplicates that does not exist is refused before anything is read, naming those that do."""
    with pytest.raises(BadInputError, match="on_duplicate 'keep': one of skip, error, replace"):
        IngestOptions(on_duplicate="keep")
    with pytest.raises(BadInputError, match="on_error 'ignore': one of stop, skip"):
        IngestOptions(on_error="ignore")


def test_options_load_nothing_heavy():
    """A command line can state them before numpy, duckdb and torch are imported."""
    heavy = ("numpy", "duckdb", "torch", "transformers", "numba")
    program = f"import nagindex.ingest.options, sys; print(*[name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == ""


def test_a_source_that_changes_while_it_is_read_is_refused(tmp_path):
    """No window of a source that another process wrote to meanwhile claims that the source is complete."""
    path = tmp_path / "a.jsonl"
    path.write_text(RECORD * 10)
    reading = read_windows(
        find_sources(path).sources, Settings(window=4), no_coverage(), IngestOptions(), SourceReport()
    )
    first = next(reading)
    assert not any(span.complete for span in first.spans)
    with open(path, "a") as file:
        file.write(RECORD)
    with pytest.raises(SourceChangedError, match="changed while it was read"):
        list(reading)


def test_a_source_that_was_begun_with_another_text_column_is_refused(tmp_path):
    """Its documents would be read again from one column; a source that is in completely is passed over in any case."""
    (tmp_path / "a.jsonl").write_text('{"body": "x", "content": "y"}\n' * 6)
    sources, coverage = find_sources(tmp_path).sources, no_coverage()
    [first, *_] = read_windows(sources, Settings("body", window=4), coverage, IngestOptions(), SourceReport())
    coverage.add(first.spans[0])
    with pytest.raises(
        SettingsMismatchError, match=r"a\.jsonl: .*'body' in the index and from 'content' here; .*`text_column`"
    ):
        list(read_windows(sources, Settings("content", window=4), coverage, IngestOptions(), SourceReport()))
    [rest] = read_windows(sources, Settings("body", window=4), coverage, IngestOptions(), SourceReport())
    assert [document.text for _, document in rest.documents] == ["x", "x"]
    coverage.add(rest.spans[0])
    assert not list(read_windows(sources, Settings("content", window=4), coverage, IngestOptions(), SourceReport()))


def test_what_the_sources_turn_out_to_be_is_told(tmp_path):
    """Sources that are read, known, empty or of other content are counted, and bytes add up to the files' sizes."""
    for name, text in (("a", RECORD * 3), ("b", ""), ("c", RECORD), ("d", json.dumps({"text": "x"}))):
        (tmp_path / f"{name}.jsonl").write_text(text)
    sources = find_sources(tmp_path).sources
    coverage, report = no_coverage(), SourceReport()
    coverage.add(SourceSpan("c.jsonl", str(tmp_path), 1, _sha(sources[2]), 0, 1, True))
    coverage.add(SourceSpan("d.jsonl", str(tmp_path), 1, "other content", 0, 9, True))
    list(read_windows(sources, Settings(window=2), coverage, IngestOptions(), report))
    assert (report.read, report.already_in, report.changed, report.empty) == (3, 1, ["d.jsonl"], ["b.jsonl"])
    assert report.bytes_done == sum(source.size for source in sources)
    assert report.bytes_known == sources[2].size


# Coverage -----------------------------------------------------------------------------------------------------------

KEYS = [("a", "1"), ("a", "2"), ("b", "1")]
LENGTHS = dict(zip(KEYS, (0, 7, 20), strict=True))
spans_of = {key: st.tuples(st.integers(0, n), st.integers(0, n), st.booleans()) for key, n in LENGTHS.items()}
known_spans = st.lists(st.one_of(st.tuples(st.just(key), span) for key, span in spans_of.items()), max_size=12)


def span_of(key, edges):
    start, stop, complete = (*sorted(edges[:2]), edges[2])
    return SourceSpan(key[0], "/corpus", 1, key[1], start, stop, complete and stop == LENGTHS[key])


class RowSets:
    """Coverage as sets of rows."""

    def __init__(self, spans):
        self.rows = {key: set() for key in KEYS}
        self.ended = {(s.name, s.sha256) for s in spans if s.complete}
        self.read = {(s.name, s.sha256) for s in spans if s.start < s.stop}
        self.unread = {(s.name, s.sha256) for s in spans if s.unread}
        for span in spans:
            self.rows[span.name, span.sha256] |= set(range(span.start, span.stop))

    def has(self, key, rows):
        return set(rows) <= self.rows[key]


def assert_agrees(coverage, oracles, probes):
    for key, length in LENGTHS.items():
        gaps = [next(row for row in range(length + 1) if row not in oracle.rows[key]) for oracle in oracles]
        assert coverage.first_gap(key) == min(gaps)
        whole = all(key in oracle.ended and oracle.has(key, range(length)) for oracle in oracles)
        source = Source(key[0], Path("/corpus", key[0]), "jsonl", "none", 1)
        assert coverage.length(source, key[1]) == (length if whole else None)
        other = [key not in oracle.read and key[0] in {name for name, _ in oracle.read} for oracle in oracles]
        assert coverage.has_other_content(*key) == any(other)
        for row in range(length + 2):
            assert coverage.covers_row(key, row) == all(oracle.has(key, [row]) for oracle in oracles)
    for key, edges in probes:
        span = span_of(key, edges)
        rows = range(span.start, span.stop)
        held = [oracle.has(key, rows) and (not span.complete or key in oracle.ended) for oracle in oracles]
        if span.unread:
            held = [key in oracle.unread for oracle in oracles]
        assert coverage.covers_span(span) == all(held)


@given(st.lists(known_spans, min_size=1, max_size=3), known_spans)
@settings(max_examples=300, deadline=None, derandomize=True)
def test_coverage_is_what_sets_of_rows_say(parts, probes):
    """Ranges that touch, overlap or leave gaps, of sources that share a name, in one index or in several at once."""
    spans = [[span_of(key, edges) for key, edges in part] for part in parts]
    coverages, oracles = [no_coverage() for _ in parts], [RowSets(part) for part in spans]
    for coverage, oracle, part in zip(coverages, oracles, spans, strict=True):
        for span in part:
            coverage.add(span)
        assert_agrees(coverage, [oracle], probes)
    assert_agrees(JointCoverage(coverages), oracles, probes)


def test_a_source_is_known_by_its_place_under_another_root():
    """The same file, named from a folder further down, is held whole; the same name elsewhere is not."""
    coverage = no_coverage()
    coverage.add(SourceSpan("b/c.jsonl", "/corpus", 1, "1", 0, 5, True))
    moved = Source("c.jsonl", Path("/corpus/b/c.jsonl"), "jsonl", "none", 1)
    assert coverage.length(moved, "1") == 5
    assert coverage.length(moved, "2") is None
    assert coverage.length(Source("c.jsonl", Path("/else/c.jsonl"), "jsonl", "none", 1), "1") is None


def test_groups_are_runs_of_sources_of_some_size():
    """A group ends with the source that fills it, whatever the sources' sizes."""
    made = [
        Source(str(n), Path(os.sep, str(n)), "txt", "none", size << 20)
        for n, size in enumerate((10, 60, 64, 1, 0, 200))
    ]
    groups = [[source.name for source in group] for group in group_sources(made)]
    assert groups == [["0", "1"], ["2"], ["3", "4", "5"]]
    assert group_sources([]) == []

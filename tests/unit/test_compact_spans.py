"""The rows of sources that a merged segment accounts for: those of its parts, and none between them."""

from types import SimpleNamespace

import pytest

from nagindex.maintenance.compact import _merged_spans
from nagindex.storage.segment import SourceSpan


def span(start, stop, *, complete=False, name="a.jsonl", sha256="1" * 64):
    return SourceSpan(name, "/corpus", 9, sha256, start, stop, complete)


@pytest.mark.parametrize(
    ("parts", "merged"),
    [
        ([[span(0, 256)], [span(256, 300, complete=True)]], [span(0, 300, complete=True)]),
        ([[span(256, 300, complete=True)], [span(0, 256)]], [span(0, 300, complete=True)]),
        ([[span(0, 256)], [span(512, 768)]], [span(0, 256), span(512, 768)]),
        ([[span(0, 256), span(512, 600, complete=True)], [span(256, 512)]], [span(0, 600, complete=True)]),
        ([[span(0, 0)], [span(512, 600, complete=True)]], [span(512, 600, complete=True), span(0, 0)]),
        ([[span(0, 0)], [span(0, 0)]], [span(0, 0)]),
        ([[span(0, 5)], [span(5, 9, sha256="2" * 64)]], [span(0, 5), span(5, 9, sha256="2" * 64)]),
        ([[span(0, 0, complete=True)], [span(0, 4, name="b")]], [span(0, 0, complete=True), span(0, 4, name="b")]),
    ],
)
def test_only_spans_that_touch_are_joined(parts, merged):
    """A build in shards that was stopped leaves gaps, which the same command must still find after compact."""
    assert _merged_spans([SimpleNamespace(spans=lambda own=own: own) for own in parts]) == merged

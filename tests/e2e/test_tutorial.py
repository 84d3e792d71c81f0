"""The tutorial's commands print what docs/tutorial.md shows; `python docs/scripts/tutorial.py` writes the page again.

Ids, words and counts are compared as they stand, decimals may differ a little, and what depends on the time, the machine or the libraries
is left out: dates, sizes of files, versions, and the exact lengths of bars and curves. In float32, processors differ in the last bits of a
neuron's impact, which rarely decides about a member of a NAG: a few lines of figures may therefore differ in more.
"""

from __future__ import annotations

import re
import runpy
from itertools import zip_longest
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SCORE, PERCENT = 0.002, 1.0
"""By how much scores and percentages may differ."""
OTHERS = 0.05
"""Share of the lines, all of figures, that another processor may change."""
LEFT_OUT = (
    (r"\d{4}-\d\d-\d\dT[\d:+]+", "DATE"),
    (r"[\d.,]+ k?B\b", "SIZE"),
    (r"[\d.,]+ bytes a document", "SIZE"),
    (r"^libraries .*", "libraries"),
    (r"\|[ *]+$", "| curve"),
    (r"#+$", "# bar"),
    (r"-{2,}", "--"),
    (r"\s+", " "),
)
DECIMAL = re.compile(r"(-?\d+\.\d+)(%?)")


def alike(shown: str, real: str) -> bool:
    """Return whether two lines say the same."""
    for pattern, name in LEFT_OUT:
        shown, real = (re.sub(pattern, name, line) for line in (shown, real))
    numbers = zip(DECIMAL.findall(shown), DECIMAL.findall(real), strict=False)
    near = all(abs(float(a) - float(b)) <= (PERCENT if unit else SCORE) + 1e-9 for (a, unit), (b, _) in numbers)
    return near and DECIMAL.sub(r"0.0\2", shown).strip() == DECIMAL.sub(r"0.0\2", real).strip()


def differences(shown: str, real: str) -> list[tuple[str | None, str | None]]:
    """Return the lines of two pages that do not say the same."""
    pairs = zip_longest(shown.splitlines(), real.splitlines())
    return [(a, b) for a, b in pairs if a is None or b is None or not alike(a, b)]


def test_the_tutorial_shows_what_its_commands_print(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for package in ("sklearn", "matplotlib"):
        pytest.importorskip(package, reason="the extra [map] is not installed")
    for name in ("COLUMNS", "TERM", "PAGER"):  # which the script sets
        monkeypatch.setenv(name, "")
    monkeypatch.delenv("NAGINDEX", raising=False)
    script = runpy.run_path(str(ROOT / "docs" / "scripts" / "tutorial.py"))
    page = (ROOT / "docs" / "tutorial.md").read_text()
    assert sum(map(len, script["commands_of"](page))) >= 12
    folder = tmp_path / "try"
    folder.mkdir()
    unlike = differences(page, script["run_page"](page, folder))
    assert [pair for pair in unlike if None in pair or not all(re.search(r"\d", line or "") for line in pair)] == []
    assert len(unlike) <= OTHERS * len(page.splitlines()), unlike
    for name in ("biology.parquet", "map.svg", "both.html"):
        assert (folder / name).stat().st_size > 1000


@pytest.mark.parametrize(
    ("shown", "real", "same"),
    [
        ("1  0.1597  bio-003", "1  0.1598  bio-003", True),
        ("1  0.1597  bio-003", "1  0.1597  bio-004", False),
        ("1  0.1597  bio-003", "1  0.1997  bio-003", False),
        ("biology  12.5%", "biology  12.9%", True),
        ("biology  12.5%", "biology  22.5%", False),
        ("size  16.8 kB, 80.6 bytes a document", "size  17.0 kB, 81.0 bytes a document", True),
        ("Selected 30 documents (3,885 tokens)", "Selected 31 documents (3,885 tokens)", False),
        ("    2   0.0153  ##########", "    2   0.0154  #########", True),
        ("$ nagindex info", "$ nagindex inf", False),
        ("21 documents in both", "", False),
    ],
)
def test_only_what_depends_on_the_machine_may_differ(shown: str, real: str, same: bool) -> None:
    assert (differences(shown, real) == []) is same

"""The public face is typed: an editor completes options, and mypy finds one that is misspelled."""

import dataclasses
import subprocess
import sys
from pathlib import Path
from typing import get_type_hints

import pytest

import nagindex
from nagindex.ingest.options import BuildKeywords, BuildOptions
from nagindex.select.options import QueryKeywords, QueryOptions

ROOT = Path(__file__).parents[2]
RIGHT = """
from pathlib import Path

import nagindex

index, report = nagindex.build("corpus", "i.nagindex", model="minilm", max_length=64, on_duplicate="replace")
index.append("more", shard=nagindex.Shard(0, 2))
index.recheck(documents=8, progress=lambda progress: print(progress.stage, progress.done / progress.total))
with nagindex.reporting(print):
    problems: list[nagindex.NagIndexError] = index.verify()
selection = index.query(
    {"a": "a.jsonl"}, n=1_000, mix="union", quality=nagindex.Quality("edu", weight=0.5), cap={"domain": 0.1},
    exclude=["a.txt", Path("b.txt")], layers=[0, 2], decontamination=nagindex.Decontamination(["e.jsonl"]),
)
options = nagindex.QueryOptions(exclude="a.txt", layers=1, decontamination=nagindex.Decontamination("e.jsonl", ngram=8))
columns = nagindex.Columns(keep_columns=["label"])
scores = nagindex.Quality(scores=Path("s.csv"))
again = index.query("a.jsonl", fraction=0.1, options=nagindex.QueryOptions(layers="last"))
selection.to_parquet("s.parquet")
length: int = len(again) + report.documents
"""
WRONG = """
import nagindex

index, report = nagindex.build("corpus", "i.nagindex", modle="minilm")
index.query("a.jsonl", n=1, qualty=nagindex.Quality("edu"))
index.query("a.jsonl", n=1, mix="both")
index.recheck(documens=3)
nagindex.Quality("edu", wieght=2)
"""


def checked(path):
    """Return what mypy --strict says of a script."""
    command = [sys.executable, "-m", "mypy", "--strict", "--config-file", "", "--follow-imports", "silent", str(path)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False).stdout


def test_mypy_finds_misspelled_options_and_nothing_in_a_right_script(tmp_path):
    pytest.importorskip("mypy")
    (tmp_path / "right.py").write_text(RIGHT)
    (tmp_path / "wrong.py").write_text(WRONG)
    assert "Success: no issues found" in checked(tmp_path / "right.py")
    found = checked(tmp_path / "wrong.py")
    assert [int(line.split(":")[1]) for line in found.splitlines() if ": error:" in line] == [4, 5, 6, 7, 8], found


@pytest.mark.parametrize(("keywords", "options"), [(QueryKeywords, QueryOptions), (BuildKeywords, BuildOptions)])
def test_keywords_are_the_fields_of_the_options(keywords, options):
    """They are written down twice, since a type checker can derive neither from the other."""
    fields = [field.name for field in dataclasses.fields(options)]
    assert list(keywords.__annotations__) == fields
    assert get_type_hints(keywords).keys() == get_type_hints(options).keys()


def test_what_a_user_needs_is_listed_and_there():
    for name in nagindex.__all__:
        assert getattr(nagindex, name) is not None
    assert set(nagindex.__all__) <= set(dir(nagindex))
    assert {"open", "build", "Index", "Selection", "QueryOptions", "BuildOptions", "NagIndexError"} <= set(
        nagindex.__all__
    )
    with pytest.raises(AttributeError, match="no attribute 'Idex'"):
        _ = nagindex.Idex


def test_options_are_given_once(make_index):
    """As an object or as keywords, not both."""
    index = make_index([("a", "river"), ("b", "garden")])
    codes = index.snapshot.codes_at(index.snapshot.starts[:1])
    options = QueryOptions(score="max")
    assert index.query(codes, n=1, options=options).ids.tolist() == index.query(codes, n=1, score="max").ids.tolist()
    with pytest.raises(nagindex.BadInputError, match="as an object and as score"):
        index.query(codes, n=1, options=options, score="max")
    with pytest.raises(nagindex.BadInputError, match="no option 'modle' of `build`; there are"):
        nagindex.build("corpus", "i", modle="minilm")

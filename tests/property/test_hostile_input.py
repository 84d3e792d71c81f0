"""Files from a stranger: corpora of any bytes end in every row accounted for, or in one line with file and remedy."""

import gzip
import json
import sys
import tempfile
from pathlib import Path

import duckdb
import pytest
from hostile import damaged
from hypothesis import given, settings
from hypothesis import strategies as st

from nagindex.corpus.columns import Columns
from nagindex.corpus.reading import read_documents
from nagindex.corpus.sources import find_sources
from nagindex.errors import BadInputError

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

GOOD = {
    "jsonl": b'{"text": "river", "id": "a"}\n{"text": null}\n{"text": "se\xff"}\n{"text": "\\ud800", "id": "b\\u0000\\n"}\n',
    "json": b'[{"text": "river", "id": 7}, {"text": "sea", "x": {"y": [1, 2.5, true]}}]',
    "csv": b'id,text,n\n1,"a ""river""\nwide",2\n2,sea,\n',
    "tsv": b"id\ttext\n1\ta river\n2\t\n",
    "txt": b"a river\nand the sea\n",
}
ENDINGS = {"": bytes, ".gz": gzip.compress, ".zst": zstd.compress}


def read(path, **columns):
    """Return the documents of a file; None where it is refused in one line that names it and a remedy."""
    [source] = find_sources([path]).sources
    try:
        return list(read_documents(source, Columns(**columns)))
    except BadInputError as error:
        told = str(error)
    assert "\n" not in told
    assert str(path) in told
    assert ";" in told
    return None


def accounted_for(documents):
    """Assert, and return, that every row has a text or a reason, in order, and an id that can be written."""
    rows = [document.row for document in documents]
    assert rows == sorted(set(rows))
    for document in documents:
        document.id.encode()
        assert (document.text is None) == (document.problem is not None)
        assert document.text is None or document.text.encode() is not None
    return True


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("kind", GOOD)
@settings(max_examples=60)
@given(data=st.data())
def test_a_damaged_text_source_is_read_row_by_row_or_refused(kind, ending, data):
    """Before and after compression; whatever is read is accounted for, whatever is not is one line."""
    inner = data.draw(damaged(GOOD[kind]))
    content = ENDINGS[ending](inner)
    if ending and data.draw(st.booleans()):
        content = data.draw(damaged(content))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, f"x.{kind}{ending}")
        path.write_bytes(content)
        found = read(path)
        assert found is None or accounted_for(found)


@settings(max_examples=200)
@given(data=st.data())
def test_a_damaged_parquet_is_read_or_refused(parquet_bytes, data):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "x.parquet")
        path.write_bytes(data.draw(damaged(parquet_bytes)))
        found = read(path)
        assert found is None or accounted_for(found)


@pytest.fixture(scope="module")
def parquet_bytes(tmp_path_factory):
    path = tmp_path_factory.mktemp("good") / "x.parquet"
    duckdb.sql(f"COPY (SELECT i AS id, 'river ' || i AS text FROM range(50) t(i)) TO '{path}' (FORMAT parquet)")
    return path.read_bytes()


NAMES = [
    '"; DROP TABLE x; --',
    'a"b',
    "größe",
    "x'y",
    "[x]",
    "x) FROM y; --",
    "*",
    "select",
    " ",
    "a\nb",
    "{",
    "?",
    "$1",
]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("kind", ["parquet", "jsonl", "csv"])
def test_a_columns_name_is_a_name_whatever_it_spells(tmp_path, name, kind):
    """It holds the text, the id, or what is kept."""
    path = tmp_path / f"x.{kind}"
    if kind == "parquet":
        quoted = name.replace('"', '""')
        duckdb.sql(f"COPY (SELECT 'river' AS \"{quoted}\", 'sea' AS text) TO '{path}' (FORMAT parquet)")
    elif kind == "jsonl":
        path.write_text(json.dumps({name: "river", "text": "sea"}) + "\n")
    else:
        path.write_text('"{}",text\nriver,sea\n'.format(name.replace('"', '""')))
    assert [d.text for d in read(path, text_column=name)] == ["river"]
    assert [(d.id, d.text) for d in read(path, id_column=name)] == [("river", "sea")]
    assert [d.kept for d in read(path, keep_columns=(name,))] == [("river",)]


@pytest.mark.parametrize(
    "identifier", ["a\nb", "a\0b", "\r\n", "x" * 10_000_000, "'; --", "\u2028", "\ufeff", "../../x"]
)
def test_an_id_is_kept_byte_for_byte(tmp_path, identifier):
    path = tmp_path / "x.jsonl"
    path.write_text(json.dumps({"id": identifier, "text": "sea"}) + "\n")
    assert [d.id == identifier for d in read(path)] == [True]


@pytest.mark.parametrize("name", ["a\nb", "\0", "x" * 1_000_000])
@pytest.mark.parametrize("columns", [{"text_column": "nope"}, {"id_column": "nope"}, {}])
def test_columns_of_any_name_and_number_are_listed_in_one_short_line(tmp_path, name, columns):
    path = tmp_path / "x.jsonl"
    path.write_text(json.dumps({name: 1, **({f"c{i}": i for i in range(5000)})}) + "\n")
    [source] = find_sources([path]).sources
    with pytest.raises(BadInputError, match="available columns are") as caught:
        list(read_documents(source, Columns(**columns)))
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 5000

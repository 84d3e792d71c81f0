"""Kept columns get the narrowest type that holds them, and come back as they went in."""

import numpy as np
import pytest

from nagindex.corpus.streams import Field
from nagindex.storage.tables import kept_type, read_table, write_table

CASES = [
    ([1, None, -5], "BIGINT", [1, None, -5]),
    ([1, 2.5], "DOUBLE", [1.0, 2.5]),
    ([True, None, False], "BOOLEAN", [True, None, False]),
    ([None, None], "BOOLEAN", [None, None]),
    (["a", None], "VARCHAR", ["a", None]),
    ([2**63 - 1], "BIGINT", [2**63 - 1]),
    ([True, 2], "BIGINT", [1, 2]),
    ([True, 0.5], "DOUBLE", [1.0, 0.5]),
    ([True, "a"], "VARCHAR", ["true", "a"]),
    (["a", 1, 2.5], "VARCHAR", ["a", "1", "2.5"]),
    ([Field("1"), Field("2"), None], "BIGINT", [1, 2, None]),
    ([Field("1"), Field("2.5")], "DOUBLE", [1.0, 2.5]),
    ([Field("007"), Field("1")], "VARCHAR", ["007", "1"]),
    ([Field("2024-01-01")], "VARCHAR", ["2024-01-01"]),
    ([Field(" 1")], "VARCHAR", [" 1"]),
    ([Field("true"), Field("False"), None], "BOOLEAN", [True, False, None]),
    ([Field("true"), Field("1")], "VARCHAR", ["true", "1"]),
    ([Field("0.50"), 2], "DOUBLE", [0.5, 2.0]),
    ([Field("007"), 2], "VARCHAR", ["007", "2"]),
    ([Field('"x"')], "VARCHAR", ['"x"']),
    (["1", "2"], "VARCHAR", ["1", "2"]),
]


@pytest.mark.parametrize(("values", "kind", "expected"), CASES, ids=lambda case: repr(case)[:30])
def test_kept_columns_get_the_narrowest_type(tmp_path, values, kind, expected):
    """Whole numbers, numbers, booleans and texts keep their type through Parquet; CSV fields only where all are numbers."""
    found, converted = kept_type(values)
    assert (found, converted) == (kind, expected)
    write_table(tmp_path / "t.parquet", {"x": (found, converted)})
    assert list(read_table(tmp_path / "t.parquet", ["x"])["x"]) == expected


@pytest.mark.parametrize("values", [[10**400], [Field("1" * 400)], [10**400, 0.5]])
def test_numbers_too_large_for_a_double_are_kept_as_text(values):
    """No number makes a build fail."""
    kind, converted = kept_type(values)
    assert kind == "VARCHAR"
    assert converted[0] == str(values[0])


def test_tables_keep_their_order_and_every_text(tmp_path):
    """Rows come back in order, whatever the texts hold."""
    texts = ["", "a'b", 'a"b', "a\x00b", "文\n", "\U0001f600"] * 1000
    write_table(tmp_path / "t.parquet", {"x": ("VARCHAR", texts), 'odd "name': ("BIGINT", np.arange(len(texts)))})
    table = read_table(tmp_path / "t.parquet", ["x", 'odd "name'])
    assert list(table["x"]) == texts
    assert list(table['odd "name']) == list(range(len(texts)))


def test_a_large_number_late_in_a_column_keeps_its_value(tmp_path):
    """DuckDB guesses the type of Python objects from a sample; the columns' types are stated, so nothing is guessed."""
    values = [3] * 3000
    values[1501] = 5_000_000_000
    columns = {"q": ("BIGINT", values), "x": ("DOUBLE", [None, *values[1:]]), "b": ("BOOLEAN", [None, *[True] * 2999])}
    write_table(tmp_path / "t.parquet", columns)
    found = read_table(tmp_path / "t.parquet", ["q", "x", "b"])
    assert list(found["q"]) == values
    assert found["x"][:2] + found["x"][1501:1502] == (None, 3.0, 5e9)
    assert found["b"][:2] == (None, True)

"""Columns as corpora have them: nested, renamed, named like those of nagindex, there in some files and not in others."""

import json

import pytest
from corpora import json_lines, read, source, write_parquet

from nagindex.corpus.columns import Columns, by_path, pick
from nagindex.corpus.reading import fields_of
from nagindex.corpus.sources import find_sources
from nagindex.corpus.survey import Survey
from nagindex.errors import BadInputError, SettingsMismatchError
from nagindex.storage.settings import Settings


def kept(*names, **mapping):
    return dict(Columns(keep_columns=mapping or names).kept)


def test_a_kept_column_is_named_as_written_or_anew_or_in_a_mapping():
    assert kept("url", "domain=meta.domain", "meta.url") == {
        "url": "url",
        "domain": "meta.domain",
        "meta.url": "meta.url",
    }
    assert kept(domain="meta.domain", odd="a=b") == {"domain": "meta.domain", "odd": "a=b"}
    assert kept("odd=a=b") == {"odd": "a=b"}
    assert dict(Columns(keep_columns="subject").kept) == {"subject": "subject"}


@pytest.mark.parametrize(
    "name", ["score", "Score", "file", "target", "text", "row", "tokens", "rank", "id", "standardized", "filename"]
)
def test_a_name_that_nagindex_uses_itself_becomes_source_name(name):
    assert kept(name) == kept(f"{name}={name}") == {f"source_{name}": name}
    assert kept(f"mine={name}") == {"mine": name}


@pytest.mark.parametrize(
    ("keep", "clash"),
    [
        (("score", "source_score"), "'source_score' in the index: score and source_score"),
        (("x", "X"), "'X' in the index: x and X"),
        (("a=url", "a=date"), "'a' in the index: url and date"),
    ],
)
def test_two_columns_of_one_name_are_refused_naming_both(keep, clash):
    with pytest.raises(BadInputError, match=clash):
        Columns(keep_columns=keep)


@pytest.mark.parametrize("written", ["=url", "new=", "="])
def test_half_a_renaming_is_refused(written):
    with pytest.raises(BadInputError, match="write NAME, or NEW=OLD"):
        Columns(keep_columns=[written])


RECORDS = [
    {"text": "a", "meta": {"url": "u1", "page": {"n": 1, "tags": ["x"]}, "ok": True}, "score": 0.5},
    {"text": "b", "meta": {"url": None, "page": None, "ok": False}, "score": 2.0},
    {"text": "c", "meta": None, "score": None},
]
STRUCT = "STRUCT(url VARCHAR, page STRUCT(n BIGINT, tags VARCHAR[]), ok BOOLEAN)"
PATHS = ("meta.url", "meta.page.n", "meta.ok", "score", "meta.page.tags", "nope", "meta.nope", "meta.url.nope")
VALUES = [
    ("u1", 1, True, 0.5, ["x"], None, None, None),
    (None, None, False, 2.0, None, None, None, None),
    (None, None, None, None, None, None, None, None),
]


def nested(tmp_path, kind):
    path = tmp_path / f"d.{kind}"
    if kind == "parquet":
        rows = ", ".join(f"({', '.join(_sql(own) for own in record.values())})" for record in RECORDS)
        return write_parquet(
            path, f"SELECT text, meta::{STRUCT} AS meta, score FROM (VALUES {rows}) t(text, meta, score)"
        )
    path.write_bytes(json_lines(RECORDS) if kind == "jsonl" else json.dumps(RECORDS).encode())
    return path


def _sql(value):
    if isinstance(value, dict):
        return "{" + ", ".join(f"'{name}': {_sql(own)}" for name, own in value.items()) + "}"
    if isinstance(value, list):
        return f"[{', '.join(map(_sql, value))}]"
    return "NULL" if value is None else f"'{value}'" if isinstance(value, str) else str(value).lower()


@pytest.mark.parametrize("kind", ["jsonl", "json", "parquet"])
def test_nested_fields_are_kept_with_their_types_and_null_where_there_is_none(tmp_path, kind):
    documents = read(nested(tmp_path, kind), keep_columns=PATHS)
    found = [(*d.kept[:4], d.kept[4] and json.loads(d.kept[4]), *d.kept[5:]) for d in documents]
    assert found == VALUES
    assert [list(map(type, row)) for row in found] == [list(map(type, row)) for row in VALUES]


@pytest.mark.parametrize("kind", ["jsonl", "parquet"])
def test_texts_ids_and_token_counts_may_be_nested(tmp_path, kind):
    path = tmp_path / f"d.{kind}"
    if kind == "parquet":
        write_parquet(path, "SELECT {'text': 'river', 'n': 7, 'key': 1.5::FLOAT} AS body")
    else:
        path.write_text('{"body": {"text": "river", "n": 7, "key": 1.50}}\n')
    [document] = read(path, text_column="body.text", id_column="body.key", token_column="body.n")
    assert (document.text, document.tokens) == ("river", 7)
    assert document.id == ("1.5" if kind == "parquet" else "1.50")


@pytest.mark.parametrize("kind", ["jsonl", "parquet", "csv"])
def test_a_column_of_the_very_name_wins_over_a_nested_field(tmp_path, kind):
    path = tmp_path / f"d.{kind}"
    if kind == "parquet":
        write_parquet(path, "SELECT 't' AS text, {'url': 'nested'} AS meta, 'own' AS \"meta.url\"")
    elif kind == "jsonl":
        path.write_bytes(json_lines([{"text": "t", "meta": {"url": "nested"}, "meta.url": "own"}]))
    else:
        path.write_text("text,meta,meta.url\nt,m,own\n")
    [document] = read(path, keep_columns=["meta.url"])
    assert document.kept == ("own",)
    assert fields_of(source(path)).columns == ["text", "meta", "meta.url"]


def test_paths_are_listed_as_they_are_picked():
    """Every listed path leads to the value that it was listed for, whatever dots the names hold."""
    record = {"a": {"b.c": 1, "b": {"c": 2, "d": 3}}, "a.b": {"d": 4}, "x.y": 5, "": {"": 6}, "n": None}
    listed = by_path(record.items(), lambda own: own.items() if isinstance(own, dict) else ())
    assert {path: pick(record, path) for path in listed} == listed
    assert (listed["a.b.c"], listed["a.b"], listed["x.y"]) == (1, {"d": 4}, 5)
    deep = json.loads('{"a": ' * 900 + "1" + "}" * 900)
    assert len(by_path(deep.items(), lambda own: own.items() if isinstance(own, dict) else ())) == 8


def test_a_typo_in_a_name_gets_the_likely_column_named(tmp_path):
    path = nested(tmp_path, "jsonl")
    for wrong, right in {"Text": "text", "meta.urls": "meta.url", "url": "meta.url"}.items():
        with pytest.raises(
            BadInputError, match=f"no column '{wrong}' .`text_column`; did you mean {right}.*text, meta, "
        ):
            read(path, text_column=wrong)


def survey(tmp_path, columns=Columns(), *, is_new=lambda source: True, **files):
    tmp_path.mkdir(exist_ok=True)
    for name, content in files.items():
        file = tmp_path / name.replace("_", ".")
        file.write_text(content)
    return Survey.of(find_sources([tmp_path]).sources, columns, is_new=is_new)


A, B = '{"text": "a", "n": 1, "id": "i"}\n', '{"content": "b", "n": "x", "extra": {"deep": 1.5}, "token_count": 3}\n'


def test_the_survey_lists_the_columns_that_are_not_used(tmp_path):
    """Text, id and token count of any source are none of the others; nested fields come with their column."""
    found = survey(tmp_path, a_jsonl=A, b_jsonl=B, c_csv="text,lang\nc,en\n", d_txt="whole")
    assert found.others == ["n", "extra", "lang"]
    body = survey(
        tmp_path / "nested", Columns("body.text", "meta.id"), a_jsonl='{"body": {"text": "a"}, "meta": {"id": 1}}\n'
    )
    assert body.others == ["meta"]


def test_a_kept_column_that_no_source_has_is_refused_and_one_that_some_have_is_not(tmp_path):
    found = survey(tmp_path, a_jsonl=A, b_jsonl=B)
    found.require(["n", "extra.deep"])
    with pytest.raises(
        BadInputError, match=r"a\.jsonl and 1 more: no column 'extras' .`keep_columns`; did you mean extra\?.*n, "
    ):
        found.require(["n", "extras"])


def test_mixed_types_are_reported_where_text_meets_numbers_only(tmp_path):
    found = survey(tmp_path, a_jsonl=A, b_jsonl=B, c_jsonl='{"text": "c", "extra": null, "token_count": 0.5}\n')
    kept = {"m": "n", "extra.deep": "extra.deep", "token_count": "token_count"}
    [note] = found.mixed(kept, {}, tmp_path)
    assert "column 'm=n' is text in" in note
    assert "b.jsonl and not in" in note
    [note] = found.mixed({"d": "extra.deep"}, {"d": "VARCHAR"}, tmp_path / "index")
    assert f"is text in {tmp_path / 'index'} and not in" in note


def test_sources_that_an_index_holds_are_looked_at_only_for_a_column_that_new_ones_lack(tmp_path):
    """A build that goes on after its first file need not find the column in the rest; nothing is looked at where all is in."""
    files = {"a_jsonl": A, "b_jsonl": B, "c_jsonl": A}
    for columns, new, looked_at in [
        (Columns(), "b.jsonl", ["b.jsonl"]),
        (Columns(keep_columns=["n"]), "b.jsonl", ["b.jsonl"]),
        (Columns(keep_columns=["id"]), "b.jsonl", ["b.jsonl", "a.jsonl"]),
        (Columns(keep_columns=["nope"]), "c.jsonl", ["c.jsonl", "a.jsonl", "b.jsonl"]),
        (Columns(keep_columns=["nope"]), "none", []),
    ]:
        found = survey(tmp_path, columns, is_new=lambda source, new=new: source.name == new, **files)
        assert [path.name for path in found.paths] == looked_at


def test_damaged_sources_are_left_to_be_reported_in_their_turn(tmp_path):
    """What was committed before them stays, as without a survey."""
    found = survey(tmp_path, a_jsonl=A, b_parquet="PAR1 no more", c_jsonl="{broken\n")
    assert [path.name for path in found.paths] == ["a.jsonl"]
    survey(tmp_path, b_jsonl='{"words": "w"}\n', is_new=lambda source: source.name != "b.jsonl")
    with pytest.raises(BadInputError, match=r"b\.jsonl: no text column found"):
        survey(tmp_path)


def test_settings_hold_names_and_paths_and_say_both():
    columns = Columns("body.text", keep_columns=["url", "domain=meta.domain"])
    settings = Settings.of(columns)
    assert (settings.keep_columns, settings.keep_paths) == (("url", "domain"), ("url", "meta.domain"))
    assert dict(settings.columns.kept) == {"url": "url", "domain": "meta.domain"}
    assert Settings.of(Columns(keep_columns=["url"])) == Settings(keep_columns=("url",))
    with pytest.raises(
        SettingsMismatchError, match=r"`keep_columns` is url, domain=meta\.domain in the index and all here"
    ):
        settings.require(Settings.of(Columns("body.text"), keep_all=True), where="i")


def test_sources_with_columns_of_their_own_are_read_with_those_and_the_indexs_others():
    settings = Settings.of(Columns("body", "key", keep_columns=["url", "edu=score", "score"]))
    read = settings.reading(Columns("content", keep_columns=["url=link", "score=quality"]))
    assert dict(read.columns.kept) == {"url": "link", "edu": "score", "source_score": "quality"}
    assert (read.text_column, read.id_column, read.keep_columns) == ("content", "key", settings.keep_columns)
    assert settings.reading(None) == settings
    assert settings.reading(Columns()).columns == settings.columns
    with pytest.raises(BadInputError, match=r"no column 'link' in the index .*it keeps url, edu, source_score"):
        settings.reading(Columns(keep_columns=["link"]))

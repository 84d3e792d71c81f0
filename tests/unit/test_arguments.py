"""Arguments from Python: their classes are checked, numbers are understood as people write them, and all are documented."""

import dataclasses
import inspect
import re
from pathlib import Path

import numpy as np
import pytest

import nagindex
from nagindex.errors import ArgumentTypeError, BadInputError

CLASSES = (nagindex.Index, nagindex.Selection)
OPTIONS = (nagindex.BuildOptions, nagindex.Columns, nagindex.Shard, nagindex.QueryOptions, nagindex.Quality)
NOT_CHECKED = {"self", "cls", "backbone"}  # a backbone's class would have to be imported


def public_functions():
    """Return the functions of the public face by name, methods of its classes too."""
    found = {name: getattr(nagindex, name) for name in nagindex.__all__ if inspect.isfunction(getattr(nagindex, name))}
    for owner in CLASSES:
        members = inspect.getmembers(owner, lambda member: inspect.isfunction(member) or inspect.ismethod(member))
        found |= {f"{owner.__name__}.{name}": member for name, member in members if not name.startswith("_")}
    return found


FUNCTIONS = public_functions()


def parameters(function):
    return {name: own for name, own in inspect.signature(function).parameters.items() if name not in NOT_CHECKED}


@pytest.mark.parametrize(
    ("written", "number"),
    [
        (5, 5), (1e6, 10**6), (np.int64(7), 7), ("1M", 10**6), ("1.5k", 1500), ("1e6", 10**6), ("2.5E3", 2500), ("1_000", 1000),
        ("1,000", 1000), (" 30B ", 30 * 10**9), ("1T", 10**12),
    ],
)  # fmt: skip
def test_counts_are_written_as_people_write_them(written, number):
    found = nagindex.parse_count(written)
    assert found == number
    assert type(found) is int


@pytest.mark.parametrize(
    "written",
    [3.5, True, 0, -1, "0", "1.5", "-3", "1e-3", "20%", "abc", "", "1e999", float("nan"), float("inf"), None, "²"],
)
def test_what_is_no_count_is_refused(written):
    with pytest.raises(BadInputError, match=r"`n`: .* is not a whole number of at least 1"):
        nagindex.parse_count(written, name="n")


@pytest.mark.parametrize(("written", "share"), [(0.2, 0.2), ("20%", 0.2), ("0.2", 0.2), (1, 1.0), ("12.5 %", 0.125)])
def test_shares_are_written_as_people_write_them(written, share):
    assert nagindex.parse_share(written) == share


@pytest.mark.parametrize("written", [0, 1.5, "120%", "20", True, "half", float("nan")])
def test_what_is_no_share_is_refused(written):
    with pytest.raises(BadInputError, match=r"`fraction`: .* is not a share"):
        nagindex.parse_share(written, name="fraction")


@pytest.mark.parametrize("name", FUNCTIONS)
def test_every_public_function_refuses_arguments_of_another_class_and_names_the_parameter(name):
    """An object that is nothing at all; what is valid beside it does not matter, as nothing is looked at before."""
    function = FUNCTIONS[name]
    required = {own.name: own for own in parameters(function).values() if own.default is own.empty}
    owner = [object()] if "." in name and inspect.isfunction(function) else []
    for wrong, own in parameters(function).items():
        if own.kind is own.VAR_KEYWORD or "Any" in str(own.annotation):
            continue
        given = {one: "text" for one in required if required[one].kind is not own.VAR_KEYWORD} | {wrong: object()}
        with pytest.raises(ArgumentTypeError, match=f"^`({'|'.join({wrong, *required})})`: "):
            function(*owner, **given)


@pytest.mark.parametrize("kind", OPTIONS, ids=lambda kind: kind.__name__)
def test_options_refuse_values_of_another_class(kind):
    for field in dataclasses.fields(kind):
        if field.init:
            with pytest.raises(ArgumentTypeError, match=f"`{field.name}`: a object was given"):
                kind(**{field.name: object()})


def test_a_misspelled_keyword_lists_all_that_there_are():
    """The budget's names and the function's own parameters too."""
    with pytest.raises(BadInputError, match="no option 'nn' of `query`; there are ") as refused:
        nagindex.Index.query(object(), "t.jsonl", nn=5)
    named = str(refused.value).split("there are ")[1].split(", ")
    assert {"n", "tokens", "fraction", "where", "quality", "model", "targets"} <= set(named)
    with pytest.raises(BadInputError, match=r"no option 'devise' of `append`; there are .*device"):
        nagindex.Index.append(object(), "corpus", devise="cpu")


def test_numpys_numbers_and_paths_of_any_kind_are_taken():
    options = nagindex.QueryOptions(
        cap={"a": np.float32(0.5)}, layers=[0, np.int64(2)], top_k=np.int64(2), exclude=Path("a")
    )
    assert (options.cap, options.layers, options.top_k, options.exclude) == ({"a": 0.5}, "0,2", 2, ("a",))


def test_elements_are_checked_too():
    for wrong in ({"exclude": ["a.txt", 5]}, {"cap": {"a": "half"}}, {"target_weights": {1: 0.5}}):
        with pytest.raises(ArgumentTypeError, match=f"`{next(iter(wrong))}`: "):
            nagindex.QueryOptions(**wrong)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_every_argument_is_documented(name):
    """The names in the section Args are those of the signature, in order."""
    function = FUNCTIONS[name]
    wanted = [own for own in inspect.signature(function).parameters if own not in ("self", "cls")]
    section = re.search(r"\n( *)Args:\n(.*?)(\n\n|\Z)", f"\n{inspect.getdoc(function)}", re.DOTALL)
    listed = re.findall(r"^ {4}(\w+): ", section[2], re.MULTILINE) if section else []
    assert listed == wanted


def test_dir_lists_the_public_names():
    assert set(nagindex.__all__) <= set(dir(nagindex))
    assert not {"Any", "TYPE_CHECKING", "annotations", "checked"} & set(dir(nagindex))


def test_a_list_of_strings_is_a_target_of_texts(make_index, tmp_path, monkeypatch):
    """One target; a mapping names several. Files are paths, or one string, so names of files in a list are refused."""
    texts = ["the cat sat on a mat", "a dog ran over the hill", "sun and rain and wind"]
    index = make_index([(str(i), text) for i, text in enumerate(texts)])
    assert index.query(texts[:1], n=1).ids.tolist() == ["0"]
    [target] = index.encode(tuple(texts[1:]))
    assert (target.ids, target.texts, len(target.codes)) == (["0", "1"], texts[1:], 2)
    named = index.encode({"cats": texts[:1], "weather": texts[2:]})
    assert [one.name for one in named] == ["cats", "weather"]
    monkeypatch.chdir(tmp_path)
    Path("a.jsonl").write_text('{"text": "the cat"}\n')
    for files in (["a.jsonl"], ["a.jsonl", "not-there.jsonl"], {"cats": ["a.jsonl"]}):
        with pytest.raises(BadInputError, match=r"such as 'a.jsonl'; give files as paths: \[Path\('a.jsonl'\)"):
            index.encode(files)
    assert index.encode([Path("a.jsonl")])[0].texts == index.encode("a.jsonl")[0].texts == ["the cat"]


def test_budgets_are_written_as_on_the_command_line(make_index):
    index = make_index([(str(i), f"the cat sat on mat {i}") for i in range(5)])
    assert len(index.query(["the cat"], n="0.003k")) == len(index.query(["the cat"], n=3.0)) == 3
    assert len(index.query(["the cat"], fraction="100%")) == 5
    for wrong in ({"n": 3.5}, {"n": True}, {"tokens": "few"}, {"fraction": "200%"}):
        with pytest.raises(BadInputError, match=f"`{next(iter(wrong))}`: "):
            index.query(["the cat"], **wrong)


@pytest.mark.parametrize("written", ["1,5k", "1,50", "1,0000", ",5", "1,,000", "1,000,00"])
def test_a_decimal_comma_is_no_thousand(written):
    with pytest.raises(BadInputError, match="is not a whole number"):
        nagindex.parse_count(written)


@pytest.mark.parametrize(
    ("written", "number"), [("1,000", 1000), ("12,345,678", 12345678), ("1_000", 1000), ("1,000k", 10**6)]
)
def test_thousands_may_be_marked(written, number):
    assert nagindex.parse_count(written) == number

"""Messages of the library become messages of the command line: every parameter that one names is translated to a flag."""

import ast
import re
from pathlib import Path

import click
import pytest
from nagindex.cli import main
from nagindex.cli.messages import QUOTED, with_flags, with_flags_in

import nagindex

PACKAGE = Path(nagindex.__file__).parent
NOT_FLAGS = {"lm_eval ls tasks", "ahead"}
"""Another program's command, and a parameter of worker processes that no command has."""


def in_command(*arguments):
    """Return the context of a command that is running, as after parsing such arguments."""
    context = click.Context(main, info_name="nagindex")
    command = main.get_command(context, arguments[0])
    return command.make_context(arguments[0], list(arguments[1:]), parent=context)


def messages():
    """Yield (place, text) of the texts that the library's raise statements and notes are made of."""
    for path in PACKAGE.rglob("*.py"):
        tree = ast.parse(path.read_text())
        docstrings = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}  # of constants too
        parts = {id(value) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for value in node.values}
        for node in ast.walk(tree):
            if id(node) in docstrings | parts:
                continue
            if isinstance(node, ast.JoinedStr):
                text = "".join(v.value if isinstance(v, ast.Constant) else "'x'" for v in node.values)
                yield f"{path.name}:{node.lineno}", text
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                yield f"{path.name}:{node.lineno}", node.value


def test_every_parameter_in_a_message_is_translated():
    named = [(place, code) for place, text in messages() for code in QUOTED.findall(text) if " = " not in code]
    assert len(named) > 30
    with in_command("query", "t.jsonl"):
        left = [(place, code) for place, code in named if "`" in with_flags(f"`{code}`")]
    assert [
        entry for entry in left if entry[1] not in NOT_FLAGS and re.fullmatch(r"[\w.]+(\(.*\)|=.+)?", entry[1])
    ] == []


def test_no_message_of_the_library_names_a_flag():
    """They are for Python first."""
    others = [(place, re.sub(r"pip install --[a-z-]+", "", text)) for place, text in messages()]
    found = [(place, text) for place, text in others if re.search(r"(?<![\w-])--[a-z]{2,}", text)]
    assert found == []


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ("name one with `text_column`", "name one with --text-column"),
        ('use `mix="max"`', "use --mix max"),
        ("give `n`", "give -n"),
        ("pass `accept_libraries=True`", "pass --accept-libraries"),
        ("build without `count_tokens=False`", "build without --no-count-tokens"),
        ("run `optimize(refit=True)`", "run nagindex optimize --refit"),
        ("see `recheck()`", "see nagindex append --check"),
        ("`build(CORPUS, index='a, b')`", "nagindex build CORPUS -i a, b"),
        ("a file `with odd name.txt`", "a file `with odd name.txt`"),
        ("`vandalize(1)` and `f(`", "`vandalize(1)` and `f(`"),
    ],
)
def test_parameters_values_and_methods(message, expected):
    with in_command("query", "t.jsonl"):
        assert with_flags(message) == expected


def test_a_command_in_a_message_names_the_index_that_the_running_one_named():
    with in_command("info", "-i", "other.nagindex"):
        assert with_flags("see `recheck()`") == "see nagindex append --check -i other.nagindex"
        assert with_flags("make one with `calibrate()`") == "make one with nagindex calibrate"
        assert with_flags_in({"a": ["run `optimize()`"], "b": {"c": 1}}) == {
            "a": ["run nagindex optimize -i other.nagindex"],
            "b": {"c": 1},
        }


def test_outside_a_command_messages_stay_as_they_are():
    assert with_flags("name one with `text_column`") == "name one with `text_column`"

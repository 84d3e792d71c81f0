"""Translation of the library's messages for the command line: parameters that they name are printed as flags.

A message of the library names a parameter, a value of it, or a method in backticks, as in Python; here `text_column` becomes
--text-column, `mix="max"` becomes --mix max, and `optimize(refit=True)` becomes nagindex optimize --refit. Other text in backticks,
such as a file's name, stays as it is.
"""

from __future__ import annotations

import ast
import logging
import re
from contextlib import suppress
from typing import Any

import click

from nagindex.errors import NagIndexError

QUOTED = re.compile(r"`([^`\n]+)`")
ASSIGNMENT = re.compile(r"(\w+)=(.+)")
SPECIAL = {
    "n": "-n",
    "index": "-i",
    "count_tokens=False": "--no-count-tokens",
    "column": "--quality-column",
    "keep_columns": "--keep-column",
}
METHODS = {"recheck": "append --check"}
LOGGER = logging.getLogger("nagindex.cli")


def with_flags(message: str) -> str:
    """Return a message of the library with flags and commands in place of parameters and methods."""
    return QUOTED.sub(lambda match: _translated(match[1]) or match[0], message)


def with_flags_in(values: dict[str, Any]) -> dict[str, Any]:
    """Return JSON values with every text that is a message of the library translated."""

    def translate(value: Any) -> Any:
        if isinstance(value, dict):
            return {name: translate(own) for name, own in value.items()}
        if isinstance(value, list):
            return list(map(translate, value))
        return with_flags(value) if isinstance(value, str) else value

    return {name: translate(value) for name, value in values.items()}


def one_line(error: BaseException) -> str:
    """Return an error as one line, in the words of the command line where it is one of the library's."""
    text = " ".join(line.strip() for line in str(error).splitlines() if line.strip()) or type(error).__name__
    return with_flags(text) if isinstance(error, NagIndexError) else text


def warn(message: str) -> None:
    """Print a warning on stderr, one of the library in the words of the command line."""
    text = with_flags(message)
    LOGGER.warning(text)
    with suppress(OSError):
        click.echo(f"Warning: {text}", err=True)


def note(message: str) -> None:
    """Print what a command did, or is about to do, on stderr, unless it is to be quiet."""
    LOGGER.info(message)
    context = click.get_current_context(silent=True)
    if context is None or not context.params.get("quiet"):
        with suppress(OSError):
            click.echo(message, err=True)


def _translated(code: str) -> str | None:
    """Return the flag or command that Python code stands for; None where it stands for none."""
    if code in SPECIAL:
        return SPECIAL[code]
    if code.endswith(")"):
        return _command(code)
    if (assignment := ASSIGNMENT.fullmatch(code)) is not None:
        return _flag_with_value(*assignment.groups())
    return _flag(code)


def _command(call: str) -> str | None:
    """Return the command that a call stands for, with the index that the running command names."""
    try:
        parsed = ast.parse(call, mode="eval").body
    except SyntaxError:
        return None
    if not isinstance(parsed, ast.Call) or not isinstance(parsed.func, ast.Name):
        return None
    command = METHODS.get(parsed.func.id, parsed.func.id)
    if command.split()[0] not in _commands():
        return None
    words = [ast.unparse(own) for own in parsed.args]
    words += [_flag_with_value(str(own.arg), ast.unparse(own.value)) or ast.unparse(own) for own in parsed.keywords]
    return " ".join(["nagindex", command, *words, *_named_index(parsed, command)])


def _named_index(call: ast.Call, command: str) -> list[str]:
    """Return the option that names the running command's index; none if it is the default, or another's, or the command has none."""
    context = click.get_current_context(silent=True)
    named = None if context is None else context.params.get("index")
    if all(own.name != "index" for own in _commands()[command.split()[0]].params):
        return []
    if context is None or named is None or any(own.arg == "index" for own in call.keywords):
        return []
    chosen = context.get_parameter_source("index") is click.core.ParameterSource.COMMANDLINE
    return ["-i", str(named)] if chosen else []


def _flag_with_value(name: str, written: str) -> str | None:
    flag = SPECIAL.get(name) or _flag(name)
    if flag is None:
        return None
    try:
        value = ast.literal_eval(written)
    except (ValueError, SyntaxError):
        value = written
    return flag if value is True else f"{flag} {value}"


def _flag(name: str) -> str | None:
    flag = f"--{name.replace('_', '-')}"
    return flag if name.isidentifier() and flag in _flags() else None


def _flags() -> set[str]:
    """Return the flags of all commands."""
    found = _commands().values()
    groups = [*found, *(own for group in found if isinstance(group, click.Group) for own in group.commands.values())]
    return {flag for command in groups for own in command.params for flag in own.opts}


def _commands() -> dict[str, click.Command]:
    """Return the commands by name; none where no command is running."""
    context = click.get_current_context(silent=True)
    root = None if context is None else context.find_root()
    if root is None or not isinstance(root.command, click.Group):
        return {}
    found = {name: root.command.get_command(root, name) for name in root.command.list_commands(root)}
    return {name: command for name, command in found.items() if command is not None}

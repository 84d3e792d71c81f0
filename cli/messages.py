"""Translation of the library's messages for the command line: parameters that they name are printed as flags.

A message of the library names a parameter, a value of it, or a method in backticks, as in Python; here `text_column` becomes
--text-column, `mix="max"` becomes --mix max, and `optimize(graph=True)` becomes nagindex optimize --graph. Other text in backticks,
such as a file's name, stays as it is.
"""

from __future__ import annotations

import ast
import re

import click

from nagindex.errors import NagIndexError

QUOTED = re.compile(r"`([^`\n]+)`")
ASSIGNMENT = re.compile(r"(\w+)=(.+)")
CALL = re.compile(r"(\w+)\((.*)\)")
SPECIAL = {
    "n": "-n",
    "index": "-i",
    'mode="graph"': "--approx",
    "count_tokens=False": "--no-count-tokens",
    "cache=False": "--no-cache",
    "recheck()": "nagindex append --check",
}


def with_flags(message: str) -> str:
    """Return a message of the library with flags and commands in place of parameters and methods."""
    return QUOTED.sub(lambda match: _translated(match[1]) or match[0], message)


def one_line(error: BaseException) -> str:
    """Return an error as one line, in the words of the command line where it is one of the library's."""
    text = " ".join(line.strip() for line in str(error).splitlines() if line.strip()) or type(error).__name__
    return with_flags(text) if isinstance(error, NagIndexError) else text


def warn(message: str) -> None:
    """Print a warning of the library on stderr."""
    click.echo(f"Warning: {with_flags(message)}", err=True)


def _translated(code: str) -> str | None:
    """Return the flag or command that Python code stands for; None where it stands for none."""
    if code in SPECIAL:
        return SPECIAL[code]
    if (call := CALL.fullmatch(code)) is not None:
        return _command(call[1], call[2])
    if (assignment := ASSIGNMENT.fullmatch(code)) is not None:
        return _flag_with_value(*assignment.groups())
    return _flag(code)


def _command(name: str, arguments: str) -> str | None:
    words = [_translated(own) or own for own in arguments.split(", ") if own]
    return " ".join(["nagindex", name, *words]) if name in _commands() else None


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

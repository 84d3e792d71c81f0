"""Write every command and option of the command line, as click knows them: as Markdown, or as a man page.

python docs/scripts/commands.py markdown
python docs/scripts/commands.py man
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import click
from nagindex.cli import main

import nagindex

STATUS = {
    "0": "done",
    "1": "failed; the last line on stderr gives the reason",
    "2": "wrong usage",
    "130": "interrupted by Ctrl-C (SIGINT)",
    "143": "stopped by SIGTERM",
}
ENVIRONMENT = {
    "NAGINDEX": "folder of the index, where --index does not name it",
    "HF_HUB_OFFLINE": "1: models and data sets are taken from the local cache of the Hugging Face hub only",
    "XDG_CACHE_HOME": "its folder nagindex/ records which files of an index were checked",
}


def commands(command: click.Command = main, parent: click.Context | None = None) -> Iterator[click.Context]:
    """Yield the context of a command, then those of its subcommands, in the order of the help."""
    name = command.name if parent else "nagindex"
    context = click.Context(command, info_name=name, parent=parent, **command.context_settings)
    yield context
    if isinstance(command, click.Group):
        subcommands = (command.get_command(context, name) for name in command.list_commands(context))
        for subcommand in filter(None, subcommands):
            yield from commands(subcommand, context)


class _Help(click.HelpFormatter):
    """What a command writes about its options, by section.

    Attributes:
        sections: options and their meanings, by the title of the section.
    """

    def __init__(self) -> None:
        super().__init__()
        self.sections: dict[str, list[tuple[str, str]]] = {}

    @contextmanager
    def section(self, name: str) -> Iterator[None]:
        """Note the title of the lines to come."""
        self.sections[name] = []
        yield

    def write_dl(self, rows: Iterable[tuple[str, str]], col_max: int = 30, col_spacing: int = 2) -> None:
        """Note options and their meanings."""
        [*self.sections.values()][-1].extend((written, " ".join(meaning.split())) for written, meaning in rows)


def options(context: click.Context) -> dict[str, list[tuple[str, str]]]:
    """Return the options of a command as its help shows them: as they are written, and what they mean, by section."""
    formatter = _Help()
    context.command.format_options(context, formatter)
    return {title: rows for title, rows in formatter.sections.items() if title != "Commands"}


def paragraphs(context: click.Context) -> list[tuple[str, bool]]:
    """Return the paragraphs of a command's help; True where lines are kept as they are."""
    blocks = re.split(r"\n\s*\n", (context.command.help or "").strip())
    kept = [(block.removeprefix("\b\n"), block.startswith("\b")) for block in blocks]
    return [(text if verbatim else " ".join(text.split()), verbatim) for text, verbatim in kept]


def usage(context: click.Context) -> str:
    """Return how a command is called, such as `nagindex info [OPTIONS]`."""
    return " ".join([context.command_path, *context.command.collect_usage_pieces(context)])


def markdown() -> str:
    """Return a section for each command, and a definition list of its options."""
    lines: list[str] = []
    for context in commands():
        level = "##" if context.parent is None or context.parent.parent is None else "###"
        lines += [f"{level} {context.command_path}", "", "```text", usage(context), "```", ""]
        for text, verbatim in paragraphs(context):
            lines += ["```text", text, "```", ""] if verbatim else [_escaped(text), ""]
        for title, rows in options(context).items():
            lines += [] if title == "Options" else [f"**{title}**", ""]
            lines += [f"`{written}`\n:   {_escaped(meaning)}\n" for written, meaning in rows]
    return "\n".join(lines)


def _escaped(text: str) -> str:
    return re.sub(r"([\\`*_<>\[\]|#])", r"\\\1", text)


def man() -> str:
    """Return the man page of nagindex(1)."""
    root, *others = commands()
    lines = [f'.TH NAGINDEX 1 "" "nagindex {nagindex.__version__}" "User Commands"', ".SH NAME"]
    lines += [
        r"nagindex \- select pretraining documents for a task",
        ".SH SYNOPSIS",
        _roff(usage(root)),
        ".SH DESCRIPTION",
    ]
    lines += [*_blocks(root), *_sections(root), ".SH COMMANDS"]
    for context in others:
        lines += [f".SS {_roff(usage(context))}", *_blocks(context), *_sections(context)]
    lines += [".SH EXIT STATUS", *_terms(STATUS.items()), ".SH ENVIRONMENT", *_terms(ENVIRONMENT.items())]
    return "\n".join(lines) + "\n"


def _blocks(context: click.Context) -> Iterator[str]:
    for text, verbatim in paragraphs(context):
        yield from (".PP", ".nf", *map(_roff, text.splitlines()), ".fi") if verbatim else (".PP", _roff(text))


def _sections(context: click.Context) -> Iterator[str]:
    for title, rows in options(context).items():
        yield from () if title == "Options" else (".PP", _roff(title) + ":")
        yield from _terms(rows)


def _terms(pairs: Iterable[tuple[str, str]]) -> Iterator[str]:
    for term, meaning in pairs:
        yield from (".TP", rf"\fB{_roff(term)}\fR", _roff(meaning))


def _roff(text: str) -> str:
    escaped = text.replace("\\", r"\e").replace("-", r"\-")
    return rf"\&{escaped}" if escaped.startswith((".", "'")) else escaped


if __name__ == "__main__":
    print({"markdown": markdown, "man": man}[sys.argv[1]](), end="")

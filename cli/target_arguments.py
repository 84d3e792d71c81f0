"""Targets as the command line names them: files, NAME=FILE, stdin, --text, and the columns of their texts."""

from __future__ import annotations

import functools
import re
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from glob import glob
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

import click

import nagindex

from .options import device_option, model_option

if TYPE_CHECKING:
    from nagindex import EncodeKeywords, Index, TargetSet

NAMED = re.compile(r"([^/=]+)=(.+)", re.DOTALL)
STDIN = "-"

text_option = click.option(
    "--text", "texts", multiple=True, metavar="TEXT", help="An example itself, in place of a file; may be repeated."
)
target_column_option = click.option(
    "--target-column", metavar="C", help="Column that says which target an example belongs to."
)
text_columns_option = click.option(
    "--text-column",
    "text_columns",
    multiple=True,
    metavar="[TARGET=]C",
    help="Column of the texts, of all targets or of one; may be repeated. [default: text, content, doc, document or body]",
)


def text_column_of(written: Sequence[str]) -> str | dict[str, str] | None:
    """Return the columns of texts as the library takes them: one for all targets, or by target."""
    if not written:
        return None
    if written == (written[0],) and "=" not in written[0]:
        return written[0]
    by_target: dict[str, str] = {}
    for one in written:
        name, _, column = one.rpartition("=")
        if by_target.setdefault(name or "*", column) != column:
            raise click.UsageError(f"--text-column: two columns for {name or 'all targets'}; give one")
    return by_target


def encoding_of(
    text_columns: Sequence[str], target_column: str | None, model: str | None, device: str, *, no_cache: bool = False
) -> EncodeKeywords:
    """Return how targets are read and encoded, as keyword arguments of the library, from the values of the options."""
    return {
        "text_column": text_column_of(text_columns),
        "target_column": target_column,
        "model": model,
        "device": device,
        "cache": not no_cache,
    }


def target_encoding_options(command: Callable[..., None]) -> Callable[..., None]:
    """Add the options that say how targets are read and encoded to a command, which gets them as one argument `encoding`."""

    @functools.wraps(command)
    def run(
        *given: object,
        text_columns: tuple[str, ...],
        target_column: str | None,
        model: str | None,
        device: str,
        **others: object,
    ) -> None:
        command(*given, encoding=encoding_of(text_columns, target_column, model, device), **others)

    options = (text_columns_option, target_column_option, model_option, device_option)
    return functools.reduce(lambda made, option: option(made), reversed(options), run)


def targets_of(
    index: Index, targets: Sequence[str], texts: Sequence[str], **encoding: Unpack[EncodeKeywords]
) -> tuple[Path, ...] | list[Any] | dict[str, Any]:
    """Return the targets of a command as the library takes them; stdin is read and encoded.

    Args:
        index: encodes what stdin holds.
        targets: the arguments.
        texts: the values of --text.
        encoding: how, as keyword arguments of `Index.encode`.

    Raises:
        click.UsageError: there is no target, only some are named, or a text is the name of a file.
    """
    if not targets and not texts:
        taken = click.get_current_context().params.get("decontaminate")
        hint = f"; --decontaminate took {' '.join(taken)}: end its files with --" if taken else ""
        raise click.UsageError(f"Missing argument 'TARGETS...'; name files of examples, or give --text{hint}")
    for text in texts:
        if not text.strip():
            raise click.UsageError("--text: the text is empty; give an example")
        if not text.isascii() and any("\ud800" <= c <= "\udfff" for c in text):
            raise click.UsageError("--text: not UTF-8; set the terminal to UTF-8, or give the text in a file")
        if Path(text).is_file():
            raise click.UsageError(f"--text takes an example itself, and {text} is a file; name it as an argument")
    files = _files([target for target in targets if target != STDIN])
    further: list[Any] = [list(texts)] if texts else []
    if STDIN in targets:
        further += _from_stdin(index, encoding)
    if not further:
        return files
    if isinstance(files, Mapping):
        return {**files, **{_name_of(one): one for one in further}}
    return [*files, *further]


def files_of(targets: Sequence[str]) -> list[Path]:
    """Return the files, globs and folders that targets are."""
    files = _files([target for target in targets if target != STDIN])
    return list(files.values() if isinstance(files, Mapping) else files)


def _files(targets: Sequence[str]) -> tuple[Path, ...] | dict[str, Path]:
    """Return the files of targets, by name where they are written NAME=FILE."""
    pairs = [NAMED.fullmatch(target) for target in targets if not (Path(target).exists() or glob(target))]
    found = {pair[1]: Path(pair[2]) for pair in pairs if pair is not None}
    if not found:
        return tuple(map(Path, targets))
    if len(found) < len(targets):
        raise click.UsageError("name all targets, each by its own name, as in NAME=FILE, or none")
    return found


def _name_of(target: list[str] | TargetSet) -> str:
    return "text" if isinstance(target, list) else target.name


def _from_stdin(index: Index, encoding: EncodeKeywords) -> list[TargetSet]:
    """Return the target sets that stdin holds: JSON lines if it begins with a brace, else an example a line."""
    content = sys.stdin.buffer.read()
    own, columns = encoding.copy(), encoding.get("text_column")
    own["text_column"] = columns.get("stdin", columns.get("*")) if isinstance(columns, Mapping) else columns
    if content.lstrip()[:1] == b"{":
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "stdin.jsonl")
            path.write_bytes(content)
            return index.encode(path, **own)
    try:
        lines = [line for line in content.decode().splitlines() if line.strip()]
    except UnicodeDecodeError as error:
        raise nagindex.BadInputError(f"stdin: not UTF-8 at byte {error.start}; examples are text, one a line") from None
    if not lines:
        raise nagindex.BadInputError("stdin: no example; give JSON lines, or an example a line")
    own["text_column"] = own["target_column"] = None
    return index.encode({"stdin": lines}, **own)

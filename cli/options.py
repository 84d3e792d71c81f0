"""Options and number formats that several commands share."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

import nagindex
from nagindex.errors import plural as plural

from .messages import note


class Number(click.ParamType):  # type: ignore[type-arg]  # generic only since click 8.2
    """A number as the library reads it, such as 1.5M or 20%."""

    def __init__(self, name: str, parse: Callable[[Any], float]) -> None:
        self.name, self.parse = name, parse

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Return the number."""
        try:
            return self.parse(value)
        except nagindex.BadInputError as error:
            self.fail(str(error), param, ctx)


class IndexPath(click.Path):
    """The folder of an index, as a Path, or its URL in an object store, as text."""

    def __init__(self) -> None:
        super().__init__(path_type=Path)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the path or the URL."""
        return value if isinstance(value, str) and "://" in value else super().convert(value, param, ctx)


COUNT = Number("number", nagindex.parse_count)
COUNT_OR_ZERO = Number("number", lambda value: 0 if value in (0, "0") else nagindex.parse_count(value))
SHARE = Number("share", nagindex.parse_share)

index_option = click.option(
    "-i",
    "--index",
    "index",
    type=IndexPath(),
    envvar="NAGINDEX",
    default=Path("index.nagindex"),
    show_default="$NAGINDEX or ./index.nagindex",
    help="Folder of the index, or its URL: s3://BUCKET/PREFIX, gs://, az:// or file://.",
)
device_option = click.option(
    "--device", default="auto", show_default=True, help="Torch device: auto, cpu, cuda, cuda:1, mps."
)
model_option = click.option("--model", help="Where the backbone lies now, if it was moved.")
devices_option = click.option(
    "--device",
    default="auto",
    show_default="every visible GPU, else the CPU",
    metavar="D[,D...]",
    help="Torch devices, one process each: cpu, cuda:1, or cuda:0,cuda:1.",
)
revision_option = click.option("--revision", metavar="REV", help="Commit, tag or branch of a hub model.")
trust_option = click.option("--trust-remote-code", is_flag=True, help="Run code that comes with the model.")
on_error_option = click.option(
    "--on-error",
    type=click.Choice(nagindex.ON_ERROR),
    default=nagindex.BuildOptions.on_error,
    show_default=True,
    help="What happens to a row, file or folder that cannot be read: stop there, or skip it and list it (info --skipped). "
    "A file that cannot be read to its end is skipped as a whole.",
)
shard_option = click.option(
    "--shard",
    "part",
    metavar="I/N",
    help="Take part I, from 0, of N of the corpus: for several processes or nodes that write into one index. "
    "[default: RANK/WORLD_SIZE, SLURM_ARRAY_TASK_ID/COUNT, else all]",
)


def ray_option(what: str) -> Callable[[Any], Any]:
    """Return the option --ray of a command that does something on a cluster."""
    return click.option(
        "--ray",
        is_flag=False,
        flag_value="auto",
        metavar="[ADDRESS]",
        help=f"{what}: HOST:PORT, or local for one that is started on this machine. Without a value (as the last option): "
        "that of RAY_ADDRESS, else the one that runs here.",
    )


workers_option = click.option(
    "--workers",
    type=click.IntRange(0, 1),
    help="1: read and tokenize ahead in a process of its own; 0: do not. [default: 1 for 16 MB and more]",
)
check_option = click.option(
    "--check",
    is_flag=True,
    help="Append nothing: encode 64 stored documents again, from CORPUS or where they were read, and say how many codes differ.",
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON object for machines.")
text_column_option = click.option(
    "--text-column", metavar="C", help="Column of the texts. [default: text, content, doc, document or body]"
)
corpus_root_option = click.option(
    "--corpus-root",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder that source names are relative to. [default: the deepest that holds all that is named]",
)


def may_hold_record(selection: Path) -> bool:
    """Return whether a selection is Parquet by its name, or a folder of parts: other formats hold no record of their query."""
    return selection.suffix in ("", ".parquet") or selection.is_dir()


def index_of(ctx: click.Context, index: str | Path, *selections: Path) -> str | Path:
    """Return the index of the command line, else the one that the first selection with a record was made from, else the default."""
    if ctx.get_parameter_source("index") is ParameterSource.COMMANDLINE:
        return index
    for selection in filter(may_hold_record, selections):
        with suppress(nagindex.NagIndexError, LookupError, TypeError):
            recorded = str(nagindex.settings_of(selection)["query"]["index"])
            if "://" in recorded or Path(recorded).exists():
                return recorded
    return index


def require_with(ctx: click.Context, option: str, *names: str) -> None:
    """Raise a usage error if one of some options, by their parameters' names, was typed without the one that it belongs to."""
    for name in names:
        if ctx.get_parameter_source(name) is ParameterSource.COMMANDLINE:
            raise click.UsageError(
                f"--{name.replace('_', '-')} belongs to {option}; give that as well, or leave it out"
            )


def require_no_other(ray: str | None, **others: object) -> None:
    """Raise a usage error if --ray is given with an option that cannot work with it, by name; those are not None or False."""
    for name, value in others.items():
        if ray is not None and value is not None and value is not False:
            raise click.UsageError(f"--{name.replace('_', '-')} does not work with --ray; leave one of the two out")


def shard_of(written: str | None) -> tuple[int, int]:
    """Return (number, count) of the shard that the command line or a launcher's environment names.

    An array of jobs, each of which starts ranks, is as many shards as there are ranks in all.
    """
    if written is not None:
        match = re.fullmatch(r"(\d+)/(\d+)", written)
        if match is None or int(match[1]) >= int(match[2]):
            raise click.UsageError(f"--shard {written}: write I/N with I from 0 to N - 1, such as 0/4")
        return int(match[1]), int(match[2])
    number, count, variables = 0, 1, []
    for kind, total in (("RANK", "WORLD_SIZE"), ("SLURM_ARRAY_TASK_ID", "SLURM_ARRAY_TASK_COUNT")):
        if kind in os.environ and total in os.environ:
            variables.append(f"{kind} {os.environ[kind]}, {total} {os.environ[total]}")
            own, of = _launched(kind, total)
            number, count = own * count + number, count * of
    if count > 1:
        note(f"Shard {number}/{count} ({'; '.join(variables)})")
    return number, count


def _launched(kind: str, total: str) -> tuple[int, int]:
    """Return (number from 0, count) of this process among those that a launcher started."""
    array = kind.removesuffix("_ID")  # a Slurm array may count from 1, or in tens
    try:
        first, step = (int(os.environ.get(f"{array}_{name}", default)) for name, default in (("MIN", 0), ("STEP", 1)))
        own, of = (int(os.environ[kind]) - first) // step, int(os.environ[total])
    except (ValueError, ZeroDivisionError):
        own, of = 0, 0
    if not 0 <= own < of:
        variables = f"{kind} {os.environ[kind]!r} and {total} {os.environ[total]!r}"
        raise click.UsageError(f"{variables} name no part of a whole; give --shard I/N, 0/1 for all")
    return own, of


def size(count: float) -> str:
    """Return a number of bytes for people."""
    for unit in ("bytes", "kB", "MB", "GB"):
        if abs(count) < 1000:
            return f"{count:,.0f} bytes" if unit == "bytes" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:,.1f} TB"


def duration(seconds: float) -> str:
    """Return a time span for people, such as 45 s, 3 min or 2.5 h."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return (
        f"{seconds / 60:.0f} min"
        if seconds < 5400
        else f"{seconds / 3600:.1f} h"
        if seconds < 172_800
        else f"{seconds / 86_400:.1f} days"
    )

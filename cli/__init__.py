"""The command line: parse, call the library, print. Imported as `nagindex.cli`; heavy imports wait for a command to run."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from typing import Any

import click

from nagindex._version import __version__
from nagindex.errors import NagIndexError

from .messages import one_line
from .process import OutputError, Stopped, standard_streams, stopping_on_signals, was_stopped

COMMANDS = {
    "build": "build",
    "append": "build",
    "calibrate": "calibrate",
    "query": "query",
    "encode": "query",
    "evaluate": "evaluate",
    "curve": "curve",
    "show": "show",
    "explain": "explain",
    "compare": "compare",
    "neurons": "neurons",
    "profile": "profile",
    "deactivate": "deactivate",
    "deactivate-eval": "deactivate",
    "map": "map",
    "report": "report",
    "neighbors": "neighbors",
    "targets": "targets",
    "info": "manage",
    "verify": "manage",
    "delete": "manage",
    "compact": "manage",
    "optimize": "optimize",
    "vacuum": "manage",
    "sql": "manage",
    "cache": "cache",
    "backbones": "backbones",
    "completion": "completion",
}

AGAIN = "run the same command again"


class _Commands(click.Group):
    """The commands, each imported from its module on first use; failures are one line on stderr and status 1."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        from .session import with_common_options

        command: click.Command = getattr(
            importlib.import_module(f".{COMMANDS[cmd_name]}", __name__), cmd_name.replace("-", "_")
        )
        return with_common_options(command)

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        **extra: object,
    ) -> Any:
        run = partial(super().main, args, prog_name, complete_var, standalone_mode=False, **extra)
        if not standalone_mode:
            return run()
        status = 0
        try:
            with stopping_on_signals(), standard_streams():
                status = run()
        except (click.ClickException, click.Abort) as error:
            failure = error if isinstance(error, click.ClickException) else Stopped(AGAIN)
            with suppress(OSError):  # there is nobody to tell
                failure.show()
            status = failure.exit_code
        sys.exit(status)

    def invoke(self, ctx: click.Context) -> object:
        try:
            return super().invoke(ctx)
        except (click.ClickException, click.exceptions.Exit, OutputError):
            raise
        except KeyboardInterrupt:
            raise Stopped(AGAIN) from None
        except Exception as error:
            if was_stopped():
                raise Stopped(AGAIN) from error
            if (message := _reason(error)) is None:
                raise
            raise click.ClickException(message) from error


def _reason(error: Exception) -> str | None:
    """Return a failure as one line; None for a mistake of nagindex itself, whose traceback is wanted."""
    if type(error).__name__ == "OutOfMemoryError":
        return f"{one_line(error)}; try another --device, such as cpu"
    # DuckDB's errors are about a full disk, no memory for a sort, and the like.
    if isinstance(error, PermissionError) and error.filename and not isinstance(error, NagIndexError):
        return f"{error.filename}: {error.strerror}; the command needs to write there, or read it"
    expected = isinstance(error, (NagIndexError, OSError)) or "duckdb" in type(error).__module__
    return one_line(error) if expected else None


HELP = """Select pretraining documents for a task, given examples of it.

\b
Encode a pool once:        nagindex build corpus/
Add to it later:           nagindex append more/
Ask for the best of it:    nagindex query targets.jsonl -n 1M -o best.parquet
"""  # \b keeps click from filling the lines below it


@click.command(cls=_Commands, help=HELP, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="nagindex")
def main() -> None:
    """Run the command that was named."""

"""The command line: parse, call the library, print. Imported as `nagindex.cli`; heavy imports wait for a command to run."""

from __future__ import annotations

import importlib
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import click

from nagindex._version import __version__
from nagindex.errors import NagIndexError

from .messages import one_line

COMMANDS = {
    "build": "build",
    "append": "build",
    "query": "query",
    "encode": "query",
    "neighbors": "neighbors",
    "targets": "targets",
    "info": "manage",
    "verify": "manage",
    "delete": "manage",
    "compact": "manage",
    "optimize": "optimize",
    "vacuum": "manage",
    "sql": "manage",
    "backbones": "backbones",
    "completion": "completion",
}


class _Commands(click.Group):
    """The commands, each imported from its module on first use; failures are one line on stderr and status 1."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = getattr(importlib.import_module(f".{COMMANDS[cmd_name]}", __name__), cmd_name)
        return command

    def invoke(self, ctx: click.Context) -> object:
        try:
            with _terminated_as_interrupted():
                return super().invoke(ctx)
        except KeyboardInterrupt:
            raise click.ClickException("interrupted; run the same command again") from None
        except BrokenPipeError:  # the reader of our output has gone, as `| head` does
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            ctx.exit(0)
        except (NagIndexError, OSError) as error:
            raise click.ClickException(one_line(error)) from error
        except Exception as error:
            if "duckdb" in type(error).__module__:  # a full disk, no memory for a sort, and the like
                raise click.ClickException(one_line(error)) from error
            if type(error).__name__ == "OutOfMemoryError":
                raise click.ClickException(f"{one_line(error)}; try another --device, such as cpu") from error
            raise


@contextmanager
def _terminated_as_interrupted() -> Iterator[None]:
    """Handle SIGTERM, which schedulers send, like Ctrl-C: unfinished files are removed."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


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

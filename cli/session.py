"""The options of every command, and what they set up: messages, progress and a log while the command runs."""

from __future__ import annotations

import functools
import logging
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from platform import platform, python_version

import click

import nagindex

from .messages import LOGGER, one_line, with_flags
from .progress import MODES, ProgressDisplay

LIBRARIES = ("nagindex", "torch", "transformers", "tokenizers", "duckdb", "numpy", "numba", "scipy", "usearch")
FORMAT = "%(asctime)s %(levelname)s %(message)s"

OPTIONS: list[click.Parameter] = [
    click.Option(["-q", "--quiet"], is_flag=True, help="Print only warnings and errors on stderr."),
    click.Option(
        ["-v", "--verbose"],
        is_flag=True,
        help="Print what is read, the engine, versions, and the seconds of each step.",
    ),
    click.Option(
        ["--log-file"],
        type=click.Path(path_type=Path, dir_okay=False),
        metavar="FILE",
        help="Add all that is printed on stderr, and what -v prints, to a file, with times.",
    ),
    click.Option(
        ["--progress"],
        type=click.Choice(MODES),
        default="auto",
        show_default="a bar on a terminal, else lines",
        help="Progress on stderr; json is one object a line.",
    ),
]


def with_common_options(command: click.Command) -> click.Command:
    """Give a command, or those of a group, the options of every command, as the last ones of its help."""
    if isinstance(command, click.Group):
        for own in command.commands.values():
            with_common_options(own)
        return command
    callback = command.callback
    if callback is not None and not hasattr(callback, "in_session"):
        command.params = [*command.params, *OPTIONS]
        command.callback = _in_session(callback)
    return command


def _in_session(callback: Callable[..., object]) -> Callable[..., object]:
    @functools.wraps(callback)
    def run(
        *arguments: object, quiet: bool, verbose: bool, log_file: Path | None, progress: str, **options: object
    ) -> object:
        if quiet and verbose:
            raise click.UsageError("-q prints less and -v more; leave one of the two out")
        display = ProgressDisplay("none" if quiet and progress == "auto" else progress)
        with _logging(display, verbose, log_file), _closing(display), nagindex.reporting(display):
            return callback(*arguments, **options)

    run.in_session = True  # type: ignore[attr-defined]
    return run


@contextmanager
def _closing(display: ProgressDisplay) -> Iterator[None]:
    """Close the display, and log the error that ends the command."""
    try:
        yield
    except KeyboardInterrupt:
        LOGGER.error("interrupted")
        raise
    except Exception as error:
        LOGGER.error(error.format_message() if isinstance(error, click.ClickException) else one_line(error))
        raise
    finally:
        display.close()


@contextmanager
def _logging(display: ProgressDisplay, verbose: bool, log_file: Path | None) -> Iterator[None]:
    """Show the library's log: on stderr if `verbose`, in a file if one is named."""
    handlers: list[logging.Handler] = [_file_handler(log_file)] if log_file is not None else []
    if verbose:
        handlers.append(_StderrHandler(display))
    logger = logging.getLogger("nagindex")
    before = logger.level
    for handler in handlers:
        logger.addHandler(handler)
    try:
        if handlers:
            logger.setLevel(logging.INFO)
            _log_versions(logger)
        yield
    finally:
        logger.setLevel(before)
        for handler in handlers:
            logger.removeHandler(handler)
            handler.close()


def _file_handler(path: Path) -> logging.Handler:
    if path.exists() and path.stat().st_size and not _is_log(path):
        raise nagindex.BadInputError(f"{path}: no log of nagindex, and not overwritten; give another --log-file")
    nagindex.check_output(path)
    try:
        handler = _FileHandler(path, encoding="utf-8", errors="backslashreplace")
    except OSError as error:
        raise nagindex.BadInputError(
            f"{path}: the log cannot be written ({error.strerror}); give another --log-file"
        ) from None
    handler.setFormatter(_OneLine(FORMAT))
    return handler


class _FileHandler(logging.FileHandler):
    """Writes a log; where the disk takes no more, what follows is lost, and the command goes on."""

    def handleError(self, record: logging.LogRecord) -> None:
        """Say nothing: stderr belongs to the command."""

    def close(self) -> None:
        """Close the file."""
        with suppress(OSError):
            super().close()


def _is_log(path: Path) -> bool:
    """Return whether a file begins as a log of nagindex does: with a time."""
    with suppress(OSError), path.open("rb") as file:
        return re.match(rb"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} [A-Z]+ ", file.readline(100)) is not None
    return True  # what cannot be read cannot be written either


class _OneLine(logging.Formatter):
    """Formats a record as one line, in the words of the command line."""

    def format(self, record: logging.LogRecord) -> str:
        return with_flags(" ".join(super().format(record).split("\n")))


class _StderrHandler(logging.Handler):
    """Prints the records of the library; what the command itself says is printed by the command."""

    def __init__(self, display: ProgressDisplay) -> None:
        super().__init__()
        self.display = display
        self.setFormatter(_OneLine("%(message)s"))

    def emit(self, record: logging.LogRecord) -> None:
        if record.name != LOGGER.name:
            self.display.clear()
            click.echo(self.format(record), err=True)


def _log_versions(logger: logging.Logger) -> None:
    if not logger.isEnabledFor(logging.INFO):
        return
    from importlib.metadata import PackageNotFoundError, version  # takes 20 ms

    installed = []
    for name in LIBRARIES:
        try:
            installed.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            continue
    logger.info("%s; Python %s, %s", ", ".join(installed), python_version(), platform())
    logger.info("command: %s", " ".join(sys.argv))

"""`nagindex query --config`: options from a YAML file or from the record of an earlier selection, and what has changed since."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

import nagindex

ALIASES = {"--normalise": "--normalize"}
"""Older spellings, accepted but not listed."""
FORMER_ENGINES = ("auto", "scan", "sketch", "graph")
"""Values of the former option `mode`; `graph` is now `approx`, and the others are the scan."""
CONFIG, RECORD, KEYS = "nagindex.config", "nagindex.record", "nagindex.keys"
"""Where a context keeps the file of --config, the record of a selection that it holds, and its keys by option."""
NOT_IN_CONFIGS = (
    "config", "config_strict", "as_json", "explain", "score_curve", "quiet", "verbose", "log_file", "progress",
)  # fmt: skip


def read_config(ctx: click.Context, param: click.Parameter, path: Path | None) -> Path | None:
    """Take the values of a file as defaults, which the command line overrides."""
    if path is None:
        return None
    options = {
        name.removeprefix("--"): own
        for own in ctx.command.params
        if own.name not in NOT_IN_CONFIGS
        for name in ([*own.opts] if isinstance(own, click.Option) else [own.name or ""])
    }
    options["n"] = options.pop("-n")
    defaults: dict[str, Any] = {}
    ctx.meta[CONFIG] = path
    settings, ctx.meta[RECORD] = _written(path)
    keys = ctx.meta[KEYS] = dict[str, str]()
    for key, value in settings.items():
        if value is None:
            continue
        name = str(key).replace("_", "-")
        if name == "mode" and value in FORMER_ENGINES:
            name, value = "approx", value == "graph"
        own = options.get(ALIASES.get(f"--{name}", name).removeprefix("--"))
        if own is None or own.name is None:
            raise click.UsageError(
                f"{path}: no option {key!r}; there are {', '.join(sorted(n for n in options if n[0] != '-'))}"
            )
        if isinstance(value, Mapping):
            value = [f"{name}={number}" for name, number in value.items()]
        if own.nargs == -1 or own.multiple:
            value = value if isinstance(value, list) else [value]
        elif isinstance(value, list):
            value = ",".join(map(str, value))
        defaults[own.name] = value
        keys[own.name] = str(key)
    ctx.default_map = {**(ctx.default_map or {}), **defaults}
    return path


def config_file(ctx: click.Context) -> list[Path]:
    """Return the file that --config names, if it does."""
    return [ctx.meta[CONFIG]] if CONFIG in ctx.meta else []


def changes(ctx: click.Context, index: nagindex.Index, strict: bool) -> list[str]:
    """Return what has changed since the selection was made whose record --config names; what the command line overrides is no change.

    Raises:
        click.UsageError: there is no record to be strict about.
        click.ClickException: something has changed, and that is an error.
    """
    record = ctx.meta.get(RECORD)
    if record is None:
        if strict:
            raise click.UsageError("--config-strict compares with a selection's record; name a selection with --config")
        return []
    typed = [name for name in ctx.params if ctx.get_parameter_source(name) is ParameterSource.COMMANDLINE]
    found = index.changes_since(record, ignored=typed)
    if strict and found:
        raise click.ClickException(f"{'; '.join(found)}; leave --config-strict out to select nevertheless")
    return found


def _written(path: Path) -> tuple[Mapping[str, Any], Mapping[str, Any] | None]:
    """Return the settings that a YAML or JSON file holds, or the ones that a selection was made with; and its record, if it has one.

    Raises:
        click.UsageError: it holds none.
    """
    if path.suffix == ".parquet" or path.is_dir():
        found: Any = nagindex.settings_of(path)
    else:
        import yaml

        try:
            found = yaml.safe_load(path.read_text())
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            raise nagindex.BadInputError(f"{path}: not YAML ({' '.join(str(error).split())})") from None
    record = None
    if isinstance(found, Mapping) and isinstance(found.get("query"), Mapping):
        record, found = found, found["query"]
    if not isinstance(found, Mapping):
        raise nagindex.BadInputError(f"{path}: not a query; write options as in 'n: 1000', one a line")
    return found, record

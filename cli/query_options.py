"""What a query can be asked, as options of the command line, and as a file that was written down."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from nagindex.select.options import MIXES, MODES, NORMALIZATIONS

from .options import COUNT

SEVERAL = "--decontaminate"
BUDGETS = ("documents", "tokens", "fraction")
NOT_IN_CONFIGS = ("config", "as_json", "approx", "explain")


class NamedNumber(click.ParamType):  # type: ignore[type-arg]  # generic only since click 8.2
    """A name with a number, such as hellaswag=0.4."""

    name = "NAME=NUMBER"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, float]:
        """Return the name and the number."""
        if isinstance(value, tuple):
            return value
        name, _, number = str(value).rpartition("=")
        try:
            found = float(number)
        except ValueError:
            found = math.nan
        if not name or math.isnan(found):
            self.fail(f"{value!r}: write NAME=NUMBER, such as hellaswag=0.4", param, ctx)
        return name, found


def read_config(ctx: click.Context, param: click.Parameter, path: Path | None) -> Path | None:
    """Take the values of a file as defaults, which what is on the command line overrides."""
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
    for key, value in _written(path).items():
        if value is None:
            continue
        own = options.get(str(key).replace("_", "-"))
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
    ctx.default_map = {**(ctx.default_map or {}), **defaults}
    return path


def _written(path: Path) -> Mapping[str, Any]:
    """Return the settings that a YAML or JSON file holds, or the ones that a selection was made with.

    Raises:
        click.UsageError: it holds none.
    """
    from nagindex.errors import BadInputError

    if path.suffix == ".parquet":
        from nagindex.query.export import settings_of

        found = settings_of(path)
    else:
        import yaml

        try:
            found = yaml.safe_load(path.read_text())
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            raise BadInputError(f"{path}: not YAML ({' '.join(str(error).split())})") from None
    if isinstance(found, Mapping) and isinstance(found.get("query"), Mapping):
        found = found["query"]  # a selection's whole record
    if not isinstance(found, Mapping):
        raise BadInputError(f"{path}: not a query; write options as in 'n: 1000', one a line")
    return found


target_column_option = click.option(
    "--target-column", metavar="C", help="Column that says which target an example belongs to."
)
config_option = click.option(
    "--config",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    is_eager=True,
    expose_value=False,
    callback=read_config,
    metavar="FILE",
    help="Take options from a YAML file, or from a selection that is to be made again; the command line overrides it.",
)

OPTIONS: tuple[Callable[[Any], Any], ...] = (
    click.option("-n", "documents", type=COUNT, metavar="N", help="Select N documents; k, M, B and T are understood."),
    click.option("--tokens", type=COUNT, metavar="N", help="Select documents of N tokens altogether."),
    click.option(
        "--fraction",
        type=click.FloatRange(0, 1, min_open=True),
        metavar="F",
        help="Select documents of a share F of the candidates' tokens.",
    ),
    target_column_option,
    click.option(
        "--mix",
        type=click.Choice(MIXES),
        default="merge",
        show_default=True,
        help="How several targets share the budget: each its share (merge), the same without the second copy of a document "
        "(distinct), no document twice and shares refilled in turns (union), or one list by the best standardized score (max).",
    ),
    click.option(
        "--target-weight",
        "target_weights",
        type=NamedNumber(),
        multiple=True,
        metavar="NAME=SHARE",
        help="A target's share of the budget; the others share the rest equally.",
    ),
    click.option("--layers", metavar="L", help="Layers that count: last, first, 0-13, or 0,2. [default: all]"),
    click.option(
        "--top-k", type=click.IntRange(min=1), metavar="K", help="Neurons of a layer that count, at most the index's."
    ),
    click.option(
        "--score",
        default="mean",
        show_default=True,
        metavar="mean|max|top:R",
        help="Mean overlap with the examples, overlap with the nearest, or the mean of the R nearest.",
    ),
    click.option(
        "--contrast",
        type=float,
        default=0.0,
        metavar="A",
        help="Subtract A times a neuron's frequency in the pool from that among the examples.",
    ),
    click.option("--quality-column", metavar="C", help="Rank by this kept column, or column of --scores, too."),
    click.option("--scores", metavar="FILE", help="File of id and value: the quality of each document."),
    click.option(
        "--quality-weight", type=float, default=1.0, show_default=True, metavar="W", help="Weight of quality."
    ),
    click.option("--lower-is-better", is_flag=True, help="Small values mean quality."),
    click.option(
        "--normalize",
        type=click.Choice(NORMALIZATIONS),
        default="minmax",
        show_default=True,
        help="How score and quality become comparable.",
    ),
    click.option("--where", metavar="SQL", help="Select only documents that meet a condition on the columns of docs."),
    click.option(
        "--cap",
        type=NamedNumber(),
        multiple=True,
        metavar="COLUMN=SHARE",
        help="At most a share of the budget for the documents of one value of a column.",
    ),
    click.option(
        "--exclude",
        multiple=True,
        metavar="FILE",
        help="Leave out ids of a file: an earlier selection, or one id a line.",
    ),
    click.option(
        "--dedup",
        type=float,
        metavar="D",
        help="Drop documents whose NAG overlaps a better one's by D, 0 to 1, or more.",
    ),
    click.option(
        "--decontaminate",
        multiple=True,
        metavar="FILE...",
        help="Leave out documents that share an n-gram with these evaluation texts: all files up to the next option.",
    ),
    click.option(
        "--evaluation-column", metavar="C", help="Column of the evaluation texts. [default: found, as of corpora]"
    ),
    click.option(
        "--mode",
        type=click.Choice(MODES),
        default="auto",
        show_default=True,
        help="Engine: the scan reads all codes, sketch those that can win (see nagindex optimize); both are exact. graph is --approx.",
    ),
    click.option(
        "--ngram", type=click.IntRange(min=1), default=13, show_default=True, metavar="N", help="Words of an n-gram."
    ),
)


def query_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options of a query to a command."""
    for option in reversed((config_option, *OPTIONS)):
        command = option(command)
    return command


class QueryCommand(click.Command):
    """A command whose --decontaminate takes all values up to the next option."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Write the option before each of its values, as click has it."""
        written: list[str] = []
        taking = False
        for position, arg in enumerate(args):
            if arg == "--":
                return super().parse_args(ctx, written + args[position:])
            if taking and not arg.startswith("-") and written[-1] != SEVERAL:
                written.append(SEVERAL)
            taking = arg == SEVERAL or (taking and not arg.startswith("-"))
            written.append(arg)
        return super().parse_args(ctx, written)


def chosen_index(ctx: click.Context, index: Path) -> Path:
    """Return the index of a --config where nothing but the environment says otherwise."""
    written = (ctx.default_map or {}).get("index")
    from_environment = ctx.get_parameter_source("index") is ParameterSource.ENVIRONMENT
    return Path(written) if from_environment and written is not None else index


def settle(ctx: click.Context, options: dict[str, Any]) -> None:
    """Make click's values what `Index.query` takes, and let a budget on the command line take the place of a file's.

    Raises:
        click.UsageError: there is not one budget.
    """
    typed = [name for name in BUDGETS if ctx.get_parameter_source(name) is ParameterSource.COMMANDLINE]
    if typed:
        options.update({name: None for name in BUDGETS if name not in typed})
    if sum(options[name] is not None for name in BUDGETS) != 1:
        raise click.UsageError("give one budget: -n (documents), --tokens or --fraction")
    options["n"] = options.pop("documents")
    for name in ("target_weights", "cap"):
        pairs = options[name]
        if len(dict(pairs)) < len(pairs):
            raise click.UsageError(f"--{name.replace('_', '-').removesuffix('s')}: a name is given twice")
        options[name] = dict(pairs)

"""Options of `nagindex query` on the command line, in sections of its help, and as the library takes them."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

import nagindex

from .options import COUNT, SHARE
from .query_config import ALIASES, CONFIG, KEYS, read_config
from .target_arguments import target_column_option

SEVERAL = "--decontaminate"
BUDGETS = ("documents", "tokens", "fraction")


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
            wanted = "NAME=NUMBER, such as hellaswag=0.4"
            if param is not None and param.name == "cap":
                wanted = "COLUMN=SHARE, such as domain=0.05"
            self.fail(f"{value!r}: write {wanted}", param, ctx)
        return name, found


config_option = click.option(
    "--config",
    type=click.Path(path_type=Path, exists=True),
    is_eager=True,
    expose_value=False,
    callback=read_config,
    metavar="FILE",
    help="Take options from a YAML file, or from a selection that is to be made again; the command line overrides it.",
)

strict_option = click.option(
    "--config-strict",
    is_flag=True,
    help="Fail if the index or a file is not what it was when the selection of --config was made, in place of a warning.",
)

OPTIONS: tuple[Callable[[Any], Any], ...] = (
    click.option("-n", "documents", type=COUNT, metavar="N", help="Select N documents; k, M, B and T are understood."),
    click.option("--tokens", type=COUNT, metavar="N", help="Select documents of N tokens altogether."),
    click.option(
        "--fraction",
        type=SHARE,
        metavar="F",
        help="Select documents of a share F of the candidates' tokens, such as 0.2 or 20%.",
    ),
    target_column_option,
    click.option(
        "--mix",
        type=click.Choice(nagindex.MIXES),
        default="union",
        show_default=True,
        help="How several targets share the budget: each its share, no document twice, taken in turns (union); each its share, a "
        "document in as many as choose it (merge, the paper's); merge without the later copies, so fewer documents (distinct); or one "
        "list by the best standardized score (max).",
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
        "--preset",
        type=click.Choice([*nagindex.ENCODINGS]),
        show_default="any",
        help="Preset that the index must have been built with: impact, tokens and layers are checked. All presets score by "
        "--score mean and --weights frequency, unless others are named.",
    ),
    click.option(
        "--weights",
        default="frequency",
        show_default=True,
        metavar="W",
        help="What a neuron counts: its frequency among the examples (the paper's); log-ratio[:m] or log-odds[:m], how much more frequent "
        "it is there than in the pool, shrunk by m examples' worth of the pool (40); or contrast:A, A times its frequency in the pool "
        "subtracted.",
    ),
    click.option(
        "--background",
        type=click.Choice(nagindex.BACKGROUNDS),
        default="pool",
        show_default=True,
        help="What such --weights compare with: all documents of the index, or those that --where and other options leave.",
    ),
    click.option("--contrast", type=float, default=0.0, metavar="A", help="The same as --weights contrast:A."),
    click.option(
        "--min-score",
        type=float,
        metavar="S",
        help="Select only documents with a score of at least S; without a budget all of them.",
    ),
    click.option("--quality-column", metavar="C", help="Rank by this kept column, or column of --scores, too."),
    click.option("--scores", metavar="FILE", help="File of id and value: the quality of each document."),
    click.option(
        "--quality-weight", type=float, default=1.0, show_default=True, metavar="W", help="Weight of quality."
    ),
    click.option("--lower-is-better", is_flag=True, help="Small values mean quality."),
    click.option(
        "--normalize",
        type=click.Choice(nagindex.NORMALIZATIONS),
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
        help="Drop documents whose NAG overlaps a better one's by at least D, above 0 and at most 1.",
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
        "--approx", is_flag=True, help="Let neighbor graphs answer, and estimate how much they found; for small -n."
    ),
    click.option(
        "--ngram",
        type=click.IntRange(min=1),
        default=nagindex.Decontamination.ngram,
        show_default=True,
        metavar="N",
        help="Words of an n-gram.",
    ),
)


def query_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options of a query to a command."""
    for option in reversed((config_option, strict_option, *OPTIONS)):
        command = option(command)
    return command


SECTIONS = {
    "Targets": "texts text_columns target_column mix target_weights model device no_cache",
    "Budget": "documents tokens fraction min_score score_curve",
    "Candidates": "index where exclude decontaminate evaluation_column ngram dropped",
    "Scoring": "preset score weights background contrast layers top_k quality_column scores quality_weight lower_is_better normalize",
    "Rules": "cap dedup",
    "Output": "output format_ with_text report pool_points corpus_root as_json",
    "Search": "approx ray threads explain",
    "Earlier queries": "config config_strict",
}
"""The sections of the help, and the names of the options in them; options of no section come last."""


OF_CURVES = frozenset(
    [
        *("targets", "texts", "text_columns", "target_column", "model", "device", "no_cache", "threads", "index"),
        *("where", "exclude", "preset", "score", "weights", "background", "contrast", "layers", "top_k"),
        *("score_curve", "as_json", "config_strict"),
    ]
)
"""Parameters that act on a score curve."""


def require_options_of_curve(ctx: click.Context) -> None:
    """Raise click.UsageError for an option on the command line that does nothing to a score curve."""
    for own in ctx.command.params:
        typed = own.name is not None and ctx.get_parameter_source(own.name) is ParameterSource.COMMANDLINE
        if typed and own.name in ctx.params and own.name not in OF_CURVES:
            raise click.UsageError(
                f"--score-curve selects nothing, and {own.opts[0]} is about a selection; leave one of the two out"
            )


class QueryCommand(click.Command):
    """A command with its options in sections, whose --decontaminate takes all values up to the next option.

    It accepts older spellings of options.
    """

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the help of the options, section by section."""
        records = {own.name: record for own in self.get_params(ctx) if (record := own.get_help_record(ctx)) is not None}
        sections = {title: [records.pop(name) for name in names.split()] for title, names in SECTIONS.items()}
        for title, rows in {**sections, "Other options": list(records.values())}.items():
            if rows:
                with formatter.section(title):
                    formatter.write_dl(rows)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Repeat the option before each of its values, as click expects; a bad value of a file is told with the file and its key."""
        try:
            return super().parse_args(ctx, _with_repetitions([_current_spelling(arg) for arg in args]))
        except click.BadParameter as error:
            name = error.param.name if error.param is not None else None
            if name is None or ctx.get_parameter_source(name) is not ParameterSource.DEFAULT_MAP:
                raise
            raise click.UsageError(
                f"{ctx.meta[CONFIG]}: {ctx.meta[KEYS].get(name, name)}: {error.message}", ctx
            ) from None


def _with_repetitions(args: Sequence[str]) -> list[str]:
    written: list[str] = []
    taking = False
    for position, arg in enumerate(args):
        if arg == "--":
            return [*written, *args[position:]]
        if taking and not arg.startswith("-") and written[-1] != SEVERAL:
            written.append(SEVERAL)
        taking = arg == SEVERAL or (taking and not arg.startswith("-"))
        written.append(arg)
    return written


def chosen_index(ctx: click.Context, index: str | Path) -> str | Path:
    """Return the index that --config names, unless the command line names one."""
    written = (ctx.default_map or {}).get("index")
    from_environment = ctx.get_parameter_source("index") is ParameterSource.ENVIRONMENT
    return str(written) if from_environment and written is not None else index


def budget_of(ctx: click.Context, options: dict[str, Any]) -> dict[str, Any]:
    """Take the budget out of click's values, as keywords of `Index.query`; one on the command line replaces a file's.

    Raises:
        click.UsageError: there is not one budget.
    """
    typed = [name for name in BUDGETS if ctx.get_parameter_source(name) is ParameterSource.COMMANDLINE]
    given = {name: options.pop(name) for name in BUDGETS}
    budget = {name: value if name in typed or not typed else None for name, value in given.items()}
    given_budgets = sum(value is not None for value in budget.values())
    if given_budgets > 1 or not (given_budgets or options["min_score"] is not None):
        raise click.UsageError("give one budget: -n (documents), --tokens or --fraction; or --min-score")
    return {"n": budget.pop("documents"), **budget}


def query_options_of(options: dict[str, Any]) -> nagindex.QueryOptions:
    """Take the query options out of click's values, those of quality and decontamination as groups.

    Raises:
        click.UsageError: a name is given twice.
        BadInputError: options are out of range or contradict each other.
    """
    options |= _typed_weights()
    settings = nagindex.Quality.__dataclass_fields__
    quality = {
        "column": options.pop("quality_column"),
        "scores": options.pop("scores"),
        "weight": options.pop("quality_weight"),
        "lower_is_better": options.pop("lower_is_better"),
        "normalize": options.pop("normalize"),
    }
    files, column, ngram = (options.pop(name) for name in ("decontaminate", "evaluation_column", "ngram"))
    source = click.get_current_context().get_parameter_source
    for name in ("evaluation_column", "ngram"):
        if not files and source(name) is ParameterSource.COMMANDLINE:
            flag = f"--{name.replace('_', '-')}"
            raise click.UsageError(f"{flag} is about evaluation texts; name some with --decontaminate, or leave it out")
    plain = {
        own.name: options.pop(own.name) for own in dataclasses.fields(nagindex.QueryOptions) if own.name in options
    }
    return nagindex.QueryOptions.of(
        **plain | {name: _by_name(name, plain[name]) for name in ("target_weights", "cap")},
        quality=nagindex.Quality(**quality) if any(v != settings[k].default for k, v in quality.items()) else None,
        decontamination=nagindex.Decontamination(files, column, ngram) if files else None,
    )


def _typed_weights() -> dict[str, Any]:
    """Return the defaults of --weights and --contrast, of which each on the command line overrides the other of a file.

    Raises:
        click.UsageError: both are on the command line.
    """
    source = click.get_current_context().get_parameter_source
    typed = [name for name in ("weights", "contrast") if source(name) is ParameterSource.COMMANDLINE]
    if len(typed) == 2:
        raise click.UsageError("--contrast A is --weights contrast:A; give one of the two")
    others: dict[str, dict[str, Any]] = {"weights": {"contrast": 0.0}, "contrast": {"weights": "frequency"}}
    return others[typed[0]] if typed else {}


def _by_name(name: str, pairs: Sequence[tuple[str, float]]) -> dict[str, float]:
    if len(dict(pairs)) < len(pairs):
        raise click.UsageError(f"--{name.replace('_', '-').removesuffix('s')}: a name is given twice")
    return dict(pairs)


def _current_spelling(arg: str) -> str:
    """Return an argument with an older spelling of an option replaced."""
    option, equals, value = arg.partition("=")
    return ALIASES.get(option, option) + equals + value

"""The columns of a source that hold the text, the id, the token count and the values to keep."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeVar

from nagindex.arguments import check_fields
from nagindex.errors import BadInputError

T = TypeVar("T")

TEXT_COLUMNS = ("text", "content", "doc", "document", "body")
ID_COLUMNS = ("id", "docid", "doc_id")
TOKEN_COLUMNS = ("token_num", "token_count", "n_tokens", "num_tokens")
ALL = "all"
RESERVED = (
    *("id", "file", "row", "tokens", "rank", "score", "target", "text", "standardised", "quality_value", "combined"),
    *("_segment", "_position", "_sum", "_row"),
    *("filename", "file_row_number", "file_index"),  # columns that DuckDB's scans of Parquet files add
)
"""Names that no column of an index has."""
RENAMED = (*RESERVED, "standardized")
"""Names that kept columns do not get; format version 1 did not reserve the American spelling."""
LEVELS = 8  # of nested fields
NAMES_SHOWN, NAME_SHOWN = 100, 100  # names, and characters of a name, in a message


class Fields(NamedTuple):
    """What a source has.

    Attributes:
        columns: names of its columns.
        types: for each column and each field nested in one, by path, the SQL type it is stored with if kept; empty where unknown.
    """

    columns: Sequence[str]
    types: dict[str, str]


@dataclass(frozen=True)
class SourceColumns:
    """The columns to read of one source, by path.

    Attributes:
        text: the document's text.
        id: its id; None where the source has none.
        tokens: its number of tokens; None where the source states none.
        kept: the values to keep; null where the source lacks them.
        target: the target set of an example; None where none is named.
    """

    text: str
    id: str | None = None
    tokens: str | None = None
    kept: tuple[str, ...] = ()
    target: str | None = None


@dataclass(frozen=True)
class Columns:
    """Names of the columns to read; None stands for the first usual name that a source has.

    A name may be the path of a nested field, such as `meta.url`; a column of that very name wins.

    Attributes:
        text_column: the document's text.
        id_column: the document's id; a source without an id column gets `<source name>:<row>`.
        token_column: the document's number of tokens; without it tokens are counted with the backbone's tokenizer.
        keep_columns: columns carried into the index: names, `NEW=OLD` for another name there, or a mapping of new names to
            old ones; `"all"` for every column except the text, the id and the token count. A name that nagindex uses itself,
            such as score, becomes source_score.
        target_column: the column that names the target set of an example; has no usual name.
        kept: the kept columns, name in the index to path in the corpus; empty for `"all"`.

    Raises:
        BadInputError: two kept columns have one name in the index.
    """

    text_column: str | None = None
    id_column: str | None = None
    token_column: str | None = None
    keep_columns: Sequence[str] | Mapping[str, str] = ()
    target_column: str | None = None
    kept: Mapping[str, str] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        check_fields(self)
        given = self.keep_columns
        if isinstance(given, Mapping):
            given = dict(given)
        elif given != ALL:
            given = (given,) if isinstance(given, str) else tuple(given)
        object.__setattr__(self, "keep_columns", given)
        object.__setattr__(self, "kept", {} if given == ALL else _stored_names(given))

    def find(self, available: Collection[str], *, where: str) -> SourceColumns:
        """Return the columns to read of a source: those named, else those of a usual name.

        Args:
            available: the paths of the source's columns and nested fields.
            where: the source's path, for messages.

        Raises:
            BadInputError: a named column of text, id, token count or target is missing, or no column has a usual name for texts.
        """
        for parameter in ("text_column", "id_column", "token_column", "target_column"):
            name = getattr(self, parameter)
            if name is not None and name not in available:
                raise missing_column(name, available, where=where, parameter=parameter)
        text = self.text_column or _first(TEXT_COLUMNS, available)
        if text is None:
            raise BadInputError(
                f"{where}: no text column found ({', '.join(TEXT_COLUMNS)}); "
                f"available columns are {format_names(available)}; name one with `text_column`"
            )
        return SourceColumns(
            text,
            self.id_column or _first(ID_COLUMNS, available),
            self.token_column or _first(TOKEN_COLUMNS, available),
            tuple(self.kept.values()),
            self.target_column,
        )


def _first(usual: Sequence[str], available: Collection[str]) -> str | None:
    return next((name for name in usual if name in available), None)


def _stored_names(given: Sequence[str] | Mapping[str, str]) -> dict[str, str]:
    """Return the paths of kept columns by their names in the index.

    Raises:
        BadInputError: two columns have one name in the index, which is case-insensitive there, or one has none.
    """
    pairs = list(given.items()) if isinstance(given, Mapping) else [_split(written) for written in given]
    stored: dict[str, str] = {}
    places: dict[str, str] = {}
    for new, old in pairs:
        name = stored_name(new)
        if name.lower() in places:
            raise BadInputError(
                f"two kept columns would be {name!r} in the index: {places[name.lower()]} and {old}; "
                "name the columns to keep with `keep_columns`, this one as NEW=OLD"
            )
        places[name.lower()] = old
        stored[name] = old
    return stored


def _split(written: str) -> tuple[str, str]:
    """Return (name in the index, path) of a kept column written as NAME or NEW=OLD."""
    new, equals, old = written.partition("=")
    if equals and not (new and old):
        raise BadInputError(f"`keep_columns` {written!r}: write NAME, or NEW=OLD to store the column OLD as NEW")
    return (new, old) if equals else (written, written)


def stored_name(name: str) -> str:
    """Return the name of a kept column in the index: source_NAME for one that nagindex uses itself."""
    return f"source_{name}" if name.lower() in RENAMED else name


def by_path(fields: Iterable[tuple[str, T]], children: Callable[[T], Iterable[tuple[str, T]]]) -> dict[str, T]:
    """Return fields and the fields nested in them by path, such as `meta.url`, as `pick` finds them.

    Args:
        fields: the outermost fields, by name.
        children: gives the fields nested in one.
    """
    found: dict[str, T] = {}
    level = [("", name, own) for name, own in fields]
    for _ in range(LEVELS):
        below = []
        for prefix, name, own in level:
            found.setdefault(prefix + name, own)
            if "." not in name:
                below += [(f"{prefix}{name}.", inner, child) for inner, child in children(own)]
        level = below
    return found


def pick(record: Any, path: str) -> Any:
    """Return the value at a path of nested objects, None where there is none; a key that is the whole path wins."""
    while isinstance(record, dict):
        if path in record:
            return record[path]
        head, _, path = path.partition(".")
        record = record.get(head)
    return None


def missing_column(name: str, available: Collection[str], *, where: str, parameter: str) -> BadInputError:
    """Return the error for a missing column; it lists the available columns and suggests the one with the most similar name."""
    likely = similar_name(name, available)
    hint = f"; did you mean {format_names([likely])}?" if likely else ""
    return BadInputError(
        f"{where}: no column {name!r} (`{parameter}`{hint}); available columns are {format_names(available)}"
    )


def similar_name(name: str, available: Collection[str]) -> str | None:
    """Return the name that was probably meant: one that differs in case, is nested or was renamed, or is spelled alike."""
    shown = [own for own in available if len(own) <= NAME_SHOWN]
    for own in shown:
        if own.lower() == name.lower() or own.endswith(f".{name}") or own == stored_name(name):
            return own
    return next(iter(difflib.get_close_matches(name[:NAME_SHOWN], shown, n=1)), None)


def format_names(names: Collection[str]) -> str:
    """Return names on one line, for messages; long and unprintable ones are escaped."""
    listed = list(names)[:NAMES_SHOWN]
    shown = [name if name.isprintable() and len(name) <= NAME_SHOWN else ascii(name[:NAME_SHOWN]) for name in listed]
    more = [f"{len(names) - NAMES_SHOWN:,} more"] * (len(names) > NAMES_SHOWN)
    return ", ".join([*shown, *more]) or "none"

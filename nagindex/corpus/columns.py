"""The columns of a source that hold the text, the id, the token count and the values to keep."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from nagindex.arguments import check_fields
from nagindex.errors import BadInputError

TEXT_COLUMNS = ("text", "content", "doc", "document", "body")
ID_COLUMNS = ("id", "docid", "doc_id")
TOKEN_COLUMNS = ("token_num", "token_count", "n_tokens", "num_tokens")
RESERVED = (
    *("id", "file", "row", "tokens", "rank", "score", "target", "text", "standardised", "quality_value", "combined"),
    *("_segment", "_position", "_sum", "_row"),
)
RESERVED_BY_DUCKDB = ("filename", "file_row_number", "file_index")  # columns that its scans of Parquet files add
NAMES_SHOWN, NAME_SHOWN = 100, 100  # names, and characters of a name, in a message


@dataclass(frozen=True)
class Columns:
    """Names of the columns to read; None stands for the first usual name that a source has.

    Attributes:
        text_column: the document's text.
        id_column: the document's id; a source without an id column gets `<source name>:<row>`.
        token_column: the document's number of tokens; without it tokens are counted with the backbone's tokenizer.
        keep_columns: columns carried into the index under their own names.
        target_column: the column that names the target set of an example; has no usual name.

    Raises:
        BadInputError: a kept column has a reserved name, or is named twice.
    """

    text_column: str | None = None
    id_column: str | None = None
    token_column: str | None = None
    keep_columns: Sequence[str] = ()
    target_column: str | None = None

    def __post_init__(self) -> None:
        check_fields(self)
        kept = (self.keep_columns,) if isinstance(self.keep_columns, str) else tuple(self.keep_columns)
        object.__setattr__(self, "keep_columns", kept)
        reserved = RESERVED + RESERVED_BY_DUCKDB
        for name in self.keep_columns:
            if name.lower() in reserved:
                raise BadInputError(
                    f"column {name!r} cannot be kept: the names {', '.join(reserved)} are taken; "
                    "rename it in the corpus"
                )
        if len({name.lower() for name in self.keep_columns}) < len(self.keep_columns):
            raise BadInputError(f"a column is named twice among those to keep: {', '.join(self.keep_columns)}")

    def find(self, available: Sequence[str], *, where: str) -> Columns:
        """Return the columns to read of a source: those named, else those of a usual name.

        Args:
            available: the source's column names.
            where: the source's path, for messages.

        Raises:
            BadInputError: a named column is missing, or no column has a usual name for texts.
        """
        named = [
            ("text_column", self.text_column),
            ("id_column", self.id_column),
            ("token_column", self.token_column),
            ("target_column", self.target_column),
            *(("keep_columns", name) for name in self.keep_columns),
        ]
        for parameter, name in named:
            if name is not None and name not in available:
                raise BadInputError(
                    f"{where}: no column {name!r} (`{parameter}`); available columns are {format_names(available)}"
                )
        text = self.text_column or _first(TEXT_COLUMNS, available)
        if text is None:
            raise BadInputError(
                f"{where}: no text column found ({', '.join(TEXT_COLUMNS)}); "
                f"available columns are {format_names(available)}; name one with `text_column`"
            )
        identifier, tokens = (
            self.id_column or _first(ID_COLUMNS, available),
            self.token_column or _first(TOKEN_COLUMNS, available),
        )
        return Columns(text, identifier, tokens, self.keep_columns, self.target_column)


def _first(usual: Sequence[str], available: Sequence[str]) -> str | None:
    return next((name for name in usual if name in available), None)


def format_names(names: Sequence[str]) -> str:
    """Return names on one line, for messages; long and unprintable ones are escaped."""
    shown = [name if name.isprintable() and len(name) <= NAME_SHOWN else ascii(name[:NAME_SHOWN]) for name in names]
    more = [f"{len(names) - NAMES_SHOWN:,} more"] * (len(names) > NAMES_SHOWN)
    return ", ".join([*shown[:NAMES_SHOWN], *more]) or "none"

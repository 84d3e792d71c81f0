"""The columns of a source that hold the text, the id, the token count and the values to keep."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

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
        text: the document's text.
        id: the document's id; a source without an id column gets `<source name>:<row>`.
        tokens: the document's number of tokens; without it tokens are counted with the backbone's tokenizer.
        keep: columns carried into the index under their own names.
        target: the column that names the target set of an example; has no usual name.

    Raises:
        BadInputError: a kept column has a reserved name, or is named twice.
    """

    text: str | None = None
    id: str | None = None
    tokens: str | None = None
    keep: Sequence[str] = ()
    target: str | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "keep", (self.keep,) if isinstance(self.keep, str) else tuple(self.keep))
        reserved = RESERVED + RESERVED_BY_DUCKDB
        for name in self.keep:
            if name.lower() in reserved:
                raise BadInputError(
                    f"column {name!r} cannot be kept: the names {', '.join(reserved)} are taken; "
                    "rename it in the corpus"
                )
        if len({name.lower() for name in self.keep}) < len(self.keep):
            raise BadInputError(f"a column is named twice among those to keep: {', '.join(self.keep)}")

    def find(self, available: Sequence[str], *, where: str) -> Columns:
        """Return the columns to read of a source: those named, else those of a usual name.

        Args:
            available: the source's column names.
            where: the source's path, for messages.

        Raises:
            BadInputError: a named column is missing, or no column has a usual name for texts.
        """
        named = [
            ("text_column", self.text),
            ("id_column", self.id),
            ("token_column", self.tokens),
            ("target_column", self.target),
            *(("keep_column", name) for name in self.keep),
        ]
        for parameter, name in named:
            if name is not None and name not in available:
                raise BadInputError(
                    f"{where}: no column {name!r} (`{parameter}`); available columns are {format_names(available)}"
                )
        text = self.text or _first(TEXT_COLUMNS, available)
        if text is None:
            raise BadInputError(
                f"{where}: no text column found ({', '.join(TEXT_COLUMNS)}); "
                f"available columns are {format_names(available)}; name one with `text_column`"
            )
        identifier, tokens = self.id or _first(ID_COLUMNS, available), self.tokens or _first(TOKEN_COLUMNS, available)
        return Columns(text, identifier, tokens, self.keep, self.target)


def _first(usual: Sequence[str], available: Sequence[str]) -> str | None:
    return next((name for name in usual if name in available), None)


def format_names(names: Sequence[str]) -> str:
    """Return names on one line, for messages; long and unprintable ones are escaped."""
    shown = [name if name.isprintable() and len(name) <= NAME_SHOWN else ascii(name[:NAME_SHOWN]) for name in names]
    more = [f"{len(names) - NAMES_SHOWN:,} more"] * (len(names) > NAMES_SHOWN)
    return ", ".join([*shown[:NAMES_SHOWN], *more]) or "none"

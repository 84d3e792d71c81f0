"""Which columns of a source hold the text, the id, the token count and what the user wants kept."""

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
NAMES_SHOWN, NAME_SHOWN = 100, 100
RESERVED_BY_DUCKDB = ("filename", "file_row_number", "file_index")  # in every scan of a segment


@dataclass(frozen=True)
class Columns:
    """The columns to read, by name; None means the first of the usual names that a source has.

    Attributes:
        text: the document's text.
        id: the document's id; a source without an id column gets `<source name>:<row>`.
        tokens: the document's number of tokens; without it tokens are counted with the backbone's tokenizer.
        keep: columns carried into the index under their own names.
        target: of examples, the name of the task that one belongs to; read after the kept columns, never looked for.
    """

    text: str | None = None
    id: str | None = None
    tokens: str | None = None
    keep: tuple[str, ...] = ()
    target: str | None = None

    def __post_init__(self) -> None:
        for name in self.keep:
            if name.lower() in RESERVED + RESERVED_BY_DUCKDB:
                taken = ", ".join(RESERVED + RESERVED_BY_DUCKDB)
                raise BadInputError(
                    f"column {name!r} cannot be kept: the names {taken} are taken; rename it in the corpus"
                )
        if len({name.lower() for name in self.keep}) < len(self.keep):
            raise BadInputError(f"a column is named twice among those to keep: {', '.join(self.keep)}")

    def find(self, available: Sequence[str], *, where: str) -> Columns:
        """Return these columns with every None settled for a source that has `available` columns.

        Args:
            available: the source's column names.
            where: the source's path, for messages.

        Raises:
            BadInputError: a named column is missing, or no column has a usual name for texts.
        """
        for option, name in [
            ("--text-column", self.text),
            ("--id-column", self.id),
            ("--token-column", self.tokens),
            ("--target-column", self.target),
        ]:
            if name is not None and name not in available:
                raise BadInputError(
                    f"{where}: no column {name!r} ({option}); available columns are {listed(available)}"
                )
        for name in self.keep:
            if name not in available:
                raise BadInputError(
                    f"{where}: no column {name!r} (--keep-column); available columns are {listed(available)}"
                )
        text = self.text or _first(TEXT_COLUMNS, available)
        if text is None:
            raise BadInputError(
                f"{where}: no text column found ({', '.join(TEXT_COLUMNS)}); "
                f"available columns are {listed(available)}; name one with --text-column"
            )
        identifier, tokens = self.id or _first(ID_COLUMNS, available), self.tokens or _first(TOKEN_COLUMNS, available)
        return Columns(text, identifier, tokens, self.keep, self.target)


def _first(usual: Sequence[str], available: Sequence[str]) -> str | None:
    return next((name for name in usual if name in available), None)


def listed(names: Sequence[str]) -> str:
    """Return names for a message of one line, whatever they hold and however many they are."""
    shown = [name if name.isprintable() and len(name) <= NAME_SHOWN else ascii(name[:NAME_SHOWN]) for name in names]
    more = [f"{len(names) - NAMES_SHOWN:,} more"] * (len(names) > NAMES_SHOWN)
    return ", ".join([*shown[:NAMES_SHOWN], *more]) or "none"

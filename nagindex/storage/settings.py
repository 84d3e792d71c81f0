"""Settings: how an index reads corpora, chosen when it is created."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from nagindex.corpus.columns import ALL, Columns, format_names, similar_name
from nagindex.errors import BadInputError, SettingsMismatchError


@dataclass(frozen=True)
class Settings:
    """How an index reads corpora: chosen when it is created, and used by every append.

    Attributes:
        text_column, id_column, token_column: names given by the user; None to find the column in each source.
        keep_columns: names of the kept columns in the index.
        keep_paths: where the corpus has them; empty if these are the names.
        keep_all: whether all columns of the first sources were kept.
        calibrate: documents that were drawn for the calibration of relative impact; None where there is none, or one was given.
        sample: SHA-256 of what the backbone read of them; None likewise.
        window: number of input rows whose documents are batched together.
        batch_tokens: batch size in tokens, padding included.
        count_tokens: whether to count the tokens of documents without a token column; otherwise they count as 0.
    """

    text_column: str | None = None
    id_column: str | None = None
    token_column: str | None = None
    keep_columns: tuple[str, ...] = ()
    window: int = 256
    batch_tokens: int = 2048
    count_tokens: bool = True
    keep_paths: tuple[str, ...] = ()
    keep_all: bool = False
    calibrate: int | None = None
    sample: str | None = None

    @classmethod
    def of(cls, columns: Columns, *, keep_all: bool = False) -> Settings:
        """Return settings with the columns that a user names.

        Args:
            columns: the columns, with the names of those to keep.
            keep_all: whether these are all that the sources have.
        """
        names, paths = tuple(columns.kept), tuple(columns.kept.values())
        named = cls(columns.text_column, columns.id_column, columns.token_column, names, keep_all=keep_all)
        return dataclasses.replace(named, keep_paths=paths if paths != names else ())

    @property
    def kept(self) -> dict[str, str]:
        """The paths of the kept columns in the corpus by their names in the index."""
        return dict(zip(self.keep_columns, self.keep_paths or self.keep_columns, strict=True))

    @property
    def columns(self) -> Columns:
        """The columns to read of a source."""
        return Columns(self.text_column, self.id_column, self.token_column, self.kept)

    def reading(self, own: Columns | None) -> Settings:
        """Return the settings with which sources are read that have columns of their own; the others are the index's.

        Raises:
            BadInputError: a column is to be kept under a name that the index does not have.
        """
        if own is None:
            return self
        for name in own.kept:
            if name not in self.keep_columns:
                likely = similar_name(name, self.keep_columns)
                hint = f"; did you mean {likely}?" if likely else ""
                raise BadInputError(
                    f"no column {name!r} in the index (`keep_columns`{hint}); it keeps {format_names(self.keep_columns)}: "
                    "write NEW=OLD, where NEW is one of these"
                )
        given = {name: getattr(own, name) for name in ("text_column", "id_column", "token_column")}
        paths = tuple((self.kept | dict(own.kept)).values())
        return dataclasses.replace(self, keep_paths=paths, **{name: v for name, v in given.items() if v is not None})

    def differences(self, other: Settings) -> list[str]:
        """Return one phrase for each setting that differs, with both values; `window` and `batch_tokens` may differ."""
        names = ("text_column", "id_column", "token_column", "keep_columns", "count_tokens", "calibrate")
        pairs = [(name, self._stated(name), other._stated(name)) for name in names]
        return [_difference(name, stored, given) for name, stored, given in pairs if stored != given]

    def _stated(self, name: str) -> object:
        """Return a setting as a user writes it."""
        if name != "keep_columns":
            return getattr(self, name)
        return ALL if self.keep_all else tuple(n if n == p else f"{n}={p}" for n, p in self.kept.items())

    def require(self, other: Settings, *, where: str) -> None:
        """Raise SettingsMismatchError, with both values, if `other` reads corpora in another way."""
        if differing := self.differences(other):
            raise SettingsMismatchError(
                f"{where}: {'; '.join(differing)}; use the index's settings, or build another index"
            )


def _difference(name: str, stored: object, given: object) -> str:
    if name == "count_tokens":
        return f"the index was built {'without' if stored else 'with'} `count_tokens=False`"
    return f"`{name}` is {_shown(stored)} in the index and {_shown(given)} here"


def _shown(value: object) -> str:
    return (", ".join(value) if isinstance(value, tuple) else str(value or "")) or "not given"

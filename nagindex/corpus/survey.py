"""A survey of the columns of a corpus: what its sources have, looked at before any of them is encoded."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from nagindex.corpus.columns import Columns, Fields, missing_column
from nagindex.corpus.reading import fields_of
from nagindex.corpus.sources import OnError, Source, SourcePath
from nagindex.errors import BadInputError


@dataclass
class Survey:
    """The columns of some sources.

    Attributes:
        paths: the sources that have any.
        columns: names of the columns.
        used: those that hold the text, the id or the token count of a source, also if the text is nested in them.
        types: for each column and nested field, by path: the SQL types it is stored with if kept, and where each was found first.
    """

    paths: list[SourcePath] = field(default_factory=list)
    columns: dict[str, None] = field(default_factory=dict)
    used: set[str] = field(default_factory=set)
    types: dict[str, dict[str, object]] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        sources: Iterable[Source],
        columns: Columns,
        *,
        is_new: Callable[[Source], bool],
        on_error: OnError = "stop",
    ) -> Survey:
        """Return the survey of the sources that are new, and of others until every column to keep is found.

        A damaged source is passed over here: it is reported in its turn.

        Args:
            sources: the sources.
            columns: the columns to read.
            is_new: whether a source is to be read; those that an index holds already may have their texts in another column.
            on_error: under `skip` a source that lacks a column is passed over too.

        Raises:
            BadInputError: a source that is to be read lacks a column of text, id or token count.
        """
        survey = cls()
        for source in sorted(sources, key=is_new, reverse=True):
            if not is_new(source) and not survey.lacking(columns.kept.values()):
                break
            if source.problem is not None or not source.path.is_file():  # a pipe gives its content once
                continue
            try:
                fields = fields_of(source)
            except BadInputError:
                continue
            if fields.columns:
                survey._add(source, fields, columns, required=is_new(source) and on_error == "stop")
        return survey

    def _add(self, source: Source, fields: Fields, columns: Columns, *, required: bool) -> None:
        self.paths.append(source.path)
        self.columns |= dict.fromkeys(fields.columns)
        for path, kind in fields.types.items():
            self.types.setdefault(path, {}).setdefault(kind, source.path)
        if source.format == "txt":
            self.used.add("text")
            return
        try:
            found = columns.find(fields.types, where=str(source.path))
        except BadInputError:
            if required:
                raise
        else:
            # A column that texts are nested in would carry them into the index.
            text = found.text if found.text in fields.columns else found.text.partition(".")[0]
            self.used.update(filter(None, (text, found.id, found.tokens)))

    @property
    def others(self) -> list[str]:
        """The columns that hold neither text nor id nor token count of any source."""
        return [name for name in self.columns if name not in self.used]

    def lacking(self, paths: Iterable[str]) -> list[str]:
        """Return the columns and nested fields that no source has; none where no source could be read."""
        return [path for path in paths if path not in self.types] if self.paths else []

    def require(self, paths: Iterable[str]) -> None:
        """Raise BadInputError if no source has one of the columns to keep."""
        for path in self.lacking(paths):
            more = f" and {len(self.paths) - 1:,} more" * (len(self.paths) > 1)
            raise missing_column(path, self.types, where=f"{self.paths[0]}{more}", parameter="keep_columns")

    def mixed(self, kept: Mapping[str, str], stored: Mapping[str, str], index: object) -> list[str]:
        """Return a sentence for each kept column that holds text in one place and numbers or booleans in another.

        Args:
            kept: paths in the corpus by names in the index.
            stored: types in the index by names.
            index: the index's folder.
        """
        notes = []
        for name, path in kept.items():
            places = self.types.get(path, {}) | ({stored[name]: index} if name in stored else {})
            others = [place for kind, place in places.items() if kind not in ("", "VARCHAR")]
            if "VARCHAR" in places and others:
                written = name if name == path else f"{name}={path}"
                found = f"column {written!r} is text in {places['VARCHAR']} and not in {others[0]}"
                notes.append(f"{found}: all of it is kept as text")
        return notes

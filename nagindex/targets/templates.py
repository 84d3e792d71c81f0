"""Target sets from records: a Jinja2 template makes each record's text. And what every set of examples shares."""

from __future__ import annotations

import hashlib
import heapq
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import IO, TYPE_CHECKING, Any, NamedTuple, TypeVar

from nagindex.corpus import parquet, streams
from nagindex.corpus.columns import ID_COLUMNS, listed
from nagindex.corpus.sources import Paths, Position, Source, find_sources
from nagindex.corpus.sql import quote_name, quote_path
from nagindex.errors import BadInputError

if TYPE_CHECKING:
    from jinja2.sandbox import SandboxedEnvironment

Row = TypeVar("Row")
ROWS_PER_FETCH = 512


@dataclass(frozen=True)
class ExampleSet:
    """Example texts of one task.

    Attributes:
        name: the task's name, which goes with every example as `dataset`.
        examples: (id, text) pairs in the order of their source.
        skipped: one sentence for each row that was looked at and is no example, naming its place and the reason.
        splits: the splits that the examples are from, where there are any.
        warning: what is otherwise than expected, or None.
    """

    name: str
    examples: list[tuple[str, str]]
    skipped: list[str] = field(default_factory=list)
    splits: tuple[str, ...] = ()
    warning: str | None = None

    def write(self, file: IO[bytes]) -> None:
        """Write the examples as JSON lines: id, text and dataset."""
        for identifier, text in self.examples:
            record = {"id": identifier, "text": text, "dataset": self.name}
            file.write(json.dumps(record, ensure_ascii=False).encode() + b"\n")


class Candidate(NamedTuple):
    """A row that may become an example: its place for messages, id and text, and what is wrong with it, or None."""

    where: str
    id: str
    text: str
    problem: str | None = None


def draw(
    name: str, rows: Iterable[Row], make: Callable[[Row], Candidate], *, where: str, limit: int | None, seed: int
) -> ExampleSet:
    """Return the examples that rows make, in their order; of more than `limit`, a choice that the seed and the rows' positions settle.

    Rows are drawn without replacement, and only those drawn are made into texts; one that is no example gives its place to the
    next in the drawing.

    Args:
        name: the set's name.
        rows: what is drawn from.
        make: what makes a text of a row.
        where: where the rows are from, for messages.
        limit: examples at most.
        seed: of the drawing.

    Raises:
        BadInputError: there is no example.
    """
    drawn: list[tuple[int, int, tuple[str, str]]] = []  # a heap, first what leaves first
    skipped = []
    for position, row in enumerate(rows):
        # A hash, not Python's generator, whose sampling may change from one version to the next.
        lot = int.from_bytes(hashlib.sha256(f"{seed}:{position}".encode()).digest()[:8], "big")
        full = limit is not None and len(drawn) == limit
        if full and -lot < drawn[0][0]:
            continue
        candidate = make(row)
        if problem := candidate.problem or _problem(candidate):
            skipped.append(f"{candidate.where}: {problem}")
        else:
            (heapq.heapreplace if full else heapq.heappush)(drawn, (-lot, position, (candidate.id, candidate.text)))
    if not drawn:
        found = f"{len(skipped):,} skipped, the first: {skipped[0]}" if skipped else "nothing is in it"
        raise BadInputError(f"{where}: holds no example ({found}); give at least one text")
    return ExampleSet(name, [example for _, _, example in sorted(drawn, key=lambda entry: entry[1])], skipped)


def _problem(candidate: Candidate) -> str | None:
    if not candidate.text.strip():
        return "blank text"
    try:
        f"{candidate.id}{candidate.text}".encode()
    except UnicodeEncodeError:
        return "invalid UTF-8"
    return None


def fill_template(
    paths: Paths,
    template: str,
    *,
    template_name: str = "template",
    id_column: str | None = None,
    name: str | None = None,
    limit: int | None = None,
    seed: int = 0,
) -> list[ExampleSet]:
    """Return the texts that a template makes of records, a set for each file or all as one.

    Args:
        paths: files, globs or folders in any corpus format.
        template: Jinja2, run in its sandbox; a record's columns are its variables, null is nothing.
        template_name: what messages call it.
        id_column: column of the ids; by default id, docid or doc_id, else FILE:ROW.
        name: one set of this name from all files; by default each file is a set of its own name.
        limit: examples of a set at most; see `draw`.
        seed: of the drawing.

    Raises:
        InputNotFoundError: a path matches nothing.
        BadInputError: the template or a file is not what it must be, a name in it is not in a record, or a set has no example.
    """
    render, names = _compiled(template, template_name)
    sets: dict[str, list[Source]] = {}
    listing = find_sources(paths)
    for source in listing.sources:
        sets.setdefault(name if name is not None else _stem(source), []).append(source)

    def records(sources: list[Source]) -> Iterator[_Record]:
        for source in sources:
            yield from _records(source, names, id_column)

    made = [
        draw(each, records(sources), render, where=_listed(sources), limit=limit, seed=seed)
        for each, sources in sets.items()
    ]
    made[0].skipped.extend(f"{path}: a file of another kind" for path in listing.ignored)
    return made


class _Record(NamedTuple):
    """A record: its place, its id, the values that the template can name, and the names of all of its columns."""

    where: str
    id: str
    values: dict[str, Any]
    columns: Sequence[str]


def _compiled(template: str, where: str) -> tuple[Callable[[_Record], Candidate], set[str]]:
    """Return what makes a record's text, and the names that the template looks up."""
    from jinja2 import TemplateSyntaxError, meta

    environment = _environment()
    try:
        names = meta.find_undeclared_variables(environment.parse(template))
        compiled = environment.from_string(template)
    except TemplateSyntaxError as error:
        raise BadInputError(f"{where}, line {error.lineno}: {_reason(error)}; mend the template") from None
    if not names:
        raise BadInputError(
            f"{where}: names no column, so that all texts would be the same; name one as {{{{column}}}}"
        )

    def render(record: _Record) -> Candidate:
        try:
            return Candidate(record.where, record.id, compiled.render(record.values))
        except Exception as error:  # a template is a program, and may fail in any way
            raise BadInputError(
                f"{record.where}: the template cannot be filled in: {_reason(error)}; "
                f"the record's columns are {listed(record.columns)}"
            ) from error

    return render, names


def _environment() -> SandboxedEnvironment:
    from jinja2 import StrictUndefined
    from jinja2.sandbox import SandboxedEnvironment

    class Environment(SandboxedEnvironment):
        """Jinja2 in which a field comes before a method of Python's dictionaries: {{ answers.values }}."""

        def getattr(self, obj: Any, attribute: str) -> Any:
            return obj[attribute] if isinstance(obj, dict) and attribute in obj else super().getattr(obj, attribute)

    return Environment(undefined=StrictUndefined, finalize=lambda value: "" if value is None else value)


def _reason(error: Exception) -> str:
    from jinja2 import TemplateError

    message = " ".join(str(error).split()).rstrip(".")
    return message if isinstance(error, TemplateError) else f"{type(error).__name__}: {message}"


def _records(source: Source, names: set[str], id_column: str | None) -> Iterator[_Record]:
    """Yield the records of a source; of a Parquet file only the columns that are named are read."""
    available = (parquet if source.format == "parquet" else streams).column_names(source)
    if not available:
        return
    if id_column is not None and id_column not in available:
        raise BadInputError(
            f"{source.path}: no column {id_column!r} (--id-column); available columns are {listed(available)}"
        )
    named = id_column or next((name for name in ID_COLUMNS if name in available), None)
    read = {"parquet": _parquet_records, "json": json_records, "jsonl": json_records}.get(source.format, _text_records)
    for row, identifier, values in read(source, available, names, named):
        where = f"{source.path}, row {row}"
        columns = list(values) if read is json_records else available
        yield _Record(where, _id(identifier, where) or f"{source.name}:{row}", values, columns)


Read = Iterator[tuple[int, Any, dict[str, Any]]]


def _parquet_records(source: Source, available: Sequence[str], names: set[str], id_column: str | None) -> Read:
    """Yield (row, id, values); the id as DuckDB writes it."""
    import duckdb

    from nagindex.corpus.sql import connect

    wanted = [name for name in available if name in names]
    identifier = f"CAST({quote_name(id_column)} AS VARCHAR)" if id_column else "NULL"
    columns = ", ".join(["file_row_number", identifier, *map(quote_name, wanted)])
    options = "file_row_number = true, binary_as_string = true, hive_partitioning = false"
    try:
        with connect() as connection:
            result = connection.execute(f"SELECT {columns} FROM read_parquet({quote_path(source.path)}, {options})")
            while fetched := result.fetchmany(ROWS_PER_FETCH):
                for row, found, *values in fetched:
                    yield row, found, dict(zip(wanted, values, strict=True))
    except duckdb.Error as error:
        raise BadInputError(
            f"{source.path}: cannot be read as Parquet ({str(error).splitlines()[0]}); replace or remove the file"
        ) from error


def json_records(source: Source, available: Sequence[str], names: set[str], id_column: str | None) -> Read:
    """Yield (row, id, values); an id that is a number with a fraction as it is written."""
    for row, record, raw in streams.json_records(source):
        identifier = record.get(id_column) if id_column else None
        if isinstance(identifier, float):
            identifier = json.loads(raw, parse_float=str)[id_column]
        yield row, identifier, record


def _text_records(source: Source, available: Sequence[str], names: set[str], id_column: str | None) -> Read:
    """Yield (row, id, values) of CSV, TSV or plain text, where nothing is null."""
    rows = streams.read_rows(
        source, available, id_column=id_column, start=0, position=Position(), wanted=lambda row: True
    )
    for row, values in rows:
        record = {name: value or "" for name, value in zip(available, values, strict=True)}
        yield row, record.get(id_column) if id_column else None, record


def _id(value: Any, where: str) -> str | None:
    if value is None or value == "":
        return None
    if isinstance(value, bool) or not isinstance(value, (str, int)):
        raise BadInputError(
            f"{where}: the id is {json.dumps(value)}, not a text or a whole number; name another with --id-column"
        )
    return str(value)


def _listed(sources: Sequence[Source]) -> str:
    return str(sources[0].path) + (f" and {len(sources) - 1:,} more" if len(sources) > 1 else "")


def _stem(source: Source) -> str:
    """Return a source's name without the suffixes of its format."""
    name = PurePosixPath(source.name)
    return str((name.with_suffix("") if source.compression != "none" else name).with_suffix(""))

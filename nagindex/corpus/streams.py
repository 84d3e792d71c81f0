"""Text sources (JSON lines, JSON, CSV, TSV, plain text), read from one decompressed stream.

DuckDB's readers do not fit here. They reject a whole file for one invalid byte, where only its row is to be skipped;
they limit the length of a line, and a document may be a book; they rewrite the number 1e3 as 1000.0, and do not verify
gzip's checksums.
"""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable, Container, Iterable, Iterator, Sequence
from itertools import islice
from typing import IO, Any, cast

from nagindex.corpus.columns import Fields, by_path, format_names, pick
from nagindex.corpus.sources import Position, Source
from nagindex.corpus.text_files import MAX_RECORD, count_bytes, lines_of, open_text, too_long
from nagindex.errors import BadInputError

RECORDS_SAMPLED = 1000
CHUNK = 1 << 20
STORED_TYPES = {bool: "BOOLEAN", int: "BIGINT", float: "DOUBLE"}
JSON_KINDS = {list: "array", dict: "object", str: "string", bool: "truth value", type(None): "null"}


def column_names(source: Source) -> list[str]:
    """Return the columns of a text source: those of its header, or the keys of its first thousand JSON records."""
    if source.format == "txt":
        return ["text"]
    if source.format in ("csv", "tsv"):
        return _csv_header(source)
    return list(dict.fromkeys(key for record in _sampled_objects(source) for key in record))


def _sampled_objects(source: Source) -> list[dict[str, Any]]:
    """Return the first thousand records of a JSON source, without those that are none.

    Raises:
        BadInputError: none of them is a record.
    """
    records = [record for _, record, _ in islice(_json_records(source), RECORDS_SAMPLED)]
    objects = [record for record in records if not isinstance(record, BadInputError)]
    if records and not objects:
        raise next(record for record in records if isinstance(record, BadInputError))
    return objects


def fields(source: Source) -> Fields:
    """Return the columns of a text source and the objects' fields in them; of JSON those of the first thousand records."""
    if source.format not in ("json", "jsonl"):
        names = column_names(source)
        return Fields(names, dict.fromkeys(names, ""))
    columns: dict[str, None] = {}
    types: dict[str, str] = {}
    for record in _sampled_objects(source):
        columns |= dict.fromkeys(record)
        objects = [(name, value) for name, value in record.items() if isinstance(value, dict)]
        for path, value in (*record.items(), *by_path(objects, _members).items()):
            if not types.get(path):
                types[path] = "" if value is None else STORED_TYPES.get(type(value), "VARCHAR")
    return Fields(list(columns), types)


def _members(value: Any) -> Iterable[tuple[str, Any]]:
    return value.items() if isinstance(value, dict) else ()


def read_rows(
    source: Source,
    columns: Sequence[str],
    *,
    id_column: str | None,
    start: int,
    position: Position,
    wanted: Callable[[int], bool],
) -> Iterator[tuple[int, Sequence[Any] | BadInputError]]:
    """Yield (row, values at the paths `columns`) from row `start` on; missing values and empty CSV fields are None.

    The values of JSON lines that are not `wanted` are None without being parsed. A row that is no record is yielded as
    the error that says so, and the rows after it follow; what is wrong with the file is raised.
    """
    if source.format == "txt":
        if start == 0:
            with open_text(source, position) as stream:
                text = stream.read(MAX_RECORD + 1)
                if len(text) > MAX_RECORD:
                    raise too_long(f"{source.path}, row 0")
                yield 0, [text, *[None] * (len(columns) - 1)]
    elif source.format in ("csv", "tsv"):
        header = _csv_header(source)
        positions = [header.index(name) if name in header else None for name in columns]
        for row, fields in _csv_records(source, position):
            if row >= start:
                if isinstance(fields, BadInputError):
                    yield row, fields
                else:
                    yield row, [None if p is None else fields[p] or None for p in positions]
    else:
        for row, record, raw in _json_records(source, start, position, wanted):
            if isinstance(record, BadInputError):
                yield row, record
                continue
            values = [pick(record, path) for path in columns]
            if id_column is not None:
                values[columns.index(id_column)] = _id_as_written(record, raw, id_column)
            yield row, values


def raise_errors(rows: Iterable[tuple[int, Sequence[Any] | BadInputError]]) -> Iterator[tuple[int, Sequence[Any]]]:
    """Yield rows, and raise what `read_rows` yields as an error."""
    for row, values in rows:
        if isinstance(values, BadInputError):
            raise values
        yield row, values


def read_records(
    source: Source, names: Container[str], *, id_column: str | None
) -> Iterator[tuple[int, Any, dict[str, Any]]]:
    """Yield (row, id, values by column) of all columns; an empty CSV field is an empty text.

    Raises:
        BadInputError: a row is no record, or the file cannot be read.
    """
    if source.format in ("json", "jsonl"):
        for row, record, raw in _json_records(source):
            if isinstance(record, BadInputError):
                raise record
            yield row, None if id_column is None else _id_as_written(record, raw, id_column), record
        return
    columns = column_names(source)
    rows = read_rows(source, columns, id_column=id_column, start=0, position=Position(), wanted=lambda row: True)
    for row, values in raise_errors(rows):
        fields = {name: value or "" for name, value in zip(columns, values, strict=True)}
        yield row, None if id_column is None else fields[id_column], fields


def _id_as_written(record: dict[str, Any], raw: str, column: str) -> Any:
    """Return the id of a JSON record; a number with a fraction or an exponent as text, as the file writes it."""
    value = pick(record, column)
    return pick(json.loads(raw, parse_float=str), column) if isinstance(value, float) else value


class Field(str):
    """The text of a CSV field; a column whose fields all read as one type is stored with it."""


def _json_records(
    source: Source,
    start: int = 0,
    position: Position | None = None,
    wanted: Callable[[int], bool] = lambda row: True,
) -> Iterator[tuple[int, dict[str, Any] | BadInputError, str]]:
    """Yield (row, record, its JSON text) of a .jsonl or .json source; a row that is no record is the error that says so.

    Lines that are not `wanted` are empty records, and are not parsed.
    """
    with open_text(source, position) as stream:
        if source.format == "jsonl":
            for row, line in enumerate(lines_of(stream, source, position)):
                if row >= start and not line.isspace():
                    yield (row, _parsed_line(line, source, row), line) if wanted(row) else (row, {}, "{}")
        else:
            for row, (record, raw) in enumerate(_json_values(stream, source)):
                count_bytes(raw, source, position)
                if row >= start:
                    yield row, _object_or_error(record, source, row), raw


def _parsed_line(line: str, source: Source, row: int) -> dict[str, Any] | BadInputError:
    try:
        return _object_or_error(json.loads(line), source, row)
    except (ValueError, RecursionError) as error:
        return BadInputError(
            f"{source.path}, line {row + 1}: not a JSON record ({_json_problem(error)}); mend or remove the line"
        )


def _json_values(stream: IO[str], source: Source) -> Iterator[tuple[Any, str]]:
    """Yield (value, its JSON text) of an array or of concatenated values, holding a few of them in memory."""
    decode = json.JSONDecoder().raw_decode
    buffer = stream.read(CHUNK).lstrip()
    in_array = buffer.startswith("[")
    between = re.compile(r"[\s,]*" if in_array else r"\s*")
    at, row, ended = int(in_array), 0, False
    while True:
        at = cast(re.Match[str], between.match(buffer, at)).end()
        if in_array and buffer.startswith("]", at):
            if (buffer[at + 1 :] + stream.read(CHUNK)).strip():
                raise BadInputError(
                    f"{source.path}, record {row}: text follows the array's end; replace or remove the file"
                )
            return
        if at < len(buffer):
            try:
                value, stop = decode(buffer, at)
            except json.JSONDecodeError as error:
                if ended:
                    raise BadInputError(
                        f"{source.path}, record {row}: not a whole JSON record ({_json_problem(error)}); "
                        "the file is truncated or corrupt: replace or remove it"
                    ) from None
            except (ValueError, RecursionError) as error:
                raise BadInputError(
                    f"{source.path}, record {row}: {_json_problem(error)}; mend or remove the record"
                ) from None
            else:
                yield value, buffer[at:stop]
                row, at = row + 1, stop
                continue
        elif ended:
            if in_array:
                raise BadInputError(
                    f"{source.path}, record {row}: the file ends before the array does; replace or remove it"
                )
            return
        if len(buffer) - at > MAX_RECORD:
            raise too_long(f"{source.path}, record {row}")
        more = stream.read(max(CHUNK, len(buffer) - at))
        ended = not more
        buffer, at = buffer[at:] + more, 0


def _object_or_error(record: Any, source: Source, row: int) -> dict[str, Any] | BadInputError:
    if isinstance(record, dict):
        return record
    kind = JSON_KINDS.get(type(record), "number")
    return BadInputError(f"{source.path}, row {row}: a JSON {kind}, not an object with named fields; mend or remove it")


def _json_problem(error: Exception) -> str:
    if isinstance(error, json.JSONDecodeError):
        return f"{error.msg.removesuffix(' at')} at character {error.pos + 1}"
    return "nested too deeply" if isinstance(error, RecursionError) else "a number with too many digits"


def _csv_header(source: Source) -> list[str]:
    with open_text(source, newline="") as stream:
        header = _first_record(_csv_rows(stream, source))
    if len(set(header)) < len(header):
        raise BadInputError(f"{source.path}: two columns share a name in the header {format_names(header)}; rename one")
    return header


def _first_record(rows: Iterator[list[str] | BadInputError]) -> list[str]:
    header = next(rows, [])
    if isinstance(header, BadInputError):
        raise header
    return header


def _csv_records(source: Source, position: Position) -> Iterator[tuple[int, list[str] | BadInputError]]:
    """Yield (row, fields) of the records under the header; empty lines count as rows and are skipped.

    A record with too many fields or too few, or with a misplaced quote, is the error that says so.
    """
    with open_text(source, position, newline="") as stream:
        rows = _csv_rows(stream, source, position)
        header = _first_record(rows)
        for row, fields in enumerate(rows):
            if isinstance(fields, list) and fields and len(fields) != len(header):
                widths = f"{len(fields)} field{'s' * (len(fields) != 1)} where the header has {len(header)}"
                yield (
                    row,
                    BadInputError(
                        f"{source.path}, row {row}: {widths}; mend the record, or replace the file if cut off"
                    ),
                )
            elif fields:
                yield row, fields


def _csv_rows(stream: IO[str], source: Source, position: Position | None = None) -> Iterator[list[str] | BadInputError]:
    """Yield the fields of each record, or the error of a misplaced quote, after which reading goes on with the next line."""
    csv.field_size_limit(MAX_RECORD)
    reader = csv.reader(
        lines_of(stream, source, position), delimiter="\t" if source.format == "tsv" else ",", strict=True
    )
    while True:
        try:
            yield next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            where = f"{source.path}, record that ends in line {reader.line_num}"
            yield BadInputError(f"{where}: {error}; mend the quotes, or replace the file if it was cut off")

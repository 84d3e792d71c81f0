"""Target sets from records: a Jinja2 template makes a text of each; and the drawing of examples."""

from __future__ import annotations

import hashlib
import heapq
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import IO, TYPE_CHECKING, Any, NamedTuple, TypeVar

from nagindex.corpus.columns import format_names
from nagindex.corpus.records import Record, read_records
from nagindex.corpus.sources import Paths, Source, find_sources, format_of
from nagindex.errors import BadInputError
from nagindex.storage.files import replacing
from nagindex.storage.places import check_output

if TYPE_CHECKING:
    from jinja2.sandbox import SandboxedEnvironment

Row = TypeVar("Row")


@dataclass(frozen=True)
class ExampleSet:
    """Example texts of one task.

    Attributes:
        name: the task's name, written with every example as `dataset`.
        examples: (id, text) in the order of their source.
        skipped: one sentence for each row that is no example, naming its place and the reason.
        splits: the splits that the examples are from, where there are any.
        warning: how the set differs from what was expected, or None.
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


def write_examples(sets: Iterable[ExampleSet], path: str | Path) -> None:
    """Write the examples of some sets as JSON lines: id, text and dataset; the file appears whole or not at all.

    Args:
        sets: the sets.
        path: the file; one that exists is replaced, unless it lies in an index.
    """
    check_output(path)
    if (kind := format_of(Path(path))) is not None and kind != ("jsonl", "none"):
        raise BadInputError(f"{path}: examples are written as JSON lines; name a file that ends in .jsonl")
    with replacing(path) as temporary, open(temporary, "wb") as file:
        for each in sets:
            each.write(file)


class DraftExample(NamedTuple):
    """An example before its text is checked.

    Attributes:
        where: its place, for messages.
        id: its id.
        text: its text.
        problem: why it is no example, None where nothing is known against it.
    """

    where: str
    id: str
    text: str
    problem: str | None = None


def draw(
    name: str, rows: Iterable[Row], make: Callable[[Row], DraftExample], *, where: str, limit: int | None, seed: int
) -> ExampleSet:
    """Return the examples made of rows, in their order; a random choice if there are more than `limit`.

    Rows are drawn without replacement. Seed and position of the rows determine the choice: a larger limit adds examples
    to it. Texts are made of drawn rows only; where one is no example, another row takes its place.

    Args:
        name: the set's name.
        rows: the rows to draw from.
        make: makes an example of a row.
        where: where the rows are from, for messages.
        limit: largest number of examples.
        seed: of the random choice.

    Raises:
        BadInputError: there is no example.
    """
    drawn: list[tuple[int, int, tuple[str, str]]] = []  # a heap; the first entry is the next to be replaced
    skipped = []
    for position, row in enumerate(rows):
        # A hash, not Python's generator, whose sampling may change from one version to the next.
        lot = int.from_bytes(hashlib.sha256(f"{seed}:{position}".encode()).digest()[:8], "big")
        full = limit is not None and len(drawn) == limit
        if full and -lot < drawn[0][0]:
            continue
        draft = make(row)
        if problem := draft.problem or _text_problem(draft):
            skipped.append(f"{draft.where}: {problem}")
        else:
            (heapq.heapreplace if full else heapq.heappush)(drawn, (-lot, position, (draft.id, draft.text)))
    if not drawn:
        reason = f"{len(skipped):,} skipped, the first: {skipped[0]}" if skipped else "nothing is in it"
        raise BadInputError(f"{where}: holds no example ({reason}); give at least one text")
    return ExampleSet(name, [example for _, _, example in sorted(drawn, key=lambda entry: entry[1])], skipped)


def _text_problem(draft: DraftExample) -> str | None:
    if not draft.text.strip():
        return "blank text"
    try:
        f"{draft.id}{draft.text}".encode()
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
    """Return the texts that a template makes of records, as one set for each file or one of all.

    Args:
        paths: files, globs or folders in any corpus format.
        template: Jinja2, run in its sandbox; a record's columns are its variables, null is an empty text.
        template_name: its name in messages.
        id_column: column of the ids; by default id, docid or doc_id, else FILE:ROW.
        name: makes one set of this name from all files; by default each file is a set of its own name.
        limit: largest number of examples of a set; see `draw`.
        seed: of the random choice.

    Raises:
        InputNotFoundError: a path matches nothing.
        BadInputError: the template is invalid or names no column, a record lacks a name in it, a file cannot be read,
            or a set has no example.
    """
    render, names = _compile(template, template_name)
    sources_of: dict[str, list[Source]] = {}
    listing = find_sources(paths)
    for source in listing.sources:
        sources_of.setdefault(name if name is not None else _stem(source), []).append(source)

    def records(sources: list[Source]) -> Iterator[Record]:
        for source in sources:
            yield from read_records(source, names, id_column=id_column)

    sets = [
        draw(set_name, records(sources), render, where=_paths_of(sources), limit=limit, seed=seed)
        for set_name, sources in sources_of.items()
    ]
    sets[0].skipped.extend(f"{path}: a file of another kind" for path in listing.ignored)
    return sets


def _compile(template: str, where: str) -> tuple[Callable[[Record], DraftExample], set[str]]:
    """Return the function that makes a record's text, and the names that the template looks up."""
    from jinja2 import TemplateSyntaxError, meta

    environment = _environment()
    try:
        names = meta.find_undeclared_variables(environment.parse(template))
        compiled = environment.from_string(template)
    except TemplateSyntaxError as error:
        raise BadInputError(f"{where}, line {error.lineno}: {_describe(error)}; mend the template") from None
    if not names:
        raise BadInputError(
            f"{where}: names no column, so that all texts would be the same; name one as {{{{column}}}}"
        )

    def render(record: Record) -> DraftExample:
        try:
            return DraftExample(record.where, record.id, compiled.render(record.values))
        except Exception as error:  # a template is a program, and may fail in any way
            raise BadInputError(
                f"{record.where}: the template cannot be filled in: {_describe(error)}; "
                f"the record's columns are {format_names(record.columns)}"
            ) from error

    return render, names


def _environment() -> SandboxedEnvironment:
    from jinja2 import StrictUndefined
    from jinja2.sandbox import SandboxedEnvironment

    class Environment(SandboxedEnvironment):
        """Jinja2 in which a field has precedence over a method of Python's dictionaries: {{ answers.values }}."""

        def getattr(self, obj: Any, attribute: str) -> Any:
            return obj[attribute] if isinstance(obj, dict) and attribute in obj else super().getattr(obj, attribute)

    return Environment(undefined=StrictUndefined, finalize=lambda value: "" if value is None else value)


def _describe(error: Exception) -> str:
    """Return an error's message on one line, with its type where it is not one of Jinja2's."""
    from jinja2 import TemplateError

    message = " ".join(str(error).split()).rstrip(".")
    return message if isinstance(error, TemplateError) else f"{type(error).__name__}: {message}"


def _paths_of(sources: Sequence[Source]) -> str:
    return str(sources[0].path) + (f" and {len(sources) - 1:,} more" if len(sources) > 1 else "")


def _stem(source: Source) -> str:
    """Return a source's name without the suffixes of its format."""
    name = PurePosixPath(source.name)
    return str((name.with_suffix("") if source.compression != "none" else name).with_suffix(""))

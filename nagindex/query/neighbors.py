"""Documents like a document: the nearest NAGs of one, for ids of the index or for any texts."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from nagindex.errors import BadInputError, NagIndexError
from nagindex.nag import Codes
from nagindex.query.run import query
from nagindex.select.budget import Budget
from nagindex.select.options import QueryOptions
from nagindex.sketches.graphs import graphs_of
from nagindex.sketches.store import current_sketches
from nagindex.storage.docs import open_docs
from nagindex.targets.saved import TargetSet

if TYPE_CHECKING:
    from nagindex.index import Index

COLUMNS = ("of", "rank", "id", "score", "tokens", "file", "row")


@dataclass(frozen=True)
class Neighbors:
    """Documents like some others.

    Attributes:
        rows: JSON values by the names in `COLUMNS`; `of` is what a document is like, `score` the share of neurons that they have
            in common, best first.
        warnings: what the user should know about them.
        plan: which engine found them, and what it took.
    """

    rows: list[dict[str, Any]]
    warnings: list[str] = field(default_factory=list)
    plan: dict[str, Any] = field(default_factory=dict)


def neighbors(
    index: Index, names: Sequence[str], codes: Sequence[Codes], k: int, *, exact: bool, threads: int | None
) -> Neighbors:
    """Return the k documents whose NAGs overlap each of some NAGs most; a document is not its own neighbor.

    Args:
        index: a pinned index.
        names: ids of the documents that neighbors are looked for.
        codes: uint16 [L, K] of each.
        k: how many, at least one.
        exact: whether to leave graphs aside; without graphs answers are exact anyway.
        threads: how many work side by side; by default one for each core.

    Raises:
        BadInputError: the index is empty, or k is below 1.
    """
    if k < 1:
        raise BadInputError(f"k {k}: at least one neighbor must be asked for")
    mode = "auto" if exact or not _connected(index) else "graph"
    targets = [
        TargetSet(own[None], [name], [], name=str(number))
        for number, (name, own) in enumerate(zip(names, codes, strict=True))
    ]
    wanted = min(k + 1, max(index.manifest.documents, 1))
    found = query(index, targets, Budget(documents=wanted * len(targets)), QueryOptions(mode=mode), threads=threads)
    of = '"target"' if len(targets) > 1 else "'0'"
    listed = ", ".join(f'"{name}"' for name in COLUMNS[2:])
    rows: list[dict[str, Any]] = []
    counts = [0] * len(names)
    for target, *values in found.to_duckdb().select(f"{of}, {listed}").fetchall():
        number = int(target)
        if values[0] != names[number] and counts[number] < k:
            counts[number] += 1
            rows.append(dict(zip(COLUMNS, (names[number], counts[number], *values), strict=True)))
    return Neighbors(rows, found.warnings, found.plan.to_json(timed=True))


def codes_of(index: Index, ids: Sequence[str]) -> list[Codes]:
    """Return the NAGs of documents, uint16 [L, K] each, by their ids.

    Raises:
        BadInputError: one is not in the index.
    """
    with open_docs(index.path, index.segments, index.manifest.settings.keep_columns) as connection:
        rows = connection.execute(
            "SELECT id, _segment, _position FROM docs WHERE id IN (SELECT unnest(?::VARCHAR[]))", [list(ids)]
        ).fetchall()
    places = {identifier: (segment, position) for identifier, segment, position in rows}
    for identifier in ids:
        if identifier not in places:
            raise BadInputError(f"{identifier}: no file, and no id of a document of {index.path}; name one of either")
    return [index.segments[segment].codes()[position] for segment, position in map(places.__getitem__, ids)]


def _connected(index: Index) -> bool:
    """Return whether there are graphs that can be used."""
    with suppress(NagIndexError):
        sketches = current_sketches(index.path, index.manifest.fingerprint.spec)
        if sketches is not None:
            graphs = graphs_of(sketches, index.manifest.segments)
            for graph in graphs:
                graph.check()
            return bool(graphs)
    return False

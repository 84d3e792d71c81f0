"""Neighbors: the documents whose NAGs overlap most with that of a document or of a text."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from nagindex.errors import BadInputError, NagIndexError
from nagindex.nag import Codes
from nagindex.query.pool import Passes
from nagindex.query.run import query
from nagindex.select.budget import Budget
from nagindex.select.options import QueryOptions
from nagindex.sketches.graphs import current_graphs
from nagindex.storage.docs import positions_of
from nagindex.storage.snapshot import Snapshot
from nagindex.targets.saved import TargetSet, check_codes

COLUMNS = ("of", "rank", "id", "score", "tokens", "file", "row")


@dataclass(frozen=True)
class Neighbors:
    """The neighbors of some documents.

    Attributes:
        rows: JSON values by the names in `COLUMNS`, best first; `of` is the document whose neighbor a row is, `score` the share of
            neurons that both have.
        warnings: sentences for the user.
        plan: the engine that found them, and what it read.
        columns: names of the rows' values.
    """

    rows: list[dict[str, Any]]
    warnings: list[str] = field(default_factory=list)
    plan: dict[str, Any] = field(default_factory=dict)
    columns: Sequence[str] = COLUMNS


def neighbors(
    snapshot: Snapshot, names: Sequence[str], codes: Sequence[Codes], k: int, *, exact: bool, threads: int | None
) -> Neighbors:
    """Return the k documents whose NAGs overlap most with each of some NAGs; a document is not its own neighbor.

    Args:
        snapshot: the version of the index.
        names: ids of the documents that neighbors are searched for.
        codes: their NAGs, uint16 [L, K] each.
        k: number of neighbors of each, at least 1.
        exact: whether to search without graphs; an index without graphs gives exact answers in any case.
        threads: threads of the search; by default one for each CPU.

    Raises:
        BadInputError: the index is empty, or k is below 1.
    """
    if k < 1:
        raise BadInputError(f"k {k}: at least one neighbor must be asked for")
    options = QueryOptions(mix="merge", approx=not exact and _has_graphs(snapshot))
    targets = [
        TargetSet(own[None], [name], [], name=str(number))
        for number, (name, own) in enumerate(zip(names, codes, strict=True))
    ]
    wanted = min(k + 1, max(snapshot.manifest.documents, 1))  # one more, as a document finds itself
    selection = query(snapshot, targets, Budget(documents=wanted * len(targets)), options, passes=Passes(threads))
    target = '"target"' if len(targets) > 1 else "'0'"
    columns = ", ".join(f'"{name}"' for name in COLUMNS[2:])
    rows: list[dict[str, Any]] = []
    counts = [0] * len(names)
    for number, *values in selection.to_duckdb().select(f"{target}, {columns}").fetchall():
        of = int(number)
        if values[0] != names[of] and counts[of] < k:
            counts[of] += 1
            rows.append(dict(zip(COLUMNS, (names[of], counts[of], *values), strict=True)))
    return Neighbors(rows, selection.warnings, selection.plan.to_json(timed=True))


def named_codes(snapshot: Snapshot, of: str | Sequence[str | TargetSet] | Codes) -> tuple[list[str], list[Codes]]:
    """Return the ids, and the NAGs uint16 [L, K], of what neighbors are searched for.

    Args:
        snapshot: the version of the index.
        of: ids of documents, target sets, or codes uint16 [n, L, K], which are named by their numbers.

    Raises:
        BadInputError: an id is not in the index, or codes are no NAGs of its encoding.
    """
    if isinstance(of, np.ndarray):
        return [f"#{n}" for n in range(len(of))], _checked(snapshot, of, "given")
    names: list[str] = []
    codes: list[Codes] = []
    given = [of] if isinstance(of, str) else list(of)
    ids = [one for one in given if isinstance(one, str)]
    stored = iter(codes_of(snapshot, ids) if ids else ())
    for one in given:
        names += [one] if isinstance(one, str) else one.ids
        codes += [next(stored)] if isinstance(one, str) else _checked(snapshot, one.codes, one.name)
    return names, codes


def _checked(snapshot: Snapshot, codes: npt.NDArray[Any], name: str) -> list[Codes]:
    return list(check_codes(codes, snapshot.manifest.fingerprint, where=f"the codes of {name}"))


def codes_of(snapshot: Snapshot, ids: Sequence[str]) -> Codes:
    """Return the NAGs of documents by their ids, uint16 [m, L, K].

    Raises:
        BadInputError: an id is not in the index.
    """
    positions = positions_of(snapshot, ids)
    for identifier in ids:
        if identifier not in positions:
            raise BadInputError(
                f"{identifier}: no file, and no id of a document of {snapshot.path}; name one of either"
            )
    return snapshot.codes_at(np.array([positions[identifier] for identifier in ids], np.int64))


def _has_graphs(snapshot: Snapshot) -> bool:
    """Return whether the index has graphs that can be used."""
    with suppress(NagIndexError, OSError):
        graphs = current_graphs(snapshot.path, snapshot.manifest.fingerprint.spec)
        if graphs is not None and (files := graphs.graphs(snapshot.manifest.segments)):
            for file in files:
                file.check()
            return len(graphs.basis.vectors) > 0
    return False

"""The map of a report: t-SNE of a sample of the pool, the selected documents and the examples of the targets."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from nagindex.errors import MissingDependencyError
from nagindex.nag import Codes
from nagindex.query.exhibits import documents_at, escaped_size
from nagindex.query.report_targets import SEED, Scored
from nagindex.report.point_map import Kind, PointGroup, PointMap
from nagindex.search.tsne import FEWEST, embed, require_layout

POOL = 1_000
"""Documents of the pool that a map shows unless another number is asked for."""
OTHERS = 500
"""Selected documents, and examples, that a map shows at most, in equal parts of all targets."""
PERPLEXITY = 30.0
NEAREST = 10
NAMES_SIZE = 700_000
"""Bytes of all ids and labels together, escaped."""
LONGEST_NAME = 60
"""Characters of an id or a label."""


@dataclass(frozen=True)
class _Drawn:
    """Points of one group: documents by position, or a target's examples by number; int64 [m]."""

    kind: Kind
    target: int | None
    name: str
    members: npt.NDArray[np.int64]
    total: int


def point_map(scored: Scored, pool: int, threads: int | None = None) -> PointMap | str:
    """Return the map of a selection, or a sentence that says why there is none.

    Args:
        scored: the selection among the scores of all candidates.
        pool: documents to draw from the candidates that were not selected.
        threads: threads of the layout of many points; by default one for each CPU.
    """
    try:
        require_layout()
    except MissingDependencyError as error:
        return f"There is no map: {error}."
    drawn = [own for own in _groups(scored, pool) if len(own.members)]
    codes = np.concatenate([_codes_of(scored, own) for own in drawn])
    different = len(np.unique(codes.reshape(len(codes), -1), axis=0))
    if different < FEWEST:
        return f"A map needs {FEWEST} points that are not alike, and there are {different}."
    places, graph = embed(codes, scored.view.spec, seed=SEED, perplexity=PERPLEXITY, threads=threads)

    owners = np.repeat(np.arange(len(drawn)), [len(own.members) for own in drawn])
    nearest = graph.indices.reshape(len(codes), -1)[:, 1 : NEAREST + 1]
    kinds = np.array([own.kind for own in drawn])[owners]
    ids, labels, values = _names(scored, drawn)
    groups = [
        PointGroup(
            own.kind,
            own.target,
            own.name,
            places[owners == number],
            own.total,
            ids[number],
            labels[number],
            _shares(kinds[nearest[owners == number]]),
        )
        for number, own in enumerate(drawn)
    ]
    kept = scored.selected.snapshot.manifest.settings.keep_columns
    return PointMap(groups, kept[0] if kept else None, values, nearest.shape[1])


def _groups(scored: Scored, pool: int) -> Iterator[_Drawn]:
    """Yield the points of each group: the pool's, then selected documents by target, then examples."""
    rng, own = np.random.default_rng(SEED), scored.selected
    free = scored.scores.alive.copy()
    free[own.positions] = False
    left = np.flatnonzero(free)
    yield _Drawn("pool", None, "pool", _sample(rng, left, pool), len(left))
    first = np.zeros(len(own.positions), bool)
    first[np.unique(own.positions, return_index=True)[1]] = True  # one that several targets have is drawn once
    most = max(1, OTHERS // len(own.targets))
    for number, target in enumerate(own.targets):
        members = own.positions[(own.owners == number) & first]
        yield _Drawn("selected", number, f"selected for {target.name}", _sample(rng, members, most), len(members))
    for number, target in enumerate(own.targets):
        members = np.arange(len(target.codes))
        yield _Drawn("examples", number, f"examples of {target.name}", _sample(rng, members, most), len(members))


def _sample(rng: np.random.Generator, members: npt.NDArray[np.int64], most: int) -> npt.NDArray[np.int64]:
    """Return at most so many members, drawn without replacement, in their order."""
    return members[np.sort(rng.choice(len(members), min(most, len(members)), replace=False))]


def _codes_of(scored: Scored, own: _Drawn) -> Codes:
    """Return the codes of a group's points that count, uint16 [m, layers, K']."""
    if own.kind == "examples" and own.target is not None:
        return scored.view(scored.selected.targets[own.target].codes[own.members])
    return scored.view(scored.selected.snapshot.codes_at(own.members))


def _shares(kinds: npt.NDArray[np.str_]) -> dict[Kind, float]:
    names: tuple[Kind, ...] = ("pool", "selected", "examples")
    return {name: float((kinds == name).mean()) for name in names}


def _names(scored: Scored, drawn: Sequence[_Drawn]) -> tuple[list[list[str]], list[list[int | None]], list[str]]:
    """Return ids and labels of each group's first points, as many as fit, those of the pool last; and the labels' values."""
    snapshot = scored.selected.snapshot
    kept = snapshot.manifest.settings.keep_columns
    documents = documents_at(snapshot, np.concatenate([own.members for own in drawn if own.kind != "examples"]))
    ids: list[list[str]] = [[] for _ in drawn]
    labels: list[list[int | None]] = [[] for _ in drawn]
    numbers: dict[str, int] = {}
    room = NAMES_SIZE
    for group in sorted(range(len(drawn)), key=lambda number: drawn[number].kind == "pool"):
        own = drawn[group]
        for member in own.members.tolist():
            if own.kind == "examples" and own.target is not None:
                name, value = scored.selected.targets[own.target].ids[member], None
            else:
                name, value = documents[member].id, documents[member].labels[kept[0]] if kept else None
            name, label = _cut(name), None if value is None else _cut(str(value))
            room -= escaped_size(name) + 10 + (escaped_size(label) + 3 if label and label not in numbers else 0)
            if room < 0:
                break
            ids[group].append(name)
            labels[group].append(None if label is None else numbers.setdefault(label, len(numbers)))
    return ids, labels, list(numbers)


def _cut(name: str) -> str:
    return name if len(name) <= LONGEST_NAME else f"{name[:LONGEST_NAME]}…"

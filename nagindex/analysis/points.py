"""Points: the examples of targets and a random sample of the pool, with labels, ids and NAGs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from nagindex.corpus.sql import connect, quote_name
from nagindex.errors import BadInputError, SourceChangedError
from nagindex.nag import Codes
from nagindex.storage.docs import join_documents
from nagindex.storage.locations import location
from nagindex.storage.segment import verify_segments
from nagindex.storage.snapshot import Snapshot
from nagindex.storage.source_texts import SourceTexts
from nagindex.targets.saved import TargetSet

POOL = "pool"
"""Label of the pool's documents where no column gives them one."""
TEXT_START = 300
"""Characters of a text that are kept."""


@dataclass(frozen=True)
class Points:
    """Examples of targets, then documents of the pool.

    Attributes:
        codes: uint16 [n, L, K].
        ids: their ids.
        labels: names of targets, and for documents the value of a column, or `pool`; None where the column has no value.
        examples: number of examples, which come first.
        positions: int64 [n - examples], positions of the documents.
        example_texts: texts of the examples, None where only their NAGs are known.
    """

    codes: Codes
    ids: list[str]
    labels: list[str | None]
    examples: int
    positions: npt.NDArray[np.int64]
    example_texts: list[str | None]

    def texts(self, snapshot: Snapshot, corpus_root: str | None = None) -> tuple[list[str | None], list[str]]:
        """Return the beginnings of the texts, None where one cannot be read, and a sentence if that is so.

        Args:
            snapshot: the version that the documents belong to.
            corpus_root: where the sources lie now; by default where they were read.
        """
        found = [text if text is None else text[:TEXT_START] for text in self.example_texts]
        of_documents: list[str | None] = [None] * len(self.positions)
        try:
            for place, text in SourceTexts(snapshot, corpus_root, hashed=False).read(self.positions):
                of_documents[place] = text[:TEXT_START]
        except SourceChangedError as error:
            return [*found, *([None] * len(self.positions))], [f"without texts of the pool: {error}"]
        return [*found, *of_documents], []


def require_label(snapshot: Snapshot, label: str | None) -> None:
    """Raise BadInputError unless an index keeps a column."""
    kept = snapshot.manifest.settings.keep_columns
    if label is not None and label not in kept:
        there = f"it keeps {', '.join(kept)}" if kept else "it keeps none; build it with `keep_columns`"
        raise BadInputError(f"`label` {label!r}: no such column in {location(snapshot.path)}; {there}")


def sample_points(
    snapshot: Snapshot, targets: Sequence[TargetSet], pool: int, label: str | None, *, seed: int
) -> Points:
    """Return the examples of targets and a random sample of the living documents.

    Args:
        snapshot: the version.
        targets: encoded target sets.
        pool: documents of the sample; all if the index has fewer.
        label: kept column of the documents' labels.
        seed: of the sample.
    """
    positions = _sample(snapshot, pool, seed)
    verify_segments(snapshot.segments)
    rows: list[tuple[Any, ...]] = []
    if len(positions):
        column = "NULL" if label is None else f"d.{quote_name(label)}::VARCHAR"
        with connect() as connection:
            documents = join_documents(connection, snapshot, positions, {"_at": np.arange(len(positions))})
            rows = connection.execute(f"SELECT d.id, {column} {documents} ORDER BY hits._at").fetchall()
    texts: list[str | None] = []
    for own in targets:
        texts += [None] * len(own.ids) if own.texts is None else own.texts
    return Points(
        np.concatenate([*(own.codes for own in targets), snapshot.codes_at(positions)]),
        [*(one for own in targets for one in own.ids), *(one for one, _ in rows)],
        [*(own.name for own in targets for _ in own.ids), *(POOL if label is None else value for _, value in rows)],
        sum(len(own.ids) for own in targets),
        positions,
        texts,
    )


def _sample(snapshot: Snapshot, count: int, seed: int) -> npt.NDArray[np.int64]:
    """Return positions of living documents drawn without replacement, ascending, int64 [m]."""
    living = snapshot.manifest.documents
    drawn = np.sort(np.random.default_rng(seed).choice(living, min(count, living), replace=False))
    positions, before = [np.empty(0, np.int64)], 0
    for start, segment in zip(snapshot.starts.tolist(), snapshot.segments, strict=False):
        rows = np.flatnonzero(segment.alive())
        own = drawn[(drawn >= before) & (drawn < before + len(rows))] - before
        positions.append(start + rows[own])
        before += len(rows)
    return np.concatenate(positions)

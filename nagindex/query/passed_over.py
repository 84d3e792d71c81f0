"""Why documents with high scores were not selected: what can be told from the options, the selection and the texts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from nagindex.corpus.sql import connect, quote_name
from nagindex.search.profile import profile_of
from nagindex.search.scan import flattened
from nagindex.search.scorers import scorer_of
from nagindex.search.view import View
from nagindex.select.decontaminate import EvaluationTexts
from nagindex.select.options import QueryOptions
from nagindex.storage.docs import ids_at, join_documents
from nagindex.storage.snapshot import Snapshot

EXAMINED = 100
"""Documents above the cut that are looked at, at most."""
COMPARISONS = 20_000_000
"""Pairs of an examined and a selected document that are compared, at most; but at least `FEWEST` documents are examined."""
FEWEST = 20
ROWS_AT_ONCE = 65_536
BELOW, UNKNOWN = "score below the cut", "not known"


@dataclass(frozen=True)
class Reasons:
    """What decides why a document was not selected.

    Attributes:
        snapshot: the version of the index.
        view: the codes that count.
        options: the query options.
        selected: int64 [n], positions of the selected documents.
        evaluation: evaluation texts; None where none were named, or their files are gone.
        dropped: by id, the n-gram of documents that are known to share one with evaluation texts.
        weights: int64 [stored documents], what each document takes of the budget; None for one each.
    """

    snapshot: Snapshot
    view: View
    options: QueryOptions
    selected: npt.NDArray[np.int64]
    evaluation: EvaluationTexts | None
    dropped: Mapping[str, str]
    weights: npt.NDArray[np.int64] | None

    def of(
        self,
        positions: npt.NDArray[np.int64],
        scores: npt.NDArray[np.float64],
        cut: float,
        texts: Mapping[int, str],
    ) -> list[tuple[str, str]]:
        """Return (reason, detail) of documents that were not selected.

        Args:
            positions: int64 [m], of the documents.
            scores: float64 [m], their scores.
            cut: the lowest score in the selection.
            texts: texts by position, as far as they are known.
        """
        reached = positions[scores >= cut]
        details = {
            "contaminated": self._contaminated(reached, texts),
            "near-duplicate": self._near_duplicates(reached),
            "cap": self._capped(reached),
        }
        found = []
        for position, score in zip(positions.tolist(), scores.tolist(), strict=True):
            known = [(kind, own[position]) for kind, own in details.items() if position in own]
            if score < cut:
                found.append((BELOW, f"{cut - score:.4f} below the cut"))
            elif known:
                found.append(known[0])
            elif self.options.quality is not None:
                found.append(("quality", "ranked by score and quality together"))
            elif self.options.mix == "max":
                found.append(("standardized score", "targets share one list, ranked by the standardized score"))
            elif score == cut:
                found.append(("tie", "the same score as the last selected document; ties go by id"))
            else:
                found.append((UNKNOWN, "the record does not tell why"))
        return found

    def _contaminated(self, positions: npt.NDArray[np.int64], texts: Mapping[int, str]) -> dict[int, str]:
        grams: dict[int, str] = {}
        if self.dropped and len(positions):
            ids = ids_at(self.snapshot, positions)
            grams = {int(p): self.dropped[one] for p, one in zip(positions, ids, strict=True) if one in self.dropped}
        if self.evaluation is not None:
            read = [int(position) for position in positions if int(position) in texts]
            for position, match in zip(read, self.evaluation.matches([texts[p] for p in read]), strict=True):
                if match is not None:
                    grams[position] = f"{match.gram} ({match.file}, row {match.row})"
        return {position: f"shares an n-gram with evaluation texts: {gram}" for position, gram in grams.items()}

    def _near_duplicates(self, positions: npt.NDArray[np.int64]) -> dict[int, str]:
        if self.options.dedup is None or not len(positions):
            return {}
        overlap, nearest = nearest_selected(self.snapshot, self.view, positions, self.selected)
        ids = ids_at(self.snapshot, nearest)
        return {
            int(position): f"overlaps {one} by {share:.3f}, the limit is {self.options.dedup:g}"
            for position, share, one in zip(positions, overlap, ids, strict=True)
            if share >= self.options.dedup
        }

    def _capped(self, positions: npt.NDArray[np.int64]) -> dict[int, str]:
        found: dict[int, str] = {}
        for column, share in self.options.cap.items() if len(positions) else ():
            taken: Counter[object] = Counter()
            for position, value in _values(self.snapshot, self.selected, column):
                taken[value] += self._weight(position)
            total = sum(taken.values())
            for position, value in _values(self.snapshot, positions, column):
                if taken[value] + self._weight(position) > share * total:
                    part = taken[value] / total
                    found[position] = f"{column} {value} has {part:.1%} of the selection, its cap is {share:.1%}"
        return found

    def _weight(self, position: int) -> int:
        return 1 if self.weights is None else int(self.weights[position])


def nearest_selected(
    snapshot: Snapshot, view: View, positions: npt.NDArray[np.int64], selected: npt.NDArray[np.int64]
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int64]]:
    """Return the largest overlap of each of some documents with selected ones, float64 [m], and the position of that one, int64 [m].

    Args:
        snapshot: the version of the index.
        view: the codes that count.
        positions: int64 [m], of the documents.
        selected: int64 [n], of the selected ones.
    """
    own = [profile_of(codes[None], view.spec) for codes in view(snapshot.codes_at(positions))]
    scorer, scale = scorer_of(own, view), view.spec.layers * view.spec.top_k
    most, nearest = np.zeros(len(own), np.int64), np.full(len(own), selected[0])
    for first in range(0, len(selected), ROWS_AT_ONCE):
        block = selected[first : first + ROWS_AT_ONCE]
        sums = np.empty((len(own), len(block)), np.int64)
        scorer(flattened(snapshot.codes_at(block)), sums)
        best = sums.argmax(axis=1)
        larger = sums[np.arange(len(own)), best] > most
        nearest[larger], most[larger] = block[best[larger]], sums[larger, best[larger]]
    return most / scale, nearest


def examined_of(reached: int, selected: int) -> int:
    """Return how many of the documents above a cut are looked at."""
    return min(reached, max(FEWEST, min(EXAMINED, COMPARISONS // max(selected, 1))))


def _values(snapshot: Snapshot, positions: npt.NDArray[np.int64], column: str) -> list[tuple[int, object]]:
    """Return (position, value of a column) of documents."""
    with connect() as connection:
        documents = join_documents(connection, snapshot, positions, {"_at": positions})
        return connection.execute(f"SELECT hits._at, d.{quote_name(column)} {documents}").fetchall()

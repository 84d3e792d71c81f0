"""How well clusters of NAGs agree with labels, for some values of K and sets of layers: a help to choose both without a query."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from nagindex.analysis.points import sample_points
from nagindex.errors import BadInputError
from nagindex.nag import Codes, NagSpec
from nagindex.progress import step
from nagindex.query.html import records
from nagindex.search.tsne import as_matrix
from nagindex.search.view import View
from nagindex.storage.snapshot import Snapshot
from nagindex.targets.saved import TargetSet

STARTS = 3
"""Random starts of the clustering, of which the best one counts."""
LAYERS = ("all", "first-half", "first-third", "last")


@dataclass(frozen=True)
class Agreement:
    """Agreement of clusters with labels, a row for each K and set of layers.

    Attributes:
        labels: number of points by label.
        rows: JSON values: top_k, layers, purity, nmi, ari; in the order of the layers, then of K.
        warnings: sentences for the user.
    """

    labels: dict[str, int]
    rows: Sequence[dict[str, Any]]
    warnings: Sequence[str] = ()

    def to_json(self) -> dict[str, Any]:
        """Return the agreement as JSON values."""
        return {"points": sum(self.labels.values()), "labels": self.labels, "rows": [*self.rows]}

    def _repr_html_(self) -> str:
        """Return the rows as an HTML table, for notebooks."""
        return f"<p>{sum(self.labels.values()):,} points of {len(self.labels)} labels</p>{records(self.rows)}"


def sweep_views(spec: NagSpec, top_k: Sequence[int], layers: Sequence[str]) -> list[tuple[str, View]]:
    """Return the views to compare, with the names of their layers: all pairs, by default of K, a half, a quarter and 1.

    Raises:
        BadInputError: the index has no such layers, or keeps fewer neurons.
    """
    kept = spec.top_k
    wanted = list(top_k) or sorted({kept, max(kept // 2, 1), max(kept // 4, 1), 1}, reverse=True)
    return [(name, View.of(spec, name, k)) for name in (layers or LAYERS) for k in wanted]


def measure_agreement(
    snapshot: Snapshot,
    targets: Sequence[TargetSet],
    views: Sequence[tuple[str, View]],
    *,
    pool: int,
    label: str | None,
    seed: int,
) -> Agreement:
    """Return how well clusters agree with labels; see `Index.map_sweep`.

    Raises:
        BadInputError: there is no label but one.
    """
    points = sample_points(
        snapshot, targets if label is None else (), pool if label is not None else 0, label, seed=seed
    )
    labeled = np.array([name is not None for name in points.labels], bool)
    names, truth = np.unique([str(name) for name in points.labels if name is not None], return_inverse=True)
    if len(names) < 2:
        what = "several targets" if label is None else f"a column with several values in place of {label!r}"
        raise BadInputError(f"{len(names)} labels: agreement needs two or more; give {what}")
    codes, rows = points.codes[labeled], []
    with step("clustering", len(views), "settings") as advance:
        for written, view in views:
            found = clusters(view(codes), view.spec, len(names), seed)
            rows.append({"top_k": view.top_k, "layers": written, **scores(truth, found)})
            advance(1)
    left_out = len(labeled) - int(labeled.sum())
    notes = [f"documents without a value of {label!r}, which are left out: {left_out:,}"] if left_out else []
    return Agreement(dict(zip(names.tolist(), np.bincount(truth).tolist(), strict=True)), rows, notes)


def clusters(codes: Codes, spec: NagSpec, count: int, seed: int) -> npt.NDArray[np.int64]:
    """Return a cluster's number for each NAG, int64 [n], by k-means on the 0/1 vectors, whose squared distances are 2 L K (1 - overlap)."""
    from sklearn.cluster import KMeans
    from sklearn.exceptions import ConvergenceWarning

    with warnings.catch_warnings(action="ignore", category=ConvergenceWarning):  # of a small K, few vectors differ
        found = KMeans(count, n_init=STARTS, random_state=seed).fit_predict(as_matrix(codes, spec))
    numbers: npt.NDArray[np.int64] = found.astype(np.int64)
    return numbers


def scores(truth: npt.NDArray[np.int64], found: npt.NDArray[np.int64]) -> dict[str, float]:
    """Return purity, normalized mutual information and adjusted Rand index of clusters, each 1 where they are the labels.

    Args:
        truth: int64 [n], the labels.
        found: int64 [n], the clusters.
    """
    from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score

    table = np.zeros((found.max() + 1, truth.max() + 1), np.int64)
    np.add.at(table, (found, truth), 1)
    return {
        "purity": float(table.max(axis=1).sum() / len(truth)),
        "nmi": float(normalized_mutual_info_score(truth, found)),
        "ari": float(adjusted_rand_score(truth, found)),
    }

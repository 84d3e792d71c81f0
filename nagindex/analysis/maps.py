"""Maps: t-SNE in two dimensions on the distance 1 - overlap of NAGs, and files of the points."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from nagindex.analysis.drawing import draw
from nagindex.analysis.extras import require_package
from nagindex.analysis.points import Points, as_matrix, require_label, sample_points
from nagindex.errors import BadInputError
from nagindex.progress import step
from nagindex.search.view import View
from nagindex.storage.files import replacing
from nagindex.storage.snapshot import Snapshot
from nagindex.storage.tables import write_table
from nagindex.targets.saved import TargetSet

FEWEST = 10
"""Points that a map needs."""
ROWS = 512
"""Rows of distances that are computed at a time."""
PICTURES = (".svg", ".png")
TABLE = ".parquet"


@dataclass(frozen=True)
class NagMap:
    """Examples of targets, then documents of the pool, on a plane on which near points have much in common.

    Attributes:
        places: float64 [n, 2], x and y.
        ids: ids of the n points.
        labels: names of targets; for documents the value of the label's column, or `pool`; None where the column has no value.
        examples: number of examples, which come first.
        texts: the beginnings of the texts, None for those that are not known; empty where they were not asked for.
        warnings: sentences for the user.
    """

    places: npt.NDArray[np.float64]
    ids: Sequence[str]
    labels: Sequence[str | None]
    examples: int
    texts: Sequence[str | None] = ()
    warnings: Sequence[str] = ()

    def write(self, path: str | Path) -> None:
        """Write the map: a picture as .svg or .png, or a table as .parquet (x, y, label, id, text, example).

        Raises:
            BadInputError: the name ends in something else, or there is no such folder.
            MissingDependencyError: matplotlib is not installed.
        """
        file = Path(path)
        require_map_file(file)
        with replacing(file) as temporary:
            if file.suffix.lower() == TABLE:
                write_table(temporary, self._columns())
            else:
                draw(self.places, self.labels, self.examples, temporary, file.suffix.lower()[1:])

    def _columns(self) -> dict[str, tuple[str, Any]]:
        count = len(self.ids)
        return {
            "x": ("DOUBLE", np.ascontiguousarray(self.places[:, 0])),
            "y": ("DOUBLE", np.ascontiguousarray(self.places[:, 1])),
            "label": ("VARCHAR", self.labels),
            "id": ("VARCHAR", self.ids),
            "text": ("VARCHAR", self.texts or [None] * count),
            "example": ("BOOLEAN", np.arange(count) < self.examples),
        }


def require_map_file(path: Path) -> None:
    """Raise BadInputError unless a map can be written as a file of this name."""
    if path.suffix.lower() not in (*PICTURES, TABLE):
        raise BadInputError(f"{path}: maps are written as {', '.join((*PICTURES, TABLE))}; name a file that ends so")


def require_mappable(snapshot: Snapshot, pool: int, label: str | None, perplexity: float) -> None:
    """Raise an error if a map can be refused before a model is loaded."""
    require_package("sklearn", "scikit-learn")
    require_label(snapshot, label)
    if pool < 0:
        raise BadInputError(f"`pool` {pool}: a number of documents from 0 up")
    if not perplexity > 1:
        raise BadInputError(f"`perplexity` {perplexity:g}: a number above 1")


def make_map(
    snapshot: Snapshot,
    targets: Sequence[TargetSet],
    view: View,
    *,
    pool: int,
    label: str | None,
    seed: int,
    perplexity: float,
    with_text: bool,
    corpus_root: str | None,
) -> NagMap:
    """Return a map of targets and a sample of the pool; see `Index.map`."""
    points = sample_points(snapshot, targets, pool, label, seed=seed)
    if len(points.ids) < FEWEST:
        raise BadInputError(f"{len(points.ids)} points: a map needs {FEWEST}; give more targets, or a larger `pool`")
    texts, warnings = points.texts(snapshot, corpus_root) if with_text else ([], [])
    places = lay_out(points, view, seed=seed, perplexity=min(perplexity, (len(points.ids) - 1) / 3))
    return NagMap(places, points.ids, points.labels, points.examples, texts, warnings)


def lay_out(points: Points, view: View, *, seed: int, perplexity: float) -> npt.NDArray[np.float64]:
    """Return t-SNE of points on d = 1 - overlap, float64 [n, 2].

    It starts from the first two principal components. The neighbors are exact; what pulls points apart is approximated (Barnes-Hut).

    Source: van der Maaten, "Accelerating t-SNE using Tree-Based Algorithms", JMLR 15, 2014; the distance, arXiv 2604.15706.
    """
    from sklearn.decomposition import PCA
    from sklearn.manifold import TSNE

    matrix = as_matrix(view(points.codes), view.spec)
    graph = neighbor_graph(matrix, int(3 * perplexity + 1), view.spec.layers * view.top_k)
    start = PCA(2, svd_solver="arpack", random_state=seed).fit_transform(matrix)
    start = start / max(float(start[:, 0].std()), 1e-12) * 1e-4
    with step("laying points out"):
        layout = TSNE(
            metric="precomputed", perplexity=perplexity, init=start.astype(np.float32), random_state=seed, n_jobs=-1
        )
        places: npt.NDArray[np.float64] = layout.fit_transform(graph).astype(np.float64)
    return places


def neighbor_graph(matrix: Any, count: int, nnz: int) -> Any:
    """Return the distances 1 - overlap of each point to itself and its nearest others, as a CSR matrix with rows in ascending order.

    Args:
        matrix: the NAGs as 0/1 vectors; see `as_matrix`.
        count: number of others, at most n - 1.
        nnz: ones of a vector, L * K.
    """
    from scipy.sparse import csr_array

    n = matrix.shape[0]
    count = min(count, n - 1)
    columns, distances = np.empty((n, count + 1), np.int64), np.zeros((n, count + 1), np.float32)
    transposed = matrix.T.tocsr()
    with step("comparing points", n, "points") as advance:
        for first in range(0, n, ROWS):
            rows = np.arange(first, min(first + ROWS, n))
            shared = (matrix[rows] @ transposed).toarray()
            shared[np.arange(len(rows)), rows] = nnz + 1  # a point comes first among its equals
            nearest = np.argsort(-shared, axis=1, kind="stable")[:, : count + 1]
            columns[rows], distances[rows] = nearest, 1 - np.take_along_axis(shared, nearest, axis=1) / nnz
            advance(len(rows))
    distances[:, 0] = 0
    return csr_array((distances.ravel(), columns.ravel(), np.arange(0, n * (count + 1) + 1, count + 1)), shape=(n, n))

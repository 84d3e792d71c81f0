"""Maps: t-SNE in two dimensions on the distance 1 - overlap of NAGs, and files of the points."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from nagindex.analysis.drawing import draw
from nagindex.analysis.points import require_label, sample_points
from nagindex.errors import BadInputError
from nagindex.query.html import records
from nagindex.search.tsne import FEWEST, embed, require_layout
from nagindex.search.view import View
from nagindex.storage.files import replacing
from nagindex.storage.snapshot import Snapshot
from nagindex.storage.tables import write_table
from nagindex.targets.saved import TargetSet

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

    def _repr_html_(self) -> str:
        """Return the numbers of points by label as an HTML table, for notebooks."""
        examples, all_points = Counter(self.labels[: self.examples]), Counter(self.labels)
        rows = [
            {"label": label, "examples": examples[label], "documents": count - examples[label]}
            for label, count in all_points.most_common()
        ]
        return f"<p>{len(self.ids):,} points on a plane; <code>write</code> draws them</p>{records(rows)}"

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
    require_layout()
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
    places, _ = embed(view(points.codes), view.spec, seed=seed, perplexity=perplexity)
    return NagMap(places, points.ids, points.labels, points.examples, texts, warnings)

"""What `benchmarks.pretrain` reads of a folder: documents, examples, and the rankings that models are trained by."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.quality.codes import save
from benchmarks.quality.texts import Case, Texts


def keep_rankings(folder: Path, documents: Texts, cases: dict[str, Case], rankings: dict[str, np.ndarray]) -> None:
    """Write what `benchmarks.pretrain` reads: documents, examples with whether they are held out, and rankings."""
    columns = {"id": documents.ids, "text": documents.texts, "label": documents.labels}
    pq.write_table(pa.table(columns), folder / "documents.parquet")
    rows = [
        {"target": target, "id": own, "text": text, "held_out": bool(out)}
        for target, case in cases.items()
        for own, text, out in zip(case.examples.ids, case.examples.texts, case.held_out, strict=True)
    ]
    pq.write_table(pa.Table.from_pylist(rows), folder / "examples.parquet")
    save(folder / "rankings.npz", **rankings)

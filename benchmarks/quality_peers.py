"""Peers of NAGs for quality.py: BM25 (bm25s), and embeddings of all-MiniLM-L6-v2 (sentence-transformers)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import bm25s
import numpy as np
import torch
from quality_arms import NEAREST, Arm, CentroidArm, NearestArm
from quality_codes import MAX_LENGTH, Case, Texts, save
from sentence_transformers import SentenceTransformer

from nagindex.backbone.devices import default_dtype
from nagindex.backbone.locate import locate


class Peers:
    """BM25 and embeddings of all-MiniLM-L6-v2 of the same 120 tokens, as peers of NAGs.

    Args:
        documents: the pool.
        cases: the targets.
        folder: where embeddings are kept.
    """

    def __init__(self, documents: Texts, cases: dict[str, Case], folder: Path) -> None:
        self._retriever = bm25s.BM25()
        self._retriever.index(bm25s.tokenize(documents.texts, stopwords="en", show_progress=False), show_progress=False)
        self._cases = cases
        path = folder / "embeddings.npz"
        texts = {"pool": documents.texts} | {name: case.examples.texts for name, case in cases.items()}
        if not path.exists():
            model = SentenceTransformer(locate("minilm", revision=None, trust_remote_code=False)[1], device="cpu")
            model.to(getattr(torch, default_dtype(model.device)))  # as nagindex encodes
            model.max_seq_length = MAX_LENGTH + 2  # the two special tokens that this model was trained with
            vectors = {
                name: model.encode(own, batch_size=64, normalize_embeddings=True, show_progress_bar=False)
                for name, own in texts.items()
            }
            save(path, **vectors)
        with np.load(path) as kept:
            self._vectors = {name: kept[name] for name in texts}

    def arms(self, target: str) -> Iterator[tuple[str, Arm]]:
        """Yield the peers' rankings for a target."""
        words = bm25s.tokenize(
            self._cases[target].examples.texts, stopwords="en", show_progress=False, return_ids=False
        )
        similarities = np.stack([self._retriever.get_scores(own) for own in words], axis=1)
        yield f"BM25, {NEAREST} best", NearestArm.of(similarities)
        pool, examples = self._vectors["pool"], self._vectors[target]
        center = pool.mean(axis=0)
        for name, (a, b) in {
            "": (pool, examples),
            ", centered": (unit(pool - center), unit(examples - center)),
        }.items():
            yield f"MiniLM{name}, {NEAREST} nearest", NearestArm.of(a @ b.T)
            yield f"MiniLM{name}, centroid", CentroidArm(a, b)


def unit(vectors: np.ndarray) -> np.ndarray:
    """Return vectors of length 1."""
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True))

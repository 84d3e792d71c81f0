"""Peers of NAGs: words (BM25, TF-IDF, DSIR), embeddings of the backbone and of all-MiniLM-L6-v2, and a classifier on them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import bm25s
import numpy as np
import torch
from scipy import sparse
from sentence_transformers import SentenceTransformer
from sklearn.feature_extraction.text import HashingVectorizer, TfidfVectorizer
from sklearn.linear_model import LogisticRegression

from benchmarks.quality.arms import NEAREST, Arm, MeanArm, NearestArm
from benchmarks.quality.codes import MAX_LENGTH, Encoded, save
from benchmarks.quality.impacts import STATES
from benchmarks.quality.texts import Case, Texts
from nagindex.backbone.devices import default_dtype
from nagindex.backbone.locate import locate

BUCKETS = 10_000
"""Buckets of DSIR's hashed features, as published."""
NEGATIVES = 2000
"""Documents of the pool, drawn by a seed, that the classifier tells the examples from."""


class WordPeers:
    """BM25, TF-IDF and DSIR over whole texts.

    Args:
        documents: the pool.
    """

    def __init__(self, documents: Texts) -> None:
        self._retriever = bm25s.BM25()
        self._retriever.index(bm25s.tokenize(documents.texts, stopwords="en", show_progress=False), show_progress=False)
        self._tfidf = TfidfVectorizer(sublinear_tf=True, stop_words="english")
        self._words = self._tfidf.fit_transform(documents.texts)
        self._hashed = HashingVectorizer(n_features=BUCKETS, ngram_range=(1, 2), alternate_sign=False, norm=None)
        self._ngrams = self._hashed.transform(documents.texts)

    def arms(self, case: Case) -> Iterator[tuple[str, Arm]]:
        """Yield the rankings for a target."""
        texts = case.examples.texts
        words = bm25s.tokenize(texts, stopwords="en", show_progress=False, return_ids=False)
        similarities = np.stack([self._retriever.get_scores(own) for own in words], axis=1)
        yield f"BM25, {NEAREST} best", NearestArm.of(similarities)
        yield "BM25, concatenated", MeanArm(similarities)
        similarities = (self._words @ self._tfidf.transform(texts).T).toarray()
        yield f"TF-IDF, {NEAREST} best", NearestArm.of(similarities)
        yield "TF-IDF, centroid", MeanArm(similarities)
        examples = self._hashed.transform(texts)
        yield "DSIR", ImportanceArm(self._ngrams, examples)
        yield "DSIR, a token", ImportanceArm(self._ngrams, examples, by_token=True)


@dataclass(frozen=True)
class ImportanceArm:
    """DSIR's log importance weight: log of the target's over the pool's probability, under bags of hashed 1- and 2-grams.

    Attributes:
        pool: counts of features, sparse [documents, BUCKETS].
        examples: the same of the examples.
        by_token: whether the sum over a document's features is divided by their number.

    Source: Xie et al., Data Selection for Language Models via Importance Resampling, 2023.
    """

    refits: ClassVar[bool] = False

    pool: sparse.csr_matrix
    examples: sparse.csr_matrix
    by_token: bool = False

    def scores(self, times: np.ndarray) -> np.ndarray:
        """Return the log importance weights of all documents; probabilities are smoothed by one count a feature."""
        target = np.asarray(times @ self.examples, np.float64).ravel() + 1
        background = np.asarray(self.pool.sum(axis=0), np.float64).ravel() + 1
        weights = np.log(target / target.sum()) - np.log(background / background.sum())
        sums = np.asarray(self.pool @ weights).ravel()
        return sums / np.maximum(1, np.asarray(self.pool.sum(axis=1)).ravel()) if self.by_token else sums


@dataclass(frozen=True)
class ClassifierArm:
    """Logistic regression of the examples against documents of the pool; a document's score is its logit.

    Attributes:
        pool: vectors, float32 [documents, d].
        examples: float32 [examples, d].
    """

    refits: ClassVar[bool] = True
    pool: np.ndarray
    examples: np.ndarray

    def scores(self, times: np.ndarray) -> np.ndarray:
        """Return the logits of all documents."""
        negatives = np.random.default_rng(0).permutation(len(self.pool))[:NEGATIVES]
        vectors = np.concatenate([self.examples, self.pool[negatives]])
        scale = vectors.std(axis=0) + 1e-9
        labels = np.repeat([1, 0], [len(self.examples), len(negatives)])
        weights = np.concatenate([times / times.sum(), np.full(len(negatives), 1 / len(negatives))]) * len(negatives)
        model = LogisticRegression(C=0.01, max_iter=200).fit(vectors / scale, labels, sample_weight=weights)
        return np.asarray(self.pool / scale @ model.coef_[0])


def sentence_vectors(documents: Texts, cases: dict[str, Case], folder: Path) -> dict[str, np.ndarray]:
    """Return embeddings of all-MiniLM-L6-v2 of the pool and each target, float32 [n, 384] of length 1, kept in a folder."""
    path = folder / "sentences.npz"
    texts = {"pool": documents.texts} | {name: case.examples.texts for name, case in cases.items()}
    if not path.exists():
        model = SentenceTransformer(locate("minilm", revision=None, trust_remote_code=False)[1], device="cpu")
        model.to(getattr(torch, default_dtype(model.device)))  # as nagindex encodes
        model.max_seq_length = MAX_LENGTH + 2  # the two special tokens that this model was trained with
        encode: Callable[[list[str]], np.ndarray] = lambda own: model.encode(  # noqa: E731
            own, batch_size=64, normalize_embeddings=True, show_progress_bar=False
        )
        save(path, **{name: encode(own) for name, own in texts.items()})
    with np.load(path) as kept:
        return {name: kept[name] for name in texts}


def vector_arms(name: str, pool: np.ndarray, examples: np.ndarray) -> Iterator[tuple[str, Arm]]:
    """Yield rankings by vectors, float32 [n, d]: raw and centered on the pool, by nearest examples and by their centroid."""
    center = pool.mean(axis=0)
    for how, (a, b) in {"": (pool, examples), ", centered": (pool - center, examples - center)}.items():
        similarities = unit(a) @ unit(b).T
        yield f"{name}{how}, {NEAREST} nearest", NearestArm.of(similarities)
        yield f"{name}{how}, centroid", MeanArm(similarities)


def state_arms(model: str, codes: Encoded, target: str) -> Iterator[tuple[str, Arm]]:
    """Yield rankings by the backbone's own hidden states."""
    for depth in STATES:
        own = [codes.parts[part][f"state {depth}"] for part in ("pool", target)]
        yield from vector_arms(f"{model} {depth} states", *own)
    yield f"{model} last states, classifier", ClassifierArm(*own)


def unit(vectors: np.ndarray) -> np.ndarray:
    """Return vectors of length 1."""
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True))

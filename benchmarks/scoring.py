"""Ways to score, compared by the share of in-domain documents among the best, with BM25 and embeddings as peers.

    python -m benchmarks.scoring --index pool.nagindex --pool corpus/pool --targets corpus/targets

For three target sets of a labeled pool, the share of documents with the labels that belong to the target among the best 500, 1,500
and 5 %, for each way to score with nagindex, for BM25 (bm25s, mean of the ten best examples), for embeddings of the same model
(cosine, mean of the ten nearest examples, and of all) and at random. The index is built if it does not exist. `--quick` uses the
project's sample data.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Sequence
from pathlib import Path

import bm25s
import numpy as np
from sentence_transformers import SentenceTransformer

import nagindex
from benchmarks.report import emit, options
from nagindex.backbone.locate import locate
from nagindex.corpus.columns import Columns
from nagindex.corpus.reading import read_documents
from nagindex.corpus.sources import find_sources

DATA = Path(__file__).parent.parent / "data"
NEAREST = 10
BIOLOGY = [
    "biology",
    "anatomy",
    "clinical_knowledge",
    "college_medicine",
    "professional_medicine",
    "medical_genetics",
    "nutrition",
    "virology",
]
CASES = {
    "gsm8k": ("gsm8k", "", ("math_gsm8k_train",)),
    "mmlu, biology": ("mmlu", BIOLOGY, ("textbook_biology", "medical_qa_medquad")),
    "hellaswag": ("hellaswag", "", ("stories_fairytaleqa", "books_classics")),
}
QUICK_CASES = {
    "biology questions": ("biology_questions", "", ("biology",)),
    "short narratives": ("short_narratives", "", ("short_stories",)),
    "code questions": ("code_questions", "", ("python_programming",)),
}
SCORES = {
    "score mean": {},
    "score max": {"score": "max"},
    f"score top:{NEAREST}": {"score": f"top:{NEAREST}"},
    "contrast 0.5": {"contrast": 0.5},
    "contrast 1": {"contrast": 1.0},
    "last layer": {"layers": "last"},
}


def texts_of(paths: Sequence[Path | str], label: str | None = None) -> tuple[list[str], list[str], list[str]]:
    """Return ids, texts and labels of documents."""
    rows = [
        (document.id, document.text, str(document.kept[0]) if label else "")
        for source in find_sources([str(path) for path in paths]).sources
        for document in read_documents(source, Columns(keep_columns=(label,) if label else ()), with_tokens=False)
        if document.text
    ]
    ids, texts, labels = zip(*rows, strict=True)
    return list(ids), list(texts), list(labels)


def mean_of_best(scores: np.ndarray, count: int) -> np.ndarray:
    """Return the mean of the `count` largest of each row of scores [documents, examples]."""
    count = min(count, scores.shape[1])
    return np.partition(scores, scores.shape[1] - count, axis=1)[:, -count:].mean(axis=1)


def embedded(texts: list[str], cache: Path | None) -> np.ndarray:
    """Return normalized embeddings, float32 [n, 384], of the same 120 tokens that the index encodes."""
    if cache is not None and cache.exists():
        found: np.ndarray = np.load(cache)
        return found
    model = SentenceTransformer(locate("minilm", revision=None, trust_remote_code=False)[1], device="cpu")
    model.max_seq_length = 122  # 120 tokens and the two special tokens that this model was trained with
    found = model.encode(texts, batch_size=64, normalize_embeddings=True, show_progress_bar=False)
    if cache is not None:
        np.save(cache, found)
    return found


def main() -> None:
    """Rank by every method and report shares."""
    arguments = options(
        __doc__ or "",
        pool={"help": "folder of labeled documents"},
        index={"type": Path, "help": "index of the pool, with the label kept; built where it is not there"},
        targets={"type": Path, "help": "folder of target files"},
        label={"default": "dataset", "help": "column of the label"},
        embeddings={"type": Path, "help": "file to keep the pool's embeddings in"},
    )
    cases, sizes = CASES, (500, 1500)
    with tempfile.TemporaryDirectory() as folder:
        if arguments.quick:
            arguments.pool, arguments.targets, arguments.label = DATA / "corpus", DATA / "targets", "subject"
            cases, sizes = QUICK_CASES, (10, 30)
        if not arguments.pool or not arguments.targets:
            raise SystemExit("name a pool and targets, or --quick")
        path = arguments.index or Path(folder, "pool.nagindex")
        if not path.exists():
            nagindex.build(arguments.pool, path, model="minilm", columns=Columns(keep_columns=(arguments.label,)))
        index = nagindex.open(path)
        ids, texts, labels = texts_of([arguments.pool], arguments.label)
        label_of = dict(zip(ids, labels, strict=True))
        depths = [*sizes, round(0.05 * len(ids))]
        retriever = bm25s.BM25()
        retriever.index(bm25s.tokenize(texts, stopwords="en", show_progress=False), show_progress=False)
        vectors = embedded(texts, arguments.embeddings)
        shares: dict[str, dict[str, list[float]]] = {}
        for case, (file, parts, wanted) in cases.items():
            examples = [
                (name, text)
                for name, text, _ in zip(*texts_of([arguments.targets / f"{file}.jsonl"]), strict=True)
                if not parts or any(part in name for part in parts)
            ]
            chosen = Path(folder, f"{file}.txt.jsonl")
            write_jsonl(chosen, examples)
            queries = [text for _, text in examples]
            rankings: dict[str, list[str]] = {}
            for name, how in SCORES.items():
                rankings[name] = index.query(chosen, n=max(depths), **how).ids.tolist()
            tokens = bm25s.tokenize(queries, stopwords="en", show_progress=False, return_ids=False)
            scores = np.stack([retriever.get_scores(words) for words in tokens], axis=1)
            rankings[f"BM25, mean of {NEAREST}"] = best(ids, mean_of_best(scores, NEAREST), max(depths))
            similar = vectors @ embedded(queries, None).T
            rankings[f"embeddings, mean of {NEAREST}"] = best(ids, mean_of_best(similar, NEAREST), max(depths))
            rankings["embeddings, mean of all"] = best(ids, similar.mean(axis=1), max(depths))
            shares[case] = {
                name: [sum(label_of[i] in wanted for i in order[:depth]) / depth for depth in depths]
                for name, order in rankings.items()
            }
            shares[case]["random"] = [sum(label in wanted for label in labels) / len(labels)] * len(depths)
    headings = ["in-domain among the best"] + [f"{case}, {depth:,}" for case in shares for depth in depths]
    rows = [
        [name, *(f"{share:.1%}" for case in shares for share in shares[case][name])]
        for name in shares[next(iter(shares))]
    ]
    emit(headings, rows, {"documents": len(ids), "depths": depths, "shares": shares}, arguments.json)


def best(ids: list[str], scores: np.ndarray, count: int) -> list[str]:
    """Return the ids of the highest scores, highest first."""
    return [ids[i] for i in np.argsort(-scores, kind="stable")[:count]]


def write_jsonl(path: Path, examples: list[tuple[str, str]]) -> None:
    """Write examples for a query."""
    path.write_text("".join(json.dumps({"id": i, "text": text}) + "\n" for i, text in examples))


if __name__ == "__main__":
    main()

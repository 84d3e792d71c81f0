"""Pools, held-out texts and rankings that the pretraining benchmarks start from, in tokens of one common vocabulary.

A folder holds, as `python -m benchmarks.quality --cache FOLDER` leaves them:

    documents.parquet   id, text, label; the row is the document's number
    examples.parquet    target, id, text, held_out: the rankings were made from the others, models are evaluated on these
    rankings.npz        "TARGET|ARM": int32 [documents], document numbers, best first
"""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import duckdb
import numpy as np
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

RANDOM, WHOLE = "random", "whole pool"
"""Arms that no ranking states: documents drawn by a seed, and all documents."""
END = 0
"""The end-of-text token, which ends each document."""
DATA = Path(__file__).parents[2] / "data"
SUBJECTS = {
    "biology_questions": "biology",
    "code_questions": "python_programming",
    "short_narratives": "short_stories",
}
"""Sample targets, and the subject of the sample corpus that resembles each."""


@dataclass(frozen=True)
class Inputs:
    """A pool, the held-out texts of its targets and the rankings to compare.

    Attributes:
        texts: the documents.
        held_out: for each target the texts to evaluate on, none of which the rankings were made from.
        rankings: for each target and arm the documents' numbers, best first, int32 [documents].
    """

    texts: list[str]
    held_out: dict[str, list[str]]
    rankings: dict[str, dict[str, np.ndarray]]

    @property
    def arms(self) -> list[str]:
        """The arms that rank for every target, in the order of the first."""
        first, *others = self.rankings.values()
        return [arm for arm in first if all(arm in arms for arms in others)]

    def without_frames(self) -> Inputs:
        """Return the inputs with "Question: " and "Answer: " taken out of the held-out texts.

        Every text of such a target has these words, so a model gains by any documents that have them, whatever they are about.
        """
        return Inputs(
            self.texts, {target: [*map(unframed, own)] for target, own in self.held_out.items()}, self.rankings
        )

    def only(self, targets: Sequence[str] | None, arms: Sequence[str] | None, examples: int | None = None) -> Inputs:
        """Return the inputs of some targets and arms; None keeps all.

        Args:
            targets: names of targets.
            arms: names of arms.
            examples: held-out texts of each target, drawn by a seed.

        Raises:
            ValueError: there is no such target or arm.
        """
        targets, arms = targets or list(self.rankings), arms or self.arms
        require(targets, self.rankings, "target")
        require(arms, self.arms, "arm")
        return Inputs(
            self.texts,
            {target: drawn(self.held_out[target], examples) for target in targets},
            {target: {arm: self.rankings[target][arm] for arm in arms} for target in targets},
        )


def unframed(text: str) -> str:
    """Return a text without the words that frame a question and its answer; others as they are."""
    return re.sub(r"\AQuestion: (.+?)\sAnswer: (.+)", r"\1\n\2", text, flags=re.DOTALL)


def require(names: Iterable[str], known: Iterable[str], kind: str) -> None:
    """Raise ValueError unless all names are known."""
    known = list(known)
    for name in names:
        if name not in known:
            raise ValueError(f"there is no {kind} {name!r}; there are {', '.join(map(repr, known))}")


def drawn(texts: list[str], count: int | None) -> list[str]:
    """Return some texts drawn by a seed, in their own order; all if count is None or exceeds them."""
    if count is None or count >= len(texts):
        return texts
    return [texts[place] for place in np.sort(np.random.default_rng(0).permutation(len(texts))[:count])]


def read_folder(folder: Path) -> Inputs:
    """Return the inputs that a folder holds.

    Raises:
        ValueError: a ranking is not a permutation of the documents, or a target has no held-out example.
    """
    with duckdb.connect() as connection:
        read = "SELECT {} FROM read_parquet(?)"
        documents = connection.execute(read.format("text"), [str(folder / "documents.parquet")]).fetchall()
        columns = read.format("target, text") + " WHERE held_out"
        examples = connection.execute(columns, [str(folder / "examples.parquet")]).fetchall()
    held_out: dict[str, list[str]] = {}
    for target, text in examples:
        held_out.setdefault(target, []).append(text)
    rankings: dict[str, dict[str, np.ndarray]] = {}
    with np.load(folder / "rankings.npz") as arrays:
        for key in arrays.files:
            target, arm = key.split("|", 1)
            rankings.setdefault(target, {})[arm] = checked(arrays[key], len(documents), key)
    require(rankings, held_out, "held-out example of target")
    return Inputs([text for (text,) in documents], {target: held_out[target] for target in rankings}, rankings)


def read_folders(folders: Sequence[Path]) -> Inputs:
    """Return the inputs that a folder holds, with the rankings of further folders as arms "FOLDER: ARM".

    Raises:
        ValueError: the folders hold other documents or held-out texts, two have one name, or as in `read_folder`.
    """
    if len({folder.name for folder in folders}) < len(folders):
        raise ValueError(f"{', '.join(map(str, folders))}: folders need different names, which their arms have")
    first, *others = map(read_folder, folders)
    rankings = {target: dict(arms) for target, arms in first.rankings.items()}
    for folder, own in zip(folders[1:], others, strict=True):
        if own.texts != first.texts or own.held_out != first.held_out:
            raise ValueError(f"{folder} holds other documents or examples than {folders[0]}")
        for target, arms in own.rankings.items():
            rankings[target] |= {f"{folder.name}: {arm}": ranking for arm, ranking in arms.items()}
    return dataclasses.replace(first, rankings=rankings)


def checked(ranking: np.ndarray, documents: int, name: str) -> np.ndarray:
    """Return a ranking; raise ValueError unless it is a permutation of the documents' numbers."""
    if not np.array_equal(np.sort(ranking), np.arange(documents)):
        raise ValueError(f"ranking {name!r} is not a permutation of {documents} documents")
    return ranking


def sample_inputs() -> Inputs:
    """Return the project's sample corpus and targets, ranked by label and by words shared with the examples."""
    records = [json.loads(line) for path in sorted((DATA / "corpus").glob("*.jsonl")) for line in path.open()]
    texts, labels = [record["text"] for record in records], np.array([record["subject"] for record in records])
    held_out, rankings = {}, {}
    for target, subject in SUBJECTS.items():
        lines = (DATA / "targets" / f"{target}.jsonl").read_text().splitlines()
        examples = [as_question(json.loads(line)["text"]) for line in lines]
        held_out[target] = examples[1::2]
        known = {word for text in examples[::2] for word in words(text)}
        shared = np.array([np.mean([word in known for word in words(text)]) for text in texts])
        rankings[target] = {
            "by label": np.argsort(labels != subject, kind="stable").astype(np.int32),
            "shared words": np.argsort(-shared, kind="stable").astype(np.int32),
        }
    return Inputs(texts, held_out, rankings)


def as_question(text: str) -> str:
    """Return a sample text that starts with a question in the form of targets made from benchmarks; others as they are."""
    return re.sub(r"^(?:Question: )?([^.?]+\?) (?:Answer: )?", r"Question: \1\nAnswer: ", text)


def words(text: str) -> list[str]:
    """Return a text's words of four letters or more, in lower case."""
    return re.findall(r"[^\W\d_]{4,}", text.lower())


class Vocabulary:
    """A byte-level BPE vocabulary trained on a pool; token 0 ends a text.

    Attributes:
        size: number of tokens, at most the size asked for.
        token_bytes: UTF-8 bytes of each token, int64 [size]; 0 of the end-of-text token.
    """

    def __init__(self, texts: Iterable[str], size: int) -> None:
        self._tokenizer = Tokenizer(models.BPE())
        self._tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        self._tokenizer.decoder = decoders.ByteLevel()
        alphabet = pre_tokenizers.ByteLevel.alphabet()
        trainer = trainers.BpeTrainer(vocab_size=size - 1, initial_alphabet=alphabet, show_progress=False)
        self._tokenizer.train_from_iterator(texts, trainer)
        tokens = self._tokenizer.get_vocab()
        self.size = len(tokens) + 1
        self.token_bytes = np.zeros(self.size, np.int64)
        for token, number in tokens.items():
            self.token_bytes[number + 1] = len(token)  # a character of the alphabet stands for each byte

    def encode(self, texts: Sequence[str]) -> list[np.ndarray]:
        """Return the tokens of each text, uint16 [tokens], without an end."""
        encoded = self._tokenizer.encode_batch_fast(list(texts), add_special_tokens=False)
        return [np.array(own.ids, np.uint16) + np.uint16(1) for own in encoded]


@dataclass(frozen=True)
class Documents:
    """Documents in tokens, each with its end-of-text token.

    Attributes:
        tokens: uint16 [tokens].
        offsets: where each document starts, and where the last ends, int64 [documents + 1].
    """

    tokens: np.ndarray
    offsets: np.ndarray

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def lengths(self) -> np.ndarray:
        """Tokens of each document, int64 [documents]."""
        return np.diff(self.offsets)

    def take(self, numbers: np.ndarray) -> Documents:
        """Return some documents in the order that their numbers come in."""
        parts = [self.tokens[self.offsets[number] : self.offsets[number + 1]] for number in numbers]
        return joined(parts)

    def first(self, ranking: np.ndarray, count: int) -> Documents:
        """Return the best documents of a ranking up to exactly some tokens; the last document is cut to fit.

        Args:
            ranking: documents' numbers, best first, int [at most documents].
            count: tokens, the documents' ends included.

        Raises:
            ValueError: the ranked documents have fewer tokens.
        """
        ends = np.cumsum(self.lengths[ranking])
        if count < 1 or not len(ends) or ends[-1] < count:
            raise ValueError(f"{ends[-1] if len(ends) else 0} tokens are ranked, {count} are to be chosen")
        chosen = self.take(ranking[: np.searchsorted(ends, count) + 1])
        tokens, offsets = chosen.tokens[:count].copy(), chosen.offsets.copy()
        tokens[-1], offsets[-1] = END, count
        return Documents(tokens, offsets)


def joined(parts: Sequence[np.ndarray]) -> Documents:
    """Return documents of some arrays of tokens, uint16, that have their ends already."""
    return Documents(
        np.concatenate(parts) if parts else np.empty(0, np.uint16),
        np.cumsum([0, *map(len, parts)], dtype=np.int64),
    )


def encode_documents(vocabulary: Vocabulary, texts: Sequence[str]) -> Documents:
    """Return texts in tokens, each followed by the end-of-text token."""
    end = np.array([END], np.uint16)
    return joined([np.concatenate([tokens, end]) for tokens in vocabulary.encode(texts)])


def random_ranking(documents: int, seed: int) -> np.ndarray:
    """Return the documents' numbers in an order drawn by a seed, int64 [documents]."""
    return np.random.default_rng([1, seed]).permutation(documents)


def general_mix(documents: int, share: float = 0.05) -> np.ndarray:
    """Return the numbers of documents that no arm may choose, drawn by a fixed seed, ascending int64."""
    count = max(1, round(share * documents))
    return np.sort(np.random.default_rng(0).permutation(documents)[:count])

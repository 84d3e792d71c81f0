"""Loading target sets: texts in any corpus format, saved NAGs or arrays of codes become encoded examples."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from nagindex.backbone.devices import require_devices
from nagindex.corpus.columns import Columns
from nagindex.corpus.reading import find_columns, read_texts
from nagindex.corpus.sources import Source, content_hash, find_sources
from nagindex.errors import BadInputError
from nagindex.nag import CODE_DTYPE, Codes
from nagindex.storage.fingerprint import Fingerprint
from nagindex.targets.cache import TargetCache
from nagindex.targets.given import (
    EncodeKeywords,
    TargetFiles,
    Targets,
    TextColumn,
    are_texts,
    name_targets,
    text_columns,
)
from nagindex.targets.saved import Example, TargetSet, check_codes, is_saved_nags, read_nags

if TYPE_CHECKING:
    from nagindex.backbone.load import Backbone


def load_targets(
    targets: Targets,
    *,
    fingerprint: Fingerprint,
    backbone: Callable[[], Backbone],
    text_column: TextColumn | None = None,
    target_column: str | None = None,
    batch_tokens: int,
    cache: TargetCache | None = None,
) -> list[TargetSet]:
    """Return one or several target sets, encoding only texts that are not in the cache.

    Args:
        targets: a file, glob or folder of texts or of saved NAGs, a list of texts, codes (integers [n, L, K]), or an encoded
            set; several of them are several targets, and a mapping names them.
        fingerprint: the encoding that they must have.
        backbone: loads the model; called only if a text must be encoded.
        text_column: column of the texts, of all targets or by target (`*` stands for the others); by default found in each file.
        target_column: column of the target's name; by default a file is one target, named after it.
        batch_tokens: padded tokens in a batch.
        cache: where the codes of texts are kept between queries.

    Raises:
        BadInputError: there is no target, a target has no example, two have one name, or NAGs are invalid.
        SettingsMismatchError: saved NAGs have another encoding.
    """
    named, columns_of = require_targets(targets, text_column=text_column, target_column=target_column)
    encoder = _TextEncoder(fingerprint, backbone, batch_tokens, cache)
    loaded: dict[str, TargetSet] = {}
    for name, given in named:
        if name in loaded and isinstance(given, (TargetSet, np.ndarray)):
            raise BadInputError(f"{name}: two targets have this name; give each its own")
        if isinstance(given, TargetSet):
            codes = check_codes(given.codes, fingerprint, where=f"target {name}")
            loaded[name] = dataclasses.replace(given, codes=codes)
        elif isinstance(given, np.ndarray):
            where = f"the codes of target {name}" if len(named) > 1 else "the codes given"
            loaded[name] = _set_of_codes(name, check_codes(given, fingerprint, where=where))
        elif are_texts(given):
            loaded[name] = _set_of_texts(name, given, encoder)
        else:
            _load_files(loaded, name, given, columns_of(name), encoder, keep_name=isinstance(targets, Mapping))
    sets = list(loaded.values())
    if cache is not None and cache.problem is not None:
        sets[0] = dataclasses.replace(sets[0], warnings=[*sets[0].warnings, cache.problem])
    return sets


def require_encodable(targets: Targets, encoding: EncodeKeywords) -> None:
    """Raise an error if targets, or how they are to be encoded, can be refused before a model is loaded.

    Args:
        targets: as in `load_targets`.
        encoding: keyword arguments of `Index.encode`.

    Raises:
        InputNotFoundError, BadInputError: as `require_targets`, or the device cannot be used.
    """
    require_devices([encoding.get("device", "auto")])
    columns = encoding.get("text_column"), encoding.get("target_column")
    require_targets(targets, text_column=columns[0], target_column=columns[1])


def require_targets(
    targets: Targets, *, text_column: TextColumn | None = None, target_column: str | None = None
) -> tuple[list[tuple[str, TargetFiles]], Callable[[str], Columns]]:
    """Return (name, target) of each target, and f(name): the columns of its files, once these are there and have them.

    Args:
        targets: as in `load_targets`, like the following.
        text_column: see there.
        target_column: see there.

    Raises:
        InputNotFoundError, BadInputError: there is no target, or a file is missing or lacks a column.
    """
    named = name_targets(targets)
    if not named:
        raise BadInputError("no target was given; name at least one file of examples")
    if target_column is not None and isinstance(targets, Mapping):
        raise BadInputError(
            f"`target_column` {target_column}: targets that have names cannot take them from a column too"
        )
    columns_of = text_columns(text_column, [name for name, _ in named], target_column)
    for name, given in named:
        if not isinstance(given, (TargetSet, np.ndarray)) and not are_texts(given):
            for source in _sources_of(given):
                if not is_saved_nags(source.path):
                    find_columns(source, columns_of(name))
    return named, columns_of


def _set_of_codes(name: str, codes: Codes) -> TargetSet:
    record = {"name": "codes", "sha256": hashlib.sha256(codes.tobytes()).hexdigest(), "examples": len(codes)}
    return TargetSet(codes, [str(i) for i in range(len(codes))], [record], name=name)


def _set_of_texts(name: str, texts: Sequence[str], encoder: _TextEncoder) -> TargetSet:
    """Return the target set of a list of texts; the id of a text is its number in the list."""
    skipped: list[str] = []
    rows = [_Text(row, name, str(row), text) for row, text in enumerate(texts)]
    examples = encoder.encode(rows, f"the texts of {name}", skipped)
    if not examples:
        raise BadInputError(f"targets: no text of {name} has a token; give at least one")
    digest = hashlib.sha256(json.dumps(list(texts)).encode()).hexdigest()
    return TargetSet(
        np.stack([example.codes for example in examples]),
        [example.id for example in examples],
        [{"name": "texts", "sha256": digest, "examples": len(examples)}],
        skipped,
        name=name,
        texts=[str(example.text) for example in examples],
    )


def _load_files(
    loaded: dict[str, TargetSet],
    name: str,
    paths: str | Path | Sequence[str | Path],
    columns: Columns,
    encoder: _TextEncoder,
    *,
    keep_name: bool,
) -> None:
    """Add the examples of files, texts or saved NAGs, to the target sets that they belong to.

    Args:
        loaded: the target sets so far, by name.
        name: the target's name, where the files name none.
        paths: files, globs or folders.
        columns: which columns hold texts and targets.
        encoder: encodes texts.
        keep_name: whether `name` comes before the name of a single target that saved NAGs state.
    """
    own: list[str] = []  # targets of these files
    skipped: list[str] = []
    for source in _sources_of(paths):
        if is_saved_nags(source.path):
            examples = read_nags(source.path, encoder.fingerprint, name)
            stated = {example.target for example in examples}
            if keep_name or (len(stated) == 1 and stated & loaded.keys() and not own):
                examples = [dataclasses.replace(example, target=name) for example in examples]
            elif any(target in loaded and target not in own for target in stated):
                clash = next(target for target in stated if target in loaded and target not in own)
                raise BadInputError(
                    f"{source.path}: its target {clash!r} is in another file too; query them one by one"
                )
        else:
            examples = encoder.encode(_read_texts(source, columns, skipped, name), str(source.path), skipped)
        own += _add_examples(loaded, examples, source, encoder.fingerprint)
    if not own:
        reason = f" ({len(skipped)} skipped, the first: {skipped[0]})" if skipped else ""
        raise BadInputError(f"{paths}: the targets hold no example{reason}; give at least one text")
    loaded[own[0]].skipped.extend(skipped)


def _sources_of(paths: str | Path | Sequence[str | Path]) -> list[Source]:
    return find_sources([paths] if isinstance(paths, (str, Path)) else list(paths)).sources


def _add_examples(
    loaded: dict[str, TargetSet], examples: Sequence[Example], source: Source, fingerprint: Fingerprint
) -> list[str]:
    """Add a file's examples to the target sets that they belong to, and return the names of these sets."""
    digest = content_hash(source.path)
    by_target: dict[str, list[Example]] = {}
    for example in examples:
        by_target.setdefault(example.target, []).append(example)
    for name, added in by_target.items():
        before = loaded.get(name) or TargetSet(
            np.empty((0, *fingerprint.spec.shape), CODE_DTYPE), [], [], name=name, texts=[]
        )
        texts = [example.text for example in added if example.text is not None]
        loaded[name] = dataclasses.replace(
            before,
            codes=np.concatenate([before.codes, np.stack([example.codes for example in added])]),
            ids=[*before.ids, *(example.id for example in added)],
            files=[*before.files, {"name": source.name, "sha256": digest, "examples": len(added)}],
            texts=None if before.texts is None or len(texts) < len(added) else [*before.texts, *texts],
        )
    return list(by_target)


@dataclass(frozen=True)
class _Text:
    """An example before it is encoded: its row, its target's name, its id and its text."""

    row: int
    target: str
    id: str
    text: str


def _read_texts(source: Source, columns: Columns, skipped: list[str], name: str) -> list[_Text]:
    """Return the examples of a source; their target is `name` where no column names it."""
    return [
        _Text(
            document.row,
            name if columns.target_column is None else str(document.kept[-1]),
            document.id,
            document.text or "",
        )
        for document in read_texts(source, columns, skipped)
    ]


@dataclass(frozen=True)
class _TextEncoder:
    """Encodes texts that the cache does not hold.

    Attributes:
        fingerprint: the encoding.
        backbone: loads the model; called only if a text must be encoded.
        batch_tokens: padded tokens in a batch.
        cache: where the codes of texts are kept, or None.
    """

    fingerprint: Fingerprint
    backbone: Callable[[], Backbone]
    batch_tokens: int
    cache: TargetCache | None

    def encode(self, texts: Sequence[_Text], where: str, skipped: list[str]) -> list[Example]:
        """Return the examples of a source with their codes; `skipped` gets those without a token, with `where` they are."""
        codes = self._codes([example.text for example in texts])
        examples = []
        for each in texts:
            if TargetCache.is_no_nag(codes[each.text]):
                skipped.append(f"{where}, row {each.row}: no tokens")
            else:
                examples.append(Example(each.target, each.id, each.text, codes[each.text]))
        return examples

    def _codes(self, texts: Sequence[str]) -> dict[str, Codes]:
        """Return the codes of each text, uint16 [L, K]; those of a text without tokens are `TargetCache.NO_NAG`."""
        codes = self.cache.get(texts) if self.cache else {}
        new = list(dict.fromkeys(text for text in texts if text not in codes))
        if not new:
            return codes
        from nagindex.encode.encoder import clamp_to_memory, encode_ids
        from nagindex.encode.tokenize import tokenize

        backbone = self.backbone()
        ids = tokenize(backbone.tokenizer, new, max_length=self.fingerprint.max_length, count=False).ids
        present = [position for position, row in enumerate(ids) if row]
        # A text without tokens has no NAG. It is cached nevertheless, so that it is not tokenized again.
        encoded = np.full((len(new), *self.fingerprint.spec.shape), TargetCache.NO_NAG, CODE_DTYPE)
        encoded[present] = encode_ids(
            backbone,
            [ids[position] for position in present],
            self.fingerprint.spec,
            batch_tokens=clamp_to_memory(self.batch_tokens, backbone),
        )
        if self.cache:
            self.cache.put(new, encoded)
        return codes | dict(zip(new, encoded, strict=True))

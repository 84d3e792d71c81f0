"""Target sets: example texts in any corpus format, or NAGs saved by `nagindex encode`, as codes."""

from __future__ import annotations

import dataclasses
import hashlib
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from nagindex.corpus.columns import Columns
from nagindex.corpus.reading import read_documents
from nagindex.corpus.sources import Source, content_hash, find_sources, format_of
from nagindex.encode.encoder import clamp_to_memory, encode_ids
from nagindex.encode.tokenize import tokenize
from nagindex.errors import BadInputError
from nagindex.nag import CODE_DTYPE, Codes
from nagindex.storage.fingerprint import Fingerprint
from nagindex.targets.cache import TargetCache
from nagindex.targets.saved import Example, TargetSet, check_codes, is_saved_nags, read_nags

if TYPE_CHECKING:
    from nagindex.backbone.load import Backbone


TargetFiles = str | Path | Sequence[str | Path] | Codes | TargetSet
Targets = TargetFiles | Iterable[TargetFiles] | Mapping[str, TargetFiles]


def load_targets(
    targets: Targets,
    *,
    fingerprint: Fingerprint,
    backbone: Callable[[], Backbone],
    text_column: str | None = None,
    target_column: str | None = None,
    batch_tokens: int,
    cache: TargetCache | None = None,
) -> list[TargetSet]:
    """Return the codes of one or several target sets, encoding only texts that the cache does not hold.

    Args:
        targets: a file, glob or folder of texts or of saved NAGs, or codes uint16 [n, L, K]; each is a target, or several where a
            column tells them apart. A mapping names them.
        fingerprint: the encoding that they must have.
        backbone: loads the model; called only if something must be encoded.
        text_column: column of the texts; by default found in each file.
        target_column: column of the target's name; by default a file is one target, named after it.
        batch_tokens: padded tokens in a batch.
        cache: where codes of texts are kept between queries.

    Raises:
        BadInputError: a target has no example, or saved NAGs are not what they claim.
        SettingsMismatchError: saved NAGs have another encoding.
    """
    named = _named(targets)
    if not named:
        raise BadInputError("no target was given; name at least one file of examples")
    if target_column is not None and isinstance(targets, Mapping):
        raise BadInputError(
            f"target-column {target_column}: targets that have names cannot take them from a column too"
        )
    columns = Columns(text=text_column, target=target_column)
    found: dict[str, TargetSet] = {}
    for name, given in named:
        if name in found and isinstance(given, (TargetSet, np.ndarray)):
            raise BadInputError(f"{name}: two targets have this name; give each its own")
        if isinstance(given, TargetSet):
            check_codes(given.codes, fingerprint, where=f"target {name}")
            found[name] = given
            continue
        if isinstance(given, np.ndarray):
            check_codes(
                given, fingerprint, where=f"the codes of target {name}" if len(named) > 1 else "the codes given"
            )
            digest = hashlib.sha256(given.tobytes()).hexdigest()
            record = {"name": "codes", "sha256": digest, "examples": len(given)}
            found[name] = TargetSet(given, [str(i) for i in range(len(given))], [record], name=name)
            continue
        owners: list[str] = []
        skipped: list[str] = []
        paths = [given] if isinstance(given, (str, Path)) else list(given)
        for source in find_sources(paths).sources:
            if is_saved_nags(source.path):
                examples = read_nags(source.path, fingerprint, name)
                stored = {example.target for example in examples}
                if len(stored) == 1 and (isinstance(targets, Mapping) or (stored & found.keys() and not owners)):
                    examples = [dataclasses.replace(example, target=name) for example in examples]
                elif any(target in found and target not in owners for target in stored):
                    clash = next(target for target in stored if target in found)
                    raise BadInputError(
                        f"{source.path}: its target {clash!r} is in another file too; query them one by one"
                    )
            else:
                rows = _read_texts(source, columns, skipped, name)
                examples = _encoded(rows, source, fingerprint, backbone, batch_tokens, cache, skipped)
            owners += _add(found, examples, source, fingerprint)
        if not owners:
            listed = f" ({len(skipped)} skipped, the first: {skipped[0]})" if skipped else ""
            raise BadInputError(f"{given}: the targets hold no example{listed}; give at least one text")
        found[owners[0]].skipped.extend(skipped)
    return list(found.values())


def repeatable(targets: Targets) -> Targets:
    """Return targets that can be gone through twice, as a generator cannot."""
    return targets if isinstance(targets, Mapping) else _listed(targets)


def named_files(targets: Targets) -> list[str]:
    """Return the files that were named as targets, as the command line takes them; none where one of the targets is codes."""
    named = targets.items() if isinstance(targets, Mapping) else [("", given) for given in _listed(targets)]
    if not all(isinstance(given, (str, Path)) for _, given in named):
        return []
    return [f"{name}={os.path.abspath(str(given))}" if name else os.path.abspath(str(given)) for name, given in named]


def _listed(targets: TargetFiles | Iterable[TargetFiles]) -> list[TargetFiles]:
    return [targets] if isinstance(targets, (str, Path, np.ndarray, TargetSet)) else list(targets)


def _named(targets: Targets) -> list[tuple[str, TargetFiles]]:
    """Return the targets with their names: given ones, a set's own, or a file's without its suffixes."""
    if isinstance(targets, Mapping):
        return [
            (name, dataclasses.replace(given, name=name) if isinstance(given, TargetSet) else given)
            for name, given in targets.items()
        ]
    listed = _listed(targets)
    stems = [_stem(given, number) for number, given in enumerate(listed)]
    names = [
        str(given) if stems.count(stem) > 1 and isinstance(given, (str, Path)) else stem
        for given, stem in zip(listed, stems, strict=True)
    ]
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise BadInputError(f"{twice}: named twice as a target; name each once")
    return list(zip(names, listed, strict=True))


def _stem(given: TargetFiles, number: int) -> str:
    if isinstance(given, TargetSet):
        return given.name
    if isinstance(given, np.ndarray):
        return f"target-{number}"
    if not isinstance(given, (str, Path)):
        return f"target-{number}"
    name = Path(given).name
    kind = format_of(Path(given))
    if kind is not None:
        name = name.removesuffix(Path(name).suffix) if kind[1] != "none" else name
        name = name.removesuffix(Path(name).suffix)
    return name or str(given)


def _add(
    found: dict[str, TargetSet], examples: Sequence[Example], source: Source, fingerprint: Fingerprint
) -> list[str]:
    """Put a file's examples to the target sets that they belong to, and return these sets' names."""
    digest = content_hash(source.path)
    by_target: dict[str, list[Example]] = {}
    for example in examples:
        by_target.setdefault(example.target, []).append(example)
    for name, own in by_target.items():
        before = found.get(name) or TargetSet(
            np.empty((0, *fingerprint.spec.shape), CODE_DTYPE), [], [], name=name, texts=[]
        )
        texts = [example.text for example in own if example.text is not None]
        found[name] = dataclasses.replace(
            before,
            codes=np.concatenate([before.codes, np.stack([example.codes for example in own])]),
            ids=[*before.ids, *(example.id for example in own)],
            files=[*before.files, {"name": source.name, "sha256": digest, "examples": len(own)}],
            texts=None if before.texts is None or len(texts) < len(own) else [*before.texts, *texts],
        )
    return list(by_target)


def _read_texts(source: Source, columns: Columns, skipped: list[str], name: str) -> list[tuple[int, str, str, str]]:
    """Return (row, target, id, text) of a source's readable rows."""
    texts = []
    for document in read_documents(source, columns, with_tokens=False):
        if document.problem is not None:
            skipped.append(f"{source.path}, row {document.row}: {document.problem}")
        elif columns.target is not None and document.kept[0] is None:
            skipped.append(f"{source.path}, row {document.row}: no target in column {columns.target!r}")
        else:
            target = name if columns.target is None else str(document.kept[0])
            texts.append((document.row, target, document.id, document.text or ""))
    if not texts and source.size == 0:
        skipped.append(f"{source.path}: the file is empty")
    return texts


def _encoded(
    rows: Sequence[tuple[int, str, str, str]],
    source: Source,
    fingerprint: Fingerprint,
    load: Callable[[], Backbone],
    batch_tokens: int,
    cache: TargetCache | None,
    skipped: list[str],
) -> list[Example]:
    """Return those of (row, target, id, text) whose text has a token, encoded."""
    texts = [text for *_, text in rows]
    found = cache.get(texts) if cache else {}
    new = list(dict.fromkeys(text for text in texts if text not in found))
    if new:
        backbone = load()
        ids = tokenize(backbone.tokenizer, new, max_length=fingerprint.max_length, count=False).ids
        present = [position for position, row in enumerate(ids) if row]
        # A text without tokens has no NAG: it is cached as a row that no NAG equals, so that it is not tokenized again.
        fresh = np.full((len(new), *fingerprint.spec.shape), TargetCache.NO_NAG, CODE_DTYPE)
        fresh[present] = encode_ids(
            backbone, [ids[p] for p in present], fingerprint.spec, batch_tokens=clamp_to_memory(batch_tokens, backbone)
        )
        found |= dict(zip(new, fresh, strict=True))
        if cache:
            cache.put(new, fresh)
    skipped += [f"{source.path}, row {row}: no tokens" for row, *_, text in rows if TargetCache.is_no_nag(found[text])]
    return [
        Example(target, i, text, found[text]) for _, target, i, text in rows if not TargetCache.is_no_nag(found[text])
    ]

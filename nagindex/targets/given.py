"""Targets as a caller gives them: which are files, texts, codes or encoded sets, how they are named, and how they are written down."""

from __future__ import annotations

import dataclasses
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypedDict, TypeGuard

import numpy as np
import numpy.typing as npt

from nagindex.corpus.columns import Columns
from nagindex.corpus.sources import format_of
from nagindex.errors import BadInputError
from nagindex.stores.urls import absolute, is_remote
from nagindex.targets.saved import TargetSet

TargetFiles = str | Path | Sequence[str] | Sequence[str | Path] | npt.NDArray[np.integer[Any]] | TargetSet
"""One target: a file, glob or folder, several of them as Paths, a list of texts, codes, or an encoded set."""
TextColumn = str | Mapping[str, str]
_NAMED = re.compile(r"([^/=]+)=(.+)", re.DOTALL)
OTHERS = "*"
"""Stands for the targets that a mapping of columns does not name."""
Targets = TargetFiles | Iterable[TargetFiles] | Mapping[str, TargetFiles]


class EncodeKeywords(TypedDict, total=False):
    """How targets are read and encoded: the keyword arguments of `Index.encode`, which everything that takes targets takes, too."""

    text_column: TextColumn | None
    target_column: str | None
    model: str | None
    device: str
    cache: bool


def repeatable(targets: Targets) -> Targets:
    """Return targets that can be iterated twice, as a generator cannot."""
    return list(targets) if isinstance(targets, Iterator) else targets


def written(targets: Targets, encoding: EncodeKeywords) -> dict[str, Any]:
    """Return targets as arguments of the command line: files as `targets`, texts of a target `text` as `text`, and the columns named.

    Files and texts are empty where a target can be written as neither, such as codes, or texts of another name.
    """
    columns = {"text-column": encoding.get("text_column"), "target-column": encoding.get("target_column")}
    recorded = {name: column for name, column in columns.items() if column is not None}
    named = targets.items() if isinstance(targets, Mapping) else [("", given) for given in as_list(targets)]
    files = [(f"{name}=" if name else "") + absolute(given) for name, given in named if isinstance(given, (str, Path))]
    texts = [given for name, given in named if name in ("", "text") and are_texts(given)]
    if len(texts) > 1 or len(files) + len(texts) < len(named):
        return {"targets": []} | recorded
    return {"targets": files} | ({"text": list(texts[0])} if texts else {}) | recorded


def rewritten(recorded: Mapping[str, Any]) -> tuple[Targets, EncodeKeywords]:
    """Return targets, and how they are encoded, from what `written` made of them.

    Raises:
        BadInputError: they could not be written down.
    """
    files, texts = list(recorded.get("targets") or ()), list(recorded.get("text") or ())
    if not files and not texts:
        raise BadInputError("the selection's record names no files of its targets; name them with `targets`")
    encoding: EncodeKeywords = {
        "text_column": recorded.get("text-column"),
        "target_column": recorded.get("target-column"),
    }
    pairs = [_NAMED.fullmatch(one) for one in files]
    named = {pair[1]: Path(pair[2]) for pair in pairs if pair is not None}
    if files and len(named) == len(files):
        return {**named, **({"text": texts} if texts else {})}, encoding
    return [*map(Path, files), *([texts] if texts else [])], encoding


def text_columns(given: TextColumn | None, names: Sequence[str], target_column: str | None) -> Callable[[str], Columns]:
    """Return f(target): the columns of its files.

    Raises:
        BadInputError: a column is given for a target that there is not.
    """
    by_target = given if isinstance(given, Mapping) else {} if given is None else {OTHERS: given}
    for name in by_target:
        if name not in (*names, OTHERS):
            raise BadInputError(f"`text_column` {name}={by_target[name]}: no such target; there are {', '.join(names)}")
    return lambda name: Columns(text_column=by_target.get(name, by_target.get(OTHERS)), target_column=target_column)


def as_list(targets: TargetFiles | Iterable[TargetFiles]) -> list[TargetFiles]:
    """Return targets as a list, one of them or several."""
    if isinstance(targets, (str, Path, np.ndarray, TargetSet)):
        return [targets]
    listed: list[Any] = list(targets)
    return [listed] if are_texts(listed) else listed


def are_texts(given: object) -> TypeGuard[Sequence[str]]:
    """Return whether a target is a list of texts: a list of nothing but strings.

    Raises:
        BadInputError: each of the strings is the name of a file.
    """
    if not isinstance(given, (list, tuple)) or not given or not all(isinstance(one, str) for one in given):
        return False
    if all(_is_file_name(one) for one in given):
        raise BadInputError(
            f"targets: a list of strings is a list of texts, and these are names of files, such as {given[0]!r}; "
            f"give files as paths: [Path({given[0]!r}), ...]"
        )
    return True


def _is_file_name(text: str) -> bool:
    """Return whether a text is a path that exists, or one word that ends like a file of texts."""
    named = len(text.split()) == 1 and (format_of(Path(text)) is not None or is_remote(text))
    return named or os.path.exists(os.path.expanduser(text))


def name_targets(targets: Targets) -> list[tuple[str, TargetFiles]]:
    """Return (name, target): the key of a mapping, a set's own name, or a file's name without suffixes."""
    if isinstance(targets, Mapping):
        return [
            (name, dataclasses.replace(given, name=name) if isinstance(given, TargetSet) else given)
            for name, given in targets.items()
        ]
    given_targets = as_list(targets)
    stems = [_stem(given, number) for number, given in enumerate(given_targets)]
    names = [
        str(given) if stems.count(stem) > 1 and isinstance(given, (str, Path)) else stem
        for given, stem in zip(given_targets, stems, strict=True)
    ]
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise BadInputError(f"{twice}: named twice as a target; name each once")
    return list(zip(names, given_targets, strict=True))


def _stem(given: TargetFiles, number: int) -> str:
    if isinstance(given, TargetSet):
        return given.name
    if not isinstance(given, (str, Path)):
        return "text" if are_texts(given) else f"target-{number}"
    name = Path(given).name
    kind = format_of(Path(given))
    if kind is not None:
        name = name.removesuffix(Path(name).suffix) if kind[1] != "none" else name
        name = name.removesuffix(Path(name).suffix)
    return name or str(given)

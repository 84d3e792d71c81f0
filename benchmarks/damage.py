"""Faults injected into the files of an index, one at a time, and how each must be detected."""

from __future__ import annotations

import json
import os
import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

MOST_CUT = 100
ALWAYS = ("scan", "graph", "skipped", "sources")


@dataclass(frozen=True)
class Fault:
    """A change to some files, and how it must be detected.

    Attributes:
        what: the fault's name.
        changes: the files' new bytes; None for a file that is removed.
        told: files of which `verify` must name at least one; empty if the fault looks like an index that never had the file.
        opening: whether opening must fail.
    """

    what: str
    changes: dict[Path, bytes | None]
    told: tuple[Path, ...]
    opening: bool


@dataclass(frozen=True)
class Kind:
    """Files of one kind.

    Attributes:
        name: the name in the table.
        pattern: glob of their paths in the index's folder, or next to it.
        derived: whether they can be rebuilt.
        opening: which faults opening must detect: `all`, those of `length` (and missing files), or `none`.
        removed: whether `verify` can detect that one was removed.
        pair: whether each has a companion file; if the two do not match, `verify` may name either.
        asked: names of further questions for these files, in addition to `ALWAYS`.
    """

    name: str
    pattern: str
    derived: bool = False
    opening: str = "none"
    removed: bool = True
    pair: bool = False
    asked: tuple[str, ...] = ()


SAVED = "saved targets"
"""They lie outside the index: `verify` does not check them, and another valid file of targets is not a fault."""
KINDS = (
    Kind("manifest, current", "manifests/[0-9]*.json", opening="all", asked=("documents",)),
    Kind("manifest, older", "manifests/[0-9]*.json", opening="all"),
    Kind("version hint", "manifests/latest.json", removed=False),
    Kind("nags.npy", "segments/*/nags.npy", opening="length", asked=("documents",)),
    Kind("docs.parquet", "segments/*/docs.parquet", opening="length", asked=("documents",)),
    Kind("sources.parquet", "segments/*/sources.parquet", opening="length", asked=("documents",)),
    Kind("skipped.parquet", "segments/*/skipped.parquet", opening="length", asked=("documents",)),
    Kind("deleted-*.npy", "segments/*/deleted-*.npy", opening="length", asked=("documents",)),
    Kind("calibration", "calibration/*.npy", opening="length", asked=("new texts",)),
    Kind("files of older versions", "segments/*/*"),
    Kind("basis.json", "derived/graph-*/basis.json", derived=True, removed=False, pair=True),
    Kind("basis.npy", "derived/graph-*/basis.npy", derived=True),
    Kind("graph-*.json", "derived/graph-*/graph-*.json", derived=True, removed=False, pair=True),
    Kind("graph-*.usearch", "derived/graph-*/graph-*.usearch", derived=True),
    Kind("popularity", "derived/popularity/*.npy", derived=True, removed=False, asked=("weights",)),
    Kind("cached targets", "derived/targets/*.npy", derived=True, removed=False, asked=("texts",)),
    Kind(SAVED, "saved.parquet", removed=False, asked=("saved",)),
)


def files_of(index: Path, kind: Kind) -> list[Path]:
    """Return an index's files of a kind; of files of segments and graphs, those that the current version uses."""
    manifests = sorted((index / "manifests").glob("[0-9]*.json"))
    if kind.name.startswith("manifest"):
        return manifests[-1:] if kind.name.endswith("current") else manifests[:-1]
    if kind.name == SAVED:
        return [index.parent / kind.pattern]
    folder = kind.pattern.rpartition("/")[0]
    found = sorted(index.glob(kind.pattern))
    current = {
        (entry["id"], name): number
        for number, path in enumerate(manifests)
        for entry in json.loads(path.read_bytes())["segments"]
        for name in entry["files"]
    }
    if folder.startswith("segments"):
        old = kind.name == "files of older versions"
        newest = len(manifests) - 1
        return [path for path in found if (current[path.parent.name, path.name] < newest) == old]
    if "graph-" in folder:
        return [path for path in found if path.parent == max(path.parent for path in found)]
    return found


def faults_of(index: Path, kind: Kind, rng: random.Random, *, cuts: int, flips: int, files: int) -> Iterator[Fault]:
    """Yield faults in files of a kind: truncated, one bit flipped, emptied, exchanged, or removed.

    Args:
        index: the index's folder.
        kind: kind of the files.
        rng: chooses files and bits.
        cuts: number of truncations, by 1 to 100 bytes.
        flips: number of bit flips, each in one of the files.
        files: number of files that are emptied, exchanged and removed.
    """
    own = files_of(index, kind)
    if not own:
        raise AssertionError(f"the sample has no {kind.name}")
    some = rng.sample(own, min(files, len(own)))

    def changed(what: str, path: Path, content: bytes, *names: Path) -> Fault:
        shorter = len(content) != path.stat().st_size
        return Fault(
            what, {path: content}, (path, *names), kind.opening == "all" or (kind.opening == "length" and shorter)
        )

    for less in np.linspace(1, MOST_CUT, cuts).round().astype(int).tolist():
        path = rng.choice(own)
        content = path.read_bytes()
        yield changed(f"cut {less}", path, content[: max(len(content) - less, 0)])
    for _ in range(flips):
        path = rng.choice(own)
        content = bytearray(path.read_bytes())
        bit = rng.randrange(8 * len(content))
        content[bit // 8] ^= 1 << bit % 8
        yield changed(f"bit {bit}", path, bytes(content))
    for path in some:
        yield changed("emptied", path, b"")
        telling = kind.removed and not (kind.name == "manifest, older" and path == min(own))
        gone = Fault(
            "removed", {path: None}, (path,) * telling, kind.opening != "none" and kind.name != "manifest, current"
        )
        yield gone
        if others := [] if kind.name == SAVED else _like(index, kind, path):
            other = rng.choice(others)
            either = [path.with_suffix("")] * kind.pair
            either += [other] * (kind.name == "manifest, older" and other not in own)  # the current one, read first
            swapped = changed("exchanged", path, other.read_bytes(), *either)
            swapped.changes[other] = path.read_bytes()
            yield swapped


def _like(index: Path, kind: Kind, path: Path) -> list[Path]:
    """Return other files of the same kind, of any version, with different content."""
    name = path.name.partition("-")[0] if kind.name == "files of older versions" else ""
    content = path.read_bytes()
    return sorted(
        p for p in index.glob(kind.pattern) if p != path and p.name.startswith(name) and p.read_bytes() != content
    )


def apply(fault: Fault) -> dict[Path, bytes]:
    """Apply a fault; return the previous contents, for `undo`."""
    before = {path: path.read_bytes() for path in fault.changes}
    for path, content in fault.changes.items():
        path.unlink() if content is None else _written(path, content)
    return before


def undo(before: dict[Path, bytes]) -> None:
    """Restore the previous contents."""
    for path, content in before.items():
        _written(path, content)


def _written(path: Path, content: bytes) -> None:
    """Write a temporary file and rename it to its name, as a copying program does."""
    temporary = path.with_name("." + path.name)
    temporary.write_bytes(content)
    os.replace(temporary, path)

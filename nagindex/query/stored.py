"""Selections read back from their Parquet files, as far as their documents are still in the index."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from nagindex.corpus.sql import connect, quote_name
from nagindex.errors import BadInputError, plural
from nagindex.query.export import settings_of
from nagindex.query.parts import scan_of
from nagindex.query.rows import Batches, Chosen
from nagindex.query.selection import Selection
from nagindex.search.plan import Plan
from nagindex.storage.docs import positions_of
from nagindex.storage.locations import location
from nagindex.storage.snapshot import Snapshot
from nagindex.targets.saved import TargetSet

FURTHER = ("standardized", "quality_value", "combined", "target")
"""Columns that a selection may have beside rank, id, score and those of the documents."""


def read_settings(path: Path) -> dict[str, Any]:
    """Return the record of a selection's file, or folder.

    Raises:
        InputNotFoundError: there is no such file or folder.
        BadInputError: it is not a selection.
    """
    settings = settings_of(path)
    if not isinstance(settings.get("query"), Mapping) or not isinstance(settings.get("targets"), list):
        raise BadInputError(f"{path}: its record is not that of a selection; select again")
    return settings


def as_recorded(targets: Sequence[TargetSet], settings: Mapping[str, Any]) -> list[TargetSet]:
    """Return target sets in the order and under the names of a record.

    Raises:
        BadInputError: they are other targets than those of the record.
    """
    names = [str(own["name"]) for own in settings["targets"]]
    by_name = {own.name: own for own in targets}
    if by_name.keys() == set(names):
        return [by_name[name] for name in names]
    if len(targets) != len(names):
        found = f"{', '.join(by_name)} were given"
        raise BadInputError(
            f"the selection was made for {', '.join(names)}, and {found}; name its targets with `targets`"
        )
    return [dataclasses.replace(own, name=name) for own, name in zip(targets, names, strict=True)]


def read_selection(
    snapshot: Snapshot, path: Path, encode: Callable[[Mapping[str, Any]], Sequence[TargetSet]]
) -> Selection:
    """Return a selection from its file.

    Args:
        snapshot: the version of the index that its documents are looked up in.
        path: a Parquet file, or a folder of parts, written by `Selection.write`.
        encode: f(entry `query` of the record): the encoded target sets; called when something needs them.

    Raises:
        InputNotFoundError, BadInputError: the file is not there, is no selection, or none of its documents is in the index.
    """
    import duckdb

    settings = read_settings(path)
    try:
        with connect() as connection:
            source = scan_of(path)
            has = {name for name, *_ in connection.execute(f"DESCRIBE SELECT * FROM {source}").fetchall()}
            several = len(settings["targets"]) > 1
            further = [name for name in FURTHER if name in has and (name != "target" or several)]
            listed = "".join(f", {quote_name(name)}" for name in further)
            found = connection.execute(f"SELECT id, rank, score{listed} FROM {source} ORDER BY _row").fetchnumpy()
    except duckdb.Error as error:
        raise BadInputError(f"{path}: not readable as a selection ({' '.join(str(error).split())})") from error
    positions = positions_of(snapshot, [str(one) for one in found["id"]])
    known = np.array([str(one) in positions for one in found["id"]], bool)
    if not known.any():
        raise BadInputError(
            f"{path}: none of its documents is in {location(snapshot.path)}; name the index it was made of"
        )
    missing = int((~known).sum())
    order = np.flatnonzero(known)
    rankings = np.cumsum(np.diff(found["rank"], prepend=0) <= 0)  # ranks begin again with each ranking
    chosen = Chosen(
        np.array([positions[str(one)] for one in found["id"][order]], np.int64),
        rankings[order].astype(np.int64),
        -found["rank"][order].astype(np.int64),
        found["score"][order].astype(np.float64),
        {name: found[name][order] for name in further},
    )
    plan = settings.get("plan") or {}
    return Selection(
        Batches(len(order), lambda: iter([chosen])),
        columns=further,
        snapshot=snapshot,
        settings=settings,
        plan=Plan(str(plan.get("engine", "scan")), str(plan.get("why", "not recorded"))),
        targets=cache(lambda: as_recorded(encode(settings["query"]), settings)),
        warnings=[f"no longer in the index: {plural(missing, 'document')} of the selection"] if missing else [],
        dropped=None if settings.get("evaluation") else (),
    )

"""The columns of a build or an append: settled with all sources in view, before the model is loaded."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from nagindex.corpus.columns import ALL, Columns, format_names
from nagindex.corpus.sources import OnError, Source
from nagindex.corpus.survey import Survey
from nagindex.storage.docs import kept_types
from nagindex.storage.snapshot import Snapshot


def columns_of_build(
    sources: Sequence[Source], asked: Columns, index: Path | None = None, *, on_error: OnError = "stop"
) -> tuple[Columns, list[str]]:
    """Return the columns of a build, with those to keep by name, and sentences for the user.

    Args:
        sources: the corpus.
        asked: the columns that the user names.
        index: the index, if it has been begun: it keeps the columns that it has.
        on_error: under `skip` a source that lacks a column is passed over.

    Raises:
        BadInputError: a source lacks a named column, or no source has one of those to keep.
    """
    begun = None if index is None else Snapshot.open(index, check=False)
    survey = Survey.of(sources, asked, is_new=_is_new(begun), on_error=on_error)
    if asked.keep_columns != ALL:
        survey.require(asked.kept.values())
        return asked, _notes(survey, asked.kept, begun)
    kept = {name: name for name in survey.others} if begun is None else begun.manifest.settings.kept
    chosen = dataclasses.replace(asked, keep_columns=kept)
    return chosen, _notes(survey, chosen.kept, begun)


def check_append(
    sources: Sequence[Source], own: Columns | None, snapshot: Snapshot, *, on_error: OnError = "stop"
) -> list[str]:
    """Check the columns of sources to append, and return sentences for the user.

    Args:
        sources: the sources.
        own: columns of theirs that the user names.
        snapshot: the index.
        on_error: under `skip` a source that lacks a column is passed over.

    Raises:
        BadInputError: a source lacks a named column, no source has one that is named to be kept, or the index has no such column.
    """
    settings = snapshot.manifest.settings.reading(own)
    survey = Survey.of(sources, settings.columns, is_new=_is_new(snapshot), on_error=on_error)
    survey.require(own.kept.values() if own is not None else ())
    return _notes(survey, settings.kept, snapshot)


def _notes(survey: Survey, kept: Mapping[str, str], index: Snapshot | None) -> list[str]:
    """Return sentences about kept columns that no source has, columns left out, and columns of mixed types."""
    notes = []
    if lacking := survey.lacking(kept.values()):
        notes.append(f"kept columns that no source here has, and that are null: {format_names(lacking)}")
    if index is None:
        return notes + survey.mixed(kept, {}, Path())
    others = [name for name in survey.others if name not in kept.values()]
    if index.manifest.settings.keep_all and others:
        notes.append(f"columns that the index does not keep, as it was begun without them: {format_names(others)}")
    return notes + survey.mixed(kept, kept_types(index), index.path)


def _is_new(begun: Snapshot | None) -> Callable[[Source], bool]:
    """Return f(source): whether an index lacks a complete file of the source's name or path, and length."""
    spans = [] if begun is None else [span for segment in begun.segments for span in segment.spans() if span.complete]
    held = {(span.name, span.bytes) for span in spans} | {(os.path.join(s.root, s.name), s.bytes) for s in spans}
    return lambda source: not held & {(source.name, source.size), (str(source.path), source.size)}

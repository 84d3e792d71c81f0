"""A selection's report: its figures, gathered from the index, the record and the texts."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import numpy.typing as npt

from nagindex._version import __version__
from nagindex.errors import BadInputError, NagIndexError, plural
from nagindex.progress import step
from nagindex.query import exhibits
from nagindex.query.contributions import overlaps_of
from nagindex.query.makeup import Pool, columns_of_pool, lengths_of
from nagindex.query.passed_over import Reasons
from nagindex.query.record_text import command_of, configuration_of, index_of, query_of
from nagindex.query.replay import changes_since
from nagindex.query.report_map import POOL, point_map
from nagindex.query.report_targets import Scored, Selected, shown_of, target_figures
from nagindex.report.counts import Size
from nagindex.report.figures import Report, Table
from nagindex.report.point_map import PointMap
from nagindex.search.tsne import require_layout
from nagindex.search.view import View
from nagindex.select.candidates import Candidates
from nagindex.select.options import QueryOptions
from nagindex.select.query_files import QueryFiles
from nagindex.storage.segment import verify_segments

LONGEST = 40_000
"""Characters of a command, a configuration or a record that a page shows."""


def report_of(
    selected: Selected,
    *,
    title: str | None = None,
    with_texts: bool = True,
    corpus_root: str | Path | None = None,
    pool_points: int | None = None,
    threads: int | None = None,
) -> Report:
    """Return the figures of a selection's report.

    Args:
        selected: the selection.
        title: the page's title; by default one of its size and targets.
        with_texts: whether texts of documents and examples are shown.
        corpus_root: where the sources lie now; by default where they were read.
        pool_points: documents of the pool that the map shows, 0 for no map; by default `report_map.POOL`, or none where a map
            cannot be made.
        threads: threads of the scan; by default one for each CPU.

    Raises:
        BadInputError: there are too few points for a map that was asked for. What else forbids one, `require_map` finds: call it before.
        InputNotFoundError: a file of excluded ids or scores is gone.
        DamagedIndexError: a file of the index is damaged.
    """
    snapshot, options, record = selected.snapshot, selected.options, selected.settings["query"]
    verify_segments(snapshot.segments, threads=threads)
    notes = [*selected.warnings, *changes_since(selected.settings, snapshot)]
    files = _query_files(options, notes)
    candidates = Candidates.find(snapshot, files, where=options.where, quality=options.quality)
    view = View.of(snapshot.manifest.fingerprint.spec, options.written_layers, options.top_k)
    scored = Scored.of(selected, candidates, view, threads)
    counts_tokens = not {"tokens", "fraction"}.isdisjoint(record)
    grams = {row["id"]: row["ngram"] for row in selected.dropped or () if row["kind"] == "document"}
    weights = scored.scores.tokens if counts_tokens else None
    reasons = Reasons(snapshot, view, options, selected.positions, files.evaluation, grams, weights)

    found_map = _map_of(scored, pool_points, threads)

    chosen = sorted(set(selected.owners.tolist()))
    with step("choosing what to show", len(chosen), "targets") as advance:
        shown = {}
        for number in chosen:
            shown[number] = shown_of(scored, number)
            advance(1)
    notes += [
        f"target {own.name}: no document was selected" for n, own in enumerate(selected.targets) if n not in shown
    ]
    rows = _spread(selected.owners)[: exhibits.TABLE_ROWS]
    texts: dict[int, str] = {}
    if with_texts:
        wanted = [selected.positions[rows[: exhibits.TABLE_TEXTS]], *(own.positions for own in shown.values())]
        wanted += [own.passed_over for own in shown.values() if files.evaluation is not None]
        texts = exhibits.read_texts(snapshot, np.unique(np.concatenate(wanted)), corpus_root, notes)
    size = min(exhibits.TEXT_SIZE, exhibits.TEXTS_SIZE // sum(own.exhibits for own in shown.values()))
    targets = [
        target_figures(scored, number, own, reasons, texts, with_texts=with_texts, text_size=size)
        for number, own in shown.items()
    ]

    command = command_of(record)
    tokens, alive = scored.scores.tokens, scored.scores.alive
    narrowed = None if candidates.documents == snapshot.manifest.documents else alive
    pool = Pool(snapshot, narrowed, selected.positions, selected.owners, chosen)
    names = " and ".join(target.name for target in selected.targets)
    return Report(
        title=title or f"{plural(len(selected.positions), 'document')} for {names}",
        query=query_of(selected.settings),
        index=index_of(snapshot),
        notes=list(dict.fromkeys(notes)),
        stored=snapshot.manifest.documents,
        pool=Size(candidates.documents, candidates.tokens),
        selected=Size(len(selected.positions), int(tokens[selected.positions].sum())),
        distinct=len(np.unique(selected.positions)),
        targets=targets,
        overlaps=overlaps_of(
            selected.targets, scored.scores, dict(zip(chosen, [own.cut for own in targets], strict=True)), view
        ),
        columns=columns_of_pool(pool),
        map=found_map,
        lengths=lengths_of(tokens[alive], tokens[selected.positions]),
        dropped=selected.dropped,
        table=_table(selected, rows, texts, with_texts=with_texts),
        command=command if len(command) <= LONGEST else "",
        configuration=_beginning(configuration_of(record)),
        record=_beginning(json.dumps(selected.settings, indent=2, ensure_ascii=False)),
        version=__version__,
        made=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
    )


def require_map(pool_points: int) -> None:
    """Raise an error if a map that was asked for can be refused before anything is computed.

    Raises:
        BadInputError: `pool_points` is negative.
        MissingDependencyError: scikit-learn is not installed.
    """
    if pool_points < 0:
        raise BadInputError(f"`map` {pool_points}: a number of documents from 0 up")
    require_layout()


def _map_of(scored: Scored, pool_points: int | None, threads: int | None) -> PointMap | str | None:
    """Return the map, a sentence that says why there is none, or None where none was asked for."""
    if pool_points == 0:
        return None
    found = point_map(scored, POOL if pool_points is None else pool_points, threads)
    if pool_points is not None and isinstance(found, str):
        raise BadInputError(f"`map` {pool_points}: {found}")
    return found


def _beginning(text: str) -> str:
    """Return a text that a page shows in full, unless it is too long, as a record with thousands of examples."""
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}\n... cut here; the selection's file has all of it"


def _query_files(options: QueryOptions, notes: list[str]) -> QueryFiles:
    """Return the files that the query named; evaluation texts that are gone only leave a note."""
    try:
        return QueryFiles.read(options.excluded_files, options.quality, options.decontamination)
    except NagIndexError as error:
        if options.decontamination is None:
            raise
        notes.append(f"documents are not compared with the evaluation texts again: {error}")
        return QueryFiles.read(options.excluded_files, options.quality)


def _spread(owners: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Return the places of a selection's documents so that each target's best come first, int64 [n]."""
    within = np.empty(len(owners), np.int64)
    for number in np.unique(owners):
        places = np.flatnonzero(owners == number)
        within[places] = np.arange(len(places))
    places_in_turn: npt.NDArray[np.int64] = np.lexsort((owners, within))
    return places_in_turn


def _table(selected: Selected, rows: npt.NDArray[np.int64], texts: dict[int, str], *, with_texts: bool) -> Table:
    """Return the rows of a selection's table; `rows` are places in the selection, int64 [m]."""
    positions = selected.positions[rows]
    documents = exhibits.documents_at(selected.snapshot, np.unique(positions))
    labels = [*selected.snapshot.manifest.settings.keep_columns, "file", "row"]
    values = []
    for place, position in zip(rows.tolist(), positions.tolist(), strict=True):
        own = documents[position]
        further = [column[place] for column in selected.columns.values()]
        first = [int(selected.ranks[place]), own.id, float(selected.scores[place]), *further, own.tokens]
        values.append([*first, *(own.labels[name] for name in labels)])
    beginnings = [exhibits.beginning(texts.get(own)) for own in positions[: exhibits.TABLE_TEXTS].tolist()]
    names = ["rank", "id", "score", *selected.columns, "tokens", *labels]
    return exhibits.table_of(names, values, beginnings if with_texts and texts else [], len(selected.positions))

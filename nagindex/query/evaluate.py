"""Evaluation of settings: how well each ranks documents with known labels, or further examples, without another pass of the model."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from nagindex.errors import BadInputError, plural
from nagindex.nag import Codes
from nagindex.progress import Progress, reporting, step
from nagindex.query.html import records
from nagindex.query.measures import ByLabels, Figures, HeldOut, Measured, Scored
from nagindex.query.pool import Passes, score_pool, score_targets
from nagindex.query.run import library_warnings, target_warnings
from nagindex.query.settings import Setting
from nagindex.search.metrics import half_interval
from nagindex.select.candidates import Candidates
from nagindex.select.labels import Labels, positions_by_id, relevant_documents
from nagindex.select.query_files import QueryFiles
from nagindex.storage.segment import verify_segments
from nagindex.storage.snapshot import Snapshot
from nagindex.targets.given import OTHERS
from nagindex.targets.saved import TargetSet

RESAMPLES = 50
"""Resamples of a target's examples by default, where each needs scores of all documents."""
RESAMPLED_DOCUMENTS = 50_000
"""Candidates up to which such resamples are drawn by default."""
HELD_OUT_RESAMPLES = 1000
"""Resamples by default where none needs new scores."""
BY_ID = 0.02
"""Change of average precision, by the order of documents with equal scores, from which there is a warning."""
SETS_AT_ONCE = 24
"""Most example sets whose documents' sums are kept at a time."""


@dataclass(frozen=True)
class Evaluation:
    """How well settings of a query rank the documents of an index.

    Attributes:
        measure: `labels` or `held-out`.
        rows: one for each setting, the best first, as JSON values: `weights`, `score`, `top_k` and `layers`; the figures, which are means
            over the targets; `low` and `high`, the 95 % interval of the first figure; `close`, whether the difference to the best
            setting's first figure lies within its 95 % interval; and under `targets` the figures of each target by its name. The three
            about intervals are None where nothing was resampled. The figures by labels are `average_precision`, `precision_at_r` and
            `precision_at_1%`, `5%` and `10%`; those by held-out examples `median_share_above`, `within_1%` and `within_10%`.
        best: what differs from the defaults in the best setting, as keywords of `Index.query`.
        documents: number of candidates.
        targets: for each target by its name the number of `examples`; by labels also `relevant`, the number of relevant candidates,
            and `random`, the average precision of a random order.
        warnings: sentences for the user.
    """

    measure: str
    rows: list[dict[str, Any]]
    best: dict[str, Any]
    documents: int
    targets: dict[str, dict[str, Any]]
    warnings: list[str] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        """Return the evaluation as JSON values."""
        return dataclasses.asdict(self)

    def _repr_html_(self) -> str:
        """Return the settings with their figures as an HTML table, the best first, for notebooks."""
        heading = f"{self.documents:,} documents, measured by {self.measure}"
        return f"<p>{heading}</p>{records(self.rows, leave_out=['targets'])}"


@dataclass(frozen=True)
class Prepared:
    """What an evaluation knows before its targets are encoded.

    Attributes:
        candidates: the documents that are ranked.
        order: int64 [candidates], their positions in ascending order of id.
        relevant: bool [candidates] in this order, by target; empty without labels.
        resamples: how often the examples are drawn anew, for intervals.
        seed: of the resamples and the halves.
        notes: sentences for the user.
    """

    candidates: Candidates
    order: npt.NDArray[np.int64]
    relevant: Mapping[str, npt.NDArray[np.bool_]]
    resamples: int
    seed: int
    notes: list[str]


def prepare(
    snapshot: Snapshot,
    labels: Mapping[str, Labels],
    *,
    where: str | None = None,
    exclude: Sequence[str] = (),
    resampled: int | None = None,
    seed: int = 0,
    threads: int | None = None,
) -> Prepared:
    """Find the candidates and the relevant ones among them; all that can be refused without the targets is refused here.

    Args:
        snapshot: the version of the index.
        labels: what makes documents relevant, by target; empty without labels.
        where: a SQL condition that candidates meet.
        exclude: files of ids that are no candidates.
        resampled: number of resamples of the examples, from which intervals are computed: 0 for none, else at least 2. By default
            `HELD_OUT_RESAMPLES` without labels. With labels, where each resample needs scores of all documents, `RESAMPLES` if there
            are at most `RESAMPLED_DOCUMENTS` candidates, else none.
        seed: of the halves and the resamples.
        threads: threads that check the index's files; by default one for each CPU.

    Raises:
        InputNotFoundError, BadInputError: there is no candidate, a file cannot be read, all or none of the candidates are relevant, or
            there is no such seed or number of resamples.
    """
    if seed < 0:
        raise BadInputError(f"`seed` {seed}: a number from 0 up")
    if resampled is not None and (resampled < 0 or resampled == 1):
        raise BadInputError(f"`resamples` {resampled}: intervals need at least 2; 0 computes none")
    if not snapshot.manifest.documents:
        raise BadInputError(f"{snapshot.path}: the index holds no document; append some")
    files = QueryFiles.read(exclude)
    found, notes = relevant_documents(snapshot, labels) if labels else ({}, [])
    verify_segments(snapshot.segments, threads=threads)
    candidates = Candidates.find(snapshot, files, where=where)
    alive = np.concatenate([candidates.alive(number) for number in range(len(snapshot.segments))])
    order = positions_by_id(snapshot)
    order = order[alive[order]]
    relevant = {name: own[order] for name, own in found.items()}
    for name, own in relevant.items():
        whose = "" if name == OTHERS else f" for {name}"
        if not own.any():
            raise BadInputError(
                f"no candidate is relevant{whose}; loosen `where`, or name other values with `relevant`"
            )
        if own.all():
            raise BadInputError(
                f"all {plural(len(own), 'candidate')} are relevant{whose}: every order is as good; name fewer with `relevant`"
            )
    if resampled is None:
        cheap = RESAMPLES if len(order) <= RESAMPLED_DOCUMENTS else 0
        resampled = cheap if labels else HELD_OUT_RESAMPLES
    return Prepared(candidates, order, relevant, resampled, seed, notes + candidates.notes)


def evaluate(
    snapshot: Snapshot,
    targets: Sequence[TargetSet],
    settings: Sequence[Setting],
    prepared: Prepared,
    *,
    threads: int | None = None,
) -> Evaluation:
    """Return how well settings rank relevant documents, or without labels held-out examples among the documents.

    The order of the documents is that of a query with the same options, ties included. The codes are read once for each setting and
    `SETS_AT_ONCE` sets of examples: a set is a target, a resample of one or half of one. Memory is up to 8 bytes for each stored
    document and set (beyond 1 GiB in a temporary file), and about 60 more for each document.

    Args:
        snapshot: the version of the index.
        targets: the encoded target sets, at least one.
        settings: the settings to compare, at least one.
        prepared: what `prepare` returned.
        threads: threads of the scan; by default one for each CPU.

    Raises:
        BadInputError: a target has no labels where others have, or too few examples for halves.
    """
    by_labels, documents = bool(prepared.relevant), len(prepared.order)
    resampled, seed = prepared.resamples, prepared.seed
    names = [target.name for target in targets]
    for name in prepared.relevant:
        if name not in (*names, OTHERS):
            raise BadInputError(f"`relevant` {name}: no such target; there are {', '.join(names)}")
    measures: list[ByLabels | HeldOut]
    if by_labels:
        measures = [ByLabels.of(target, prepared.relevant, resampled, seed) for target in targets]
    else:
        measures = [HeldOut.of(target, resampled, seed) for target in targets]
    measured: list[list[Measured]] = []
    with step("evaluating settings", len(settings), "settings") as advance:
        for setting in settings:
            with reporting(_ignore):  # its passes over the pool are not steps of their own
                measured.append(_measure(setting, measures, prepared, threads=threads))
            advance(1)
    rows = _rows(settings, names, measured)
    return Evaluation(
        "labels" if by_labels else "held-out",
        [row for _, row in rows],
        rows[0][0].keywords,
        documents,
        {measure.target.name: measure.about for measure in measures},
        [
            *target_warnings(targets, nearest=None, score="mean"),
            *prepared.notes,
            *_tie_warnings(measured),
            *library_warnings(snapshot),
        ],
    )


def _measure(
    setting: Setting, measures: Sequence[ByLabels | HeldOut], prepared: Prepared, *, threads: int | None
) -> list[Measured]:
    """Return a setting's figures for each target."""
    sets = [own for measure in measures for own in measure.sets]
    scored = _scored(sets, setting, prepared, threads=threads)
    return [measure.measured(scored, setting) for measure in measures]


def _scored(sets: Sequence[Codes], setting: Setting, prepared: Prepared, *, threads: int | None) -> Scored:
    """Yield the candidates' sums by each set of examples, int [candidates] in ascending order of id, and what they are scored by."""
    candidates, manifest = prepared.candidates, prepared.candidates.snapshot.manifest
    parts, view = candidates.parts(tokens=False), setting.view
    for first in range(0, len(sets), SETS_AT_ONCE):
        named = [TargetSet(own, [], []) for own in sets[first : first + SETS_AT_ONCE]]
        scored = score_targets(candidates, named, view, setting.options, passes=Passes(threads))
        pool = score_pool(parts, manifest.segments, scored, view, keep_sums=True, passes=Passes(threads))
        for number, by in enumerate(scored):
            yield pool.kept.sums[number][prepared.order], by  # type: ignore[union-attr]  # they are kept
        del pool  # before the next sums are computed


def _rows(
    settings: Sequence[Setting], names: Sequence[str], measured: Sequence[Sequence[Measured]]
) -> list[tuple[Setting, dict[str, Any]]]:
    """Return the settings with their rows, the best first; equal ones in the order given."""
    main = next(iter(measured[0][0].figures))
    means = [_means([own.figures for own in one]) for one in measured]
    resampled = np.array([np.mean([own.resampled for own in one], axis=0) for one in measured])
    # Shares above are better if smaller; where the first figures are equal, the next ones decide.
    signs = {name: 1 if name == "median_share_above" else -1 for name in means[0]}
    order = sorted(range(len(settings)), key=lambda n: [sign * means[n][name] for name, sign in signs.items()])
    best, rows = order[0], []
    for n in order:
        low = high = close = None
        if resampled.shape[1] > 1:
            half = half_interval(resampled[n])
            low, high = max(0.0, means[n][main] - half), min(1.0, means[n][main] + half)
            close = abs(means[best][main] - means[n][main]) <= half_interval(resampled[best] - resampled[n])
        of_targets = {name: own.figures for name, own in zip(names, measured[n], strict=True)}
        bounds = {"low": low, "high": high, "close": close}
        rows.append((settings[n], settings[n].record | means[n] | bounds | {"targets": of_targets}))
    return rows


def _tie_warnings(measured: Sequence[Sequence[Measured]]) -> list[str]:
    """Return a sentence if the order of ids, which says nothing of the documents, decides the figures of some settings."""
    moved = [max(own.by_id for own in one) for one in measured]
    tied = sum(own > BY_ID for own in moved)
    if not tied:
        return []
    which = f"{tied} of {len(moved)} settings give" if tied > 1 else f"1 of {len(moved)} settings gives"
    return [
        f"{which} so many documents equal scores that the order of ids matters: the opposite order changes average precision by up to "
        f"{max(moved):.2f}"
    ]


def _means(figures: Sequence[Figures]) -> Figures:
    return {name: float(np.mean([own[name] for own in figures])) for name in figures[0]}


def _ignore(progress: Progress) -> None:
    pass

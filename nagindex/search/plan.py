"""The plan of a query: costs predicted for each engine, and the cheapest one that is exact.

The scan and the sketch engine give exact answers; the graph engine gives approximate ones and is used on request only.
Costs are seconds, predicted from what each engine reads and from unit costs measured on a two-core machine; only their
ratios matter.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from nagindex.errors import BadInputError

LOOKUP = 0.45e-9
"""Core seconds to look up one neuron of one document, for one target or for each of two."""
LOOKUP_OF_SIX = 0.9e-9
"""The same where three to six targets share a pass."""
SELECT = 20e-9
"""Core seconds to compare one document's score with the threshold, for one target."""
READ = 0.25e-9
"""Core seconds to read one byte of the sketches sequentially."""
PRODUCT = 0.15e-9
"""Core seconds to multiply one value of one sketch, for one target."""
CANDIDATE = 2.5e-6
"""Core seconds to read one document's codes at random and score them."""
STEP = 4e-6
"""Core seconds to find one candidate in a graph."""
OVERHEAD = 0.02
"""Seconds that two passes over empty sketches take."""
LIMIT = 0.25
"""Share of the pool beyond which scoring candidates one by one takes longer than a scan."""


@dataclass(frozen=True)
class Workload:
    """The work of a query, by which engines are compared.

    Attributes:
        documents: documents of the pool.
        sketched: documents with sketches.
        targets: ranked lists to make.
        nnz: neurons scored in each document, L * K of the view.
        bytes_per_document: bytes of a document's codes.
        dims: values of a sketch; 0 without sketches.
        threads: number of threads.
        admitted: share of the pool, 0 to 1, that sketch bounds admit as candidates; 1 without sketches.
        connected: documents that graphs cover.
        candidates: candidates that the graphs are to give.
    """

    documents: int
    sketched: int
    targets: int
    nnz: int
    bytes_per_document: int
    dims: int
    threads: int
    admitted: float
    connected: int = 0
    candidates: int = 0


@dataclass
class Plan:
    """The engine chosen for a query, the reason, and what it read.

    Attributes:
        engine: `scan`, `sketch` or `graph`.
        why: the reason, as a sentence.
        predicted: predicted seconds of each engine that can answer.
        expected: what the chosen engine was expected to read.
        actual: what was read, and `seconds`.
        fell_back: why the scan answered in place of the chosen engine; empty if it did not.
    """

    engine: str
    why: str
    predicted: Mapping[str, float] = field(default_factory=dict)
    expected: Mapping[str, Any] = field(default_factory=dict)
    actual: dict[str, Any] = field(default_factory=dict)
    fell_back: str = ""

    def to_json(self, *, timed: bool) -> dict[str, Any]:
        """Return the plan as JSON values; `timed=False` leaves out times, which differ from run to run."""
        values: dict[str, Any] = {"engine": self.engine, "why": self.why, "expected": dict(self.expected)}
        if timed and self.engine in self.predicted:
            values["expected"]["seconds"] = round(self.predicted[self.engine], 4)
        if self.fell_back:
            values["fell_back"] = self.fell_back
        values["actual"] = {name: value for name, value in self.actual.items() if timed or name != "seconds"}
        if timed:
            values["predicted_seconds"] = {name: round(value, 4) for name, value in self.predicted.items()}
        return values


def predicted(workload: Workload) -> dict[str, float]:
    """Return the predicted seconds of the engines that the workload allows."""
    groups, rest = divmod(workload.targets, 6)
    lookup = groups * LOOKUP_OF_SIX + (LOOKUP_OF_SIX if rest > 2 else rest * LOOKUP)
    scan = workload.documents * (workload.nnz * lookup + workload.targets * SELECT) / workload.threads
    if not workload.sketched:
        return {"scan": scan}
    if workload.connected:
        graph = workload.candidates * (STEP + CANDIDATE / workload.threads)
        return {"scan": scan, "graph": graph + scan * (1 - workload.connected / workload.documents)}
    passes = 2 * workload.sketched * workload.dims * (READ + workload.targets * PRODUCT)
    candidates = workload.targets * workload.sketched * workload.admitted * CANDIDATE
    unsketched = scan * 2 * (1 - workload.sketched / workload.documents)
    return {"scan": scan, "sketch": (passes + candidates) / workload.threads + unsketched + OVERHEAD}


def may_pay(workload: Workload, answer: float) -> bool:
    """Return whether sketches could beat the scan if their bounds admitted the answer and nothing else.

    Known before any sketch is read. `answer` is the share of the pool, 0 to 1, that a target's budget takes.
    """
    seconds = predicted(replace(workload, admitted=answer))
    return answer <= LIMIT and seconds.get("sketch", 0.0) < seconds["scan"]


def choose(workload: Workload, mode: str, obstacles: Sequence[str]) -> Plan:
    """Return the plan for an exact answer.

    Args:
        workload: the work to do.
        mode: `auto`, or the engine to use: `scan` or `sketch`.
        obstacles: why sketches cannot answer this query; empty if they can.

    Raises:
        BadInputError: mode `sketch` is requested and cannot answer.
    """
    if mode == "sketch" and obstacles:
        raise BadInputError(f'mode sketch: {obstacles[0]}; leave `mode` out, or use `mode="scan"`')
    if mode == "scan":
        return Plan("scan", "requested", predicted(workload), _scan_reads(workload))
    if obstacles:
        return Plan("scan", obstacles[0], {"scan": predicted(workload)["scan"]}, _scan_reads(workload))
    seconds = predicted(workload)
    share = f"sketch bounds admit {workload.admitted:.2%} of the documents"
    if mode == "auto" and not workload.sketched:
        return Plan("scan", "no candidate has a sketch that can be read", seconds, _scan_reads(workload))
    if mode == "sketch":
        return Plan("sketch", f"requested; {share}", seconds, _sketch_reads(workload))
    if workload.admitted > LIMIT:
        return Plan("scan", f"{share}, more than {LIMIT:.0%}", seconds, _scan_reads(workload))
    if seconds["sketch"] >= seconds["scan"]:
        return Plan("scan", f"{share}, and the scan is no slower", seconds, _scan_reads(workload))
    return Plan("sketch", share, seconds, _sketch_reads(workload))


def choose_graph(workload: Workload) -> Plan:
    """Return the plan for an approximate answer."""
    documents = workload.candidates + workload.documents - workload.connected
    expected = {"documents": documents, "bytes": documents * workload.bytes_per_document}
    why = f"requested; graphs cover {workload.connected / workload.documents:.0%} of the pool"
    return Plan("graph", why, predicted(workload), expected)


def _scan_reads(workload: Workload) -> dict[str, Any]:
    return {"documents": workload.documents, "bytes": workload.documents * workload.bytes_per_document}


def _sketch_reads(workload: Workload) -> dict[str, Any]:
    candidates = round(workload.targets * workload.admitted * workload.sketched)
    documents = candidates + workload.documents - workload.sketched
    return {
        "documents": documents,
        "bytes": documents * workload.bytes_per_document,
        "sketches": workload.sketched,
    }

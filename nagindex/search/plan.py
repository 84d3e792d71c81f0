"""Which engine answers a query, and why: the scan, certified sketches, or the graph where an approximate answer will do.

Costs are predicted in seconds from what each engine looks at and what one look took on a two-core machine; only their ratios matter.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from nagindex.errors import BadInputError

LOOKUP = 1.0e-9
"""Seconds of one core for one neuron of one document, for one target or for two."""
LOOKUP_OF_SIX = 2.2e-9
"""The same where three to six targets share a pass."""
READ = 0.25e-9
"""Seconds of one core for reading one byte of the sketches in sequence."""
PRODUCT = 0.15e-9
"""Seconds of one core for one value of one sketch, for one target."""
CANDIDATE = 2.5e-6
"""Seconds of one core for reading one document's codes from where they lie, and scoring them."""
STEP = 4e-6
"""Seconds of one core for one candidate that a graph finds."""
OVERHEAD = 0.02
"""Seconds that two passes over sketches take where there is nothing in them."""
LIMIT = 0.25
"""Share of the pool beyond which scoring candidates one by one is no longer worth it."""


@dataclass(frozen=True)
class Task:
    """What there is to do.

    Attributes:
        documents: of the pool.
        sketched: how many of them have sketches.
        targets: lists to be made.
        places: neurons looked at in each document.
        bytes_per_document: of its codes.
        dims: values of its sketch; 0 where there are no sketches.
        threads: that work side by side.
        admitted: share of the pool, 0 to 1, whose codes sketches cannot spare; 1 where none were looked at.
        connected: documents that graphs connect.
        candidates: documents that graphs are asked for.
    """

    documents: int
    sketched: int
    targets: int
    places: int
    bytes_per_document: int
    dims: int
    threads: int
    admitted: float
    connected: int = 0
    candidates: int = 0


@dataclass
class Plan:
    """What was chosen, why, and what came of it.

    Attributes:
        engine: `scan`, `sketch` or `graph`.
        why: the reason, as a sentence.
        predicted: seconds of each engine that could have answered.
        expected: what the chosen one was expected to read.
        actual: what was read in the end, and `seconds`.
        fell_back: why the scan answered after all, empty where it did not have to.
    """

    engine: str
    why: str
    predicted: Mapping[str, float] = field(default_factory=dict)
    expected: Mapping[str, Any] = field(default_factory=dict)
    actual: dict[str, Any] = field(default_factory=dict)
    fell_back: str = ""

    def to_json(self, *, timed: bool) -> dict[str, Any]:
        """Return the plan as JSON values; without what differs from run to run where `timed` is false."""
        found: dict[str, Any] = {"engine": self.engine, "why": self.why, "expected": dict(self.expected)}
        if self.fell_back:
            found["fell_back"] = self.fell_back
        found["actual"] = {name: value for name, value in self.actual.items() if timed or name != "seconds"}
        if timed:
            found["predicted_seconds"] = {name: round(value, 4) for name, value in self.predicted.items()}
        return found


def predicted(task: Task) -> dict[str, float]:
    """Return the seconds that the scan, and sketches and graphs if there are any, are predicted to take."""
    groups, rest = divmod(task.targets, 6)
    look = groups * LOOKUP_OF_SIX + (LOOKUP_OF_SIX if rest > 2 else rest * LOOKUP)
    scan = task.documents * task.places * look / task.threads
    if not task.sketched:
        return {"scan": scan}
    if task.connected:
        found = task.candidates * (STEP + CANDIDATE / task.threads)
        return {"scan": scan, "graph": found + scan * (1 - task.connected / task.documents)}
    passes = 2 * task.sketched * task.dims * (READ + task.targets * PRODUCT)
    read = task.targets * task.sketched * task.admitted * CANDIDATE
    rest_of_pool = scan * 2 * (1 - task.sketched / task.documents)
    return {"scan": scan, "sketch": (passes + read) / task.threads + rest_of_pool + OVERHEAD}


def choose(task: Task, mode: str, obstacles: Sequence[str]) -> Plan:
    """Return the plan for an exact answer.

    Args:
        task: what there is to do.
        mode: `auto`, or `scan` or `sketch` to force one.
        obstacles: why sketches cannot answer this query; none where they can.

    Raises:
        BadInputError: sketches are asked for and cannot answer.
    """
    if mode == "sketch" and obstacles:
        raise BadInputError(f"mode sketch: {obstacles[0]}; leave --mode out, or use --mode scan")
    if mode == "scan":
        return Plan("scan", "asked for", predicted(task), _of_scan(task))
    if obstacles:
        return Plan("scan", obstacles[0], {"scan": predicted(task)["scan"]}, _of_scan(task))
    seconds = predicted(task)
    share = f"sketches leave {task.admitted:.2%} of the documents to be read"
    if mode == "sketch":
        return Plan("sketch", f"asked for; {share}", seconds, _of_sketch(task))
    if task.admitted > LIMIT:
        return Plan("scan", f"{share}, more than {LIMIT:.0%}", seconds, _of_scan(task))
    if seconds["sketch"] >= seconds["scan"]:
        return Plan("scan", f"{share}, and the scan is no slower", seconds, _of_scan(task))
    return Plan("sketch", share, seconds, _of_sketch(task))


def choose_graph(task: Task) -> Plan:
    """Return the plan for an approximate answer."""
    documents = task.candidates + task.documents - task.connected
    expected = {"documents": documents, "bytes": documents * task.bytes_per_document}
    return Plan(
        "graph", f"asked for; {task.connected / task.documents:.0%} of the pool is connected", predicted(task), expected
    )


def _of_scan(task: Task) -> dict[str, Any]:
    return {"documents": task.documents, "bytes": task.documents * task.bytes_per_document}


def _of_sketch(task: Task) -> dict[str, Any]:
    documents = round(task.targets * task.admitted * task.sketched) + task.documents - task.sketched
    return {"documents": documents, "bytes": documents * task.bytes_per_document, "sketches": task.sketched}

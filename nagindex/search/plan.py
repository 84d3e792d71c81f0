"""The plan of a query: the engine that answers it, and what that read."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass
class Plan:
    """The engine of a query, and what it read.

    Attributes:
        engine: `scan` or `graph`.
        why: what the engine covers, as a sentence.
        actual: `documents` whose codes were read, their `bytes`, and `seconds`; of approximate answers also `recall`.
    """

    engine: str
    why: str
    actual: dict[str, Any] = field(default_factory=dict)

    def to_json(self, *, timed: bool) -> dict[str, Any]:
        """Return the plan as JSON values; `timed=False` leaves out times, which differ from run to run."""
        actual = {name: value for name, value in self.actual.items() if timed or name != "seconds"}
        return {"engine": self.engine, "why": self.why, "actual": actual}

"""Rendering: the figures of a report become one HTML page, self-contained, with a short script of its own."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable
from importlib.resources import files

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from nagindex.report.charts import histogram_chart
from nagindex.report.counts import LEVELS, ColumnNumbers
from nagindex.report.figures import Report
from nagindex.report.point_map import COLORS, PointMap, map_chart

SCRIPTS, STYLES = ("script.js", "map.js"), ("style.css",)
"""Files of the page; the scripts run in this order."""
ROWS_BEFORE_SCRIPT = 50
"""Rows of the table that stand in the page itself: what is printed, and shown without JavaScript."""

DROPPED_SHOWN = 100
"""Contaminated documents and examples that are listed."""
LEFT_OUT_SHOWN = 100
"""Documents above the cutoffs that are listed, over all targets, with the reason why they were not selected."""
NOTES_SHOWN = 30
FILES_SHOWN = 10
"""Files of each target that are listed."""


def render(report: Report) -> str:
    """Return a report as HTML: one self-contained file.

    What comes from documents, ids and names is escaped; a content security policy lets no script run but the page's own, and forbids
    every request.

    Args:
        report: the figures.
    """
    script, style = map(_page_files, (SCRIPTS, STYLES))
    environment = Environment(
        loader=PackageLoader("nagindex.report", "page"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"count": _count, "percent": _percent, "score": _score, "number": _number, "lift": _lift}
    environment.tests["numbers"] = lambda column: isinstance(column, ColumnNumbers)
    environment.policies["json.dumps_kwargs"] = {"ensure_ascii": False}
    left_out_shown = max(1, LEFT_OUT_SHOWN // len(report.targets))
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return environment.get_template(
        "report.html"
    ).render(
        report=report,
        script=Markup(script),  # noqa: S704 - a file of this package
        style=Markup(style),  # noqa: S704 - a file of this package
        script_hash=f"sha256-{digest}",
        score_charts=[histogram_chart(own.scores, show=_score, cut=own.cut) for own in report.targets],
        length_chart=None if report.lengths is None else histogram_chart(report.lengths, show=_count, logarithmic=True),
        map_chart=map_chart(report.map) if isinstance(report.map, PointMap) else None,
        map_colors=COLORS,
        levels=LEVELS,
        show_score=_score,
        show_count=_count,
        rows_before_script=ROWS_BEFORE_SCRIPT,
        dropped_shown=DROPPED_SHOWN,
        left_out_shown=left_out_shown,
        left_out_kinds={one.kind for own in report.targets for one in own.passed_over.examined[:left_out_shown]},
        notes_shown=NOTES_SHOWN,
        files_shown=FILES_SHOWN,
        sections=_sections(report),
    )


def _page_files(names: Iterable[str]) -> str:
    return "".join(files("nagindex.report").joinpath("page", name).read_text() for name in names)


def _sections(report: Report) -> dict[str, str]:
    """Return the titles of the page's sections by their anchors, in order."""
    titles = {
        "asked": "Query and index",
        "outcome": "Composition",
        "scores": "Score distributions and cutoff",
        "map": "Map",
        "layers": "Layers",
        "neurons": "Neurons with the largest contributions",
        "documents": "Example documents",
        "lengths": "Document lengths",
        "dropped": "Excluded documents",
        "selection": "Selected documents",
        "again": "Reproducing the selection",
    }
    absent = {
        "map": report.map is None,
        "neurons": not any(own.parts for own in report.targets),
        "lengths": report.lengths is None,
    }
    return {name: title for name, title in titles.items() if not absent.get(name)}


def _count(value: float) -> str:
    return f"{value:,.0f}"


def _percent(share: float) -> str:
    return f"{share:.1%}"


def _score(value: float) -> str:
    return f"{value:.4f}"


def _number(value: float) -> str:
    return f"{value:,.4g}"


def _lift(selected: float, pool: float) -> str:
    """Return by what a share of the pool is multiplied to give that of the selection."""
    return "" if not pool else f"{selected / pool:.2f}"

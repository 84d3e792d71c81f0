"""Query options read back from the record of a selection."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from nagindex.select.options import QueryOptions
from nagindex.select.signals import NGRAM, Decontamination, Quality

OTHER_NAMES = {"target-weight": "target_weights"}
"""Names on the command line that are not those of fields."""


def recorded_options(query: Mapping[str, Any]) -> QueryOptions:
    """Return the options that `QueryOptions.to_json` wrote down; names of other things, such as a budget, are ignored.

    Args:
        query: the entry `query` of a selection's settings.

    Raises:
        BadInputError: a value is out of range, or options contradict each other.
    """
    fields = {own.name for own in dataclasses.fields(QueryOptions)}
    named = {OTHER_NAMES.get(name, name.replace("-", "_")): value for name, value in query.items()}
    column, scores = query.get("quality-column"), query.get("scores")
    if column is not None or scores is not None:
        named["quality"] = Quality(
            column,
            scores,
            query.get("quality-weight", 1.0),
            lower_is_better=query.get("lower-is-better", False),
            normalize=query.get("normalize", "minmax"),
        )
    if files := query.get("decontaminate"):
        named["decontamination"] = Decontamination(files, query.get("evaluation-column"), query.get("ngram", NGRAM))
    return QueryOptions.of(**{name: value for name, value in named.items() if name in fields})

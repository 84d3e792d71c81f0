"""From target sets to a selection: the stages of a query, its engines (scan, graph), and the result.

Knows a snapshot of an index and how its documents are searched and chosen; knows nothing of how an index is changed.
"""

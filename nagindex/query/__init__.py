"""From target sets to a selection: the stages of a query, its engines (scan, sketch, graph), and the result.

Knows a snapshot of an index, and everything above: search on arrays, sketches on disk, constraints on a selection.
"""

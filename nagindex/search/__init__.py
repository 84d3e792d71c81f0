"""The engines (scan, sketch, graph), their scorers and compiled loops, the planner, and recall estimates.

Knows NAGs as arrays; knows nothing of files of an index, models or queries.
"""

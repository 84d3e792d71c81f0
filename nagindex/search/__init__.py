"""Search on arrays alone: profiles, the scan, sketches with bounds, graphs, recall estimates, the plan, compiled loops.

Knows NAGs as arrays; knows nothing of files of an index, models or queries.
"""

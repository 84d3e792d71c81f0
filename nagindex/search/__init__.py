"""Search algorithms on arrays: scan, sketch and graph search, profiles, cost prediction, recall, compiled loops.

Knows NAGs as arrays; knows nothing of files of an index, models or queries.
"""

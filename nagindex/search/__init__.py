"""Search algorithms on arrays: scan and graph search, profiles, recall, compiled loops.

Knows NAGs as arrays; knows nothing of files of an index, models or queries.
"""

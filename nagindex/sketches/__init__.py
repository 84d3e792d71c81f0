"""Sketches and graphs on disk: derived from segments, and rebuildable at any time.

Knows the arrays of nagindex.search and the files of nagindex.storage; knows nothing of queries.
"""

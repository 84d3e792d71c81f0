"""From files to documents: finding sources, choosing columns, streaming rows and records, quoting SQL.

Knows file formats; knows nothing of models or of an index.
"""

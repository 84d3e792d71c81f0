"""From files to documents: finding sources, choosing columns, reading rows as a stream, quoting SQL.

Knows file formats; knows nothing of models or of an index.
"""

"""One HTML page about a selection: its figures as plain data, its charts, its template.

It knows nothing of indexes, queries or files of documents: `query/` fills the figures.
"""

"""From files to documents: finding sources, choosing columns, and reading rows as a stream. Knows formats, not models."""

from nagindex.corpus.columns import Columns
from nagindex.corpus.reading import Document, read_documents
from nagindex.corpus.sources import Paths, Source, content_hash, find_sources

__all__ = ["Columns", "Document", "Paths", "Source", "content_hash", "find_sources", "read_documents"]

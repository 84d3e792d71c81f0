"""What is derived from segments and kept on disk, rebuildable at any time: graphs over sketches of documents, popularity of neurons.

Knows the arrays of nagindex.search and the files of nagindex.storage; knows nothing of queries.
"""

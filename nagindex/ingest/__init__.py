"""From source files to published segments: windows of rows, duplicates, several devices or processes, resuming.

Knows the corpus, the encoder and the format on disk; knows nothing of queries.
"""

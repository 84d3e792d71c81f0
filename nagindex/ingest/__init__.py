"""From source files to published segments: windows of rows, duplicates, shards, devices, resuming.

Knows the corpus, the encoder and the format on disk; knows nothing of queries.
"""

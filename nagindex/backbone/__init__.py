"""Frozen language models: loading, describing, finding projections, and reading impacts through hooks.

Knows Hugging Face models; knows nothing of corpora or of an index's files.
"""

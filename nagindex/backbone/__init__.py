"""Frozen language models: finding, loading and describing them, and hooks on the projections whose columns are the neurons.

Knows Hugging Face models; knows nothing of corpora or of an index's files.
"""

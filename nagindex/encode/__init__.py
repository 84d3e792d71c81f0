"""From texts to NAGs: tokenizing, batching and each layer's top K neurons, on a GPU or on CPU workers.

Knows the backbone; knows nothing of corpora or of an index's files.
"""

"""From texts to NAGs: tokenizing, batching, the top K neurons of each layer, on a GPU or on CPU workers.

Knows the backbone; knows nothing of corpora or of an index's files.
"""

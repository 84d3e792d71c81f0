"""Target sets: example texts from files, records or benchmarks, and their NAGs, saved or cached.

Knows the corpus formats and the encoder; knows nothing of the pool.
"""

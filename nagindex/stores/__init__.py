"""Object stores and the Hugging Face Hub: their URLs, requests with retries, and what goes wrong with them in words.

Knows objects and bytes; knows nothing of an index or of a corpus.
"""

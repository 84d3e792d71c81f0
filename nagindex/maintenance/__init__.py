"""Upkeep of an index: delete, compact, vacuum, verify, describe, and re-encode stored documents to compare.

Reads and publishes versions of an index; knows nothing of how queries are answered.
"""

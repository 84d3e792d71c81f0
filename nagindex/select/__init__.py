"""From scores to chosen documents: candidates, budgets, ranking keys, caps, near-duplicates, decontamination.

Knows scores and the documents' tables; knows nothing of engines or models.
"""

"""Ray: the shards of a job, and tasks of a query, on the nodes of a cluster, which share the corpus and the index.

The only room that imports ray; knows nothing of models and queries.
"""

"""Ray: the shards of a job on the nodes of a cluster, which read the corpus and write the index on a shared file system.

The only room that imports ray; knows nothing of models and queries.
"""

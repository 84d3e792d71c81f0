"""The format on disk: immutable segments, numbered manifests, snapshots, and the files they are made of.

Publishes whole versions or nothing; knows no engine and no model.
"""

"""The index on disk: immutable segments and numbered manifests, published whole or not at all."""

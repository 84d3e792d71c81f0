"""What is derived from segments and lies beside them: sketches and graphs, rebuildable, never the truth."""

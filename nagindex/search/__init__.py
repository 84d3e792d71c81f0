"""Finding the best documents of a pool for a profile."""

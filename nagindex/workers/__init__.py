"""Child processes and processors: the parent's side, the child's side, and how many CPUs this process may use.

Runs generator functions by name; knows nothing of what they compute.
"""

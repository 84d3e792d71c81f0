"""Child processes that run generators, and the number of CPUs that this process may use.

Runs generator functions by name; knows nothing of what they compute.
"""

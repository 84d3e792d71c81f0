"""A Ray cluster of three nodes on this machine, in a process of its own: `python nodes.py` prints the address, and obeys a word a line.

`lose` ends a node at once, and `join` adds one; `lost` and `joined` answer. The cluster ends with stdin.
"""

from __future__ import annotations

import sys

from ray.cluster_utils import Cluster

NODE = {"num_cpus": 1, "object_store_memory": 80 << 20}


def main() -> None:
    """Start the cluster, and obey."""
    cluster = Cluster(initialize_head=True, head_node_args=NODE | {"include_dashboard": False})
    try:
        for _ in range(2):
            cluster.add_node(**NODE)
        print(cluster.address, flush=True)
        for line in sys.stdin:
            if line.strip() == "lose":
                cluster.remove_node(next(iter(cluster.worker_nodes)), allow_graceful=False)
                print("lost", flush=True)
            else:
                cluster.add_node(**NODE)
                print("joined", flush=True)
    finally:
        cluster.shutdown()


if __name__ == "__main__":
    main()

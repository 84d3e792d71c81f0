"""How answers of tasks come and what becomes of tasks when one fails: `python tasks_end.py ADDRESS`; fails if it is not so."""

from __future__ import annotations

import sys
import time

from nagindex.cluster.tasks import tasks

SECONDS = 60


def main(address: str) -> None:
    """Start tasks, and look at their ends."""
    import ray

    with tasks(address) as cluster:
        slow, fast = ("subprocess:getstatusoutput", "sleep 2; echo s"), ("os.path:split", "2/f")
        for in_order, expected in ((True, [(0, 0), (1, "2")]), (False, [(1, "2"), (0, 0)])):
            started = [cluster.start(*own) for own in (slow, fast)]
            assert [*cluster.answers(started, in_order=in_order)] == expected
        pieces = cluster.start("builtins:divmod", 7, 0, pieces=2)
        endless = [cluster.start("subprocess:getstatusoutput", "sleep 3600") for _ in range(5)]
        try:
            [*cluster.answers([pieces, *endless], in_order=True)]
        except ZeroDivisionError as error:
            print(error)
        else:
            raise AssertionError("no error")
        end = time.monotonic() + SECONDS
        while ray.available_resources().get("CPU") != ray.cluster_resources()["CPU"]:
            assert time.monotonic() < end, "tasks go on"
            time.sleep(0.2)


if __name__ == "__main__":
    main(*sys.argv[1:])

"""How many processors this process may use: its affinity and its container's limit, not those of the machine."""

from __future__ import annotations

import math
import os
from contextlib import suppress
from functools import cache
from pathlib import Path

CGROUPS = Path("/sys/fs/cgroup")


def available_cpus() -> int:
    """Return the number of CPUs that this process may use, at least 1: its affinity, or a container's quota where that is less.

    A Slurm job with 4 of 128 cores has an affinity of 4; a container started with `--cpus 2` has a quota of 2.
    """
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = _container_quota(CGROUPS)
    return allowed if quota is None else max(1, min(allowed, math.ceil(quota)))


def thread_count(threads: int | None) -> int:
    """Return a number of threads: the one given, or by default one for each CPU that this process may use."""
    return threads or available_cpus()


@cache
def _container_quota(cgroups: Path) -> float | None:
    """Return the CPUs that the container's scheduler grants, None where it sets no limit.

    Source: cgroup v2 `cpu.max` and cgroup v1 `cpu.cfs_quota_us`, Linux kernel documentation.
    """
    with suppress(OSError, ValueError):
        quota, period = (cgroups / "cpu.max").read_text().split()
        return None if quota == "max" else int(quota) / int(period)
    with suppress(OSError, ValueError, ZeroDivisionError):
        quota, period = ((cgroups / "cpu" / f"cpu.cfs_{name}_us").read_text() for name in ("quota", "period"))
        return int(quota) / int(period) if int(quota) > 0 else None
    return None

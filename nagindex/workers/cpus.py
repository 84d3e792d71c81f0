"""The number of CPUs that this process may use, by its affinity and its container's quota."""

from __future__ import annotations

import math
import os
from contextlib import suppress
from functools import cache
from pathlib import Path, PurePosixPath

CGROUPS = Path("/sys/fs/cgroup")
OWN_CGROUPS = Path("/proc/self/cgroup")


def available_cpus() -> int:
    """Return the number of CPUs that this process may use, at least 1.

    This is its affinity or its container's quota, rounded up, whichever is smaller. A Slurm job with 4 of 128 cores
    has an affinity of 4; a container started with `docker run --cpus 2` has a quota of 2.
    """
    affinity = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = _container_quota(CGROUPS)
    return affinity if quota is None else max(1, min(affinity, math.ceil(quota)))


def thread_count(threads: int | None) -> int:
    """Return the given number of threads, or one for each available CPU if it is None."""
    return threads or available_cpus()


@cache
def _container_quota(cgroups: Path) -> float | None:
    """Return the smallest quota of CPUs of this process's cgroup and of those above it, None without a limit.

    Source: cgroup v2 `cpu.max` and cgroup v1 `cpu.cfs_quota_us`, Linux kernel documentation.
    """
    quotas = [quota for group in _own_groups() if (quota := _quota(cgroups, group)) is not None]
    return min(quotas, default=None)


def _own_groups() -> set[str]:
    """Return the paths of this process's cgroups and of those above them, relative to the root; the root is the empty path."""
    groups = {""}
    with suppress(OSError):
        for line in OWN_CGROUPS.read_text().splitlines():
            path = PurePosixPath(line.split(":", 2)[-1].lstrip("/"))
            groups |= {str(one) for one in (path, *path.parents) if str(one) != "."}
    return groups


def _quota(cgroups: Path, group: str) -> float | None:
    with suppress(OSError, ValueError, ZeroDivisionError):
        quota, period = (cgroups / group / "cpu.max").read_text().split()
        return None if quota == "max" else int(quota) / int(period)
    with suppress(OSError, ValueError, ZeroDivisionError):
        quota, period = ((cgroups / "cpu" / group / f"cpu.cfs_{name}_us").read_text() for name in ("quota", "period"))
        return int(quota) / int(period) if int(quota) > 0 else None  # -1: no limit
    return None

"""Sharding: which windows of which sources each of several processes takes, from the list of sources alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from nagindex.corpus.sources import Source
from nagindex.ingest.options import Shard

GROUP_BYTES = 64 << 20
GROUPS_PER_SHARD = 8
WINDOWS_PER_CHUNK = 8


def group_sources(sources: Sequence[Source]) -> list[list[Source]]:
    """Return the sources in consecutive groups that end when they reach 64 MiB.

    A window may hold rows of several sources of a group, and never of two groups.
    """
    groups: list[list[Source]] = []
    size = GROUP_BYTES
    for source in sources:
        if size >= GROUP_BYTES:
            groups.append([])
            size = 0
        groups[-1].append(source)
        size += source.size
    return groups


def shards_take_groups(shard: Shard, groups: int) -> bool:
    """Return whether shards take whole groups of sources; few groups are shared window by window."""
    return groups >= GROUPS_PER_SHARD * shard.count


def windows_of_shard(shard: Shard, groups: int) -> Callable[[int, int], bool]:
    """Return f(group, window in the group): whether the window belongs to a shard."""
    if shards_take_groups(shard, groups):
        return lambda group, window: group % shard.count == shard.index
    return lambda group, window: (group + window // WINDOWS_PER_CHUNK) % shard.count == shard.index


def shard_bytes(sources: Sequence[Source], shard: Shard) -> int:
    """Return the bytes of the source files that a shard reads through."""
    groups = group_sources(sources)
    takes = windows_of_shard(shard, len(groups))
    by_group = shards_take_groups(shard, len(groups))
    return sum(s.size for number, group in enumerate(groups) if not by_group or takes(number, 0) for s in group)

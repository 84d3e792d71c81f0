"""Memory that a model's batches need again and again: kept by this process instead of given back after each tensor."""

from __future__ import annotations

import ctypes
import os
from functools import cache

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
KEPT = (1 << 31) - 1, 1 << 30
OLD_LIMIT = 32 << 20  # the largest threshold that older C libraries accept


@cache
def keep_freed_memory() -> bool:
    """Have the C library reuse large blocks in place of returning them; whether it does.

    By default every tensor above some megabytes is mapped anew, and the system clears its pages one fault at a time: a fifth of
    the time of a small model on a CPU. A user who set glibc's own variables, or another C library, is left alone.

    Source: mallopt(3), glibc.
    """
    if any(name in os.environ for name in ("MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_", "GLIBC_TUNABLES")):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError, TypeError):  # musl, macOS, Windows
        return False
    mapped = mallopt(M_MMAP_THRESHOLD, KEPT[1]) or mallopt(M_MMAP_THRESHOLD, OLD_LIMIT)
    return bool(mapped and mallopt(M_TRIM_THRESHOLD, KEPT[0]))

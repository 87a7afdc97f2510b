"""Limits memory that the C heap and the caches of torch's CPU kernels hold between requests.

Batches and adapters come in all sizes and from many threads. With glibc's defaults, each thread that loads or
encodes may get a heap of its own, and freed memory in the middle of a heap is never returned to the system.
oneDNN, with which torch computes GELU and everything in bf16 on a CPU, compiles kernels for each shape of a
batch and caches 1,024 of them.
"""

from __future__ import annotations

import ctypes
import os
import sys
from functools import cache

__all__ = ["limit_heap", "limit_kernel_caches", "return_free_memory"]

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -3, -8  # from malloc.h
HEAPS = 2
# Bytes; larger pieces are mapped alone, smaller ones leave gaps in the heap. After 500 batches on MiniLM in
# torch, the gaps were 120 MB at 4 MB, 60 at 2 MB and 30 at 1 MB, which took 8 % more processor time.
MAPPED_FROM = 2_097_152
TRIM_FROM = 33_554_432  # bytes free at the end of the main heap
# Kernels per cache. One takes 33 KB for GELU and .5 MB for a linear layer in bf16 (MiniLM, AVX-512).
KERNELS = 256


def limit_heap() -> None:
    """Configure the allocator of this process for serving; call it before threads are started.

    Without these settings glibc raises its mmap threshold to up to 32 MB when a mapped piece is freed. Other
    C libraries are not configured.
    """
    libc = _glibc()
    if libc:
        libc.mallopt(_M_ARENA_MAX, HEAPS)
        libc.mallopt(_M_MMAP_THRESHOLD, MAPPED_FROM)
        libc.mallopt(_M_TRIM_THRESHOLD, TRIM_FROM)


def limit_kernel_caches() -> None:
    """Limit oneDNN's cache of compiled kernels, and torch's cache of them in each thread.

    Both limits are environment variables, which are read when the process, or the thread, first computes with
    oneDNN. A variable that is already set is kept.
    """
    for name in ("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "LRU_CACHE_CAPACITY"):
        os.environ.setdefault(name, str(KERNELS))


def return_free_memory() -> None:
    """Return free pages of all heaps to the system; takes milliseconds and blocks no other thread."""
    libc = _glibc()
    if libc:
        libc.malloc_trim(0)


@cache
def _glibc() -> ctypes.CDLL | None:
    """Return the C library if it is glibc."""
    if sys.platform != "linux":
        return None
    libc = ctypes.CDLL(None)
    return libc if hasattr(libc, "gnu_get_libc_version") and hasattr(libc, "malloc_trim") else None

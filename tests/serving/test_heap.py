"""Freed memory goes back to the system, whatever is still in use beside it."""

from __future__ import annotations

import json
import subprocess
import sys

HELD = """
import ctypes, json, sys
import psutil
from hub.serving import heap

libc = ctypes.CDLL(None)
libc.malloc.restype, libc.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
libc.free.argtypes = [ctypes.c_void_p]

def held():
    return psutil.Process().memory_info().rss / 1e6

def leave_gaps(size):
    # Free all of 100 MB but for the piece at the end of the heap, which keeps glibc from cutting it off.
    warm = libc.malloc(30_000_000)
    libc.free(warm)  # from now on glibc maps only larger pieces alone, unless it is told a limit
    before = held()
    pieces = [libc.malloc(size) for _ in range(100_000_000 // size)]
    for piece in pieces:
        ctypes.memset(piece, 1, size)
    for piece in pieces[:-1]:
        libc.free(piece)
    return held() - before

size, call = int(sys.argv[1]), sys.argv[2]
if call == "limit_heap":
    heap.limit_heap()
kept = leave_gaps(size)
if call == "return_free_memory":
    heap.return_free_memory()
print(json.dumps([kept, held()]))
"""


def kept_mb(size: int, call: str) -> tuple[float, float]:
    """Return what a process keeps of 100 MB that it freed, and what it has after `call`."""
    done = subprocess.run(
        [sys.executable, "-c", HELD, str(size), call], capture_output=True, text=True, check=True
    )
    kept, after = json.loads(done.stdout)
    return kept, after


def test_small_pieces_go_back_when_the_heap_is_trimmed() -> None:
    kept, untrimmed = kept_mb(20_000, "nothing")
    assert kept > 80
    assert kept_mb(20_000, "return_free_memory")[1] < untrimmed - 80


def test_large_pieces_go_back_when_they_are_freed() -> None:
    assert kept_mb(5_000_000, "nothing")[0] > 80
    assert kept_mb(5_000_000, "limit_heap")[0] < 10

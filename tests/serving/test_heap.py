"""Freed memory goes back to the system, whatever is still in use beside it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping

import pytest

from hub.serving.batching.base_workers import TRIM_S

HELD = """
import ctypes, json, sys, time
from pathlib import Path
import psutil
from hub.config import Settings
from hub.serving import heap
from hub.serving.batching import base_workers
from hub.serving.batching.base_workers import BaseWorkers
from hub.serving.meter import Meter

base_workers.TRIM_S = 0.5
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

def await_return(before, seconds):
    deadline = time.monotonic() + seconds
    while held() - before > 20 and time.monotonic() < deadline:
        time.sleep(0.1)
    return held() - before

size, call = int(sys.argv[1]), sys.argv[2]
if call == "limit_heap":
    heap.limit_heap()
if call == "serve":
    workers = BaseWorkers(None, Settings(home=Path("none")), deliver=print, meter=Meter())
    before = held()
    print(json.dumps([leave_gaps(size), await_return(before, 10.0)]))
    workers.close()
    sys.exit()
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
    assert kept_mb(3_000_000, "nothing")[0] > 80
    assert kept_mb(3_000_000, "limit_heap")[0] < 10


def test_a_serving_process_returns_small_pieces_within_seconds() -> None:
    assert TRIM_S <= 10  # and half a second in the process
    assert kept_mb(20_000, "serve")[1] < 20


CACHED = """
import json, os, sys
from pathlib import Path
import psutil
import torch
from hub.config import Settings
from hub.serving.heap import return_free_memory
from hub.serving.batching.base_workers import BaseWorkers
from hub.serving.meter import Meter

def held():
    return_free_memory()
    return psutil.Process().memory_full_info().uss / 1e6

def cached(layer, dtype):
    torch.set_num_threads(1)
    base_workers = BaseWorkers(None, Settings(home=Path(sys.argv[1])), deliver=print, meter=Meter())
    with torch.inference_mode():
        before = held()
        for tokens in range(1, 1001):
            layer(torch.zeros(tokens, 64, dtype=dtype))
    print(held() - before, flush=True)
    base_workers.close()

LAYERS = {
    "gelu": (torch.nn.functional.gelu, torch.float32),
    "linear": (torch.nn.Linear(64, 64).bfloat16(), torch.bfloat16),
}
for layer, unlimited in json.loads(sys.argv[2]):
    if not (process := os.fork()):  # which has computed nothing yet
        os.environ |= dict.fromkeys(unlimited, "1024")
        cached(*LAYERS[layer])
        os._exit(0)
    os.waitpid(process, 0)
"""
ONEDNN, IDEEP = "ONEDNN_PRIMITIVE_CACHE_CAPACITY", "LRU_CACHE_CAPACITY"
CASES = (("gelu", ""), ("gelu", ONEDNN), ("linear", ""), ("linear", ONEDNN), ("linear", IDEEP))


@pytest.fixture(scope="module")
def cached_mb(tmp_path_factory: pytest.TempPathFactory) -> Mapping[tuple[str, str], float]:
    """What a serving process keeps after 1,000 shapes, by layer and by the cache that has torch's default."""
    home = tmp_path_factory.mktemp("cached")
    cases = json.dumps([(layer, [unlimited] if unlimited else []) for layer, unlimited in CASES])
    env = {name: value for name, value in os.environ.items() if name not in (ONEDNN, IDEEP)}
    command = [sys.executable, "-c", CACHED, str(home), cases]
    lines = subprocess.run(command, capture_output=True, text=True, check=True, env=env).stdout.split()
    return dict(zip(CASES, map(float, lines), strict=True))


def test_a_serving_process_keeps_few_of_the_kernels_that_were_compiled_for_batches_of_many_shapes(
    cached_mb: Mapping[tuple[str, str], float],
) -> None:
    unlimited = cached_mb["gelu", ONEDNN]
    if unlimited < 10:
        pytest.skip("oneDNN compiles no kernels for GELU on this processor.")
    assert cached_mb["gelu", ""] < 0.6 * unlimited


@pytest.mark.parametrize("unlimited", [ONEDNN, IDEEP])
def test_in_bf16_both_caches_are_limited(unlimited: str, cached_mb: Mapping[tuple[str, str], float]) -> None:
    import torch

    from hub.engine.torch.loading import computes_in_bf16

    if not computes_in_bf16(torch.device("cpu")):
        pytest.skip("This processor has no instructions for bf16.")
    assert cached_mb["linear", ""] < cached_mb["linear", unlimited] * 0.6

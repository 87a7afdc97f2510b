# ruff: noqa: TID253 - looks at what torch does
"""Finds out whether torch waits for a GPU: on one as CUDA says it, elsewhere by the operations that would."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

# Operations whose result decides what the host does next, or whose shape depends on values on the device.
_WAITING = ("_local_scalar_dense", "is_nonzero", "nonzero", "unique", "masked_select", "aten.equal")


class _Waiting(TorchDispatchMode):
    """Lists the operations of this thread that would wait for a GPU."""

    def __init__(self, waits: list[str]) -> None:
        super().__init__()
        self._waits = waits

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if any(name in str(func) for name in _WAITING):
            self._waits.append(str(func))
        return func(*args, **(kwargs or {}))


@contextmanager
def waits_for(device: torch.device) -> Iterator[list[str]]:
    """Give a list that is complete at the end: what has waited for the device.

    On a GPU these are the synchronizing operations of all threads, copies back to the host among them; on a
    CPU the operations of this thread that would be.
    """
    waits: list[str] = []
    if device.type != "cuda":
        with _Waiting(waits):
            yield waits
        return
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        torch.cuda.set_sync_debug_mode("warn")
        try:
            yield waits
        finally:
            torch.cuda.set_sync_debug_mode("default")
    waits += [str(one.message) for one in caught if "called a synchronizing" in str(one.message)]


def delay(device: torch.device, cycles: int = 100_000_000) -> None:
    """Keep the current stream of a GPU busy for some 50 ms; the host goes on."""
    if device.type == "cuda":
        torch.cuda._sleep(cycles)


class OneDevice(TorchDispatchMode):
    """Refuses operations with tensors of a device and of the host, but for copies and single values."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        tensors = [one for one in tree_leaves((args, kwargs)) if isinstance(one, torch.Tensor) and one.dim()]
        devices = {one.device.type for one in tensors}
        if len(devices) > 1 and "copy" not in str(func):
            raise RuntimeError(f"{func} has tensors of {', '.join(sorted(devices))}.")
        return func(*args, **(kwargs or {}))

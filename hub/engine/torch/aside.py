# ruff: noqa: TID253 - imported when an engine is built, and by nothing else
"""The stream of a GPU on which adapters are written, aside of the one that runs requests."""

from __future__ import annotations

from contextlib import AbstractContextManager
from types import TracebackType

import torch

from hub.engine.torch.tensors import stream_after_loading

__all__ = ["Aside"]


class Aside:
    """On a GPU, work in the block runs on a stream of its own, which its end waits for.

    One is used for all writes: the allocator keeps memory apart for each stream. Blocks must not overlap.
    """

    def __init__(self, device: torch.device) -> None:
        self._stream: torch.cuda.Stream | None = None
        self._block: AbstractContextManager[None] | None = None
        if device.type == "cuda":
            self._stream = stream_after_loading(device)

    def __enter__(self) -> None:
        if self._stream is not None:
            self._block = torch.cuda.stream(self._stream)
            self._block.__enter__()  # type: ignore[no-untyped-call]

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._stream is None or self._block is None:
            return
        self._block.__exit__(kind, error, trace)
        self._block = None
        if error is None:
            self._stream.synchronize()

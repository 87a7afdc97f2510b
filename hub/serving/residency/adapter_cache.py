"""Adapters that were read, checked and probed before: to load one again is to write its slot."""

from __future__ import annotations

import threading
from collections import OrderedDict

from hub.engine.protocol import AdapterWeights

__all__ = ["AdapterCache"]


class AdapterCache:
    """At most `limit` bytes of adapters, by content hash; what was not used for longest goes first.

    A content does not change, so what is here is right for as long as its name is asked for. A merged
    adapter, which holds a whole base, is not kept.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._lock = threading.Lock()
        self._kept: OrderedDict[str, AdapterWeights] = OrderedDict()
        self._nbytes = 0

    def put(self, weights: AdapterWeights) -> None:
        """Keep an adapter that was found good in a slot."""
        if not self._limit or weights.merged:
            return
        with self._lock:
            old = self._kept.pop(weights.sha256, None)
            self._kept[weights.sha256] = weights
            self._nbytes += _nbytes(weights) - (_nbytes(old) if old else 0)
            while self._nbytes > self._limit:
                _, gone = self._kept.popitem(last=False)
                self._nbytes -= _nbytes(gone)

    def take(self, sha256: str) -> AdapterWeights | None:
        """Return an adapter if it is kept; it stays."""
        with self._lock:
            if weights := self._kept.get(sha256):
                self._kept.move_to_end(sha256)
            return weights


def _nbytes(weights: AdapterWeights) -> int:
    updates = sum(array.nbytes for update in weights.layers.values() for array in update.arrays)
    return updates + sum(array.nbytes for array in weights.full.values())

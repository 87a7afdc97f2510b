"""LRU cache of verified adapters in host memory; a hit skips the disk, the hash and the probe."""

from __future__ import annotations

import threading

from cachetools import LRUCache

from hub.engine.protocol import AdapterWeights

__all__ = ["AdapterCache"]


class AdapterCache:
    """Adapters by content hash, least recently used evicted first; `limit` is in bytes.

    Contents are immutable, so an entry never expires. Merged adapters, which hold a whole base, are not kept.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._lock = threading.Lock()
        self._adapters: LRUCache[str, AdapterWeights] = LRUCache(limit, getsizeof=_nbytes)

    def put(self, weights: AdapterWeights) -> None:
        """Keep an adapter that passed its probe, if it fits."""
        if self._limit and not weights.merged and _nbytes(weights) <= self._limit:
            with self._lock:
                self._adapters[weights.sha256] = weights

    def take(self, sha256: str) -> AdapterWeights | None:
        """Return an adapter if it is kept; it stays."""
        with self._lock:
            return self._adapters.get(sha256)


def _nbytes(weights: AdapterWeights) -> int:
    updates = sum(array.nbytes for update in weights.layers.values() for array in update.arrays)
    return updates + sum(array.nbytes for array in weights.full.values())

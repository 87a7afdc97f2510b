"""LRU cache of verified adapters in host memory; a hit skips the disk, the hash and the probe."""

from __future__ import annotations

import threading
from operator import attrgetter

from cachetools import LRUCache

from hub.engine.protocol import AdapterWeights

__all__ = ["AdapterCache"]


class AdapterCache:
    """Adapters by content hash, least recently used evicted first; `limit` is in bytes.

    Contents are immutable, so an entry never expires. Merged adapters are not cached: each has a whole base.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._lock = threading.Lock()
        self._adapters: LRUCache[str, AdapterWeights] = LRUCache(limit, getsizeof=attrgetter("nbytes"))

    def put(self, weights: AdapterWeights) -> None:
        """Add an adapter that passed its probe, if it fits."""
        if self._limit and not weights.merged and weights.nbytes <= self._limit:
            with self._lock:
                self._adapters[weights.sha256] = weights

    def get(self, sha256: str) -> AdapterWeights | None:
        """Return an adapter; None if it is not cached."""
        with self._lock:
            return self._adapters.get(sha256)

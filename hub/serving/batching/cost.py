"""Cost estimates of forwards and loads, from measured times."""

from __future__ import annotations

import math
import threading
from collections.abc import Hashable

__all__ = ["ForwardCost", "LoadCost"]

DECAY = 0.98  # weight of a forward relative to the next: about fifty count
MIN_FORWARDS = 8.0  # before the fit is used
MIN_FIXED_TOKENS, MAX_FIXED_TOKENS = 8.0, 8192.0  # tokens
INITIAL_FIXED_TOKENS = 256.0
SIZES_PER_DOUBLING = 2
FORWARD_DECAY = 0.9  # weight of a forward relative to the next of its size
LOAD_DECAY = 0.9  # weight of a load relative to the next


class ForwardCost:
    """Fits seconds = fixed + per_token * padded tokens, by least squares over recent forwards.

    It also keeps the mean time of forwards of about one size, from which a limit on their length follows:
    where all forwards are of similar sizes, noise decides the fit. Used from one thread.
    """

    def __init__(self) -> None:
        self._n = self._x = self._y = self._xx = self._xy = 0.0
        self._means: dict[int, float] = {}  # seconds by size

    def note(self, tokens: int, seconds: float) -> None:
        """Record a forward of `tokens` padded tokens."""
        size = _size(tokens)
        mean = self._means.get(size, seconds)
        self._means[size] = FORWARD_DECAY * mean + (1 - FORWARD_DECAY) * seconds
        self._n = self._n * DECAY + 1.0
        self._x = self._x * DECAY + tokens
        self._y = self._y * DECAY + seconds
        self._xx = self._xx * DECAY + tokens * tokens
        self._xy = self._xy * DECAY + tokens * seconds

    @property
    def fixed_tokens(self) -> float:
        """The cost of starting one more forward, in tokens: few on a CPU, thousands on a GPU."""
        spread = self._n * self._xx - self._x * self._x
        if self._n < MIN_FORWARDS or spread <= 1e-6 * self._xx:
            return INITIAL_FIXED_TOKENS
        per_token = (self._n * self._xy - self._x * self._y) / spread
        if per_token <= 0.0:
            return MAX_FIXED_TOKENS
        fixed = (self._y - per_token * self._x) / self._n
        return min(max(fixed / per_token, MIN_FIXED_TOKENS), MAX_FIXED_TOKENS)

    def within_twice(self, tokens: float) -> float:
        """The most padded tokens that take at most twice as long as `tokens` do, as far as was measured.

        One step of size beyond what was measured is included, so that it will be.
        """
        size = _size(tokens)
        limit = 2 * self._means.get(size, math.inf)
        while size in self._means and self._means.get(size + 1, 0.0) <= limit:
            size += 1
        return float(2.0 ** (size / SIZES_PER_DOUBLING))


def _size(tokens: float) -> int:
    return math.ceil(SIZES_PER_DOUBLING * math.log2(max(tokens, 1.0)))


class LoadCost:
    """The cost to reload versions of one kind: their mean seconds, rounded to a power of 2.

    A single load is a poor estimate, because it may have waited for a core or the disk. Versions of one kind
    have equal costs, so that recency alone determines their order of eviction.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._means: dict[Hashable, float] = {}

    def note(self, kind: Hashable, seconds: float) -> float:
        """Record a load of a version of that kind, and return the cost of the kind."""
        with self._lock:
            mean = self._means.get(kind, seconds)
            mean = self._means[kind] = LOAD_DECAY * mean + (1 - LOAD_DECAY) * seconds
        return float(2.0 ** round(math.log2(max(mean, 1e-6))))

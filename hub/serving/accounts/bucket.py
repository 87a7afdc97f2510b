"""Token buckets: a rate with bursts of up to one minute's worth."""

from __future__ import annotations

__all__ = ["TokenBucket"]

_MINUTE_S = 60.0
_ROUNDING = 1e-9


class TokenBucket:
    """Refills evenly with `per_minute` tokens a minute, up to that many; full at `now`, in seconds.

    One charge may take more than is left: the level is then negative, and later charges wait until it has
    been refilled. So a request of any size passes, and the rate holds on average. Not thread-safe.
    """

    __slots__ = ("_at", "_level", "per_minute")

    def __init__(self, per_minute: int, now: float) -> None:
        self.per_minute = per_minute
        self._level = float(per_minute)
        self._at = now

    def wait_s(self, now: float) -> float:
        """Return the seconds until a charge is due; 0 if it is now."""
        self._refill(now)
        missing = 1.0 - self._level
        return missing * _MINUTE_S / self.per_minute if missing > _ROUNDING else 0.0

    def charge(self, tokens: int) -> None:
        """Take tokens, also if fewer are left."""
        self._level -= tokens

    def _refill(self, now: float) -> None:
        gained = (now - self._at) * self.per_minute / _MINUTE_S
        self._level = min(self._level + gained, float(self.per_minute))
        self._at = now

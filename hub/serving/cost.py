"""What a forward costs, learned from the forwards that ran."""

from __future__ import annotations

__all__ = ["ForwardCost"]

DECAY = 0.98  # weight of a forward against the one after it: some fifty count
ENOUGH = 8.0  # forwards before what they say is believed
LEAST, MOST = 8.0, 8192.0  # tokens
AT_FIRST = 256.0


class ForwardCost:
    """Fits seconds = fixed + per_token * padded tokens, by least squares over recent forwards.

    Used from one thread.
    """

    def __init__(self) -> None:
        self._n = self._x = self._y = self._xx = self._xy = 0.0

    def note(self, tokens: int, seconds: float) -> None:
        """Take in a forward of `tokens` padded tokens."""
        self._n = self._n * DECAY + 1.0
        self._x = self._x * DECAY + tokens
        self._y = self._y * DECAY + seconds
        self._xx = self._xx * DECAY + tokens * tokens
        self._xy = self._xy * DECAY + tokens * seconds

    @property
    def fixed_tokens(self) -> float:
        """How many tokens cost what starting one more forward does: some on a CPU, thousands on a GPU."""
        spread = self._n * self._xx - self._x * self._x
        if self._n < ENOUGH or spread <= 1e-6 * self._xx:
            return AT_FIRST
        per_token = (self._n * self._xy - self._x * self._y) / spread
        if per_token <= 0.0:
            return MOST
        fixed = (self._y - per_token * self._x) / self._n
        return min(max(fixed / per_token, LEAST), MOST)

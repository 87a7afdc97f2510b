"""What each deployment may have served when, as the one who moved them knows it."""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import dataclass

__all__ = ["Live", "Timeline"]


@dataclass(frozen=True, slots=True)
class Live:
    """What answers for a deployment: a version, and the content it names."""

    ref: str
    sha256: str


@dataclass(slots=True)
class _Span:
    live: Live | None  # None: there is no such deployment
    since: float
    until: float = math.inf


class Timeline:
    """Spans in which a deployment may serve a version, or be absent.

    One begins when the move to it is sent, and ends when the next move has returned: between the two of a
    move either answer is right, before and after only one. Moves of one deployment do not overlap.
    """

    def __init__(self) -> None:
        self._spans: dict[str, list[_Span]] = defaultdict(list)

    def sent(self, name: str, live: Live | None, at: float) -> None:
        """Note that a move to `live` was sent; with -inf, that it was there from the start."""
        self._spans[name].append(_Span(live, at))

    def returned(self, name: str, at: float, *, moved: bool = True) -> None:
        """Note that the last move returned: what was before is over, or the move did not happen."""
        before, after = self._spans[name][-2:]
        if moved:
            before.until = at
        else:
            after.until = at

    def allowed(self, name: str, asked: float, answered: float) -> set[Live | None]:
        """Return all that may have answered a request sent and answered at these times."""
        return {span.live for span in self._spans[name] if span.since <= answered and asked <= span.until}

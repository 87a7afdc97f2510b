"""Places of rows: how many there are, and where the first of them stand."""

from __future__ import annotations

from dataclasses import dataclass, field

__all__ = ["MAX_PLACES", "Places", "place_of"]

MAX_PLACES = 1000


@dataclass(slots=True)
class Places:
    """A count of rows, and the places of the first MAX_PLACES."""

    count: int = 0
    first: list[str] = field(default_factory=list)

    def add(self, place: str) -> None:
        self.count += 1
        if len(self.first) < MAX_PLACES:
            self.first.append(place)


def place_of(source: str, line: int) -> str:
    """Return a row's line, after its file where there are several."""
    return f"{source}:{line}" if source else str(line)

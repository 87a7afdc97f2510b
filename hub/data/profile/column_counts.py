"""Counts of the cells of columns, and of rows by their place."""

from __future__ import annotations

from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from hub.data.profile.sniff import Column
from hub.data.read.cell_lists import is_missing

__all__ = ["MAX_DISTINCT", "MAX_PLACES", "ColumnCounts", "ColumnProfile", "Places", "place_of"]

MAX_DISTINCT = 100_000  # counted distinct values of a column
MAX_PLACES = 1000
_QUANTILES = {"min": 0.0, "25 %": 0.25, "50 %": 0.5, "75 %": 0.75, "95 %": 0.95, "max": 1.0}


@dataclass(frozen=True, slots=True)
class ColumnProfile:
    """One column; `lengths` are quantiles of the characters of texts, {} for other columns.

    `distinct` is a lower bound if it is MAX_DISTINCT.
    """

    name: str
    use: str
    filled: int
    distinct: int
    lengths: Mapping[str, int]


class ColumnCounts:
    """Counts the filled cells and the distinct values of a column, and keeps the lengths of its texts."""

    def __init__(self) -> None:
        self.lengths = array("I")
        self._filled = 0
        self._hashes: set[int] = set()

    def add(self, value: Any) -> None:
        """Count one cell."""
        if is_missing(value) or value == "":
            return
        self._filled += 1
        if len(self._hashes) < MAX_DISTINCT:
            self._hashes.add(hash(value if isinstance(value, str) else repr(value)))

    def profile(self, column: Column, use: str) -> ColumnProfile:
        """Return the counts; `use` is the field that the column is used as."""
        lengths = sorted(self.lengths)
        return ColumnProfile(str(column), use, self._filled, len(self._hashes), _quantiles(lengths))


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
    """Return a row's line number, prefixed by its file if there are several."""
    return f"{source}:{line}" if source else str(line)


def _quantiles(lengths: Sequence[int]) -> dict[str, int]:
    if not lengths:
        return {}
    return {name: lengths[round(share * (len(lengths) - 1))] for name, share in _QUANTILES.items()}

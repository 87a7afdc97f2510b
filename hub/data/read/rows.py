"""Raw rows of a file, and rows that were filtered or could not be parsed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

__all__ = ["FilteredRow", "InvalidRow", "RawRow", "Row", "Table"]


@dataclass(frozen=True, slots=True)
class RawRow:
    """One row; `line` counts from 1, and is the number of the row in formats without lines.

    `source` is its file, "" for the table's own name.
    """

    line: int
    values: Mapping[Any, Any]
    source: str = ""


@dataclass(frozen=True, slots=True)
class InvalidRow:
    """A row that cannot be parsed or used; the reason quotes none of its text."""

    line: int
    reason: str
    source: str = ""


@dataclass(frozen=True, slots=True)
class FilteredRow:
    """A row that its format or the recipe excludes, with the reason."""

    line: int
    reason: str
    source: str = ""


Row = RawRow | InvalidRow | FilteredRow


@dataclass(frozen=True, slots=True)
class Table:
    """The rows of one source; `columns` is None if each row has its own, and numbers without a header."""

    name: str
    columns: tuple[str | int, ...] | None
    rows: Iterator[Row]

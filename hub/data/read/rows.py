"""Raw rows of a file, and rows that were filtered or could not be parsed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

__all__ = ["FilteredRow", "InvalidRow", "RawRow", "Row", "Table"]


@dataclass(frozen=True, slots=True)
class RawRow:
    """One row; `line` counts from 1, or is the number of the row where the format has no lines.

    `source` is its file, "" if that is the table's name.
    """

    line: int
    values: Mapping[Any, Any]
    source: str = ""


@dataclass(frozen=True, slots=True)
class InvalidRow:
    """A row that cannot be parsed, with the reason."""

    line: int
    reason: str
    source: str = ""


@dataclass(frozen=True, slots=True)
class FilteredRow:
    """A row that its format marks as not to be used, with the reason."""

    line: int
    reason: str
    source: str = ""


Row = RawRow | InvalidRow | FilteredRow


@dataclass(frozen=True, slots=True)
class Table:
    """The rows of one source; `columns` is None if each row names its own, numbers if there is no header."""

    name: str
    columns: tuple[str | int, ...] | None
    rows: Iterator[Row]

"""Rows as a file has them, and those that it has and are not read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

__all__ = ["BadRow", "LeftRow", "RawRow", "Row", "Table"]


@dataclass(frozen=True, slots=True)
class RawRow:
    """One row; `line` counts from 1, in rows where the format has no lines.

    `source` is the file it stands in, where that is not the table's name.
    """

    line: int
    values: Mapping[Any, Any]
    source: str = ""


@dataclass(frozen=True, slots=True)
class BadRow:
    """A row that cannot be read, and why."""

    line: int
    reason: str
    source: str = ""


@dataclass(frozen=True, slots=True)
class LeftRow:
    """A row that its format marks as not to be used, and why."""

    line: int
    reason: str
    source: str = ""


Row = RawRow | BadRow | LeftRow


@dataclass(frozen=True, slots=True)
class Table:
    """The rows of one source; `columns` is None where each row names its own, numbers without a header."""

    name: str
    columns: tuple[str | int, ...] | None
    rows: Iterator[Row]

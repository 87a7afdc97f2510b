"""Detects CSV rows whose quoted cell contains other rows, because a quote is stray or missing."""

from __future__ import annotations

import csv
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["Shape", "Values"]

_MIN_SWALLOWED = 5  # lines that look like rows: text rarely has so many by chance
_MIN_SHARE = 0.8  # share of the lines that look like rows
_MAX_VALUES = 1000  # distinct values of a column of labels
_TO_CLOSING = re.compile(r'(?:[^"]|"")*"(?!")')


@dataclass(frozen=True, slots=True)
class Shape:
    """The form of a row in one line; `spaced`: the file has spaces after its delimiters."""

    delimiter: str
    width: int
    spaced: bool

    def split(self, lines: Sequence[str]) -> list[list[str]]:
        """Return the cells of each line without the quotes that join the lines; [] if it is not like a row.

        In ordinary text, a comma is followed by a space or a line end, so its lines are not like rows.
        """
        return [
            cells if self._is_alike(cells := self._cells(line)) else []
            for line in (
                _without_opening(lines[0], self.delimiter),
                *lines[1:-1],
                _without_closing(lines[-1]),
            )
            if line.strip()
        ]

    def swallows(self, lines: Sequence[str]) -> bool | None:
        """Return whether a row of several lines is in fact several rows; None: too few lines to be sure."""
        if len(lines) < 2 or not self._ends_text(lines[-1]):
            return False
        found = self.split(lines)
        if not found[0] or not found[-1]:
            return False
        alike = sum(map(bool, found))
        if alike >= _MIN_SWALLOWED and alike >= _MIN_SHARE * len(found):
            return True
        return None if alike == len(found) else False

    def is_separate(self, lines: Sequence[str], quotes: int) -> bool:
        """Return whether a row with this number of quotes cannot be the rest of a quoted text."""
        if self.width < 2:
            return True
        if not quotes:
            return self._is_alike(self._cells(lines[0]))
        mark = re.escape(self.delimiter)
        cell = f'(?:"(?:[^"]|"")*"|[^" {mark}][^"{mark}]*|)'
        return re.fullmatch(f"{cell}(?:{mark}{cell})*", "".join(lines).rstrip("\r\n")) is not None

    def _cells(self, line: str) -> list[str]:
        return next(csv.reader([line.rstrip("\r\n")], delimiter=self.delimiter), [])

    def _is_alike(self, cells: Sequence[str]) -> bool:
        if len(cells) != self.width or self.width < 2:
            return False
        if not self.spaced and any(cell.startswith(" ") for cell in cells[1:]):
            return False
        return self.width > 2 or bool(cells[0] and cells[1])

    def _ends_text(self, line: str) -> bool:
        """Return whether there is text before the closing quote; a row has some, quoted text may not."""
        found = _TO_CLOSING.match(line)
        return found is not None and found[0][:-1].rpartition(self.delimiter)[2] != ""


def _without_opening(line: str, delimiter: str) -> str:
    """Return the first line of a row without its unclosed quote."""
    mark = re.escape(delimiter)
    found = re.match(f'(?:(?:"(?:[^"]|"")*"|[^"{mark}][^{mark}]*|){mark})*"', line)
    return line if found is None else line[: found.end() - 1] + line[found.end() :].replace('"', "")


def _without_closing(line: str) -> str:
    """Return the last line of a row without the quote that closes a cell of the first."""
    found = _TO_CLOSING.match(line)
    return line if found is None else line[: found.end() - 1].replace('"', "") + line[found.end() :]


class Values:
    """The values of each column so far, while there are few distinct ones."""

    def __init__(self, width: int) -> None:
        self._columns: list[Counter[str] | None] = [Counter() for _ in range(width)]

    def add(self, cells: Sequence[str]) -> None:
        """Count the values of one row."""
        for place, (cell, values) in enumerate(zip(cells, self._columns, strict=False)):
            if values is not None:
                values[cell] += 1
                if len(values) > _MAX_VALUES:
                    self._columns[place] = None

    def contain(self, rows: Sequence[Sequence[str]]) -> bool:
        """Return whether these rows have only known values in a column of few distinct values."""
        return any(
            all(row[place] in values for row in rows)
            for place, values in enumerate(self._columns)
            if values and 2 * len(values) <= values.total()
        )

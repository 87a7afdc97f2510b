"""CSV and TSV tables; detects rows that a stray quote merged into one cell."""

from __future__ import annotations

import csv
import io
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import IO

from hub.api.kinds.reader import InvalidRow, RawRow, ReadOptions, Table
from hub.data.read.stray_quotes import Shape, Values
from hub.errors import BadData

__all__ = ["delimited_table", "named_delimiter"]

_MAX_CELL_CHARS = 1 << 24  # a longer cell is taken for a missing quote, as cells are kept in memory
_MAX_SHOWN = 60  # characters of a header
_DELIMITERS = ";\t|,"
_SEP = re.compile(r'"?sep=(.)"?[\r\n]*')  # Excel's first line, which names the delimiter
_SWALLOWED = "contains lines that look like rows: a quote is stray or missing"


def delimited_table(name: str, stream: IO[bytes], kind: str, options: ReadOptions) -> Table:
    """Return the rows of a CSV or TSV file in UTF-8.

    Each line of a row that cannot be parsed is an `InvalidRow`, as it may be a row itself. Trailing columns
    without a name are dropped; a row with a value in one is invalid.

    Raises:
        BadData: here or while reading rows: the file is empty, its header is not usable, or a quoted cell is
            not closed.
    """
    # Bytes that are not UTF-8 become lone surrogates, which make the row invalid later.
    text = io.TextIOWrapper(stream, encoding="utf-8", errors="surrogateescape", newline="")
    lines = _Lines(text)
    delimiter = _delimiter(name, lines, kind, options)
    quotes = options.quotes if options.quotes is not None else kind == "csv"
    cells = _Cells(name, lines, delimiter, quotes)
    first = next(cells.rows, None)
    if first is None:
        raise BadData(f"{name}: is empty.")
    if not options.header:
        return _without_header(name, cells, first)
    if isinstance(first, InvalidRow):
        raise BadData(f"{name}:{first.line}: the header cannot be read: it {first.reason}.")
    header, width = _header(name, first, delimiter, options)
    shape = Shape(delimiter, width, spaced=_is_spaced(first))
    if shape.swallows(first.lines) is not False:
        raise BadData(f"{name}:{first.line}: the header {_SWALLOWED}.")
    return Table(name, header, _rows(cells, header, shape, first.cells))


def _without_header(name: str, cells: _Cells, first: _ParsedRow | InvalidRow) -> Table:
    before: list[_ParsedRow | InvalidRow] = [first]
    while isinstance(before[-1], InvalidRow) and (item := next(cells.rows, None)) is not None:
        before.append(item)
    width = len(before[-1].cells) if isinstance(before[-1], _ParsedRow) else 0
    cells.push_back(before)
    shape = Shape(cells.delimiter, width, spaced=_is_spaced(before[-1]))
    return Table(name, tuple(range(width)), _rows(cells, tuple(range(width)), shape, ()))


def _header(
    name: str, first: _ParsedRow, delimiter: str, options: ReadOptions
) -> tuple[tuple[str | int, ...], int]:
    """Return the names of the columns, and the number of cells of the header; unnamed columns are numbers."""
    names = [cell.strip() for cell in first.cells]
    if any("\ud800" <= character <= "\udfff" for cell in names for character in cell):
        raise BadData(f"{name}: the header is not UTF-8 text. Set data.encoding, or save the file as UTF-8.")
    if any("\0" in cell for cell in names):
        raise BadData(
            f"{name}: the header has NUL characters. If the file is UTF-16, set data.encoding to utf-16-le "
            "or utf-16-be."
        )
    if not any(names):
        raise BadData(f"{name}: has no header line. If its first line is a row, set data.header: false.")
    likely = next((mark for mark in _DELIMITERS if mark != delimiter and mark in names[0]), None)
    if likely and len(names) == 1 and options.delimiter is None:
        raise BadData(
            f"{name}: has a single column with the delimiter {delimiter!r}: {names[0][:_MAX_SHOWN]}. Set "
            f"data.delimiter to {likely!r}, or to {delimiter!r} if the file has one column."
        )
    width = len(names)
    while not names[-1]:
        names.pop()
    if twice := sorted(cell for cell, count in Counter(names).items() if cell and count > 1):
        raise BadData(f"{name}: the header has column {twice[0]!r} twice.")
    unnamed = names.count("") > 1
    return tuple(place if unnamed and not cell else cell for place, cell in enumerate(names)), width


def named_delimiter(line: str) -> str | None:
    """Return the delimiter that Excel's first line `sep=;` names."""
    found = _SEP.fullmatch(line)
    return found[1] if found else None


def _delimiter(name: str, lines: _Lines, kind: str, options: ReadOptions) -> str:
    usual = "\t" if kind == "tsv" else ","
    named = named_delimiter(lines.first())
    if not named:
        return options.delimiter or usual
    if options.delimiter not in (None, named):
        raise BadData(
            f"{name}: its first line names the delimiter {named!r}, and data.delimiter is "
            f"{options.delimiter!r}. Remove one of them."
        )
    next(lines)
    return named


class _Lines:
    """Lines of text for the csv reader; `taken` are the lines of the current row."""

    def __init__(self, text: Iterator[str]) -> None:
        self._text = text
        self._next: str | None = None
        self.number = 0
        self.taken: list[str] = []
        self.ended = False

    def first(self) -> str:
        if self._next is None:
            self._next = next(self._text, "")
        return self._next

    def __iter__(self) -> _Lines:
        return self

    def __next__(self) -> str:
        line = self._next or next(self._text, "")
        self._next = None
        if not line:
            self.ended = True
            raise StopIteration
        if not self.taken:
            # Concatenated files have byte order marks in between.
            line = line.removeprefix("\ufeff")
        self.number += 1
        self.taken.append(line)
        return line


@dataclass(frozen=True, slots=True)
class _ParsedRow:
    line: int
    cells: list[str]
    lines: tuple[str, ...]


class _Cells:
    """Parses rows; each line of a malformed row becomes an `InvalidRow`; empty lines are skipped."""

    def __init__(self, name: str, lines: _Lines, delimiter: str, quotes: bool) -> None:
        self.delimiter = delimiter
        self.quotes = quotes
        # The previous row was malformed, so the next one may be the rest of a quoted cell.
        self.after_malformed = False
        self._name = name
        self._lines = lines
        self._first: list[_ParsedRow | InvalidRow] = []
        self.rows = self._rows()

    def push_back(self, rows: Sequence[_ParsedRow | InvalidRow]) -> None:
        self._first = list(rows)
        self.rows = self._rows()

    def _rows(self) -> Iterator[_ParsedRow | InvalidRow]:
        yield from self._first
        # The limit is global to the process; other readers may need a larger one.
        csv.field_size_limit(max(csv.field_size_limit(), _MAX_CELL_CHARS))
        reader = csv.reader(
            self._lines,
            delimiter=self.delimiter,
            quoting=csv.QUOTE_MINIMAL if self.quotes else csv.QUOTE_NONE,
            strict=True,
        )
        lines = self._lines
        while True:
            lines.taken.clear()
            first = lines.number + 1
            try:
                cells = next(reader)
            except StopIteration:
                return
            except csv.Error:
                if lines.ended:
                    raise BadData(
                        f"{self._name}:{first}: the row on this line opens a quote that is never closed. "
                        "Repair it, or set data.quotes: false if quotes are ordinary text."
                    ) from None
                if sum(map(len, lines.taken)) > _MAX_CELL_CHARS:
                    raise BadData(
                        f"{self._name}:{first}: the row on this line has a cell of more than "
                        f"{_MAX_CELL_CHARS:,} characters: its closing quote may be missing. Repair it."
                    ) from None
                self.after_malformed = len(lines.taken) > 1 or lines.taken[-1].count('"') % 2 == 1
                yield from _each_line(first, len(lines.taken), "has text after the closing quote of a cell")
                continue
            if cells:
                yield _ParsedRow(first, cells, tuple(lines.taken))


def _each_line(first: int, count: int, reason: str) -> Iterator[InvalidRow]:
    yield InvalidRow(first, reason)
    for line in range(first + 1, first + count):
        yield InvalidRow(line, f"belongs to the row on line {first}, which {reason}")


def _is_spaced(row: _ParsedRow | InvalidRow) -> bool:
    return isinstance(row, _ParsedRow) and any(cell.startswith(" ") for cell in row.cells[1:])


def _rows(
    cells: _Cells, header: Sequence[str | int], shape: Shape, first: Sequence[str]
) -> Iterator[RawRow | InvalidRow]:
    """Yield the rows; multi-line rows that may be several rows come last, when all values are known."""
    values, ambiguous = Values(shape.width), list[_ParsedRow]()
    for row in cells.rows:
        if isinstance(row, InvalidRow):
            yield row
            continue
        swallowed = shape.swallows(row.lines)
        if swallowed is None:
            ambiguous.append(row)
        elif reason := _SWALLOWED if swallowed else _problem(row, cells, header, shape, first):
            yield from _each_line(row.line, len(row.lines), reason)
        else:
            values.add(row.cells)
            yield RawRow(row.line, dict(zip(header, row.cells, strict=False)))
    for row in ambiguous:
        swallowed = values.contain(shape.split(row.lines))
        reason = _SWALLOWED if swallowed else _problem(row, cells, header, shape, first)
        if reason:
            yield from _each_line(row.line, len(row.lines), reason)
        else:
            yield RawRow(row.line, dict(zip(header, row.cells, strict=False)))


def _problem(
    row: _ParsedRow, cells: _Cells, header: Sequence[str | int], shape: Shape, first: Sequence[str]
) -> str | None:
    """Return why a row is invalid, or None."""
    count = len(row.cells)
    if count != shape.width and not len(header) <= count < shape.width:
        what = "the header" if first else "the first row"
        return f"has {count} cells where {what} has {shape.width}"
    if any(row.cells[len(header) :]):
        place = next(place for place, cell in enumerate(row.cells) if place >= len(header) and cell)
        return f"has a value in column {place + 1}, which has no name"
    if len(first) > 1 and row.cells == first:
        return "repeats the header"
    quotes = sum(line.count('"') for line in row.lines) if cells.quotes else 0
    if quotes % 2 and any(cell.endswith('"') for cell in row.cells):
        return "has an unpaired quote"
    cells.after_malformed = cells.after_malformed and not shape.is_separate(row.lines, quotes)
    return "follows a stray quote, and may be the rest of another row" if cells.after_malformed else None

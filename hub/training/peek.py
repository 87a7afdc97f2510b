"""A look at data before there is a recipe for it: how it is to be read, its columns, its rows."""

from __future__ import annotations

import csv
import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

from hub.errors import BadData
from hub.training.delimited import named_delimiter
from hub.training.encodings import recognize
from hub.training.folders import TextFolder, files_of, text_table
from hub.training.progress import Progress, silent
from hub.training.recipe import Data, Part
from hub.training.rows import BadRow, LeftRow, RawRow, Table
from hub.training.sources import is_hub, open_hub, open_source
from hub.training.tables import SUFFIXES, open_table, without_nul

__all__ = ["Column", "Peek", "peek", "sniff"]

Column = str | int
_HEAD = 1 << 16  # bytes that tell the format
_LONGEST_NAME = 60  # characters of a column's name
_REPORT_EVERY = 2000  # rows
_SIDES = ("source", "target")  # columns of files of translations


@dataclass(frozen=True, slots=True)
class Peek:
    """Rows as they stand in the data; `settings` are the keys of `data` that it has to be read with."""

    name: str
    settings: dict[str, Any]
    columns: tuple[Column, ...]
    rows: tuple[RawRow, ...]
    unread: tuple[BadRow | LeftRow, ...]

    def values(self, column: Column) -> Iterator[Any]:
        """Yield the column's values, None where a row has none."""
        return (row.values.get(column) for row in self.rows)


def peek(
    source: str,
    folder: Path,
    cache: Path,
    progress: Progress = silent,
    given: Mapping[str, Any] = MappingProxyType({}),
) -> Peek:
    """Read all rows of a file, a folder, or what else a recipe may name.

    `given` are keys of `data` that are known; the others are suggested by the files.

    Raises:
        BadData: it is missing, of no known format, or holds no rows.
        SourceUnavailable: a download failed.
    """
    settings = {**sniff(source, folder, cache, progress, given), **given}
    data = Data(source=(Part.model_validate({"from": source}),), **settings)
    tables: list[Table] = []
    for place in files_of(source, folder):
        if isinstance(place, TextFolder):
            tables.append(_read(text_table(place, data.encoding), progress))
        elif is_hub(place):
            with open_hub(place) as found:
                rows = (RawRow(line, row) for line, row in enumerate(found.rows, 1))
                tables.append(_read(without_nul(Table(found.name, found.columns, rows)), progress))
        else:
            with open_source(place, folder, cache, progress) as file:
                tables.append(_read(open_table(file.name, file.stream, data), progress))
    read = [
        replace(row, source=row.source or table.name) if len(tables) > 1 else row
        for table in tables
        for row in table.rows
    ]
    good = tuple(row for row in read if isinstance(row, RawRow))
    unread = tuple(row for row in read if not isinstance(row, RawRow))
    if not good:
        why = f": {unread[0].reason}" if unread else ""
        raise BadData(f"{source}: no row can be read{why}.")
    return Peek(tables[0].name, settings, _columns(tables, good), good, unread)


def sniff(
    source: str,
    folder: Path,
    cache: Path,
    progress: Progress = silent,
    given: Mapping[str, Any] = MappingProxyType({}),
) -> dict[str, Any]:
    """Return the keys of `data` that the beginnings of files suggest, by the ones that are `given`.

    Raises:
        BadData: a file is missing.
        SourceUnavailable: a download failed.
    """
    settings: dict[str, Any] = {}
    encodings: list[str | None] = []
    for place in files_of(source, folder):
        if isinstance(place, TextFolder) or is_hub(place):
            continue
        with open_source(place, folder, cache, progress) as file:
            found = _settings(file.name, file.stream.read(_HEAD), given.get("delimiter"))
        encodings.append(found.pop("encoding", None))
        settings |= found
    # Files show these encodings by themselves; the key is for people, and would be wrong for a mixture.
    if len(set(encodings)) == 1 and encodings[0]:
        settings["encoding"] = encodings[0]
    return settings


def _read(table: Table, progress: Progress) -> Table:
    """Read the rows while the file is open."""
    rows = []
    for count, row in enumerate(table.rows, 1):
        rows.append(row)
        if count % _REPORT_EVERY == 0:
            progress(f"read {table.name}", count, 0)
    progress(f"read {table.name}", len(rows), len(rows))
    return Table(table.name, table.columns, iter(rows))


def _columns(tables: list[Table], rows: tuple[RawRow, ...]) -> tuple[Column, ...]:
    named = [table.columns for table in tables if table.columns is not None]
    if len(named) == len(tables):
        columns = tuple(dict.fromkeys(itertools.chain(*named)))
    else:
        keys = dict.fromkeys(key for row in rows for key in row.values)
        # Sentences of CoNLL files have their columns by name and by number.
        columns = tuple(key for key in keys if isinstance(key, str)) or tuple(keys)
    copies = [name for name in _SIDES if name in columns and _has_copy(name, columns, rows)]
    return tuple(column for column in columns if column not in copies)


def _has_copy(name: str, columns: Sequence[Column], rows: Sequence[RawRow]) -> bool:
    """Return whether another column, named after its language, holds the same as `source` or `target`."""
    return any(
        all(row.values.get(other) == row.values.get(name) for row in rows)
        for other in columns
        if other not in _SIDES
    )


def _settings(name: str, head: bytes, delimiter: str | None = None) -> dict[str, Any]:
    """Return the keys of `data` that differ from their defaults for a file that starts so."""
    known = next((kind for suffix, kind in SUFFIXES.items() if name.endswith(suffix)), None)
    if known in ("parquet", "tmx"):
        return {}
    encoding, mark = recognize(head) or ("utf-8", 0)
    text = head[mark:].decode(encoding, errors="replace")
    lines = [line for line in re.split(r"\r\n?|\n", text) if line.strip()] or [""]
    kind = known or _format(lines[0])
    settings: dict[str, Any] = {} if known else {"format": kind}
    if encoding != "utf-8":
        settings["encoding"] = encoding
    if kind not in ("csv", "tsv"):
        return settings
    usual = "," if kind == "csv" else "\t"
    if named := named_delimiter(lines[0]):
        delimiter, lines = delimiter or named, lines[1:] or [""]
    elif delimiter is None:
        delimiter = usual if usual in lines[0] else max(";\t|,", key=lines[0].count)
        if delimiter != usual and delimiter in lines[0]:
            settings["delimiter"] = delimiter
    cells = next(csv.reader(lines[:1], delimiter=delimiter), [])
    return settings if all(map(_is_name, cells)) else {**settings, "header": False}


def _format(first: str) -> str:
    if first.lstrip().startswith(("{", "[")):
        return "jsonl" if first.lstrip().startswith("{") and first.rstrip().endswith("}") else "json"
    return "tsv" if "\t" in first else "csv"


def _is_name(cell: str) -> bool:
    """Tell whether a cell of the first line may be the name of a column."""
    number = cell.strip().lstrip("+-").replace(".", "", 1).isdecimal()
    return not number and len(cell) <= _LONGEST_NAME and len(cell.split()) <= 5

"""Sniffs data without a recipe: how to read it, its columns, and its first rows."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain, islice
from pathlib import Path, PurePath
from types import MappingProxyType
from typing import Any

from hub.api.kinds.reader import RawRow, TableRow
from hub.data.read.delimited import named_delimiter
from hub.data.read.encodings import recognize
from hub.data.read.folders import files_of, open_place
from hub.data.read.sources import open_source
from hub.data.read.tables import FileFolder, is_url, reader_of, suffixes
from hub.errors import BadData
from hub.progress import Progress, silent
from hub.recipe.recipe import Data, Part

__all__ = ["Column", "Sniff", "sniff", "sniff_settings"]

Column = str | int
_HEAD_BYTES = 1 << 16  # from which the format is detected
MAX_NAME_CHARS = 60  # of a column
MAX_PER_FILE, MAX_ROWS = 2000, 20_000
_REPORT_EVERY = 2000  # rows
_PLAIN = frozenset({"", ".txt", ".text", ".data", ".dat", ".tab"})  # they do not name the format of a text
_SIDES = ("source", "target")  # columns of a translation file


@dataclass(frozen=True, slots=True)
class Sniff:
    """The first rows of data; `settings` are the keys of the recipe's section `data` needed to read it.

    `rows` are the readable ones among the first MAX_PER_FILE rows of each file, at most MAX_ROWS in all.
    """

    name: str
    settings: dict[str, Any]
    columns: tuple[Column, ...]
    rows: tuple[RawRow, ...]
    source: str
    folder: Path
    cache: Path

    def values(self, column: Column) -> Iterator[Any]:
        """Yield the column's values in `rows`, None where a row has none."""
        return (row.values.get(column) for row in self.rows)

    def stream(self, progress: Progress = silent) -> Iterator[TableRow]:
        """Read the data again and yield all rows; with more than one file, each row names its file."""
        data = Data(source=(Part.model_validate({"from": self.source}),), **self.settings)
        places = files_of(self.source, self.folder)
        for place in places:
            count = 0
            with open_place(place, self.folder, data, self.cache, progress) as table:
                for count, row in enumerate(table.rows, 1):
                    yield replace(row, source=row.source or table.name) if len(places) > 1 else row
                    if count % _REPORT_EVERY == 0:
                        progress(f"read {table.name}", count, 0)
            progress(f"read {table.name}", count, count)


def sniff(
    source: str,
    folder: Path,
    cache: Path,
    progress: Progress = silent,
    given: Mapping[str, Any] = MappingProxyType({}),
) -> Sniff:
    """Read the first rows of any source that a recipe may name, such as a file or a folder.

    `given` holds keys of `data` that are fixed; the others are detected.

    Raises:
        BadData: the source is missing, of an unknown format, or has no readable rows.
        SourceUnavailable: a download failed.
    """
    settings = {**sniff_settings(source, folder, cache, progress, given), **given}
    data = Data(source=(Part.model_validate({"from": source}),), **settings)
    name, reason = "", ""
    named: list[tuple[Column, ...] | None] = []
    rows: list[RawRow] = []
    for place in files_of(source, folder):
        with open_place(place, folder, data, cache, progress) as table:
            name = name or table.name
            named.append(table.columns)
            for row in islice(table.rows, min(MAX_PER_FILE, MAX_ROWS - len(rows))):
                if isinstance(row, RawRow):
                    rows.append(row)
                else:
                    reason = reason or f": {row.reason}"
    if not rows:
        raise BadData(f"{source}: no row can be read{reason}.")
    return Sniff(name, settings, _columns(named, rows), tuple(rows), source, folder, cache)


def sniff_settings(
    source: str,
    folder: Path,
    cache: Path,
    progress: Progress = silent,
    given: Mapping[str, Any] = MappingProxyType({}),
) -> dict[str, Any]:
    """Detect the keys of `data` from the beginning of each file; `given` holds keys that are fixed.

    Raises:
        BadData: a file is missing, or its suffix is unknown.
        SourceUnavailable: a download failed.
    """
    settings: dict[str, Any] = {}
    encodings: list[str | None] = []
    for place in files_of(source, folder):
        if isinstance(place, FileFolder) or is_url(place):
            continue
        with open_source(place, folder, cache, progress) as file:
            found = _settings(file.name, file.stream.read(_HEAD_BYTES), given)
        encodings.append(found.pop("encoding", None))
        settings |= found
    # Reading detects these encodings too; the key is for readers, and would be wrong for mixed encodings.
    if len(set(encodings)) == 1 and encodings[0]:
        settings["encoding"] = encodings[0]
    return settings


def _columns(named: Sequence[tuple[Column, ...] | None], rows: Sequence[RawRow]) -> tuple[Column, ...]:
    known = [columns for columns in named if columns is not None]
    if len(known) == len(named):
        columns = tuple(dict.fromkeys(chain(*known)))
    else:
        keys = dict.fromkeys(key for row in rows for key in row.values)
        # CoNLL sentences have their columns both by name and by number.
        columns = tuple(key for key in keys if isinstance(key, str)) or tuple(keys)
    copies = [name for name in _SIDES if name in columns and _has_copy(name, columns, rows)]
    return tuple(column for column in columns if column not in copies)


def _has_copy(name: str, columns: Sequence[Column], rows: Sequence[RawRow]) -> bool:
    """Return whether another column, named after its language, is a copy of `source` or `target`."""
    return any(
        all(row.values.get(other) == row.values.get(name) for row in rows)
        for other in columns
        if other not in _SIDES
    )


def _settings(name: str, head: bytes, given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the keys of `data` that differ from their defaults, for a file that starts with `head`."""
    delimiter = given.get("delimiter")
    known = reader_of(name)
    if known and not known.text:
        return {}
    encoding, mark = recognize(head) or ("utf-8", 0)
    text = head[mark:].decode(encoding, errors="replace")
    lines = [line for line in re.split(r"\r\n?|\n", text) if line.strip()] or [""]
    kind = known.name if known else given.get("format") or _format(name, lines[0], delimiter)
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


def _format(name: str, first: str, delimiter: str | None) -> str:
    """Detect the format of a text without a telling name from its first line; a delimiter makes it a table.

    Raises:
        BadData: the name has a suffix that no reader has.
    """
    suffix = PurePath(name).suffix
    if suffix not in _PLAIN and delimiter is None:
        raise BadData(
            f"{name}: no reader has the suffix {suffix}. There are {', '.join(suffixes())}; a name without "
            "one, or with .txt, is read as text. Rename the file, or set data.format in a recipe. A plugin "
            "can add a reader."
        )
    if first.lstrip().startswith(("{", "[")):
        return "jsonl" if first.lstrip().startswith("{") and first.rstrip().endswith("}") else "json"
    return "tsv" if "\t" in first else "csv"


def _is_name(cell: str) -> bool:
    number = cell.strip().lstrip("+-").replace(".", "", 1).isdecimal()
    return not number and len(cell) <= MAX_NAME_CHARS and len(cell.split()) <= 5

"""Opens data files and URLs as tables, by the readers that plugins provide."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any

from hub.api import BadData, InvalidRow, NotFound, RawRow, Reader, ReaderSpec, ReadOptions, Table
from hub.api.kinds.reader import FilteredRow, TableRow
from hub.data.read.encodings import as_utf8, encodable, has_nul
from hub.data.read.sources import fetches, scheme_of
from hub.errors import BadPlugin
from hub.recipe.recipe import Data
from hub.registry.active import active
from hub.registry.kinds import READERS
from hub.registry.loaded import extension_call

__all__ = [
    "FileFolder",
    "checked_table",
    "is_url",
    "open_folder",
    "open_table",
    "open_url",
    "reader_of",
    "suffixes",
]

MAX_COLUMNS = 4096


@dataclass(frozen=True, slots=True)
class FileFolder:
    """A folder of files that one reader reads as a whole; `key` is that of the reader."""

    path: Path
    files: tuple[Path, ...]
    key: str


def open_table(name: str, stream: IO[bytes], data: Data, languages: tuple[str, str] | None = None) -> Table:
    """Return the rows of a data file; its format is given in `data` or derived from its name.

    `languages` is the pair to read from a multilingual file.

    Raises:
        BadData: the format is unknown, or the file as a whole does not have it.
        BadPlugin: the reader of a plugin failed.
    """
    extensions = active().extensions
    spec = extensions.specs(READERS).get(data.format) if data.format != "auto" else reader_of(name)
    if spec is None:
        if data.format != "auto":
            raise BadData(str(NotFound.of("reader", data.format, extensions.specs(READERS))))
        raise BadData(
            f"{name}: has an unknown format. Set data.format, or name it *{', *'.join(suffixes())}."
        )
    key = data.format if data.format != "auto" else _suffix_of(name)
    reader, options = extensions.get(READERS, key), _options(data, languages)
    if type(reader).read is Reader.read:
        raise BadData(f"{name}: the reader {spec.name!r} reads no single files (data.format).")
    content = as_utf8(name, stream, data.encoding) if spec.text and spec.utf8 else stream
    with extension_call(READERS.word, spec.name, f"read() on {name}"):
        table = reader.read(name, content, options)
    return checked_table(_of_reader(spec, table))


def open_url(url: str, data: Data, languages: tuple[str, str] | None = None) -> Table:
    """Return the rows of a source for which `is_url` is true.

    Raises:
        BadData, SourceUnavailable: as its reader.
        BadPlugin: the reader of a plugin failed.
    """
    extensions = active().extensions
    scheme = scheme_of(url)
    if scheme not in extensions.keys(READERS):
        known = sorted(key for key in extensions.keys(READERS) if key.endswith(":"))
        raise BadData(f"{url}: no reader has the scheme {scheme} There are {', '.join(known)}")
    spec = extensions.keys(READERS)[scheme]
    reader = extensions.get(READERS, scheme)
    with extension_call(READERS.word, spec.name, f"read_url() on {scheme}"):
        table = reader.read_url(url, _options(data, languages))
    return checked_table(_of_reader(spec, table))


def open_folder(place: FileFolder, data: Data) -> Table:
    """Return the rows of a folder that one reader reads as a whole; raises as `open_url`."""
    extensions = active().extensions
    spec, reader = extensions.keys(READERS)[place.key], extensions.get(READERS, place.key)
    with extension_call(READERS.word, spec.name, f"read_folder() on {place.path.name}"):
        table = reader.read_folder(place.path, place.files, _options(data, None))
    return checked_table(_of_reader(spec, table))


def is_url(location: str) -> bool:
    """Return whether a reader opens this location itself, by its scheme; else it is a file or a folder."""
    scheme = scheme_of(location)
    if not scheme or fetches(scheme):
        return False
    return location[len(scheme) :].startswith("//") or scheme in active().extensions.keys(READERS)


def suffixes() -> list[str]:
    """Return the endings of file names that can be read, without `.gz`."""
    return [key for key in active().extensions.keys(READERS) if key.startswith(".")]


def reader_of(name: str) -> ReaderSpec | None:
    """Return the reader for a file by the ending of its lower-case name, without `.gz`; None if unknown."""
    suffix = _suffix_of(name)
    return active().extensions.keys(READERS)[suffix] if suffix else None


def _suffix_of(name: str) -> str:
    """Return the longest suffix of a reader that the name ends in, or ""."""
    return max((suffix for suffix in suffixes() if name.endswith(suffix)), key=len, default="")


def _options(data: Data, languages: tuple[str, str] | None) -> ReadOptions:
    return ReadOptions(data.encoding, data.header, data.delimiter, data.quotes, languages)


def _of_reader(spec: ReaderSpec, table: object) -> Table:
    """Return the table with rows that raise BadPlugin for any error of the reader but a HubError."""
    if not isinstance(table, Table):
        raise BadPlugin(f"Reader {spec.name!r} returned {type(table).__name__}, not a Table.")
    return Table(table.name, table.columns, _rows_of(spec, table))


def _rows_of(spec: ReaderSpec, table: Table) -> Iterator[TableRow]:
    rows = table.rows
    try:
        with extension_call(READERS.word, spec.name, f"the rows of {table.name}"):
            for row in rows:
                if not isinstance(row, RawRow | InvalidRow | FilteredRow):
                    raise BadPlugin(
                        f"Reader {spec.name!r} yields {type(row).__name__}: yield RawRow, InvalidRow or "
                        "FilteredRow."
                    )
                yield row
    finally:
        if close := getattr(rows, "close", None):
            close()  # a generator of the reader may hold a connection


def checked_table(table: Table) -> Table:
    """Make rows with NUL characters, too many columns or levels invalid, and names such that UTF-8 has them.

    Raises:
        BadData: the table has more than MAX_COLUMNS columns.
    """
    if table.columns is not None and len(table.columns) > MAX_COLUMNS:
        raise BadData(f"{table.name}: {_too_wide(len(table.columns))}. Is data.delimiter right?")
    return Table(encodable(table.name), table.columns, map(_checked, table.rows))


def _checked(row: TableRow) -> TableRow:
    if not row.source.isascii() and (name := encodable(row.source)) != row.source:
        row = replace(row, source=name)  # a file whose name is in another encoding
    if not isinstance(row, RawRow):
        return row
    if not all(map(_is_encodable, row.values)):
        row = replace(row, values={encodable(str(name)): value for name, value in row.values.items()})
    if len(row.values) > MAX_COLUMNS:
        return InvalidRow(row.line, _too_wide(len(row.values)), row.source)
    try:
        return InvalidRow(row.line, "has a NUL character", row.source) if has_nul(row.values) else row
    except RecursionError:
        return InvalidRow(row.line, "is nested too deeply", row.source)


def _is_encodable(name: Any) -> bool:
    return not isinstance(name, str) or name.isascii() or encodable(name) == name


def _too_wide(columns: int) -> str:
    return f"has {columns:,} columns, and at most {MAX_COLUMNS:,} are read"

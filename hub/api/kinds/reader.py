"""Data readers: a file suffix or a URL scheme to rows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from hub.api.kinds.base_source import PullProgress
from hub.api.kinds.extension import Extension, ExtensionSpec, SettingsT


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


TableRow = RawRow | InvalidRow | FilteredRow


@dataclass(frozen=True, slots=True)
class Table:
    """The rows of one source; `columns` is None if each row has its own, and numbers without a header.

    If `rows` is a generator, it is closed when the table has been read or is not needed any more.
    """

    name: str
    columns: tuple[str | int, ...] | None
    rows: Iterator[TableRow]


@dataclass(frozen=True, slots=True)
class ReadOptions:
    """How the recipe's section `data` says to read a file; `languages` is a pair for multilingual files."""

    encoding: str | None = None
    header: bool = True
    delimiter: str | None = None
    quotes: bool | None = None
    languages: tuple[str, str] | None = None


@dataclass(frozen=True, slots=True)
class ReaderSpec(ExtensionSpec):
    """A data reader; its name is a value of the recipe's `data.format`.

    `suffixes` are lower-case endings of file names, such as ".mbox"; files may also be packed (".mbox.gz").
    `schemes` are the beginnings of sources, such as "imap" for imap://host/folder. `text`: its files are
    text, whose encoding is detected or given in `data.encoding`. `utf8`: of a text, `stream` is UTF-8; else,
    as of a file that is no text, it is the bytes of the file.

    `folders` are endings of file names too: a folder with files of one of them, or of several, is read as a
    whole. With `fetches`, a source with one of the schemes is a file, which any reader may read by its name.
    """

    suffixes: tuple[str, ...] = ()
    schemes: tuple[str, ...] = ()
    text: bool = True
    utf8: bool = True
    folders: tuple[str, ...] = ()
    fetches: bool = False


@dataclass(frozen=True, slots=True)
class SourceFile:
    """An open data file; `name`, without `.gz`, determines its format."""

    name: str
    stream: IO[bytes]


@dataclass(frozen=True, slots=True)
class FetchRequest:
    """A folder that keeps what was fetched, for all sources and later runs, and what shows the progress."""

    cache: Path
    progress: PullProgress


class Reader(Extension[SettingsT]):
    """Reads the rows of a file, for a spec with suffixes; of a URL, for one with schemes; of a folder.

    Raise `BadData` if the file as a whole does not have the format; yield an `InvalidRow` for a bad row.
    """

    def read(self, name: str, stream: IO[bytes], options: ReadOptions) -> Table:
        """Return the rows of a file; `stream` is its unpacked content, and is read in order, once."""
        raise NotImplementedError

    def read_url(self, url: str, options: ReadOptions) -> Table:
        """Return the rows of a source whose scheme is one of the spec's."""
        raise NotImplementedError

    def read_folder(self, folder: Path, files: Sequence[Path], options: ReadOptions) -> Table:
        """Return the rows of a folder.

        `files` are those with one of the endings in order of name, all in the folder or all in its
        subfolders.
        """
        raise NotImplementedError

    def open_url(self, url: str, request: FetchRequest) -> AbstractContextManager[SourceFile]:
        """Open the file behind a source whose scheme is one of the spec's, for a spec that `fetches`.

        Raises:
            BadRequest, NotFound, SourceUnavailable: the source is not valid, or is not there, or cannot be
                reached.
        """
        raise NotImplementedError

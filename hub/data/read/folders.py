"""Opens the data files of a source; a folder has data files in order of name, or one text file per row."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from hub.api import MAX_TEXT
from hub.api.kinds.reader import InvalidRow, RawRow, Table, TableRow
from hub.data.read.encodings import MIN_BAD, decode, not_utf8
from hub.data.read.sources import open_source
from hub.data.read.tables import is_url, open_table, open_url, reader_of, suffixes
from hub.errors import BadData
from hub.progress import Progress, silent
from hub.recipe.recipe import Data
from hub.untrusted import open_regular

__all__ = ["ExampleFolder", "Place", "TextFolder", "files_of", "folder_of", "open_place"]

_TEXT = ".txt"
_MAX_TEXT_BYTES = 4 * MAX_TEXT


@dataclass(frozen=True, slots=True)
class TextFolder:
    """A folder of text files; `labelled`: the files are in one subfolder per label."""

    path: Path
    files: tuple[Path, ...]
    labelled: bool


@dataclass(frozen=True, slots=True)
class ExampleFolder:
    """A folder with a subfolder per label; each file is an example, as the spec of its reader says."""

    path: Path
    files: tuple[Path, ...]


Place = str | TextFolder | ExampleFolder


def files_of(location: str, folder: Path) -> Sequence[Place]:
    """Return the files of a source: the source itself, or the contents of a folder.

    Raises:
        BadData: a folder has no readable file, or files of two kinds.
    """
    path = folder / Path(location).expanduser()
    if location.startswith("pypi:") or is_url(location) or not path.is_dir():
        return [location]
    try:
        inside = sorted(entry for entry in path.iterdir() if not entry.name.startswith("."))
        tables = [str(entry) for entry in inside if entry.is_file() and _is_table(entry.name)]
        loose = [entry for entry in inside if entry.is_file() and entry.suffix.lower() == _TEXT]
        deeper = [file for entry in inside if entry.is_dir() for file in _files_in(entry)]
    except OSError as error:
        raise BadData(f"{path}: cannot be read: {error.strerror}.") from None
    below = [file for file in deeper if file.suffix.lower() == _TEXT]
    examples = [file for file in deeper if _is_example(file.name)]
    found = {
        "data files": tables,
        "text files": loose,
        "text files in a subfolder per label": below,
        "other examples in a subfolder per label": examples,
    }
    kinds = [kind for kind, files in found.items() if files]
    if not kinds:
        endings = ", ".join([*suffixes(), _TEXT])
        raise BadData(f"{path}: has no data file: no name ends in {endings}, with or without .gz.")
    if len(kinds) > 1:
        raise BadData(f"{path}: has {' and '.join(kinds)}. Name the files or a folder with one kind.")
    if examples:
        return [ExampleFolder(path, tuple(examples))]
    return tables or [TextFolder(path, tuple(loose or below), labelled=bool(below))]


def folder_of(place: Place, folder: Path) -> Path | None:
    """Return the folder of a data file, below which its cells may name files; None if it has none."""
    if not isinstance(place, str):
        return place.path
    if place.startswith("pypi:") or is_url(place):
        return None
    return (folder / Path(place).expanduser()).parent


@contextmanager
def open_place(
    place: Place,
    folder: Path,
    data: Data,
    cache: Path,
    progress: Progress = silent,
    languages: tuple[str, str] | None = None,
) -> Iterator[Table]:
    """Open one item of `files_of` as a table; `data` says how to read it.

    A table of a `TextFolder` has a row per file, with its `text`, and the name of its subfolder as `label`.
    One of an `ExampleFolder` has the rows of its files, with the name of their subfolder as `label`.
    `languages` is the pair to read from a multilingual file.

    Raises:
        BadData: the file is missing or does not have its format.
        SourceUnavailable: a download failed.
    """
    if isinstance(place, TextFolder):
        columns = ("text", "label") if place.labelled else ("text",)
        yield Table(place.path.name, columns, _rows(place, data.encoding))
    elif isinstance(place, ExampleFolder):
        yield Table(place.path.name, None, _examples(place, data, cache))
    elif is_url(place):
        yield open_url(place, data, languages)
    else:
        with open_source(place, folder, cache, progress) as file:
            yield open_table(file.name, file.stream, data, languages)


def _rows(folder: TextFolder, encoding: str | None) -> Iterator[TableRow]:
    """Yield the rows; raise BadData if most texts with non-ASCII characters are not UTF-8."""
    good, bad = 0, list[BadData]()
    for path in folder.files:
        name = path.relative_to(folder.path).as_posix()
        try:
            with open_regular(path) as file:
                raw = file.read(_MAX_TEXT_BYTES + 1)
        except OSError as error:
            yield InvalidRow(1, f"cannot be read: {error.strerror}", name)
            continue
        if len(raw) > _MAX_TEXT_BYTES:
            yield InvalidRow(1, f"has more than {_MAX_TEXT_BYTES:,} bytes", name)
            continue
        try:
            text = decode(str(path), raw, encoding)
        except UnicodeDecodeError as error:
            line = raw.count(b"\n", 0, error.start) + 1
            bad.append(not_utf8(str(path), raw))
            yield InvalidRow(line, "is not UTF-8 text", name)
            continue
        if "\0" in text:
            yield InvalidRow(text.count("\n", 0, text.index("\0")) + 1, "has a NUL character", name)
            continue
        good += not text.isascii()
        label = {"label": path.parent.name} if folder.labelled else {}
        yield RawRow(1, {"text": text, **label}, name)
    if len(bad) >= MIN_BAD and len(bad) > good:
        raise bad[0]


def _examples(folder: ExampleFolder, data: Data, cache: Path) -> Iterator[TableRow]:
    """Yield the rows of each file; a file that does not have its format is an invalid row."""
    for path in folder.files:
        name = path.relative_to(folder.path).as_posix()
        try:
            with open_source(str(path), folder.path, cache) as file:
                for row in open_table(file.name, file.stream, data).rows:
                    if isinstance(row, RawRow):
                        yield RawRow(row.line, {**row.values, "label": path.parent.name}, name)
                    else:
                        yield replace(row, source=name)
        except BadData as error:
            yield InvalidRow(1, str(error).rstrip("."), name)


def _is_table(name: str) -> bool:
    return name.lower().removesuffix(".gz").endswith(tuple(suffixes()))


def _is_example(name: str) -> bool:
    reader = reader_of(name.lower())
    return reader is not None and reader.example


def _files_in(folder: Path) -> list[Path]:
    if folder.name.startswith("."):
        return []
    return sorted(path for path in folder.iterdir() if path.is_file())

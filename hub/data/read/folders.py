"""A folder as a source: its data files in the order of their names, or a text file for each row."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from hub.api import MAX_TEXT
from hub.data.read.encodings import MIN_BAD, decode, not_utf8
from hub.data.read.rows import InvalidRow, RawRow, Row, Table
from hub.data.read.tables import SUFFIXES
from hub.errors import BadData
from hub.untrusted import open_regular

__all__ = ["TextFolder", "files_of", "text_table"]

_TEXT = ".txt"
_BYTES = 4 * MAX_TEXT  # of the longest text that a row may have


@dataclass(frozen=True, slots=True)
class TextFolder:
    """A folder of text files; `labelled`: in one folder below it for each label."""

    path: Path
    files: tuple[Path, ...]
    labelled: bool


def files_of(location: str, folder: Path) -> Sequence[str | TextFolder]:
    """Return what a source is read from: itself, or if it is a folder what that holds.

    Raises:
        BadData: a folder holds nothing that can be read, or rows of two kinds.
    """
    path = folder / Path(location).expanduser()
    if location.startswith(("hf:", "pypi:")) or not path.is_dir():
        return [location]
    try:
        inside = sorted(entry for entry in path.iterdir() if not entry.name.startswith("."))
        tables = [str(entry) for entry in inside if entry.is_file() and _is_table(entry.name)]
        loose = [entry for entry in inside if entry.is_file() and entry.suffix.lower() == _TEXT]
        below = [text for entry in inside if entry.is_dir() for text in _texts_in(entry)]
    except OSError as error:
        raise BadData(f"{path}: cannot be read: {error.strerror}.") from None
    found = {
        "data files": tables,
        "text files": loose,
        "text files in a folder for each label": below,
    }
    kinds = [kind for kind, files in found.items() if files]
    if not kinds:
        endings = ", ".join([*SUFFIXES, _TEXT])
        raise BadData(f"{path}: holds no file to read: nothing ends in {endings}, with or without .gz.")
    if len(kinds) > 1:
        raise BadData(f"{path}: holds {' and '.join(kinds)}. Name the files or a folder with one kind.")
    return tables or [TextFolder(path, tuple(loose or below), labelled=bool(below))]


def text_table(folder: TextFolder, encoding: str | None = None) -> Table:
    """Return a row for each text file, with its `text`, and its folder's name as `label`.

    `encoding` is used for files that do not show their own; None: UTF-8.
    """
    columns = ("text", "label") if folder.labelled else ("text",)
    return Table(folder.path.name, columns, _rows(folder, encoding))


def _rows(folder: TextFolder, encoding: str | None) -> Iterator[Row]:
    """Yield the rows.

    Raises:
        BadData: more of the texts with non-ASCII characters have another encoding than have UTF-8.
    """
    good, bad = 0, list[BadData]()
    for path in folder.files:
        name = path.relative_to(folder.path).as_posix()
        try:
            with open_regular(path) as file:
                raw = file.read(_BYTES + 1)
        except OSError as error:
            yield InvalidRow(1, f"cannot be read: {error.strerror}", name)
            continue
        if len(raw) > _BYTES:
            yield InvalidRow(1, f"has more than {_BYTES:,} bytes", name)
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


def _is_table(name: str) -> bool:
    return name.lower().removesuffix(".gz").endswith(tuple(SUFFIXES))


def _texts_in(folder: Path) -> list[Path]:
    if folder.name.startswith("."):
        return []
    return sorted(path for path in folder.iterdir() if path.is_file() and path.suffix.lower() == _TEXT)

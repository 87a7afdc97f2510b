"""A folder of texts: a file for each row, in a subfolder for each label."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from hub.api import MAX_TEXT, BadData, InvalidRow, RawRow, Table, TableRow
from hub.data.read.encodings import MIN_BAD, decode, not_utf8
from hub.untrusted import open_regular

__all__ = ["text_files"]

_MAX_TEXT_BYTES = 4 * MAX_TEXT


def text_files(folder: Path, files: Sequence[Path], encoding: str | None) -> Table:
    """Return a row per file, with its `text`, and the name of its subfolder, if it is in one, as `label`."""
    labelled = files[0].parent != folder
    columns = ("text", "label") if labelled else ("text",)
    return Table(folder.name, columns, _rows(folder, files, encoding, labelled=labelled))


def _rows(folder: Path, files: Sequence[Path], encoding: str | None, *, labelled: bool) -> Iterator[TableRow]:
    """Yield the rows; raise BadData if most texts with non-ASCII characters are not UTF-8."""
    good, bad = 0, list[BadData]()
    for path in files:
        name = path.relative_to(folder).as_posix()
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
        label = {"label": path.parent.name} if labelled else {}
        yield RawRow(1, {"text": text, **label}, name)
    if len(bad) >= MIN_BAD and len(bad) > good:
        raise bad[0]

"""The reader of folders of images."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Sequence
from pathlib import Path

from hub.api import InvalidRow, NoOptions, RawRow, Reader, ReadOptions, Table

__all__ = ["ImageReader"]

MAX_FILE_BYTES = 32 << 20  # the task has lower limits, which it reports by row


class ImageReader(Reader[NoOptions]):
    """A file is a row: `image`, in base64, and `label`, the subfolder that it is in."""

    def read_folder(self, folder: Path, files: Sequence[Path], options: ReadOptions) -> Table:
        labelled = files[0].parent != folder
        return Table(folder.name, ("image", "label") if labelled else ("image",), _rows(folder, files))


def _rows(folder: Path, files: Sequence[Path]) -> Iterator[RawRow | InvalidRow]:
    for path in files:
        name = path.relative_to(folder).as_posix()
        try:
            with path.open("rb") as file:
                data = file.read(MAX_FILE_BYTES + 1)
        except OSError as error:
            yield InvalidRow(1, f"cannot be read: {error.strerror}", name)
            continue
        if len(data) > MAX_FILE_BYTES:
            yield InvalidRow(1, f"has more than {MAX_FILE_BYTES:,} bytes", name)
            continue
        label = {} if path.parent == folder else {"label": path.parent.name}
        yield RawRow(1, {"image": base64.b64encode(data).decode("ascii"), **label}, name)

"""The reader of image files."""

from __future__ import annotations

import base64
from typing import IO

from hub.api import BadData, NoOptions, RawRow, Reader, ReadOptions, Table

__all__ = ["ImageReader"]

MAX_FILE_BYTES = 32 << 20  # the task has lower limits, which it reports by row


class ImageReader(Reader[NoOptions]):
    """A file is one row: `image`, in base64."""

    def read(self, name: str, stream: IO[bytes], options: ReadOptions) -> Table:
        data = stream.read(MAX_FILE_BYTES + 1)
        if len(data) > MAX_FILE_BYTES:
            raise BadData(f"{name}: has more than {MAX_FILE_BYTES:,} bytes.")
        image = base64.b64encode(data).decode("ascii")
        return Table(name, ("image",), iter([RawRow(1, {"image": image})]))

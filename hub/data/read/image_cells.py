"""Reads the images that cells name by a path."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

from hub.untrusted import open_regular

__all__ = [
    "MAX_IMAGE_BYTES",
    "MAX_IMAGE_CHARS",
    "UnreadableImage",
    "encoded",
    "read_image_cell",
    "takes_file",
]

MAX_IMAGE_BYTES = 32 << 20  # of one file; the task has limits of its own
MAX_IMAGE_CHARS = MAX_IMAGE_BYTES * 4 // 3 + 100  # in base64, after the beginning of a data URL


class UnreadableImage(Exception):
    """The message is the reason, to follow the name of the field, and quotes none of the cell."""


def encoded(value: Any) -> Any:
    """Return the bytes in `{"bytes": ...}`, or bytes, in base64; any other value unchanged."""
    data = value.get("bytes") if isinstance(value, Mapping) else value
    return base64.b64encode(data).decode("ascii") if isinstance(data, bytes) else value


def takes_file(schema: Mapping[str, Any]) -> bool:
    """Return whether a field with this JSON Schema takes a file in base64."""
    return any(one.get("contentEncoding") == "base64" for one in (schema, *schema.get("anyOf", ())))


def read_image_cell(value: Any, folder: Path | None) -> Any:
    """Return the file, in base64, that a cell names by a path relative to `folder`; else the cell unchanged.

    A cell with a dot is a path, unless it is a data URL: base64 has none. `folder` is that of the data file,
    None if it has none.

    Raises:
        UnreadableImage: the path leads out of the folder, or the file cannot be read.
    """
    if not isinstance(value, str) or value.lower().startswith("data:") or "." not in value:
        return value
    if "://" in value:
        raise UnreadableImage("is an address, and nothing is fetched: name a file, or give it in base64")
    if folder is None:
        raise UnreadableImage("is a path, and its data file is in no folder")
    path, root = PurePosixPath(value.strip()), folder.resolve()
    found = (root / path).resolve()
    if path.is_absolute() or PureWindowsPath(value).drive or not found.is_relative_to(root):
        raise UnreadableImage("is a path that leads out of the folder of its data file")
    try:
        with open_regular(found, follow_link=False) as file:
            data = file.read(MAX_IMAGE_BYTES + 1)
    except OSError as error:
        raise UnreadableImage(f"cannot be read: {error.strerror}") from None
    except ValueError:  # an embedded NUL
        raise UnreadableImage("is not a path") from None
    if len(data) > MAX_IMAGE_BYTES:
        raise UnreadableImage(f"is a file of more than {MAX_IMAGE_BYTES:,} bytes")
    return base64.b64encode(data).decode("ascii")

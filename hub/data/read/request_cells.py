"""Makes the request of a task from the cells of a row."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hub.data.read.image_cells import UnreadableImage, encoded, read_image_cell, takes_file

__all__ = ["UnusableCells", "column_name", "request_fields"]

Schema = Mapping[str, Any]


class UnusableCells(Exception):
    """A row makes no request; the message is the reason and quotes none of its text."""


def request_fields(
    cells: Mapping[str, Any], schema: Schema, columns: Mapping[str, str], folder: Path | None
) -> dict[str, Any]:
    """Return the fields of a request whose JSON Schema is `schema`.

    `columns` has the column of a field; others have that of their own name. A cell may name an image by a
    path in `folder`, the folder of the data file.

    Raises:
        UnusableCells: an image cannot be read, or a value cannot be sent as JSON.
    """
    fields: dict[str, Any] = {}
    for name, about in schema["properties"].items():
        value = cells.get(columns.get(name, name))
        if value is None or (value == "" and name not in schema.get("required", [])):
            continue
        try:
            fields[name] = (
                read_image_cell(encoded(value), folder) if takes_file(about) else _typed(value, about)
            )
        except UnreadableImage as error:
            raise UnusableCells(f"{name} {error}") from None
    try:
        json.dumps(fields, ensure_ascii=False).encode()
    except (UnicodeEncodeError, TypeError, ValueError):
        raise UnusableCells("is not valid UTF-8, or no JSON value") from None
    return fields


def column_name(column: str | int, known: tuple[str | int, ...] | None) -> str:
    """Return the name of a column that is given by name or by index."""
    return str(known[column] if isinstance(column, int) and known and column < len(known) else column)


def _typed(value: Any, about: Schema) -> Any:
    """Parse the text of a cell if the field takes a number or boolean."""
    kinds = {about.get("type"), *(option.get("type") for option in about.get("anyOf", []))}
    if isinstance(value, str) and "string" not in kinds:
        try:
            return json.loads(value)
        except ValueError:
            return value
    return value

"""Options of the commands that read data files without a recipe, and files that are given as an argument."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from hub.cli.pairs import pairs
from hub.data.read.image_cells import UnreadableImage, read_image_cell
from hub.errors import BadRequest

if TYPE_CHECKING:
    from hub.data.profile.read_options import Reading

__all__ = ["COLUMN", "DELIMITER", "ENCODING", "HEADER", "SEPARATOR", "file_or_text", "reading"]

COLUMN: Any = typer.Option(
    "--column", metavar="FIELD=COLUMN", help="Column of a field of the task; repeatable."
)
DELIMITER: Any = typer.Option(metavar="CHAR", help="Column delimiter; `\\t` for tab.")
HEADER: Any = typer.Option("--header/--no-header", help="Whether the first line holds the column names.")
ENCODING: Any = typer.Option(metavar="NAME", help="Text encoding of the file, such as cp1252.")
SEPARATOR: Any = typer.Option(metavar="TEXT", help="Separator of labels or tags in one cell.")


def reading(
    columns: list[str] | None,
    delimiter: str | None = None,
    header: bool | None = None,
    encoding: str | None = None,
    separator: str | None = None,
) -> Reading:
    """Return the options as a Reading.

    Raises:
        BadRequest: a column is not FIELD=COLUMN, or the delimiter is not one character.
    """
    from hub.data.profile.read_options import Reading

    mark = "\t" if delimiter == "\\t" else delimiter
    if mark is not None and len(mark) != 1:
        raise BadRequest(f"--delimiter {delimiter}: give one character, or \\t for a tab.")
    return Reading(pairs(columns, "--column", "FIELD=COLUMN"), mark, header, encoding, separator)


def file_or_text(text: str) -> Any:
    """Return the file that a text names, in base64; another text unchanged.

    Raises:
        BadRequest: the file cannot be read.
    """
    path = Path(text)
    try:
        return read_image_cell(path.name, path.parent.absolute())
    except UnreadableImage as error:
        if "://" in text or text.lower().startswith("data:"):
            return text  # the task refuses addresses
        raise BadRequest(f"{text[:200]} {error}.") from None

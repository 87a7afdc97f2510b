"""Parses an uploaded file in a process of its own: `python -m hub.jobs.check_file PATH`.

Prints one JSON object: `rows`, the number of rows that can be parsed, and `invalid`, those that cannot, with
line and reason; or `error`, why the file as a whole cannot be read.
"""

from __future__ import annotations

import json
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

from hub.errors import BadData
from hub.jobs.aside import asked, give_way

__all__ = ["check_file", "main"]

MAX_INVALID = 20  # in an error
_OTHER_DELIMITERS = (";", "\t", "|", ",")  # which `recipe.data.delimiter` of a job may name


def check_file(path: Path, shown: str) -> int:
    """Return the number of rows of a file; `shown` is its name for messages.

    Raises:
        BadData: it has no rows, or rows that cannot be parsed; the message has their lines and reasons.
    """
    found = asked("hub.jobs.check_file", path, shown)
    if invalid := found["invalid"]:
        listed = "; ".join(f"line {row['line']} {row['reason']}" for row in invalid)
        more = f"; and {found['more']} more" if found["more"] else ""
        total = len(invalid) + found["more"]
        raise BadData(f"{shown}: {total} of {total + found['rows']} rows are invalid: {listed}{more}.")
    if not found["rows"]:
        raise BadData(f"{shown}: has no rows.")
    return int(found["rows"])


def main() -> None:
    """Parse the file that the command line names."""
    give_way()
    print(json.dumps(_parsed(Path(sys.argv[1]))))


def _parsed(path: Path) -> dict[str, Any]:
    try:
        return _read(path)
    except BadData as error:
        for delimiter in _OTHER_DELIMITERS if path.suffix in (".csv", ".tsv") else ():
            with suppress(BadData):
                return _read(path, delimiter)
        return {"error": str(error)}


def _read(path: Path, delimiter: str | None = None) -> dict[str, Any]:
    from hub.api.kinds.reader import InvalidRow
    from hub.data.read.sources import open_source
    from hub.data.read.tables import open_table
    from hub.recipe.recipe import Data

    rows, invalid = 0, []
    with open_source(str(path), path.parent, path.parent) as opened:
        for row in open_table(opened.name, opened.stream, Data(source=str(path), delimiter=delimiter)).rows:
            if isinstance(row, InvalidRow):
                invalid.append({"line": row.line, "reason": row.reason})
            else:
                rows += 1
    return {"rows": rows, "invalid": invalid[:MAX_INVALID], "more": max(0, len(invalid) - MAX_INVALID)}


if __name__ == "__main__":
    main()

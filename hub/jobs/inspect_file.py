"""Profiles an uploaded file in a process of its own: `python -m hub.jobs.inspect_file PATH [TASK]`.

Prints one JSON object: the profile of `hub data inspect`, and `rows`, the first rows as they were read; or
`error`, why the file cannot be used for the task.
"""

from __future__ import annotations

import json
import sys
from itertools import islice
from pathlib import Path
from typing import Any

from hub.config import load_settings
from hub.errors import HubError
from hub.jobs.aside import asked, give_way

__all__ = ["inspect_file", "main"]

SHOWN_ROWS = 5
MAX_CHARS = 300  # of a value in a row
Json = dict[str, Any]


def inspect_file(path: Path, shown: str, task: str = "") -> Json:
    """Profile a file; `shown` is its name for messages. Blocks.

    Raises:
        BadData: it cannot be read, or has no columns that fit the task.
    """
    return asked("hub.jobs.inspect_file", path, shown, task)


def main() -> None:
    """Profile the file that the command line names."""
    give_way()
    path, task = Path(sys.argv[1]), sys.argv[2] if len(sys.argv) > 2 else ""
    try:
        found = _profiled(path, task)
    except HubError as error:
        found = {"error": str(error)}
    print(json.dumps(found))


def _profiled(path: Path, task: str) -> Json:
    from hub.api import RawRow
    from hub.data.profile.profile import profile
    from hub.data.profile.sniff import sniff
    from hub.progress import silent
    from hub.registry.active import activate
    from hub.registry.host import Registry

    registry = activate(Registry.of(load_settings()))
    found = sniff(str(path), path.parent, path.parent)
    loaded = registry.task(task).task if task else None
    described = profile(found, loaded, task).to_json()
    rows = [
        {name: _cut(value) for name, value in row.values.items()}
        for row in islice(found.stream(silent), SHOWN_ROWS)
        if isinstance(row, RawRow)
    ]
    return {**described, "rows": rows}


def _cut(value: object) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= MAX_CHARS else f"{text[:MAX_CHARS]}…"


if __name__ == "__main__":
    main()

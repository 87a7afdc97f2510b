"""`<home>/server.json`: where the server of a home listens, for those who want to talk to it."""

from __future__ import annotations

import json
import os
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path

__all__ = ["ServerRecord", "erase", "read", "write"]

FILE = "server.json"


@dataclass(frozen=True, slots=True)
class ServerRecord:
    """A running server: its address, the process that answers, when it started (UTC, ISO 8601)."""

    url: str
    pid: int
    started: str


def write(home: Path, record: ServerRecord) -> None:
    """Replace the record."""
    descriptor, aside = tempfile.mkstemp(dir=home, prefix=f".{FILE}-")
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        json.dump(asdict(record), file)
    os.replace(aside, home / FILE)


def read(home: Path) -> ServerRecord | None:
    """Return the record if there is one and its process lives; a server that was killed leaves one."""
    try:
        record = ServerRecord(**json.loads((home / FILE).read_text(encoding="utf-8")))
        if os.name == "posix":  # elsewhere signal 0 would end the process
            os.kill(record.pid, 0)
    except PermissionError:  # it lives, under another user
        return record
    except (OSError, ValueError, TypeError):
        return None
    return record


def erase(home: Path, pid: int) -> None:
    """Remove the record if it is that of process `pid`."""
    record = read(home)
    if record and record.pid == pid:
        (home / FILE).unlink(missing_ok=True)

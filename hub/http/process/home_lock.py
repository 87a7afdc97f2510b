"""One server for each home: a lock of the operating system, which ends with its process however that ends."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from hub.client import server_file
from hub.errors import Conflict

__all__ = ["LOCK_FILE", "home_lock"]

LOCK_FILE = ".server.lock"


@contextmanager
def home_lock(home: Path) -> Iterator[None]:
    """Hold a home against other servers while the block runs.

    Raises:
        Conflict: another server of this home holds it, also one that has yet to answer.
    """
    home.mkdir(parents=True, exist_ok=True)
    lock = FileLock(home / LOCK_FILE)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        found = server_file.read(home)
        where = f", at {found.url}" if found else ""
        raise Conflict(
            f"A server of {home} runs or starts already{where}. Stop it first, or set HUB_HOME to another "
            "folder."
        ) from None
    try:
        yield
    finally:
        lock.release()

"""Watches the disk of a state folder; a full disk stops deploys, imports and feedback, not serving."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path
from typing import Any

from hub.serving.background import PeriodicTask

__all__ = ["FULL_BYTES", "Disk", "free_bytes"]

log = logging.getLogger(__name__)

FULL_BYTES = 8 << 20  # less than the catalog's log and one adapter need
_EVERY_S = 1.0


class Disk:
    """Logs when the disk of `home` becomes full and when it has room again."""

    def __init__(self, home: Path) -> None:
        self._home = home
        self._full = False
        self._task = PeriodicTask("The free space of the home cannot be read", self.check, _EVERY_S)

    def start(self) -> None:
        """Start watching."""
        self._task.start()

    def stop(self) -> None:
        """Stop watching."""
        self._task.stop()

    def check(self) -> None:
        """Log a change since the last check."""
        free = free_bytes(self._home)
        full = free < FULL_BYTES
        if full and not self._full:
            log.warning("%s", _full_message(self._home, free))
        elif self._full and not full:
            log.info("The disk of %s has room again: %.0f MiB are free.", self._home, free / 2**20)
        self._full = full

    def describe(self) -> dict[str, Any]:
        """Return the current free bytes, and an error if the disk is full."""
        try:
            free = free_bytes(self._home)
        except OSError as error:
            return {"free_bytes": None, "error": f"{self._home}: {error.strerror or error}"}
        return {"free_bytes": free, "error": _full_message(self._home, free) if free < FULL_BYTES else ""}


def free_bytes(home: Path) -> int:
    """Return the bytes that this user may still write on the disk of a state folder."""
    return shutil.disk_usage(home).free


def _full_message(home: Path, free: int) -> str:
    return (
        f"The disk of {home} is full ({free / 2**20:.1f} MiB are free). Versions in memory are served as "
        "before; deploys, imports, feedback and loads from disk fail until there is room."
    )

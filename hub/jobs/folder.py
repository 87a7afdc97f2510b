"""The folder of a job in the home: checkpoints, locks, and the result of its process."""

from __future__ import annotations

import json
import shutil
from contextlib import suppress
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from hub.files import write_file

__all__ = ["JobFolder", "free_slot", "jobs_folder", "try_lock"]

_RESULT = "result.json"


def jobs_folder(home: Path) -> Path:
    """Return the folder of all jobs, which only the owner can read."""
    folder = home / "jobs"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return folder


class JobFolder:
    """One job's folder.

    Two locks, which the operating system releases when their holder dies: that of the serving process which
    works on the job, and that of the process which trains. The latter outlives the former for a moment.
    """

    def __init__(self, home: Path, id: str) -> None:
        self.path = jobs_folder(home) / id
        self.work = self.path / "work"

    def make(self) -> None:
        """Create the folder."""
        self.path.mkdir(mode=0o700, exist_ok=True)

    @property
    def lock(self) -> FileLock:
        """The lock of the serving process; it lies beside the folder, which may be removed meanwhile."""
        return FileLock(self.path.with_name(f".{self.path.name}.lock"), timeout=0, thread_local=False)

    def process_lock(self, wait_s: float) -> FileLock:
        """The lock of the training process."""
        return FileLock(self.path / ".process.lock", timeout=wait_s)

    @property
    def result(self) -> dict[str, Any]:
        """What the process has written: {} before its version is stored."""
        try:
            found: dict[str, Any] = json.loads((self.path / _RESULT).read_text(encoding="utf-8"))
        except FileNotFoundError:
            return {}
        return found

    def write_result(self, result: dict[str, Any]) -> None:
        """Write the result as a whole."""
        write_file(self.path / _RESULT, json.dumps(result, ensure_ascii=False), private=True, durable=True)

    def remove(self) -> None:
        """Remove the folder with everything in it."""
        shutil.rmtree(self.path, ignore_errors=True)
        with suppress(OSError):
            self.path.with_name(f".{self.path.name}.lock").unlink()


def try_lock(lock: FileLock) -> bool:
    """Take a lock that is free; return whether it was."""
    try:
        lock.acquire()
    except Timeout:
        return False
    return True


def free_slot(home: Path, kind: str, slots: int) -> FileLock | None:
    """Return the lock of a free slot of this machine, held; None if all are in use."""
    for number in range(slots):
        lock = FileLock(jobs_folder(home) / f".{kind}-{number}.lock", timeout=0, thread_local=False)
        if try_lock(lock):
            return lock
    return None

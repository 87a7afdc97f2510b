"""Storage of metric values: memory for one worker, memory-mapped files for several.

prometheus_client maps sparse files: on a full disk, the first write to a page without a block kills the
process by SIGBUS. Here one worker has no files, and the files of several are on tmpfs if possible and have
their blocks allocated before they are written. Without free blocks, a worker continues in its own memory, and
other workers do not see its values.
"""

from __future__ import annotations

import logging
import mmap
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import prometheus_client.metrics
import prometheus_client.values
from prometheus_client.mmap_dict import MmapedDict

from hub.client.server_file import lives

__all__ = ["FOLDER", "ReservedDict", "keep_values", "remove_dead_gauges"]

log = logging.getLogger(__name__)

FOLDER = "PROMETHEUS_MULTIPROC_DIR"
_PREFIX = "grafthub-metrics-"
_FIRST_BYTES = 1 << 16  # the initial size of prometheus_client 0.26


@cache
def keep_values(replicas: int) -> None:
    """Choose the storage for this process; call before the first metric is created.

    prometheus_client chooses on import, and BentoML imports it early, so the choice is replaced.
    """
    from bentoml._internal.configuration.containers import BentoMLContainer
    from bentoml._internal.server.metrics.prometheus import PrometheusClient

    if replicas == 1:
        os.environ.pop(FOLDER, None)
        prometheus_client.values.ValueClass = prometheus_client.values.MutexValue
        # Files have no *_created series; without them, the names are the same for one worker.
        prometheus_client.metrics.disable_created_metrics()  # type: ignore[no-untyped-call]
        BentoMLContainer.metrics_client.set(PrometheusClient(multiproc=False))
    elif FOLDER in os.environ:
        os.environ[FOLDER] = str(_memory_folder() or os.environ[FOLDER])
        prometheus_client.values.MmapedDict = ReservedDict  # type: ignore[attr-defined]


def remove_dead_gauges(ending: int = 0) -> None:
    """Remove the gauge files of killed workers, which would be added to those of the living.

    `ending` is the id of a process whose files are removed as well: others go on without it.
    """
    folder = os.environ.get(FOLDER)
    for path in Path(folder).glob("gauge_live*_*.db") if folder else ():
        pid = path.stem.rpartition("_")[2]
        if pid.isdigit() and (int(pid) == ending or not lives(int(pid))):
            path.unlink(missing_ok=True)


class ReservedDict(MmapedDict):
    """A file of values with blocks allocated in advance, or memory if the disk is full."""

    def __init__(self, filename: str, read_mode: bool = False) -> None:
        self._memory = False
        try:
            if not read_mode:
                with open(filename, "ab") as file:
                    _reserve(file.fileno(), _FIRST_BYTES)
            super().__init__(filename, read_mode)  # type: ignore[no-untyped-call]
        except OSError as error:
            if read_mode:
                raise
            _warn(error)
            self._memory = True
            with _memory_file() as path:
                super().__init__(path)  # type: ignore[no-untyped-call]

    def _init_value(self, key: str) -> None:
        # The size that prometheus_client 0.26 is about to write: length, padded key, two doubles.
        encoded = len(key.encode())
        used = self._used + 4 + encoded + (8 - (encoded + 4) % 8) + 16
        capacity = self._capacity
        while used > capacity:
            capacity *= 2
        if capacity > self._capacity and not self._memory:
            try:
                _reserve(self._f.fileno(), capacity)
            except OSError as error:
                _warn(error)
                self._move_to_memory()
        super()._init_value(key)  # type: ignore[no-untyped-call]

    def _move_to_memory(self) -> None:
        with _memory_file() as path:
            file = open(path, "a+b")  # noqa: SIM115 - closed by close()
        file.truncate(self._capacity)
        mapped = mmap.mmap(file.fileno(), self._capacity)
        mapped[:] = self._m[:]
        self._m.close()
        self._f.close()
        self._f, self._m, self._memory = file, mapped, True


def _reserve(descriptor: int, size: int) -> None:
    """Allocate the blocks of a file up to `size`; raises OSError on a full disk."""
    if hasattr(os, "posix_fallocate"):  # not on macOS
        os.posix_fallocate(descriptor, 0, max(size, os.fstat(descriptor).st_size))


@contextmanager
def _memory_file() -> Iterator[str]:
    """Yield the path of a new file in memory."""
    descriptor = os.memfd_create("grafthub-metrics")
    try:
        yield f"/proc/self/fd/{descriptor}"
    finally:
        os.close(descriptor)


def _warn(error: OSError) -> None:
    log.warning(
        "Metrics of this worker are kept in its memory and are missing from /metrics of the other workers: "
        "%s. Free space and restart the server.",
        error.strerror or error,
    )


def _memory_folder() -> Path | None:
    """Return a folder on tmpfs for the workers of this supervisor, or None; remove those of dead ones."""
    for parent in (os.environ.get("XDG_RUNTIME_DIR"), "/dev/shm"):
        if parent and os.path.isdir(parent) and os.access(parent, os.W_OK):
            _remove_dead(Path(parent))
            folder = Path(parent) / f"{_PREFIX}{os.getppid()}-{_started(os.getppid())}"
            try:
                folder.mkdir(mode=0o700, exist_ok=True)
                found = folder.lstat()
            except OSError:
                continue
            # /dev/shm is writable by everyone: another user may have created the folder first.
            if stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid() and not found.st_mode & 0o077:
                return folder
    return None


def _remove_dead(parent: Path) -> None:
    for folder in parent.glob(f"{_PREFIX}*-*"):
        pid, _, started = folder.name.removeprefix(_PREFIX).partition("-")
        dead = pid.isdigit() and not (lives(int(pid)) and _started(int(pid)) == started)
        if dead and not folder.is_symlink():
            try:
                for file in folder.glob("*.db"):
                    file.unlink(missing_ok=True)
                folder.rmdir()
            except OSError:  # of another user, or removed by another worker
                continue


def _started(pid: int) -> str:
    """Return the start of a process in clock ticks since boot, since process ids are reused."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8")
    except OSError:
        return ""
    fields: list[Any] = text.rpartition(")")[2].split()
    return str(fields[19])

"""Where the values of metrics are kept: in memory for one worker, in memory-mapped files for several.

prometheus_client maps sparse files: on a full disk, the first write to a page without a block ends the
process by SIGBUS. Here one worker has no files, and the files of several lie on tmpfs if there is one, and
have their blocks before they are written. A file that gets no blocks becomes memory of its worker: counting
goes on, and other workers do not see what that one counts.
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

__all__ = ["FOLDER", "ReservedDict", "keep_values"]

log = logging.getLogger(__name__)

FOLDER = "PROMETHEUS_MULTIPROC_DIR"
_PREFIX = "grafthub-metrics-"
_FIRST_BYTES = 1 << 16  # what prometheus_client gives a new file


@cache
def keep_values(replicas: int) -> None:
    """Choose the place for this process; call before the first metric is made.

    prometheus_client chooses when it is imported, and BentoML imports it early: the choice is replaced.
    """
    from bentoml._internal.configuration.containers import BentoMLContainer
    from bentoml._internal.server.metrics.prometheus import PrometheusClient

    if replicas == 1:
        os.environ.pop(FOLDER, None)
        prometheus_client.values.ValueClass = prometheus_client.values.MutexValue
        # Files have none: the names stay the same.
        prometheus_client.metrics.disable_created_metrics()  # type: ignore[no-untyped-call]
        BentoMLContainer.metrics_client.set(PrometheusClient(multiproc=False))
    elif FOLDER in os.environ:
        os.environ[FOLDER] = str(_memory_folder() or os.environ[FOLDER])
        prometheus_client.values.MmapedDict = ReservedDict  # type: ignore[attr-defined]


class ReservedDict(MmapedDict):
    """A file of values whose blocks are reserved first, or memory where the disk has none left."""

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
        # Mirrors the size that prometheus_client is about to write: length, padded key, two doubles.
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
    """Give a file blocks up to `size`; OSError where the disk has none left."""
    if hasattr(os, "posix_fallocate"):  # macOS has none
        os.posix_fallocate(descriptor, 0, max(size, os.fstat(descriptor).st_size))


@contextmanager
def _memory_file() -> Iterator[str]:
    """Yield a path under which a new file without a place on any disk can be opened."""
    descriptor = os.memfd_create("grafthub-metrics")
    try:
        yield f"/proc/self/fd/{descriptor}"
    finally:
        os.close(descriptor)


def _warn(error: OSError) -> None:
    log.warning(
        "Metrics of this worker are kept in its memory and are missing from /metrics of the other workers: "
        "%s. Make room and restart the server.",
        error.strerror or error,
    )


def _memory_folder() -> Path | None:
    """Return a folder on tmpfs for the workers of one supervisor, or None; remove those of the dead."""
    for place in (os.environ.get("XDG_RUNTIME_DIR"), "/dev/shm"):
        if place and os.path.isdir(place) and os.access(place, os.W_OK):
            _remove_dead(Path(place))
            folder = Path(place) / f"{_PREFIX}{os.getppid()}-{_started(os.getppid())}"
            try:
                folder.mkdir(mode=0o700, exist_ok=True)
                found = folder.lstat()
            except OSError:
                continue
            # /dev/shm is writable for everybody: another user may have made the folder first.
            if stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid() and not found.st_mode & 0o077:
                return folder
    return None


def _remove_dead(place: Path) -> None:
    for folder in place.glob(f"{_PREFIX}*-*"):
        pid, _, started = folder.name.removeprefix(_PREFIX).partition("-")
        dead = pid.isdigit() and not (lives(int(pid)) and _started(int(pid)) == started)
        if dead and not folder.is_symlink():
            try:
                for file in folder.glob("*.db"):
                    file.unlink(missing_ok=True)
                folder.rmdir()
            except OSError:  # another user's, or another worker removes it
                continue


def _started(pid: int) -> str:
    """Return when a process started, in clock ticks since the boot; a number may be given out again."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8")
    except OSError:
        return ""
    fields: list[Any] = text.rpartition(")")[2].split()
    return str(fields[19])

"""Counts the steps a process takes on disk and in the catalog, and ends it with SIGKILL before one of them.

A step is a file opened for writing, a folder made, a rename, a removal, a link, a change of mode, a flush,
half of a copied file, a writing statement, a commit, and the moment after a commit. Taking a lock is none: it
leaves nothing that another process sees. What runs knows nothing of this: the steps are seen through audit
events, SQLAlchemy's events, and wrapped system calls.
"""

from __future__ import annotations

import functools
import os
import signal
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
ONE_PATH = {
    "os.mkdir": 2,
    "os.remove": 1,
    "os.rmdir": 1,
    "os.chmod": 2,
    "os.truncate": None,
}  # where dir_fd is
READING = ("SELECT", "PRAGMA", "BEGIN", "EXPLAIN", "LISTEN", "SHOW")


class Steps:
    """Armed, it counts; the step numbered `at` (from 1) is not taken. Each is a line in `record`.

    Instead of a number there may be a `trail`: how steps begin that have to be seen in that order; the last
    of them is not taken.
    """

    def __init__(self, home: Path, record: Path, at: int = 0, trail: Sequence[str] = ()) -> None:
        self._home = f"{home}{os.sep}"
        self._record = os.open(record, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        self._at = at
        self._trail = list(trail)
        self._count = 0
        self._lock = threading.RLock()
        self.armed = False

    def install(self) -> None:
        """Watch this process from now on; there is no way back."""
        _wrap_calls(self)
        _wrap_commits(self)
        sys.addaudithook(self._audit)

    def take(self, kind: str, what: str) -> bool:
        """Note a step that comes next; True if the process should end in the middle of it."""
        if not self.armed:
            return False
        with self._lock:
            self._count += 1
            os.write(self._record, f"{kind} {what}\n".encode())
            if self._trail and f"{kind} {what}".startswith(self._trail[0]):
                del self._trail[0]
                return not self._trail
            return self._count == self._at

    def step(self, kind: str, what: str) -> None:
        """Note a step, and end here if it is the one."""
        if self.take(kind, what):
            self.end()

    def end(self) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    def inside(self, path: object, descriptor: int | None = None) -> str:
        """Return a path relative to the home, or "" for one elsewhere."""
        if isinstance(path, bytes):
            path = os.fsdecode(path)
        if isinstance(path, int):
            path = self.of_descriptor(path)
        elif descriptor is not None and descriptor >= 0:
            path = os.path.join(self.of_descriptor(descriptor), os.fspath(path))  # type: ignore[arg-type]
        whole = os.path.abspath(path)  # type: ignore[type-var, arg-type]
        return whole.removeprefix(self._home) if whole.startswith(self._home) else ""

    @staticmethod
    def of_descriptor(descriptor: int) -> str:
        return os.readlink(f"/proc/self/fd/{descriptor}")

    def _audit(self, name: str, arguments: tuple[Any, ...]) -> None:
        if not self.armed:
            return
        if name == "open":
            path, _, flags = arguments
            if not flags & WRITING or isinstance(path, int) or path == os.devnull:
                return
            if (found := self.inside(path)) and not os.path.basename(found).endswith("lock"):
                self.step("open", found)
        elif name in ONE_PATH:
            at = ONE_PATH[name]
            found = self.inside(arguments[0], arguments[at] if at is not None else None)
            if found and not (name == "os.mkdir" and os.path.isdir(arguments[0])):
                self.step(name.removeprefix("os."), found)
        elif name in ("os.rename", "os.link", "os.symlink"):
            source, target = self.inside(arguments[0]), self.inside(arguments[1])
            if source or target:
                self.step(name.removeprefix("os."), f"{source} -> {target}")


def _wrap_calls(steps: Steps) -> None:
    flush, send = os.fsync, os.sendfile

    @functools.wraps(flush)
    def fsync(descriptor: Any) -> None:
        number = descriptor if isinstance(descriptor, int) else descriptor.fileno()
        if found := steps.inside(number):
            steps.step("fsync", found)
        flush(descriptor)

    @functools.wraps(send)
    def sendfile(out: int, source: int, offset: int, count: int) -> int:
        found = steps.inside(out)
        size = os.fstat(source).st_size
        if found and offset < size and steps.take("half", found):
            send(out, source, offset, max(1, (size - offset) // 2))
            steps.end()
        return send(out, source, offset, count)

    os.fsync, os.sendfile = fsync, sendfile


def _wrap_commits(steps: Steps) -> None:
    from sqlalchemy import event
    from sqlalchemy.engine import Engine
    from sqlalchemy.engine.default import DefaultDialect

    def before(connection: Any, cursor: Any, statement: str, *rest: Any) -> None:
        if not statement.lstrip().upper().startswith(READING):
            steps.step("sql", " ".join(statement.split())[:60])

    event.listen(Engine, "before_cursor_execute", before)
    commit = DefaultDialect.do_commit

    @functools.wraps(commit)
    def do_commit(self: DefaultDialect, connection: Any) -> None:
        steps.step("commit", "catalog")
        commit(self, connection)
        steps.step("committed", "catalog")

    DefaultDialect.do_commit = do_commit  # type: ignore[method-assign]

"""`<home>/server.json`: where the server of a home listens, for those who want to talk to it."""

from __future__ import annotations

import json
import logging
import os
import ssl
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from hub.files import write_file

__all__ = ["ServerRecord", "erase", "keep", "lives", "read", "write"]

log = logging.getLogger(__name__)

FILE = "server.json"
PEM_END = "-----END CERTIFICATE-----"


@dataclass(frozen=True, slots=True)
class ServerRecord:
    """A running server: its address, its (supervising) process, when it started (UTC, ISO 8601).

    `tls_cert` is the path of its certificate, "" without TLS.
    """

    url: str
    pid: int
    started: str
    tls_cert: str = ""

    def verify(self) -> ssl.SSLContext | bool:
        """Return how httpx verifies this server: it must have this very certificate, for whatever name.

        Without TLS there is nothing to verify, and httpx would load all authorities first (20 ms).

        Raises:
            OSError: the certificate cannot be read.
        """
        if not self.tls_cert:
            return False
        first, end, _ = Path(self.tls_cert).read_text(encoding="ascii").partition(PEM_END)
        context = ssl.create_default_context(cadata=first + end)
        context.check_hostname = False  # its names need not include the address
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN  # so that it need not be an authority
        return context


def write(home: Path, record: ServerRecord) -> None:
    """Replace the record."""
    write_file(home / FILE, json.dumps(asdict(record)), private=True)


def keep(home: Path, url: str, pid: int, tls_cert: str = "") -> None:
    """Write the record of a server unless it is there: each of its workers does, whichever is first.

    A server serves without one, too: commands do not find it by themselves then.
    """
    found = read(home)
    if found is None or (found.url, found.pid) != (url, pid):
        try:
            started = datetime.now(UTC).isoformat(timespec="seconds")
            write(home, ServerRecord(url, pid, started, tls_cert))
        except OSError as error:
            log.warning(
                "%s cannot be written (%s): commands find this server by --server %s only.",
                home / FILE,
                error.strerror or error,
                url,
            )


def read(home: Path) -> ServerRecord | None:
    """Return the record if there is one and its process lives; a server that was killed leaves one."""
    try:
        record = ServerRecord(**json.loads((home / FILE).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None
    return record if isinstance(record.pid, int) and lives(record.pid) else None


def lives(pid: int) -> bool:
    """Tell whether a process of this machine runs."""
    if os.name != "posix":  # there signal 0 would end it
        return True
    try:
        os.kill(pid, 0)
    except PermissionError:  # it does, under another user
        return True
    except (OSError, OverflowError):
        return False
    return True


def erase(home: Path, pid: int) -> None:
    """Remove the record if it is that of process `pid`."""
    record = read(home)
    if record and record.pid == pid:
        (home / FILE).unlink(missing_ok=True)

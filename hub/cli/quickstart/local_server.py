"""Runs a server for this home in a child process while a command needs it."""

from __future__ import annotations

import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from hub.errors import NotReady

if TYPE_CHECKING:
    from hub.config import Settings

__all__ = ["LocalServer", "free_port", "local_server"]

START_LIMIT_S = 180.0
STOP_LIMIT_S = 30.0


@dataclass(frozen=True, slots=True)
class LocalServer:
    """A running server; `process` is None if another command started it, `verify` is for httpx."""

    url: str
    process: subprocess.Popen[bytes] | None
    verify: ssl.SSLContext | bool = True

    def wait(self) -> None:
        """Return when the server ends or the user presses Ctrl-C."""
        from hub.cli.screen.output import say

        if self.process is None:
            return
        say("Serving; press Ctrl-C to stop.")
        try:
            self.process.wait()
        except KeyboardInterrupt:
            say("Stopping.")


@contextmanager
def local_server(settings: Settings, port: int | None = None) -> Iterator[LocalServer]:
    """Yield this home's server; if none runs, start one and stop it at the end.

    Raises:
        NotReady: it ended or did not answer in time; the message has the end of its log.
    """
    from hub.client.http import find_server, verify_server

    if url := find_server(settings):
        yield LocalServer(url, None, verify_server(settings))
        return
    log = settings.home / "server.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "hub", "serve", "--port", str(port or free_port(settings.serve.port))]
    with log.open("wb") as out:
        # In a new session, Ctrl-C reaches this command alone, which then stops the server in order.
        process = subprocess.Popen(command, stdout=out, stderr=out, start_new_session=True)
    try:
        yield LocalServer(_wait(settings, process, log), process, verify_server(settings))
    finally:
        _stop(process)


def free_port(preferred: int) -> int:
    """Return `preferred` if it is free, else another free port."""
    for port in (preferred, 0):
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    raise NotReady("No free port was found on this machine.")


def _wait(settings: Settings, process: subprocess.Popen[bytes], log: Path) -> str:
    from hub.client.http import find_server, verify_server

    deadline = time.monotonic() + START_LIMIT_S
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise _not_ready(f"The server ended at start (status {process.returncode}).", log)
        url = find_server(settings)
        if url and _is_ready(url, verify_server(settings)):
            return url
        time.sleep(0.1)
    raise _not_ready(f"The server was not ready within {START_LIMIT_S:.0f} s.", log)


def _is_ready(url: str, verify: ssl.SSLContext | bool) -> bool:
    import httpx

    return httpx.get(f"{url}/readyz", timeout=10, verify=verify, trust_env=False).is_success


def _not_ready(problem: str, log: Path) -> NotReady:
    tail = "\n".join(log.read_text(encoding="utf-8", errors="replace").splitlines()[-15:])
    return NotReady(f"{problem} The end of {log}:\n{tail}")


def _stop(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(STOP_LIMIT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

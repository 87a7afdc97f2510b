"""Starts the server: this process binds the port and supervises the workers."""

from __future__ import annotations

import asyncio
import logging
import os
import shutil
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from hub.client import server_file
from hub.client.http import find_server
from hub.config import Settings, child_environment
from hub.errors import BadConfig, Conflict
from hub.http.auth import check_exposure
from hub.http.process.supervisor import Supervisor
from hub.http.process.tls import ServerTls
from hub.http.telemetry.logs import configure_logs
from hub.registry.opening import check_engine
from hub.store.store import Store

__all__ = ["home_lock", "serve"]

BACKLOG = 2048
LOCK_FILE = ".server.lock"
LOG_FORMAT = "%(asctime)s [%(levelname)s] [supervisor] %(message)s"


def serve(settings: Settings, on_ready: Callable[[str], None]) -> None:
    """Serve until SIGINT or SIGTERM; `on_ready` is called with the URL once requests are answered.

    Raises:
        BadConfig: the address needs keys, there is no such engine, the certificate cannot be used, or the
            catalog is damaged.
        Conflict: another server of this home is running, or the port is in use.
        HostFault: the workers end repeatedly before they are ready.
    """
    host = "127.0.0.1" if settings.serve.host == "localhost" else settings.serve.host
    check_exposure(host, settings)
    check_engine(settings)
    tls = ServerTls.of(settings.serve)
    if running := find_server(settings):
        raise Conflict(f"The server of {settings.home} is already running at {running}.")
    with home_lock(settings.home), _bind(host, settings.serve.port) as listener:
        Store.of(settings).close()  # a damaged catalog fails here rather than in the log of a worker
        logging.basicConfig(format=LOG_FORMAT, datefmt="%Y-%m-%dT%H:%M:%S%z")
        configure_logs(settings.log, "supervisor")
        address = _url("https" if tls else "http", host, listener.getsockname()[1])
        supervisor = Supervisor(settings, listener, address, _environment(settings), on_ready)
        try:
            asyncio.run(supervisor.run())
        finally:
            server_file.erase(settings.home, os.getpid())


@contextmanager
def home_lock(home: Path) -> Iterator[None]:
    """Hold the lock of a home while the block runs; the operating system releases it if the process dies.

    Raises:
        Conflict: another server holds it, even one that does not answer yet.
    """
    home.mkdir(parents=True, exist_ok=True)
    lock = FileLock(home / LOCK_FILE)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        found = server_file.read(home)
        where = f" at {found.url}" if found else ""
        raise Conflict(
            f"A server of {home} is already running or starting{where}. Stop it first, or set HUB_HOME to "
            "another folder."
        ) from None
    try:
        yield
    finally:
        lock.release()


def _bind(host: str, port: int) -> socket.socket:
    """Return a socket that listens on `port`, or on a free port for 0."""
    listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(BACKLOG)
    except socket.gaierror:
        listener.close()
        raise BadConfig(f"{host!r} is not an IP address of this machine.") from None
    except OSError as error:
        listener.close()
        raise Conflict(
            f"Port {port} of {host} cannot be bound ({error.strerror}). Choose another with --port."
        ) from None
    return listener


def _environment(settings: Settings) -> dict[str, str]:
    """Return the environment of the workers, without HUB_* variables, which may hold secrets."""
    home = settings.home / "bentoml"
    return {
        "BENTOML_HOME": str(home),
        "BENTOML_DO_NOT_TRACK": "True",
        **child_environment(),
        "HUB_HOME": str(settings.home),
        "PROMETHEUS_MULTIPROC_DIR": str(_empty_folder(home / "prometheus_multiproc_dir")),
    }


def _empty_folder(path: Path) -> Path:
    """Return an empty folder for metric files."""
    shutil.rmtree(path, ignore_errors=True)
    with suppress(OSError):  # on a full disk, the workers count in memory
        path.mkdir(parents=True, exist_ok=True, mode=0o700)
    return path


def _url(scheme: str, host: str, port: int) -> str:
    name = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, f"[{host}]" if ":" in host else host)
    return f"{scheme}://{name}:{port}"

"""Starts the server: this process binds the port and becomes the supervisor of the serving processes."""

from __future__ import annotations

import asyncio
import logging
import os
import shutil
import socket
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from hub.client import server_file
from hub.client.http import find_server
from hub.config import Settings, child_environment
from hub.errors import BadConfig, Conflict
from hub.http.auth import check_exposure
from hub.http.process.home_lock import home_lock
from hub.http.process.supervisor import Supervisor
from hub.store.store import Store

__all__ = ["serve"]

BACKLOG = 2048
LOG_FORMAT = "%(asctime)s [%(levelname)s] [supervisor] %(message)s"


def serve(settings: Settings, on_ready: Callable[[str], None]) -> None:
    """Serve until SIGINT or SIGTERM; `on_ready` is called with the URL once requests are answered.

    Raises:
        BadConfig: the address may not be bound without keys, or the catalog is damaged.
        Conflict: a server of this home runs already, or the port is taken.
        HostFault: the serving processes end again and again before they are ready.
    """
    host = "127.0.0.1" if settings.serve.host == "localhost" else settings.serve.host
    check_exposure(host, settings)
    if running := find_server(settings):
        raise Conflict(f"The server of {settings.home} runs already, at {running}.")
    with home_lock(settings.home), _bind(host, settings.serve.port) as listener:
        Store.of(settings).close()  # a catalog that cannot be opened fails here, not in the log of a worker
        logging.basicConfig(format=LOG_FORMAT, datefmt="%Y-%m-%dT%H:%M:%S%z")
        address = _url(host, listener.getsockname()[1])
        supervisor = Supervisor(settings, listener, address, _environment(settings), on_ready)
        try:
            asyncio.run(supervisor.run())
        finally:
            server_file.erase(settings.home, os.getpid())


def _bind(host: str, port: int) -> socket.socket:
    """Return a socket that listens at `port`, or at a free one for 0."""
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
    """Return the environment of the serving processes: without HUB_* variables, which may hold secrets."""
    home = settings.home / "bentoml"
    return {
        "BENTOML_HOME": str(home),
        "BENTOML_DO_NOT_TRACK": "True",
        **child_environment(),
        "HUB_HOME": str(settings.home),
        "PROMETHEUS_MULTIPROC_DIR": str(_empty_folder(home / "prometheus_multiproc_dir")),
    }


def _empty_folder(path: Path) -> Path:
    """Return the folder for metric files, without those of the server before."""
    shutil.rmtree(path, ignore_errors=True)
    with suppress(OSError):  # on a full disk the workers count in memory
        path.mkdir(parents=True, exist_ok=True, mode=0o700)
    return path


def _url(host: str, port: int) -> str:
    name = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, f"[{host}]" if ":" in host else host)
    return f"http://{name}:{port}"

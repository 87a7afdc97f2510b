"""Runs BentoML's server: this process becomes its supervisor, and its workers do the serving."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Callable

import httpx

from hub.config import Settings
from hub.errors import BadConfig, Conflict
from hub.http.auth import check_exposure
from hub.serving import record
from hub.serving.client import find_server
from hub.store.store import Store

__all__ = ["serve"]

CHECK_EVERY_S = 0.1
_PASSED = ("HUB_SERVE__", "HUB_LIMITS__", "HUB_CATALOG__", "HUB_FEEDBACK__")


def serve(settings: Settings, on_ready: Callable[[str], None]) -> None:
    """Serve until SIGINT or SIGTERM; `on_ready` is called with the URL once requests are taken.

    Raises:
        BadConfig: the address may not be bound without keys, or the catalog is damaged.
        Conflict: a server of this home runs already, or the port is taken.
    """
    host = "127.0.0.1" if settings.serve.host == "localhost" else settings.serve.host
    check_exposure(host, settings)
    if running := find_server(settings):
        raise Conflict(f"The server of {settings.home} runs already, at {running}.")
    port = _free_port(host, settings.serve.port)
    Store.of(settings)  # a catalog that cannot be opened is told here, not by a worker in its log
    _pass_on(settings)

    # Only now: BentoML reads its environment when it is imported.
    from hub.http.service import svc

    watcher = threading.Thread(target=_announce, args=(host, port, on_ready), daemon=True)
    watcher.start()
    try:
        svc.serve_http(host=host, port=port)
    finally:
        record.erase(settings.home, os.getpid())


def _free_port(host: str, port: int) -> int:
    """Return `port` if it can be bound, or a free one for 0."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((host, port))
            return int(probe.getsockname()[1])
    except socket.gaierror:
        raise BadConfig(f"{host!r} is not an IP address of this machine.") from None
    except OSError as error:
        raise Conflict(
            f"Port {port} of {host} cannot be bound ({error.strerror}). Choose another with --port."
        ) from None


def _pass_on(settings: Settings) -> None:
    """Hand the settings to the worker processes, which read them from their environment."""
    for name in [name for name in os.environ if name.startswith(_PASSED)]:
        del os.environ[name]  # they would win over what flags have changed
    os.environ["HUB_HOME"] = str(settings.home)
    os.environ["HUB_SERVE"] = settings.serve.model_dump_json()
    os.environ["HUB_LIMITS"] = settings.limits.model_dump_json()
    os.environ["HUB_CATALOG"] = settings.catalog.model_dump_json()
    os.environ["HUB_FEEDBACK"] = settings.feedback.model_dump_json()
    os.environ.setdefault("BENTOML_HOME", str(settings.home / "bentoml"))  # its metric files, one set a home
    os.environ.setdefault("BENTOML_DO_NOT_TRACK", "True")


def _announce(host: str, port: int, on_ready: Callable[[str], None]) -> None:
    name = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, f"[{host}]" if ":" in host else host)
    url = f"http://{name}:{port}"
    while not _ready(url):
        time.sleep(CHECK_EVERY_S)
    on_ready(url)


def _ready(url: str) -> bool:
    try:
        return httpx.get(f"{url}/readyz", timeout=5).is_success
    except httpx.HTTPError:
        return False

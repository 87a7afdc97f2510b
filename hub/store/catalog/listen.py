"""Listens for changes in a PostgreSQL catalog (LISTEN) on a separate connection."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from hub.store.catalog.catalog import CHANNEL, Catalog

if TYPE_CHECKING:
    from psycopg import Connection

__all__ = ["Listener"]

log = logging.getLogger(__name__)

_CHECK_S = 0.25  # interval between checks for a stop
_PAUSES_S = (0.25, 15.0)  # delay before the next connect: initial, maximum

# An idle connection to a lost server is detected within about ten seconds.
_ALIVE = {"connect_timeout": 5, "keepalives_idle": 5, "keepalives_interval": 2, "keepalives_count": 3}


class Listener:
    """Calls `heard` in a thread when a change is announced, and after each connect.

    Changes during a lost connection are missed, so the caller must also poll. For a SQLite catalog nothing is
    started.
    """

    def __init__(self, catalog: Catalog, heard: Callable[[], None]) -> None:
        self._catalog = catalog
        self._heard = heard
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="listener", daemon=True)

    def start(self) -> None:
        """Start listening."""
        if not self._catalog.is_file:
            self._thread.start()

    def stop(self) -> None:
        """Stop listening; a connect in progress ends by itself."""
        self._stopped.set()
        if self._thread.is_alive():
            self._thread.join(2 * _CHECK_S)

    def _run(self) -> None:
        from psycopg import Error

        pause, _ = _PAUSES_S
        while not self._stopped.is_set():
            try:
                with _connect(self._catalog) as connection:
                    connection.execute(f"LISTEN {CHANNEL}")
                    log.info("Listening to the catalog.")
                    pause, _ = _PAUSES_S
                    self._follow(connection)
            except Error as error:
                said = str(error).strip().partition("\n")[0]
                log.warning("Not listening to the catalog, which is polled meanwhile: %s", said)
                self._stopped.wait(pause)
                pause = min(2 * pause, _PAUSES_S[1])

    def _follow(self, connection: Connection[Any]) -> None:
        self._heard()  # changes before this connection
        while not self._stopped.is_set():
            for _ in connection.notifies(timeout=_CHECK_S, stop_after=1):
                self._heard()


def _connect(catalog: Catalog) -> Connection[Any]:
    import psycopg

    positional, named = catalog.url.get_dialect()().create_connect_args(catalog.url)
    options: dict[str, Any] = {**_ALIVE, **named}
    return psycopg.connect(*positional, autocommit=True, **options)

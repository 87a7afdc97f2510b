"""Opens the client that fits: of a server that was named, of this home's server, or of its catalog."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from hub.client.http import ServerClient, admin_key, find_server, verify_server
from hub.client.protocol import Client
from hub.config import Settings

__all__ = ["connect"]


@contextmanager
def connect(settings: Settings, server: str | None = None) -> Iterator[Client]:
    """Open a client to `server`, else to HUB_SERVER, else to this home's server, else to its catalog.

    Raises:
        NotReady: a server was named and does not answer.
    """
    named = server or os.environ.get("HUB_SERVER")
    url = named or find_server(settings)
    if url is None:
        from hub.client.catalog import CatalogClient

        with _existing_home(settings) as here, CatalogClient(here) as local:
            yield local
        return
    verify = True if named else verify_server(settings)
    key = admin_key(settings, local=not named)
    with ServerClient(url, key=key, verify=verify, own=not named) as remote:
        yield remote


@contextmanager
def _existing_home(settings: Settings) -> Iterator[Settings]:
    """Yield settings whose home exists: an empty one that goes again, where there is none yet.

    To ask about a home must not make it.
    """
    if settings.home.is_dir():
        yield settings
        return
    with TemporaryDirectory(prefix="hub-") as empty:
        yield settings.model_copy(update={"home": Path(empty)})

"""Adds the console to a server: its pages, its assets and its live figures."""

from __future__ import annotations

from functools import partial

from fastapi import FastAPI

from hub.client.file_modes import SESSION_KEY_FILE
from hub.console.assets import add_assets
from hub.console.live import LiveFigures
from hub.console.pages import (
    deployment,
    deployments,
    disagreements,
    engine,
    plugins,
    sign_in,
    training,
    try_it,
    versions,
)
from hub.console.sessions import Sessions
from hub.http.auth import digest_of, local_key
from hub.http.plugins.protocols import WireProtocol

__all__ = ["Console"]

PAGES = (sign_in, deployments, deployment, disagreements, try_it, versions, training, plugins, engine)


class Console(WireProtocol):
    """The pages below /console."""

    def add_routes(self, app: FastAPI) -> None:
        hub = app.state.hub
        serve = hub.settings.serve
        if not serve.console:
            return
        secret = digest_of(serve.session_key or local_key(hub.settings.home, SESSION_KEY_FILE))
        app.state.console = Sessions(hub.keys, secret, serve.session_minutes * 60)
        app.state.console_live = LiveFigures(partial(hub.metrics.text, hub.runtime))
        for pages in PAGES:
            pages.add_routes(app)
        add_assets(app)

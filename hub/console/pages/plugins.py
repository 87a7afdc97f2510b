"""The plugins and bases of this server: what is installed, what is broken, and why."""

from __future__ import annotations

import asyncio
from typing import Any

from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import Response

from hub.console.routes import add_page, page
from hub.http.auth import Right
from hub.http.hub import Hub, hub_of
from hub.serving.describe import describe_hanging, describe_plugins

__all__ = ["add_routes"]

Json = dict[str, Any]


def add_routes(app: FastAPI) -> None:
    """Add the page."""
    add_page(app, "/plugins", _show, Right.ADMIN)


async def _show(request: Request) -> Response:
    found = await asyncio.to_thread(_described, hub_of(request))
    return page(request, "plugins.html", "Plugins and bases", **found)


def _described(hub: Hub) -> Json:
    runtime = hub.runtime
    return {
        "plugins": describe_plugins(runtime.registry),
        "hanging": [describe_hanging(state) for state in runtime.pipeline.hanging()],
        "bases": [
            {
                "name": base.name,
                "kind": base.kind.value,
                "source": base.source,
                "fingerprint": base.fingerprint,
            }
            for base in runtime.store.bases.list()
        ],
    }

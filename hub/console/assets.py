"""The console's scripts and styles: served from this origin, under paths that change with their content.

`static/vendor.json` has the version, licence and hash of each file that others wrote; it is byte for byte
that of their package.
"""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path

from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import Response

from hub.http.routes.cached import CachedBody

__all__ = ["ROOT", "STATIC", "add_assets", "asset_path"]

ROOT = "/console"
STATIC = Path(__file__).parent / "static"
_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
_KEPT = {"cache-control": "public, max-age=31536000, immutable"}


@cache
def asset_path(name: str) -> str:
    """Return the path of an asset."""
    digest = hashlib.sha256((STATIC / name).read_bytes()).hexdigest()[:12]
    return f"{ROOT}/assets/{digest}/{name}"


def add_assets(app: FastAPI) -> None:
    """Add the routes of all assets; they are the same on every server of a version and need no key."""
    for file in sorted(STATIC.iterdir()):
        if file.suffix in _TYPES:
            _add(app, file)


def _add(app: FastAPI, file: Path) -> None:
    cached = CachedBody(file.read_bytes, _TYPES[file.suffix], _KEPT)

    async def show(request: Request) -> Response:
        return await cached.answer(request)

    app.router.add_route(asset_path(file.name), show, methods=["GET"], include_in_schema=False)

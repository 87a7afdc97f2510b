"""Versions for operators: list them, send one to another hub, and take one from there."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import ExitStack
from typing import IO, Annotated, Any

from fastapi import FastAPI, Path
from pydantic import BaseModel
from starlette.datastructures import UploadFile
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from hub.http.forms import read_form
from hub.http.hub import Hub, hub_of
from hub.http.routes.route import AdminRoute, FormRoute
from hub.http.routes.schemas import ERRORS
from hub.http.routes.table import TableRow, add_table
from hub.http.wire import json_response
from hub.names import NAME_PATTERN, VERSION_PATTERN, check_name
from hub.serving.requests.parsing import BadField
from hub.store.records import Version
from hub.transfer.move import archive_of, receive

__all__ = ["add_routes"]

LIST = "/admin/versions"
ONE = f"{LIST}/{{ref}}/archive"
UPLOAD_S = 600.0  # in which an archive must arrive
_BLOCK = 1 << 20
VersionName = Annotated[str, Path(json_schema_extra={"pattern": VERSION_PATTERN})]
Json = dict[str, Any]


class ReceivedInfo(BaseModel):
    """A version that was taken in: its name here, and its name where it comes from."""

    version: str
    sha256: str
    sent_as: str


class VersionInfo(BaseModel):
    """A stored version."""

    version: str
    sha256: str
    task: str
    base: str
    created: str


class VersionList(BaseModel):
    """The stored versions, by name and number."""

    versions: list[VersionInfo]


_FORM: Json = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["archive"],
                    "properties": {
                        "archive": {"type": "string", "format": "binary", "description": "As it was sent."},
                        "name": {
                            "type": "string",
                            "pattern": NAME_PATTERN,
                            "description": "Name of the adapter here; default: the one it has there.",
                        },
                    },
                }
            }
        },
    }
}


class ReceiveRoute(FormRoute, AdminRoute):
    """Takes a form with an archive."""


def add_routes(app: FastAPI) -> None:
    """Add the routes."""
    rows: list[TableRow] = [
        ("GET", LIST, _list, VersionList, "List the versions"),
        ("GET", ONE, _send, None, "Send a version as an archive"),
    ]
    add_table(app, rows, tag="admin", responses=ERRORS, route=AdminRoute)
    take: TableRow = ("POST", LIST, _receive, ReceivedInfo, "Store a version from the archive of another hub")
    add_table(app, [take], tag="admin", responses=ERRORS, route=ReceiveRoute, openapi_extra=_FORM)


async def _list(request: Request) -> Response:
    found = await asyncio.to_thread(hub_of(request).runtime.store.versions)
    return json_response({"versions": [_describe(version) for version in found]})


async def _send(request: Request, ref: VersionName) -> Response:
    stack = ExitStack()
    store = hub_of(request).runtime.store
    record, file = await asyncio.to_thread(stack.enter_context, archive_of(store, ref))
    headers = {
        "content-disposition": f'attachment; filename="{record.ref}.tar"',
        "x-hub-sha256": record.sha256,
    }
    return StreamingResponse(_blocks(stack, file), headers=headers, media_type="application/x-tar")


def _blocks(stack: ExitStack, file: IO[bytes]) -> Iterator[bytes]:
    with stack:
        while block := file.read(_BLOCK):
            yield block


async def _receive(request: Request) -> Response:
    hub = hub_of(request)
    limit = hub.limits.archive_bytes
    form = await read_form(request, limit, "limits.archive_bytes", UPLOAD_S, files=1, fields=1)
    try:
        file, name = form.get("archive"), form.get("name")
        if not isinstance(file, UploadFile):
            raise BadField("The form has no archive: send it as `archive`, with a file name.", "archive")
        named = check_name(name, "adapter") if isinstance(name, str) else None
        received = await asyncio.to_thread(receive, file.file, _Workspace(hub), name=named)
    finally:
        await form.close()
    version, sent = received.version, received.sent
    return json_response({"version": str(version.ref), "sha256": version.sha256, "sent_as": sent.ref})


class _Workspace:
    """What an arriving version is checked with: that of the server."""

    def __init__(self, hub: Hub) -> None:
        runtime = hub.runtime
        self.settings = hub.settings
        self.store = runtime.store
        self.registry = runtime.registry
        self.bases = runtime.store.bases


def _describe(version: Version) -> Json:
    serving = version.manifest.serving
    return {
        "version": str(version.ref),
        "sha256": version.sha256,
        "task": serving.task,
        "base": serving.base.name,
        "created": version.created.isoformat(),
    }

"""`/v1/files`: upload, list, show, read and delete the files of training jobs."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import Annotated, Any, Literal

from fastapi import FastAPI, Path, Query
from pydantic import BaseModel, Field
from starlette.datastructures import FormData, UploadFile
from starlette.requests import Request
from starlette.responses import FileResponse, Response

from hub.http.forms import read_form
from hub.http.hub import hub_of
from hub.http.openai.pages import MAX_ID, Cursor, CursorList, TrainingRoute, listed
from hub.http.openai.routes import ERRORS
from hub.http.routes.route import FormRoute
from hub.http.routes.table import TableRow, add_table
from hub.http.wire import json_response
from hub.jobs.request import FINE_TUNE
from hub.jobs.service import MAX_NAME, format_by_name
from hub.jobs.wording import about
from hub.serving.requests.parsing import BadField
from hub.store.jobs.files import NewFile
from hub.store.jobs.records import UploadedFile

__all__ = ["add_routes"]

Json = dict[str, Any]
UPLOAD_PATH = "/v1/files"
FORM_BYTES = 65_536  # of a form beside its file
UPLOAD_S = 600.0  # in which an upload must arrive
MIN_LIFE_S, MAX_LIFE_S = 3600, 2_592_000
MAX_FIELDS = 4
_TYPES = {"csv": "text/csv", "tsv": "text/tab-separated-values", "jsonl": "application/jsonl"}

FileId = Annotated[str, Path(max_length=MAX_ID)]


class FileInfo(BaseModel):
    """An uploaded file."""

    id: str
    object: Literal["file"]
    bytes: int
    created_at: int = Field(description="Seconds since 1970.")
    expires_at: int | None = Field(description="When it is deleted, in seconds since 1970.")
    filename: str
    purpose: str
    status: Literal["processed"]
    rows: int = Field(description="Number of rows; not part of OpenAI's API.")


class FileList(CursorList):
    """Files, newest first."""

    data: list[FileInfo]


class FileDeletion(BaseModel):
    """A deleted file."""

    id: str
    object: Literal["file"]
    deleted: Literal[True]


class FileQuery(Cursor):
    """Which files to list."""

    limit: int = Field(10_000, ge=1, le=10_000, description="Maximum number of files.")
    order: Literal["asc", "desc"] = Field("desc", description="By time of upload.")
    purpose: str | None = Field(None, max_length=32, description="Only files with this purpose.")


_FORM: Json = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["file", "purpose"],
                    "properties": {
                        "file": {"type": "string", "format": "binary", "description": "Rows to train on."},
                        "purpose": {"type": "string", "enum": [FINE_TUNE]},
                        "expires_after[anchor]": {"type": "string", "enum": ["created_at"]},
                        "expires_after[seconds]": {
                            "type": "integer",
                            "minimum": MIN_LIFE_S,
                            "maximum": MAX_LIFE_S,
                            "description": "Time until the file is deleted; default: it is kept.",
                        },
                    },
                }
            }
        },
    }
}


def add_routes(app: FastAPI) -> None:
    """Add the routes."""
    one = "/v1/files/{file_id}"
    upload: TableRow = ("POST", UPLOAD_PATH, _upload, FileInfo, "Upload rows to train on")
    rows: list[TableRow] = [
        ("GET", UPLOAD_PATH, _list, FileList, "List the files"),
        ("GET", one, _show, FileInfo, "Show a file"),
        ("DELETE", one, _delete, FileDeletion, "Delete a file"),
    ]
    content: TableRow = ("GET", f"{one}/content", _content, None, "Send the content of a file")
    add = partial(add_table, app, tag="training", responses=ERRORS)
    add([upload], route=UploadRoute, openapi_extra=_FORM)
    add(rows, route=TrainingRoute)
    add([content], route=TrainingRoute, response_class=FileResponse)


class UploadRoute(FormRoute, TrainingRoute):
    """Takes a form with a file."""


@dataclass(frozen=True, slots=True)
class _Form:
    file: UploadFile
    new: NewFile


async def _upload(request: Request) -> Response:
    hub = hub_of(request)
    limit = hub.settings.jobs.file_bytes + FORM_BYTES
    form = await read_form(request, limit, "jobs.file_bytes", UPLOAD_S, files=1, fields=MAX_FIELDS)
    try:
        sent = _checked(form)
        with about("file"):
            file = await hub.training.reading(partial(hub.training.upload, sent.file.file, sent.new))
    finally:
        await form.close()
    return json_response(_describe(file))


async def _list(request: Request, query: Annotated[FileQuery, Query()]) -> Response:
    files, first = hub_of(request).training.files, query.order == "asc"
    found = await asyncio.to_thread(files.page, query.page, query.purpose, oldest_first=first)
    return json_response(listed(found, query.limit, _describe))


async def _show(request: Request, file_id: FileId) -> Response:
    return json_response(_describe(await asyncio.to_thread(hub_of(request).training.files.get, file_id)))


async def _delete(request: Request, file_id: FileId) -> Response:
    await asyncio.to_thread(hub_of(request).training.files.remove, file_id)
    return json_response({"id": file_id, "object": "file", "deleted": True})


async def _content(request: Request, file_id: FileId) -> Response:
    files = hub_of(request).training.files
    file = await asyncio.to_thread(files.get, file_id)
    kind = _TYPES.get(file.format, "application/octet-stream")
    safe = {"x-content-type-options": "nosniff", "content-disposition": "attachment"}
    return FileResponse(files.path(file), media_type=kind, headers=safe)


def _checked(form: FormData) -> _Form:
    file, purpose = form.get("file"), form.get("purpose")
    if not isinstance(file, UploadFile):
        raise BadField("The form has no file: send it as `file`, with a file name.", "file")
    if purpose != FINE_TUNE:
        raise BadField(f"purpose: files are kept for {FINE_TUNE!r} only.", "purpose")
    name = (file.filename or "upload")[:MAX_NAME]
    with about("file"):
        format = format_by_name(name)
    return _Form(file, NewFile(name, format, FINE_TUNE, _lifetime(form)))


def _lifetime(form: FormData) -> timedelta | None:
    anchor, seconds = form.get("expires_after[anchor]"), form.get("expires_after[seconds]")
    if anchor is None and seconds is None:
        return None
    if anchor != "created_at" or not isinstance(seconds, str) or not seconds.isdecimal():
        raise BadField("expires_after: send `anchor`, which is created_at, and `seconds`.", "expires_after")
    if len(seconds) > len(str(MAX_LIFE_S)) or not MIN_LIFE_S <= int(seconds) <= MAX_LIFE_S:
        raise BadField(
            f"expires_after.seconds: is not between {MIN_LIFE_S} and {MAX_LIFE_S}.", "expires_after.seconds"
        )
    return timedelta(seconds=int(seconds))


def _describe(file: UploadedFile) -> Json:
    return {
        "id": file.id,
        "object": "file",
        "bytes": file.bytes,
        "created_at": int(file.created.timestamp()),
        "expires_at": int(file.expires.timestamp()) if file.expires else None,
        "filename": file.filename,
        "purpose": file.purpose,
        "status": "processed",
        "rows": file.rows,
    }

"""Lists in pages, and the routes of files and jobs, which need the right to train."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, Field

from hub.http.auth import Right
from hub.http.openai.routes import OpenAIRoute
from hub.store.jobs.records import Page

__all__ = ["MAX_ID", "Cursor", "TrainingRoute", "listed"]

Json = dict[str, Any]
MAX_ID = 64  # characters of an id
Entry = TypeVar("Entry")


class TrainingRoute(OpenAIRoute):
    """Requires the right to train."""

    right = Right.TRAIN


class Cursor(BaseModel):
    """Which part of a list to send."""

    after: str | None = Field(None, max_length=MAX_ID, description="Id of the last entry of the page before.")
    limit: int = Field(20, ge=1, le=100, description="Maximum number of entries.")

    @property
    def page(self) -> Page:
        return Page(self.limit, self.after)


class CursorList(BaseModel):
    """A page of a list."""

    object: Literal["list"]
    first_id: str | None
    last_id: str | None
    has_more: bool


def listed(found: Sequence[Entry], limit: int, describe: Callable[[Entry], Json]) -> Json:
    """Return a page as OpenAI's clients read it; `found` has one entry more than `limit` if others follow."""
    data = [describe(one) for one in found[:limit]]
    return {
        "object": "list",
        "data": data,
        "first_id": data[0]["id"] if data else None,
        "last_id": data[-1]["id"] if data else None,
        "has_more": len(found) > limit,
    }

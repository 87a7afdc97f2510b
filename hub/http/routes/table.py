"""Adds the routes of a table, which share a tag, their errors and the class of their routes."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterable
from typing import Any

from fastapi import FastAPI
from starlette.responses import Response

from hub.http.routes.route import InferRoute

__all__ = ["TableRow", "add_table"]

TableRow = tuple[str, str, Callable[..., Coroutine[Any, Any, Response]], Any, str]
"""Method, path, endpoint, model of the answer, and summary."""


def add_table(
    app: FastAPI,
    rows: Iterable[TableRow],
    *,
    tag: str,
    responses: dict[int | str, dict[str, Any]],
    route: type[InferRoute],
    **more: Any,
) -> None:
    """Add a route for each row; `more` is for `add_api_route`."""
    for method, path, endpoint, answer, summary in rows:
        app.router.add_api_route(
            path,
            endpoint,
            methods=[method],
            response_model=answer,
            tags=[tag],
            summary=summary,
            responses=responses,
            route_class_override=route,
            **more,
        )

"""Requests of a trial to which its versions gave different answers, and the label that says who is right.

They are the texts of others: for those who may deploy there, not for all who may ask.
"""

from __future__ import annotations

import asyncio
from typing import Any

from fastapi import FastAPI
from pydantic import BaseModel, ValidationError
from starlette.requests import Request
from starlette.responses import Response

from hub.console.pages.deployments import may_see
from hub.console.routes import ActionRoute, add_page, page, redirect, text_of
from hub.errors import BadRequest, NotFound, first_problem
from hub.http.auth import Right, caller_of
from hub.http.hub import hub_of
from hub.http.routes.feedback import FeedbackRequest, label_answer
from hub.serving.canary.disagreements import Disagreement
from hub.serving.requests.parsing import check_json

__all__ = ["add_routes"]

Json = dict[str, Any]


def add_routes(app: FastAPI) -> None:
    """Add the page, and the action that labels an answer."""
    add_page(app, "/deployments/{name}/disagreements", _show, Right.DEPLOY)
    add_page(app, "/deployments/{name}/disagreements", _label, Right.DEPLOY, route=ActionRoute)


async def _show(request: Request, name: str) -> Response:
    _check_right(request, name)
    runtime = hub_of(request).runtime
    deployment = await asyncio.to_thread(runtime.store.deployment, name)
    kept = runtime.answers.disagreements.of(name, deployment.trial)
    return page(
        request,
        "disagreements.html",
        f"Disagreements of {name}",
        name=name,
        keeps=runtime.answers.keeps,
        labels=list(deployment.stable.manifest.serving.labels),
        rows=await asyncio.to_thread(lambda: [_described(one) for one in kept]),
        done=request.query_params.get("done", ""),
    )


def _check_right(request: Request, name: str) -> None:
    caller = caller_of(request)
    if not may_see(caller, name):
        raise NotFound(f"There is no deployment {name!r}, or the key may not see it.")
    caller.require(Right.DEPLOY, name)


def _described(one: Disagreement) -> Json:
    seen = one.seen
    return {
        "when": one.when.isoformat(),
        "request_id": seen.request_id,
        "version": str(seen.version.ref),
        "beside": str(seen.beside.ref) if seen.beside else "",
        "request": _plain(seen.request),
        "response": _plain(seen.response),
    }


def _plain(model: BaseModel | None) -> Json | None:
    """Return what a model of a plugin has as JSON values."""
    if model is None:
        return None
    found: Json = model.model_dump(mode="json")
    return found


async def _label(request: Request, name: str) -> Response:
    _check_right(request, name)
    text = text_of(request, "label").strip()
    if not text:
        raise BadRequest("Give the correct label.")
    try:
        label = check_json(text.encode()) if text.startswith(("{", "[")) else text
        body = FeedbackRequest(request_id=text_of(request, "request_id"), label=label)
    except ValidationError as error:
        raise BadRequest(": ".join(first_problem(error))) from None
    except BadRequest:
        raise BadRequest("label: it begins as JSON, and is none.") from None
    given = await label_answer(request, body)
    verdict = "right" if given.correct else "wrong"
    return redirect(f"/deployments/{name}/disagreements", done=f"{given.answer.version} was {verdict}")

"""The route that says which words an answer comes from; off unless the server is told otherwise."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any, Literal, TypeVar

from fastapi import FastAPI
from pydantic import BaseModel, ConfigDict, Field
from pydantic_core import to_json
from starlette.requests import Request
from starlette.responses import Response

from hub.api import Model, Row
from hub.errors import Conflict, Overloaded
from hub.http.hub import Hub, hub_of
from hub.http.routes.native import sticky_key
from hub.http.routes.route import InferRoute
from hub.http.routes.schemas import ERRORS
from hub.http.wire import json_response
from hub.serving.plugins.validators import runs_plugin_code
from hub.serving.requests.parsing import BadField, parse
from hub.serving.routing.router import Admission
from hub.serving.routing.routes import by_name
from hub.store.records import Version
from hub.store.store import Store

__all__ = ["add_routes"]

WAITING = 4  # explanations that may wait for the one under way
NICENESS = 10  # of the thread that makes them, and of those it starts

Result = TypeVar("Result")


class Explain(Model):
    """What is to be explained, and how."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"request": {"text": "A film without a dull minute."}}]}
    )

    request: dict[str, Any] = Field(description="A request of the deployment's task.")
    method: Literal["gradients", "attention"] = Field(
        "gradients", description="Integrated gradients (extra 'explain'), or attention rollout."
    )
    target: str | None = Field(
        None, max_length=200, description="A label, or start or end of a span; none: the chosen one."
    )
    word: str | None = Field(
        None,
        max_length=200,
        description="Where each token has a score: the word to ask about; none: the surest one.",
    )


class WordShare(Model):
    """A word and the sum of its tokens' scores."""

    text: str
    field: str
    offsets: tuple[int, int]
    score: float


class Explained(Model):
    """What each token contributed to the score of `target`; lists are as long as `tokens`.

    By gradients, scores are parts of the difference of `score` to `baseline_score`, where nothing is said,
    and sum up to it but for `convergence_delta`. By attention they are shares of 1.
    """

    deployment: str
    version: str = Field(examples=["movie-sentiment@2"])
    sha256: str
    track: str
    method: str
    target: str
    score: float
    position: int | None = Field(description="The token that was read; null: the row has one score.")
    tokens: list[str]
    fields: list[str | None]
    offsets: list[tuple[int, int] | None]
    scores: list[float]
    words: list[WordShare]
    baseline_score: float | None
    convergence_delta: float | None
    steps: int | None
    row: int = Field(description="Which of the request's rows has the score.")
    rows: int


class OneAtATime:
    """Runs calls one after the other in a thread that steps back where cores are short.

    They must run no plugin code: nothing ends one that hangs.
    """

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="explain", initializer=_step_back)
        self._lock = threading.Lock()
        self._pending = 0

    async def run(self, call: Callable[[], Result]) -> Result:
        """Run a call when its turn comes; one whose caller has left by then is dropped.

        Raises:
            Overloaded: too many wait.
        """
        with self._lock:
            if self._pending > WAITING:
                raise Overloaded(f"{WAITING} explanations wait for the one under way. Try again later.")
            self._pending += 1
        future = self._pool.submit(call)
        future.add_done_callback(self._done)
        return await asyncio.wrap_future(future)

    def _done(self, _: object) -> None:
        with self._lock:
            self._pending -= 1


def add_routes(app: FastAPI) -> None:
    """Add the route."""
    turns = OneAtATime()

    async def explain(request: Request, name: str, body: Explain) -> Response:
        return await _explain(hub_of(request), turns, name, sticky_key(request), body)

    app.router.add_api_route(
        "/v1/deployments/{name}/explain",
        explain,
        methods=["POST"],
        response_model=Explained,
        tags=["deployments"],
        summary="Say which words an answer comes from (where serve.explain is set)",
        responses=ERRORS,
        route_class_override=InferRoute,
    )


async def _explain(hub: Hub, turns: OneAtATime, name: str, key: str, body: Explain) -> Response:
    if not hub.runtime.settings.serve.explain:
        raise Conflict("Explanations are off here. Set serve.explain to true and start the server again.")
    with await hub.runtime.router.admit(by_name(name), key) as admission:
        task = admission.route.task
        if runs_plugin_code(task.request):
            asked = await hub.runtime.pipeline.read(task, lambda: _asked(body, admission))
        else:
            asked = _asked(body, admission)
        rows = await hub.runtime.pipeline.encode(admission, asked)
    found = await turns.run(lambda: _run(hub.runtime.store, admission.version, asked, rows, body))
    return json_response(
        {
            "deployment": admission.route.name,
            "version": str(admission.version.ref),
            "sha256": admission.version.sha256,
            "track": str(admission.track),
            **{part: value for part, value in found.items() if part not in ("name", "version")},
        }
    )


def _asked(body: Explain, admission: Admission) -> BaseModel:
    try:
        return parse(to_json(body.request), admission.route.task.request)
    except BadField as error:
        raise BadField(str(error), f"request.{error.field}".rstrip(".")) from None


def _run(store: Store, version: Version, asked: BaseModel, rows: list[Row], body: Explain) -> dict[str, Any]:
    """Explain a version from its files: slots and their leases have no part in it, nor has plugin code."""
    from hub.explain.attribution import Wish, explain_rows, texts_of

    wish = Wish(body.method, body.target, body.word)
    return explain_rows(version, rows, texts_of(asked), wish, store).to_json()


def _step_back() -> None:
    with suppress(AttributeError, OSError):  # on Linux a priority is a thread's, elsewhere the process's
        if os.uname().sysname == "Linux":
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICENESS)

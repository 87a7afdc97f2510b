"""The route that explains an answer by its words, or the patches of an image; off by default."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any, TypeVar

from fastapi import FastAPI
from pydantic import BaseModel, ConfigDict, Field
from pydantic_core import to_json
from starlette.requests import Request
from starlette.responses import Response

from hub.api import Model, Row
from hub.errors import BadRequest, Conflict, Overloaded
from hub.http.calls import admit
from hub.http.hub import hub_of
from hub.http.routes.route import InferRoute
from hub.http.routes.schemas import ERRORS
from hub.http.wire import json_response
from hub.registry.kinds import EXPLAINERS
from hub.serving.plugins.validators import runs_plugin_code
from hub.serving.requests.parsing import BadField, below, parse
from hub.serving.routing.router import Admission
from hub.serving.routing.routes import by_name
from hub.store.records import Version
from hub.store.store import Store

__all__ = ["Explain", "add_routes", "explain_once"]

MAX_WAITING = 4  # explanations that wait for the running one
NICENESS = 10  # of the explaining thread and of the threads that it starts

Result = TypeVar("Result")


class Explain(Model):
    """The request to explain, and the method."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"request": {"text": "A film without a dull minute."}}]}
    )

    request: dict[str, Any] = Field(description="A request of the deployment's task.")
    method: str = Field(
        "gradients",
        max_length=63,
        description="gradients: integrated gradients (extra 'explain'). attention: attention rollout. Or the "
        "name of a plugin's explainer.",
    )
    target: str | None = Field(
        None, max_length=200, description="A label, or start or end of a span; none: the predicted one."
    )
    word: str | None = Field(
        None,
        max_length=200,
        description="For tasks with a score per token: the word to explain; none: the most confident one.",
    )


class WordShare(Model):
    """A word and the sum of its tokens' scores."""

    text: str
    field: str
    offsets: tuple[int, int]
    score: float


class Explained(Model):
    """What each token contributed to the score of `target`; lists are as long as `tokens`.

    With gradients, scores sum to the difference between `score` and the `baseline_score` of a masked input,
    up to `convergence_delta`. With attention, they sum to 1.
    """

    deployment: str
    version: str = Field(examples=["movie-sentiment@2"])
    sha256: str
    track: str
    method: str
    target: str
    score: float
    position: int | None = Field(description="The explained token; null: the row has one score.")
    tokens: list[str]
    fields: list[str | None]
    offsets: list[tuple[int, int] | None]
    scores: list[float]
    words: list[WordShare]
    baseline_score: float | None
    convergence_delta: float | None
    steps: int | None
    row: int = Field(description="The index of the explained row of the request.")
    rows: int


class ImageGrid(BaseModel):
    """How the base cuts an image into patches, in pixels of the image as the base takes it."""

    rows: int
    columns: int
    patch_height: int
    patch_width: int
    height: int
    width: int


class ExplainedImage(BaseModel):
    """What each patch of an image contributed to the score of `target`; sums are those of `Explained`."""

    deployment: str
    version: str = Field(examples=["photos@2"])
    sha256: str
    track: str
    method: str
    target: str
    score: float
    grid: ImageGrid
    patches: list[list[float]] = Field(description="A list for each row of the grid, from the top left.")
    baseline_score: float | None = Field(description="The score of a grey image.")
    convergence_delta: float | None
    steps: int | None
    row: int = Field(description="The index of the explained image of the request.")
    rows: int


class OneAtATime:
    """Runs calls one at a time in a thread of low priority.

    The calls must not run plugin code, since a hanging call is never ended.
    """

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="explain", initializer=_lower_priority)
        self._lock = threading.Lock()
        self._pending = 0

    async def run(self, call: Callable[[], Result]) -> Result:
        """Run a call in turn; it is dropped if its caller is cancelled before.

        Raises:
            Overloaded: too many calls wait.
        """
        with self._lock:
            if self._pending > MAX_WAITING:
                raise Overloaded(f"{MAX_WAITING} explanations are waiting. Try again later.")
            self._pending += 1
        future = self._pool.submit(call)
        future.add_done_callback(self._done)
        return await asyncio.wrap_future(future)

    def _done(self, _: object) -> None:
        with self._lock:
            self._pending -= 1


def add_routes(app: FastAPI) -> None:
    """Add the route."""
    app.state.explain_turns = OneAtATime()
    app.router.add_api_route(
        "/v1/deployments/{name}/explain",
        _explain,
        methods=["POST"],
        response_model=Explained | ExplainedImage,
        tags=["deployments"],
        summary="Explain an answer by its words, or the patches of an image (needs serve.explain)",
        responses=ERRORS,
        route_class_override=InferRoute,
    )


async def _explain(request: Request, name: str, body: Explain) -> Response:
    return json_response(await explain_once(request, name, body))


async def explain_once(
    request: Request, name: str, body: Explain, *, picture: bool = False
) -> dict[str, Any]:
    """Return the explanation of a deployment's answer, as `Explained` or `ExplainedImage` has it.

    It is made on behalf of the caller. With `picture`, it has the image as the base takes it, as a data URL.

    Raises:
        Conflict: explanations are disabled, or the deployment is a base.
        BadRequest: no explainer has this name, or the request does not fit the task.
        Overloaded: too many explanations are waiting.
    """
    hub = hub_of(request)
    turns: OneAtATime = request.app.state.explain_turns
    if not hub.runtime.settings.serve.explain:
        raise Conflict("Explanations are disabled. Set serve.explain to true and restart the server.")
    explainers = hub.runtime.registry.extensions.specs(EXPLAINERS)
    if body.method not in explainers:
        raise BadField(
            f"No explainer is named {body.method!r}. Available: {', '.join(sorted(explainers))}.", "method"
        )
    with await admit(request, by_name(name)) as admission:
        task = admission.route.task
        if admission.version.bare:
            raise Conflict(f"{name!r} is a base, which has nothing to explain. Name a deployment.")
        if runs_plugin_code(task.request):
            asked = await hub.runtime.pipeline.read(task, lambda: _request(body, admission))
        else:
            asked = _request(body, admission)
        try:
            rows = await hub.runtime.pipeline.encode(admission, asked)
        except BadRequest as error:
            raise below("request", error) from None
    found = await turns.run(lambda: _run(hub.runtime.store, admission.version, asked, rows, body, picture))
    return {
        "deployment": admission.route.name,
        "version": str(admission.version.ref),
        "sha256": admission.version.sha256,
        "track": str(admission.track),
        **{part: value for part, value in found.items() if part not in ("name", "version")},
    }


def _request(body: Explain, admission: Admission) -> BaseModel:
    try:
        return parse(to_json(body.request), admission.route.task.request)
    except BadRequest as error:
        raise below("request", error) from None


def _run(
    store: Store, version: Version, asked: BaseModel, rows: list[Row], body: Explain, picture: bool
) -> dict[str, Any]:
    """Explain a version from its files, without slots, leases and plugin code."""
    from hub.explain.attribution import ExplainOptions, explain_rows, texts_of
    from hub.explain.explanation import ImageExplanation

    options = ExplainOptions(body.method, body.target, body.word)
    found = explain_rows(version, rows, texts_of(asked), options, store)
    shown = {"picture": found.data_url} if picture and isinstance(found, ImageExplanation) else {}
    return found.to_json() | shown


def _lower_priority() -> None:
    with suppress(
        AttributeError, OSError
    ):  # on Linux, threads have priorities of their own; elsewhere processes have
        if os.uname().sysname == "Linux":
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICENESS)

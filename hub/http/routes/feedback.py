"""The route that receives the correct answer to a request."""

from __future__ import annotations

import json
from typing import Annotated, Any

from fastapi import FastAPI
from pydantic import ConfigDict, Field
from starlette.requests import Request
from starlette.responses import Response

from hub.api import MAX_TEXT, Model
from hub.errors import TooLarge
from hub.http.auth import Right, caller_of
from hub.http.hub import hub_of
from hub.http.routes.route import InferRoute
from hub.http.routes.schemas import ERRORS
from hub.http.wire import json_response
from hub.serving.canary.grading import Comparer, Label
from hub.serving.requests.parsing import BadField
from hub.store.catalog.feedback import LabelledAnswer, StoredAnswer

__all__ = ["FeedbackRequest", "add_routes", "label_answer"]


class FeedbackRequest(Model):
    """The correct answer to a request."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"request_id": "8f14e45fceea167a", "label": "negative"}]}
    )

    request_id: str = Field(
        pattern=r"^[A-Za-z0-9._-]{1,64}$",
        description="The x-hub-request-id of the answer; ID.0, ID.1, ... for a call with several items.",
    )
    label: str | Annotated[list[str], Field(max_length=1000)] | dict[str, Any] = Field(
        description="The correct label or text; all correct labels, or alternative texts; or an object with "
        "fields of the response, such as `entities`."
    )


class FeedbackGiven(Model):
    """The version that answered, and whether its answer was correct."""

    request_id: str
    deployment: str
    version: str = Field(examples=["movie-sentiment@2"])
    correct: bool


def add_routes(app: FastAPI) -> None:
    """Add the route."""
    app.router.add_api_route(
        "/v1/feedback",
        _label,
        methods=["POST"],
        response_model=FeedbackGiven,
        tags=["feedback"],
        summary="Label the answer to a request; a later label replaces an earlier one",
        responses=ERRORS,
        route_class_override=InferRoute,
    )


async def _label(request: Request, body: FeedbackRequest) -> Response:
    given = await label_answer(request, body)
    return json_response(
        {
            "request_id": body.request_id,
            "deployment": given.answer.deployment,
            "version": given.answer.version,
            "correct": given.correct,
        }
    )


async def label_answer(request: Request, body: FeedbackRequest) -> LabelledAnswer:
    """Label a stored answer of a deployment that the caller may ask.

    Raises:
        TooLarge: the label is too long.
        BadField: it has a number beyond all floats, such as 1e999, which JSON cannot keep.
        HubError: as `AnswerLog.label`.
    """
    try:
        size = len(json.dumps(body.label, ensure_ascii=False, allow_nan=False))
    except ValueError:
        raise BadField("label: has a number that is out of range.", "label") from None
    if size > MAX_TEXT:
        raise TooLarge(f"`label` has more than {MAX_TEXT:,} characters.")
    runtime = hub_of(request).runtime
    caller = caller_of(request)
    compare = Comparer(runtime.registry, runtime.store, runtime.pipeline.read)

    async def is_correct(answer: StoredAnswer, label: Label) -> bool:
        if not caller.may(Right.INFER, answer.deployment):
            raise runtime.answers.unknown(body.request_id)
        return await compare(answer, label)

    return await runtime.answers.label(body.request_id, body.label, is_correct)

"""`/v1/deployments/{name}/rank`: candidates in the order of their nearness to a query."""

from __future__ import annotations

from collections.abc import Mapping

from fastapi import FastAPI
from pydantic import BaseModel, ConfigDict, Field
from pydantic_core import to_json
from starlette.requests import Request
from starlette.responses import Response

from hub.api import Model, Text
from hub.errors import BadRequest, HubError
from hub.http.calls import ask
from hub.http.routes.route import InferRoute
from hub.http.routes.schemas import DESCRIBED, DeploymentName
from hub.http.stream import Events
from hub.http.vectors import hypotheses, label_scores, vector_request, vectors_of
from hub.http.wire import error_response
from hub.serving.requests.call_answers import CallAnswers
from hub.serving.routing.router import Admission
from hub.serving.routing.routes import Route, by_name
from hub.vectors import ranked

__all__ = ["add_routes"]


class RankRequest(Model):
    """A query and the texts, or the names of labels, to put in order."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "query": "When do I get my money back?",
                    "candidates": ["Refunds take five days.", "We ship on Mondays."],
                },
                {
                    "query": "The keeper saved it in extra time.",
                    "candidates": ["sport", "politics"],
                    "template": "This text is about {}.",
                    "probabilities": True,
                },
            ]
        }
    )

    query: Text
    candidates: list[Text] = Field(min_length=1)
    top_k: int | None = Field(None, ge=1, description="How many candidates to return; default: all.")
    return_documents: bool = Field(False, description="Return the candidates beside their positions.")
    template: str | None = Field(
        None,
        max_length=1000,
        description="Makes a text of each candidate, which takes the place of {}.",
        json_schema_extra={"pattern": r"\{\}"},
    )
    probabilities: bool = Field(False, description="Scores add up to 1: a softmax over all candidates.")
    truncate: bool = Field(True, description="Cut texts that are too long; false: refuse them.")


class RankedCandidate(Model):
    """A candidate with its score."""

    index: int = Field(description="Position among the candidates.")
    score: float
    document: str | None = Field(None, description="The candidate, if asked for.")


class Ranking(Model):
    """The candidates, the nearest first."""

    results: list[RankedCandidate]
    tokens: int = Field(description="Tokens of all texts.")


def add_routes(app: FastAPI) -> None:
    """Add the route."""
    app.router.add_api_route(
        "/v1/deployments/{name}/rank",
        _rank,
        methods=["POST"],
        response_model=Ranking,
        response_model_exclude_none=True,
        tags=["deployments"],
        summary="Rank texts by their nearness to a query, or labels by how well they suit it",
        responses=DESCRIBED,
        route_class_override=InferRoute,
    )


async def _rank(request: Request, name: DeploymentName, body: RankRequest) -> Response:
    form = _RankForm(body)
    return await ask(request, by_name(name), form.read, form)


class _RankForm:
    def __init__(self, body: RankRequest) -> None:
        self._body = body

    def read(self, route: Route) -> list[BaseModel | HubError]:
        body = self._body
        texts = hypotheses(body.candidates, body.template) if body.template else body.candidates
        places = {"inputs": "candidates"}
        settings = {"query": body.query, "truncate": body.truncate, "vectors": False}
        return [vector_request(route, texts, places, **settings)]

    def answer(self, admission: Admission, answers: CallAnswers) -> bytes:
        body, found = self._body, vectors_of(answers)
        scores = found.scores or []
        if body.probabilities:
            scores = label_scores(admission.route.task, admission.version.info, scores)
        results = [
            RankedCandidate(
                index=one.index,
                score=one.score,
                document=body.candidates[one.index] if body.return_documents else None,
            )
            for one in ranked(scores, body.top_k)
        ]
        return to_json(Ranking(results=results, tokens=found.tokens), exclude_none=True)

    def events(self, admission: Admission) -> Events:
        raise BadRequest("A ranking is not streamed.")

    def error(self, error: HubError, headers: Mapping[str, str] | None = None) -> Response:
        return error_response(error, headers)

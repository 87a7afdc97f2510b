"""Vectors and scores of texts by a deployment: what every family of routes asks for and reads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, Protocol

import numpy as np
from pydantic import BaseModel

from hub.api import AdapterInfo, HeadKind
from hub.errors import BadRequest, Conflict, HubError, TooLarge
from hub.registry.loaded import LoadedTask
from hub.serving.requests.call_answers import CallAnswers
from hub.serving.requests.parsing import parse_fields
from hub.serving.routing.routes import Route
from hub.task_tools import softmax

__all__ = ["TextVectors", "hypotheses", "label_scores", "vector_request", "vectors_of"]

MAX_HYPOTHESES = 2_000_000  # characters of all texts that a template makes: as many as a body has bytes


class TextVectors(Protocol):
    """The answer of a task that makes vectors."""

    vectors: list[list[float]] | None
    token_vectors: list[list[list[float]]] | None
    scores: list[float] | None  # of the inputs, if the request had a query
    tokens: int


def vector_request(
    route: Route, inputs: Any, places: Mapping[str, str] = MappingProxyType({}), **settings: Any
) -> BaseModel:
    """Return a request of the route's task for `inputs`, a text or a list; settings that are None are absent.

    The settings are those of `similarity`: `query`, `input_type`, `normalize`, `dimensions`, `truncate`,
    `vectors`, `every_token`. `places` has where the caller's body has those that it names otherwise.

    Raises:
        Conflict: the deployment makes no vectors.
        BadRequest: an input or a setting does not fit.
    """
    task = route.task
    if task.spec.head is not HeadKind.EMBEDDING or "inputs" not in task.request.model_fields:
        raise Conflict(
            f"Deployment {route.name!r} serves the task {task.spec.name!r}, which makes no vectors. Use "
            f"/v1/deployments/{route.name}/predict."
        )
    given = {name: value for name, value in settings.items() if value is not None}
    return parse_fields({"inputs": inputs, **given}, task.request, places)


def vectors_of(answers: CallAnswers) -> TextVectors:
    """Return the answer to the only request of a call.

    Raises: the error of the request.
    """
    (item,) = answers.items
    if isinstance(item, HubError):
        raise item
    found: Any = item
    return found  # type: ignore[no-any-return]


def hypotheses(labels: Sequence[str], template: str, asked: int = 1) -> list[str]:
    """Return a text for each label, by a template such as "This text is about {}."

    `asked` is the number of questions that each of them is sent with.

    Raises:
        BadRequest: the template has no place for the label.
        TooLarge: the texts would be longer than any request.
    """
    places = template.count("{}")
    if not places:
        raise BadRequest("A template of labels has {} in the place of the label.")
    total = (len(labels) * len(template) + places * sum(map(len, labels))) * asked
    if total > MAX_HYPOTHESES:
        raise TooLarge(
            f"Template and labels make texts of {total:,} characters; the limit is {MAX_HYPOTHESES:,}. "
            "Send shorter or fewer ones."
        )
    return [template.replace("{}", label) for label in labels]


def label_scores(
    task: LoadedTask, info: AdapterInfo, scores: Sequence[float], *, multi_label: bool = False
) -> list[float]:
    """Return the scores of candidates as probabilities, which add up to 1.

    With `multi_label` each is independent of the others: the score itself, from 0 to 1.
    """
    if multi_label:
        return [min(1.0, max(0.0, score)) for score in scores]
    scale = task.task.embedding(info).scale
    found: list[float] = softmax(np.asarray(scores, dtype=np.float64), 1 / scale).tolist()
    return found

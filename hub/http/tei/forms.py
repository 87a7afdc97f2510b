"""How bodies of Text Embeddings Inference become requests of a task, and its answers theirs."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, Generic, TypeVar

from pydantic import BaseModel
from pydantic_core import from_json, to_json
from starlette.responses import Response

from hub.api import HeadKind
from hub.errors import BadRequest, Conflict, HubError
from hub.http.huggingface.pipelines import TextClassification
from hub.http.stream import Events
from hub.http.tei.bodies import EmbedAllBody, EmbedBody, PredictBody, RerankBody, SimilarityBody, TeiBody
from hub.http.tei.errors import check_batch, tei_error
from hub.http.vectors import vector_request, vectors_of
from hub.registry.host import LoadedTask
from hub.serving.requests.call_answers import CallAnswers
from hub.serving.requests.parsing import parse, parse_fields
from hub.serving.routing.router import Admission
from hub.serving.routing.routes import Route
from hub.vectors import ranked

__all__ = [
    "EmbedAllForm",
    "EmbedForm",
    "OwnForm",
    "PredictForm",
    "RerankForm",
    "SimilarityForm",
    "TeiForm",
    "classifies",
    "makes_vectors",
]

BodyT = TypeVar("BodyT", bound=TeiBody)
_PAIR = ("text", "text_pair")
_PROMPTS = {None: "text", "text": "text", "query": "query"}


def makes_vectors(task: LoadedTask) -> bool:
    """Return whether a task turns texts into vectors."""
    return task.spec.head is HeadKind.EMBEDDING and "inputs" in task.request.model_fields


def classifies(task: LoadedTask) -> bool:
    """Return whether a task gives a text scores of labels."""
    return TextClassification.fits(
        frozenset(task.request.model_fields), frozenset(task.response.model_fields)
    )


class TeiForm(ABC, Generic[BodyT]):
    """Reads one kind of body and writes its answer."""

    def __init__(self, body: BodyT, max_items: int) -> None:
        self.body = body
        self.max_items = max_items

    @abstractmethod
    def read(self, route: Route) -> list[BaseModel | HubError]:
        """Return the requests of the route's task.

        Raises:
            Conflict: the deployment is of another kind.
            BadRequest: a value does not fit.
        """

    @abstractmethod
    def result(self, answers: CallAnswers) -> Any:
        """Return the answer as a JSON value."""

    def answer(self, admission: Admission, answers: CallAnswers) -> bytes:
        return to_json(self.result(answers))

    def events(self, admission: Admission) -> Events:
        raise BadRequest("These routes have no streams.")

    def error(self, error: HubError, headers: Mapping[str, str] | None = None) -> Response:
        return tei_error(error, headers)


class EmbedForm(TeiForm[EmbedBody]):
    """Vectors of texts."""

    def read(self, route: Route) -> list[BaseModel | HubError]:
        body = self.body
        more = {**_prompted(body), "normalize": body.normalize, "dimensions": body.dimensions}
        return [vector_request(route, _batch(body, self.max_items), **more)]

    def result(self, answers: CallAnswers) -> Any:
        return vectors_of(answers).vectors


class EmbedAllForm(TeiForm[EmbedAllBody]):
    """Vectors of the tokens of texts."""

    def read(self, route: Route) -> list[BaseModel | HubError]:
        batch = _batch(self.body, self.max_items)
        return [vector_request(route, batch, **_prompted(self.body), every_token=True)]

    def result(self, answers: CallAnswers) -> Any:
        return vectors_of(answers).token_vectors


class SimilarityForm(TeiForm[SimilarityBody]):
    """Scores of texts beside one, in their order."""

    def read(self, route: Route) -> list[BaseModel | HubError]:
        inputs, parameters = self.body.inputs, self.body.parameters
        check_batch("inputs.sentences", inputs.sentences, self.max_items - 1)  # without the source
        more = {}
        if parameters:
            more = _settings(parameters.truncate, parameters.truncation_direction)
            more["input_type"] = _input_type(parameters.prompt_name)
        return [
            vector_request(
                route,
                inputs.sentences,
                {"inputs": "inputs.sentences", "query": "inputs.source_sentence"},
                query=inputs.source_sentence,
                vectors=False,
                normalize=True,
                **more,
            )
        ]

    def result(self, answers: CallAnswers) -> Any:
        return vectors_of(answers).scores


class RerankForm(TeiForm[RerankBody]):
    """Texts from the nearest to the farthest."""

    def read(self, route: Route) -> list[BaseModel | HubError]:
        body = self.body
        check_batch("texts", body.texts, self.max_items)
        more = _settings(body.truncate, body.truncation_direction)
        places = {"inputs": "texts"}
        return [vector_request(route, body.texts, places, query=body.query, vectors=False, **more)]

    def result(self, answers: CallAnswers) -> Any:
        texts, scores = self.body.texts, vectors_of(answers).scores or ()
        return [
            {"index": one.index, "score": one.score}
            | ({"text": texts[one.index]} if self.body.return_text else {})
            for one in ranked(scores)
        ]


class PredictForm(TeiForm[PredictBody]):
    """Labels of texts, the most probable first."""

    def read(self, route: Route) -> list[BaseModel | HubError]:
        if not classifies(route.task):
            raise Conflict(
                f"Deployment {route.name!r} serves the task {route.task.spec.name!r}, which gives a text no "
                f"labels. Use /v1/deployments/{route.name}/predict."
            )
        if self.body.truncate is False and "truncate" not in route.task.request.model_fields:
            raise BadRequest(
                f"The task {route.task.spec.name!r} of deployment {route.name!r} has no setting that refuses "
                "texts that are too long. Leave out truncate."
            )
        _settings(None, self.body.truncation_direction)
        batch = self._batch
        check_batch("inputs", batch, self.max_items)
        return [self._request(route, number, texts) for number, texts in enumerate(batch)]

    def _request(self, route: Route, number: int, texts: Sequence[str]) -> BaseModel:
        place = f"inputs.{number}" if self._is_batch else "inputs"
        pair = self._is_batch or not isinstance(self.body.inputs, str)
        fields: dict[str, Any] = dict(zip(_PAIR, texts, strict=False))
        places = {field: f"{place}.{one}" if pair else place for one, field in enumerate(fields)}
        if self.body.truncate is False:
            fields["truncate"] = False
        return parse_fields(fields, route.task.request, places)

    def result(self, answers: CallAnswers) -> Any:
        found = []
        for item, body in zip(answers.items, answers.bodies, strict=True):
            if isinstance(item, HubError):
                raise item
            found.append(TextClassification.ordered(from_json(body)["scores"]))
        return found if self._is_batch else found[0]

    @property
    def _is_batch(self) -> bool:
        inputs = self.body.inputs
        return isinstance(inputs, list) and not (inputs and isinstance(inputs[0], str))

    @property
    def _batch(self) -> Sequence[Sequence[str]]:
        inputs: Any = self.body.inputs
        return inputs if self._is_batch else [[inputs] if isinstance(inputs, str) else inputs]


class OwnForm:
    """Reads a body by what it has and by the task of the deployment that answers it."""

    def __init__(self, body: bytes, value: Any, max_items: int) -> None:
        self._body = body
        self._value = value if isinstance(value, dict) else {}
        self._max_items = max_items
        self._form: TeiForm[Any] | None = None

    def read(self, route: Route) -> list[BaseModel | HubError]:
        kind, model = self._kind(route)
        self._form = kind(parse(self._body, model), self._max_items)
        return self._form.read(route)

    def answer(self, admission: Admission, answers: CallAnswers) -> bytes:
        assert self._form, "the body was read"
        return self._form.answer(admission, answers)

    def events(self, admission: Admission) -> Events:
        raise BadRequest("These routes have no streams.")

    def error(self, error: HubError, headers: Mapping[str, str] | None = None) -> Response:
        return tei_error(error, headers)

    def _kind(self, route: Route) -> tuple[type[TeiForm[Any]], type[TeiBody]]:
        if not makes_vectors(route.task):
            return PredictForm, PredictBody
        if "texts" in self._value:
            return RerankForm, RerankBody
        if isinstance(self._value.get("inputs"), dict):
            return SimilarityForm, SimilarityBody
        return EmbedForm, EmbedBody


def _batch(body: EmbedAllBody, max_items: int) -> Sequence[Any]:
    inputs = body.inputs
    batch: Sequence[Any] = [inputs] if isinstance(inputs, str) or _is_ids(inputs) else inputs
    check_batch("inputs", batch, max_items)
    return batch


def _prompted(body: EmbedAllBody) -> dict[str, Any]:
    more = _settings(body.truncate, body.truncation_direction)
    return {**more, "input_type": _input_type(body.prompt_name)}


def _is_ids(inputs: Any) -> bool:
    return bool(inputs) and isinstance(inputs[0], int)


def _settings(truncate: bool | None, direction: str) -> dict[str, Any]:
    if direction.lower() != "right":
        raise BadRequest("Texts are cut on the right: leave out truncation_direction.")
    return {"truncate": truncate}


def _input_type(prompt_name: str | None) -> str:
    if prompt_name not in _PROMPTS:
        raise BadRequest("prompt_name must be `query` or `text`, or be left out.")
    return _PROMPTS[prompt_name]

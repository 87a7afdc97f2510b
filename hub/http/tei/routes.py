"""The routes at the root, where `model` names the deployment, and below `/tei/NAME`."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Annotated, Any, NamedTuple

from fastapi import FastAPI, Path
from pydantic_core import to_json
from starlette.requests import Request
from starlette.responses import Response

import hub
from hub.api import HeadKind
from hub.errors import Conflict, HubError
from hub.http.calls import admit, ask, version_headers, visible_routes
from hub.http.hub import hub_of
from hub.http.routes.route import InferRoute, RawInferRoute
from hub.http.routes.schemas import DESCRIBED, errors_of
from hub.http.routes.table import TableRow, add_table
from hub.http.tei.bodies import (
    DecodeBody,
    EmbedAllBody,
    EmbedBody,
    PredictBody,
    Prediction,
    Rank,
    RerankBody,
    SimilarityBody,
    SimpleToken,
    TeiBody,
    TeiInfo,
    TokenizeBody,
)
from hub.http.tei.choice import any_kind, only
from hub.http.tei.errors import TeiError, check_batch, check_length, tei_error
from hub.http.tei.forms import (
    EmbedAllForm,
    EmbedForm,
    OwnForm,
    PredictForm,
    RerankForm,
    SimilarityForm,
    TeiForm,
    classifies,
    makes_vectors,
)
from hub.http.tei.tokens import decode, tokenize
from hub.http.wire import json_response
from hub.names import VERSION_PATTERN
from hub.serving.batching.base_workers import Tokenizers, encode_threads
from hub.serving.requests.parsing import check_json
from hub.serving.routing.routes import Resolve, Route, by_name

__all__ = ["add_routes"]

Json = dict[str, Any]
TAG = "text embeddings inference"
Name = Annotated[str, Path(json_schema_extra={"pattern": VERSION_PATTERN})]
Call = Callable[[Request, Resolve, Any], Awaitable[Response]]
Vectors = list[list[float]]
Labels = list[Prediction] | list[list[Prediction]]
ERRORS = errors_of(TeiError)


class TeiRoute(InferRoute):
    """Answers errors as clients of Text Embeddings Inference read them."""

    @staticmethod
    def failed(error: HubError) -> Response:
        return tei_error(error)


class OwnTeiRoute(TeiRoute, RawInferRoute):
    """Passes the raw body on, whose kind is known once the deployment is."""


class _Post(NamedTuple):
    path: str
    call: Call
    fits: Callable[[Any], bool]
    body: Any
    answer: Any
    summary: str


def add_routes(app: FastAPI) -> None:
    """Add the routes."""
    own: Any = EmbedBody | RerankBody | SimilarityBody | PredictBody
    alias = "Answer what the deployment is for: vectors, ranks, similarities or labels"
    for one in (
        _Post("/embed", partial(_ask, EmbedForm), makes_vectors, EmbedBody, Vectors, "Vectors of texts"),
        _Post(
            "/similarity",
            partial(_ask, SimilarityForm),
            makes_vectors,
            SimilarityBody,
            list[float],
            "Compare texts with one",
        ),
        _Post(
            "/rerank",
            partial(_ask, RerankForm),
            makes_vectors,
            RerankBody,
            list[Rank],
            "Rank texts by their nearness to a query",
        ),
        _Post("/predict", partial(_ask, PredictForm), classifies, PredictBody, Labels, "Labels of texts"),
        _Post("/tokenize", _tokenize, any_kind, TokenizeBody, list[list[SimpleToken]], "Tokens of texts"),
        _Post("/decode", _decode, any_kind, DecodeBody, list[str], "Text of token ids"),
        _Post(
            "/embed_all",
            partial(_ask, EmbedAllForm),
            makes_vectors,
            EmbedAllBody,
            list[Vectors],
            "Vectors of the tokens of texts",
        ),
        _Post("/embed_sparse", _refuse, makes_vectors, EmbedAllBody, Vectors, "Not served: answers 424"),
    ):
        _add(app, one, TeiRoute)
    for path in ("/", "/invocations"):
        answer: Any = Vectors | list[float] | list[Rank] | Labels
        _add(app, _Post(path, _ask_own, any_kind, own, answer, alias), OwnTeiRoute)
    shown: list[TableRow] = [
        ("GET", "/info", _info, TeiInfo, "Describe the only deployment of these routes"),
        ("GET", "/tei/{name}/info", _info_of, TeiInfo, "Describe a deployment"),
        ("GET", "/health", _health, dict[str, str], "Are the deployments loaded?"),
        ("GET", "/tei/{name}/health", _health_of, dict[str, str], "Is the deployment live?"),
    ]
    add_table(app, shown, tag=TAG, responses=ERRORS, route=TeiRoute)


def _add(app: FastAPI, post: _Post, route_class: type[InferRoute]) -> None:
    """Add a route at the root, and the same for the deployment that its path names."""

    async def at_root(request: Request, body: Any) -> Response:
        value = body if isinstance(body, TeiBody) else check_json(body)
        model = value.model if isinstance(value, TeiBody) else _model_of(value)
        return await post.call(request, only(post.fits, model), body)

    async def named(request: Request, name: str, body: Any) -> Response:
        return await post.call(request, by_name(name), body)

    named.__annotations__ = {"request": Request, "name": Name, "body": post.body, "return": Response}
    at_root.__annotations__ = {"request": Request, "body": post.body, "return": Response}
    short = post.path.strip("/") or "root"
    for path, endpoint, called in (
        (post.path, at_root, f"tei_{short}"),
        (f"/tei/{{name}}{post.path.rstrip('/')}", named, f"tei_named_{short}"),
    ):
        row: TableRow = ("POST", path, endpoint, post.answer, post.summary)
        answers = {**DESCRIBED, **ERRORS}
        add_table(app, [row], tag=TAG, responses=answers, route=route_class, name=called)


def _model_of(value: Any) -> str | None:
    model = value.get("model") if isinstance(value, dict) else None
    return model if isinstance(model, str) else None  # any other is refused with the body


async def _ask(form: type[TeiForm[Any]], request: Request, resolve: Resolve, body: TeiBody) -> Response:
    made = form(body, hub_of(request).limits.items)
    return await ask(request, resolve, made.read, made)


async def _ask_own(request: Request, resolve: Resolve, body: bytes) -> Response:
    form = OwnForm(body, check_json(body), hub_of(request).limits.items)
    return await ask(request, resolve, form.read, form)


async def _refuse(request: Request, resolve: Resolve, body: EmbedAllBody) -> Response:
    resolve(visible_routes(request))
    raise Conflict("Sparse vectors are not served. Use /embed.")


async def _tokenize(request: Request, resolve: Resolve, body: TokenizeBody) -> Response:
    texts = [body.inputs] if isinstance(body.inputs, str) else body.inputs
    check_batch("inputs", texts, hub_of(request).limits.items)
    check_length("inputs", sum(len(text) for text in texts))
    return await _in_thread(request, resolve, partial(tokenize, texts=texts, special=body.add_special_tokens))


async def _decode(request: Request, resolve: Resolve, body: DecodeBody) -> Response:
    ids: Any = body.ids
    batch = [ids] if ids and isinstance(ids[0], int) else ids
    check_batch("ids", batch, hub_of(request).limits.items)
    check_length("ids", sum(len(one) for one in batch))
    return await _in_thread(
        request, resolve, partial(decode, batch=batch, skip_special=body.skip_special_tokens)
    )


async def _in_thread(request: Request, resolve: Resolve, work: Callable[[Tokenizers], Any]) -> Response:
    """Answer with what `work` returns, which is called with the tokenizers of the deployment's base."""
    with await admit(request, resolve) as admission:
        headers = version_headers(admission)
        try:
            body = await asyncio.to_thread(_worked, work, admission.held.base_worker.tokenizers)
        except HubError as error:
            return tei_error(error, headers)
    return Response(body, headers=headers, media_type="application/json")


def _worked(work: Callable[[Tokenizers], Any], tokenizers: Tokenizers) -> bytes:
    return to_json(work(tokenizers))


async def _health(request: Request) -> Response:
    visible_routes(request)  # raises NotReady
    return json_response({})


async def _health_of(request: Request, name: Name) -> Response:
    by_name(name)(visible_routes(request))
    return json_response({})


async def _info(request: Request) -> Response:
    return _describe(request, only(any_kind)(visible_routes(request)))


async def _info_of(request: Request, name: Name) -> Response:
    return _describe(request, by_name(name)(visible_routes(request)))


def _describe(request: Request, route: Route) -> Response:
    state, version = hub_of(request), route.version
    length, rows = version.info.max_length, state.runtime.settings.serve.batch_rows
    described = {
        "model_id": str(version.ref),
        "model_sha": version.sha256,
        "model_dtype": "float32",
        "served_model_name": route.name,
        "model_type": _model_type(route),
        "max_concurrent_requests": state.limits.connections,
        "max_input_length": length,
        "max_batch_tokens": length * rows,
        "max_batch_requests": rows,
        "max_client_batch_size": state.limits.items,
        "auto_truncate": True,
        "tokenization_workers": encode_threads(),
        "version": hub.__version__,
    }
    headers = {
        "x-hub-deployment": route.name,
        "x-hub-version": str(version.ref),
        "x-hub-sha256": version.sha256,
    }
    return json_response(described, headers=headers)


def _model_type(route: Route) -> Json:
    task, info = route.task, route.version.info
    if task.spec.head is HeadKind.EMBEDDING:
        return {"embedding": {"pooling": str(task.task.embedding(info).pooling)}}
    if not classifies(task):
        raise Conflict(
            f"Deployment {route.name!r} serves the task {task.spec.name!r}, which makes neither vectors nor "
            "labels."
        )
    ids = {str(number): label for number, label in enumerate(info.labels)}
    return {"classifier": {"id2label": ids, "label2id": {label: int(one) for one, label in ids.items()}}}

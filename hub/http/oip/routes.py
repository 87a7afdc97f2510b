"""`/v2`: metadata, readiness and inference with tensors, JSON or binary."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from typing import Annotated, Any, cast

from fastapi import FastAPI, Path
from pydantic import BaseModel
from pydantic_core import from_json
from starlette.requests import Request
from starlette.responses import Response

import hub
from hub.errors import BadRequest, HubError
from hub.http.calls import ask, visible_routes
from hub.http.deadline import MAX_TIMEOUT_MS, ClientTimeout, Deadline
from hub.http.hub import hub_of
from hub.http.oip.bodies import InferAnswer, InferCall, InferError, ModelMetadata, ServerMetadata
from hub.http.oip.signature import Signature
from hub.http.oip.tensors import Tensor, split_body, texts_of
from hub.http.origin import BYTES
from hub.http.routes.route import InferRoute, RawInferRoute
from hub.http.routes.schemas import DESCRIBED, DeploymentName, errors_of
from hub.http.routes.table import TableRow, add_table
from hub.http.stream import Events
from hub.http.wire import error_response, json_response
from hub.serving.requests.call_answers import CallAnswers
from hub.serving.requests.parsing import parse, parse_fields
from hub.serving.routing.router import Admission
from hub.serving.routing.routes import Route, by_name

__all__ = ["add_routes"]

VERSION = "/v2/models/{name}/versions/{number}"
JSON_LENGTH = "inference-header-content-length"
Number = Annotated[str, Path(json_schema_extra={"pattern": "^[1-9][0-9]{0,8}$"})]
ERRORS = errors_of(InferError)


class OipRoute(InferRoute):
    """Answers errors as clients of the protocol read them."""

    @staticmethod
    def failed(error: HubError) -> Response:
        return _error(error)


class OipInferRoute(OipRoute, RawInferRoute):
    """Takes a body of JSON and binary tensors, whose clients do not declare a content type."""

    binary = (BYTES,)


def add_routes(app: FastAPI) -> None:
    """Add the routes."""
    shown: list[TableRow] = [
        ("GET", "/v2", _server, ServerMetadata, "Describe the server"),
        ("GET", "/v2/", _server, ServerMetadata, "Describe the server"),
        ("GET", "/v2/health/live", _live, dict[str, bool], "Does the process live?"),
        ("GET", "/v2/health/ready", _ready, dict[str, bool], "Are the deployments loaded?"),
        ("GET", "/v2/models/{name}", _model, ModelMetadata, "Describe a deployment and its tensors"),
        ("GET", "/v2/models/{name}/ready", _model_ready, dict[str, Any], "Is the deployment live?"),
        ("GET", VERSION, _version, ModelMetadata, "Describe an exact version"),
        ("GET", f"{VERSION}/ready", _version_ready, dict[str, Any], "Is the version live?"),
    ]
    calls: list[TableRow] = [
        ("POST", "/v2/models/{name}/infer", _infer, InferAnswer, "Answer a batch of texts by a deployment"),
        (
            "POST",
            f"{VERSION}/infer",
            _infer_version,
            InferAnswer,
            "Answer a batch of texts by an exact version",
        ),
    ]
    tag = "open inference protocol"
    add_table(app, shown, tag=tag, responses=ERRORS, route=OipRoute)
    add_table(app, calls, tag=tag, responses={**DESCRIBED, **ERRORS}, route=OipInferRoute)


async def _server(request: Request) -> Response:
    return json_response(
        {"name": "grafthub", "version": hub.__version__, "extensions": ["binary_tensor_data"]}
    )


async def _live(request: Request) -> Response:
    return json_response({"live": True})


async def _ready(request: Request) -> Response:
    visible_routes(request)  # raises NotReady
    return json_response({"ready": True})


async def _model(request: Request, name: DeploymentName) -> Response:
    return _describe(request, name)


async def _version(request: Request, name: DeploymentName, number: Number) -> Response:
    return _describe(request, f"{name}@{number}")


async def _model_ready(request: Request, name: DeploymentName) -> Response:
    route = by_name(name)(visible_routes(request))
    return json_response({"name": route.name, "ready": True}, headers=_headers(route))


async def _version_ready(request: Request, name: DeploymentName, number: Number) -> Response:
    return await _model_ready(request, f"{name}@{number}")


async def _infer(request: Request, name: DeploymentName, body: InferCall) -> Response:
    raw = cast("bytes", body)  # the route does not parse it
    text, binary = split_body(raw, request.headers.get(JSON_LENGTH))
    form = _InferForm(parse(text, InferCall), binary, hub_of(request).limits.items)
    async with Deadline(0.0, form.timeout):
        response = await ask(request, by_name(name), form.read, form)
    if form.json_length is not None and response.status_code == 200:
        response.headers[JSON_LENGTH] = str(form.json_length)
        response.headers["content-type"] = "application/octet-stream"
    return response


async def _infer_version(request: Request, name: DeploymentName, number: Number, body: InferCall) -> Response:
    return await _infer(request, f"{name}@{number}", body)


def _describe(request: Request, name: str) -> Response:
    route = by_name(name)(visible_routes(request))
    signature, version = Signature(route.task), route.version
    targets = [target.version for target in (route.stable, route.canary) if target]
    described = {
        "name": route.name,
        "versions": list(dict.fromkeys(str(one.number) for one in targets)),
        "platform": "grafthub",
        "inputs": [{"name": field, "datatype": "BYTES", "shape": [-1]} for field in signature.inputs],
        "outputs": [
            {"name": output, "datatype": datatype, "shape": shape}
            for output, datatype, shape in signature.outputs(version.info)
        ],
        "properties": {
            "task": route.task.spec.name,
            "version": str(version.ref),
            "sha256": version.sha256,
            "labels": json.dumps(list(version.info.labels), ensure_ascii=False),
            "optional": ", ".join(signature.optional),
        },
    }
    return json_response(described, headers=_headers(route))


class _InferForm:
    """Reads tensors as requests of the task, and writes its answers as tensors.

    `json_length` is the length of the JSON object of a written answer if binary tensors follow it; `timeout`
    is the deadline that the call has.
    """

    def __init__(self, call: InferCall, binary: bytes, max_items: int) -> None:
        self.json_length: int | None = None
        self._call = call
        self._texts = texts_of(call.inputs, binary, max_items)
        self._parameters = dict(call.parameters or {})
        self._binary = self._parameters.pop("binary_data_output", False) is True
        self.timeout = _timeout(self._parameters.pop("timeout", None))
        for output in call.outputs or ():
            if unknown := (output.parameters or {}).keys() - {"binary_data"}:
                raise BadRequest(
                    f"The output {output.name[:80]!r} has the parameter {min(unknown)[:80]!r}, which is not "
                    "read."
                )

    def read(self, route: Route) -> list[BaseModel | HubError]:
        signature = Signature(route.task)
        names = [name for name, _, _ in signature.outputs(route.version.info)]
        for output in self._call.outputs or ():
            if output.name not in names:
                raise BadRequest(
                    f"Deployment {route.name!r} has no output {output.name[:80]!r}. Its outputs: "
                    f"{', '.join(names)}."
                )
        rows = signature.fields(route, self._texts, self._parameters)
        return [
            parse_fields(row, route.task.request, {name: f"{name}.{number}" for name in self._texts})
            for number, row in enumerate(rows)
        ]

    def answer(self, admission: Admission, answers: CallAnswers) -> bytes:
        for item in answers.items:
            if isinstance(item, HubError):
                raise item
        signature = Signature(admission.route.task)
        found = signature.tensors(
            [from_json(body) for body in answers.bodies], answers.bodies, admission.version.info
        )
        outputs, parts = [], []
        for tensor, binary in self._wanted({tensor.name: tensor for tensor in found}):
            described: dict[str, Any] = {
                "name": tensor.name,
                "datatype": tensor.datatype,
                "shape": tensor.shape,
            }
            if binary:
                parts.append(tensor.binary())
                described["parameters"] = {"binary_data_size": len(parts[-1])}
            else:
                described["data"] = tensor.elements
            outputs.append(described)
        body = self._object(admission, outputs)
        self.json_length = len(body) if parts else None
        return b"".join((body, *parts))

    def events(self, admission: Admission) -> Events:
        raise BadRequest("The protocol has no streams.")

    def error(self, error: HubError, headers: Mapping[str, str] | None = None) -> Response:
        return _error(error, headers)

    def _wanted(self, found: Mapping[str, Tensor]) -> list[tuple[Tensor, bool]]:
        """Return the tensors to send, each with whether it is binary."""
        if not self._call.outputs:
            return [(tensor, self._binary) for tensor in found.values()]
        wanted = []
        for output in self._call.outputs:
            if output.name not in found:
                raise BadRequest(
                    f"The answers have no value for the output {output.name[:80]!r}. Ask for another one."
                )
            binary = (output.parameters or {}).get("binary_data", self._binary) is True
            wanted.append((found[output.name], binary))
        return wanted

    def _object(self, admission: Admission, outputs: list[dict[str, Any]]) -> bytes:
        version = admission.version
        head = {"model_name": admission.route.name, "model_version": str(version.number)}
        known = {"version": str(version.ref), "sha256": version.sha256}
        given = {} if self._call.id is None else {"id": self._call.id}
        answer = {**head, **given, "parameters": known, "outputs": outputs}
        return json.dumps(answer, ensure_ascii=False, separators=(",", ":")).encode()


def _timeout(microseconds: Any) -> ClientTimeout | None:
    """Return the deadline that Triton's clients send, in microseconds."""
    if microseconds is None:
        return None
    if not isinstance(microseconds, int) or not 0 < microseconds <= MAX_TIMEOUT_MS * 1000:
        raise BadRequest(f"timeout must be a whole number of microseconds up to {MAX_TIMEOUT_MS * 1000}.")
    return ClientTimeout(microseconds / 1e6, "timeout", False, time.monotonic())


def _headers(route: Route) -> dict[str, str]:
    return {
        "x-hub-deployment": route.name,
        "x-hub-version": str(route.version.ref),
        "x-hub-sha256": route.version.sha256,
    }


def _error(error: HubError, headers: Mapping[str, str] | None = None) -> Response:
    return error_response(error, headers, {"error": str(error), "code": error.code})

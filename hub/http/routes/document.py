"""The OpenAPI document: what FastAPI derives from our routes, completed by what only we know."""

from __future__ import annotations

import json
from typing import Any

from fastapi import FastAPI
from fastapi.encoders import jsonable_encoder
from pydantic.json_schema import models_json_schema

from hub.http.auth import Right
from hub.http.calls import MAX_KEY_CHARS
from hub.http.deadline import MAX_TIMEOUT_MS, TIMEOUT_HEADER
from hub.http.routes.route import InferRoute
from hub.http.routes.schemas import ERROR_MODELS

__all__ = ["build_document"]

Json = dict[str, Any]

_SCHEME = "HTTPBearer"
# Prefixes of routes that admit a request.
_CHOOSE_VERSION = (
    "/v1/tasks/",
    "/v1/deployments/",
    "/v1/predict",
    "/v1/chat/",
    "/v1/completions",
    "/hf/",
    "/v2/models/",
    "/api/embed",
    "/api/generate",
    "/api/chat",
    "/tei/",
    "/embed",
    "/predict",
    "/rerank",
    "/similarity",
    "/tokenize",
    "/decode",
    "/invocations",
)
_STICKY_KEY = {
    "name": "x-hub-key",
    "in": "header",
    "required": False,
    "description": "While a canary is tried, requests with the same key are answered by the same version.",
    "schema": {"type": "string", "maxLength": MAX_KEY_CHARS},
}
_TIMEOUT = {
    "name": TIMEOUT_HEADER,
    "in": "header",
    "required": False,
    "description": "Milliseconds that the client waits; then the request is cancelled (504).",
    "schema": {"type": "integer", "minimum": 1, "maximum": MAX_TIMEOUT_MS},
}
_PAGE = {
    "tags": ["pages"],
    "summary": "The page that shows this document",
    "responses": {
        "200": {"description": "The page", "content": {"text/html": {"schema": {"type": "string"}}}}
    },
}
_TEXT = {"content": {"text/plain": {"schema": {"type": "string"}}}}


def build_document(app: FastAPI, *, keys_needed: bool) -> Json:
    """Describe the routes of `app`; `keys_needed`: the settings have API keys, so inference needs one."""
    document = app.openapi()
    for route in app.routes:
        if isinstance(route, InferRoute) and route.include_in_schema:
            for method in route.methods or ():
                operation = document["paths"][route.path_format][method.lower()]
                if route.path_format.startswith(_CHOOSE_VERSION) and method == "POST":
                    operation.setdefault("parameters", []).extend((_STICKY_KEY, _TIMEOUT))
                operation["security"] = _security(route.right is not Right.INFER or keys_needed)
    document["paths"] |= _monitoring(keys_needed)
    document["paths"]["/"]["get"] = _PAGE
    components = document.setdefault("components", {})
    components["schemas"] = dict(sorted((components.get("schemas", {}) | _errors_in(document)).items()))
    components["securitySchemes"] = {
        _SCHEME: {"type": "http", "scheme": "bearer", "description": "An API key, or the admin key."}
    }
    return document


def _errors_in(document: Json) -> Json:
    """Return the schemas of the bodies of errors that the document refers to."""
    text = json.dumps(document)
    used = [model for name, model in ERROR_MODELS.items() if f'"#/components/schemas/{name}"' in text]
    _, found = models_json_schema(
        [(model, "serialization") for model in used], ref_template="#/components/schemas/{model}"
    )
    schemas: Json = jsonable_encoder(found.get("$defs", {}), exclude_none=True)  # as FastAPI does with others
    return schemas


def _monitoring(keys_needed: bool) -> Json:
    """Describe what is not a route of ours (BentoML answers the probes) or has no model."""
    ok = {"description": "Yes", **_TEXT}
    metrics: Json = {
        "tags": ["monitoring"],
        "summary": "Metrics in the text format of Prometheus",
        "responses": {"200": {"description": "The metrics", **_TEXT}, **_errors()},
    }
    metrics["security"] = _security(keys_needed)
    return {
        "/livez": {
            "get": {"tags": ["monitoring"], "summary": "Does the process live?", "responses": {"200": ok}}
        },
        "/readyz": {
            "get": {
                "tags": ["monitoring"],
                "summary": "Are the deployments and the required plugins loaded?",
                "responses": {
                    "200": ok,
                    "503": {"description": "Not yet, or a required plugin cannot be used", **_TEXT},
                },
            }
        },
        "/metrics": {"get": metrics},
    }


def _security(needed: bool) -> list[Json]:
    """Return that a key is needed, or may be: keys can be created while the server runs."""
    return [{_SCHEME: []}] if needed else [{}, {_SCHEME: []}]


def _errors() -> Json:
    schema = {"schema": {"$ref": "#/components/schemas/ErrorBody"}}
    answer = {"description": "An error", "content": {"application/json": schema}}
    return {"4XX": answer, "5XX": answer}

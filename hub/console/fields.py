"""Form fields made from a JSON schema, and the request body that a form's values make."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from typing import Any

from starlette.datastructures import UploadFile

from hub.data.read.image_cells import takes_file
from hub.errors import BadRequest
from hub.serving.requests.parsing import check_json

__all__ = ["body_of", "fields_of", "shortened"]

FILE = "file."  # begins the name of the form's field for a file, which is beside one for its base64
SHOWN = 200  # characters of a file in base64
LONG = ("text", "context", "prompt", "texts", "question")  # shown with room for several lines
Json = dict[str, Any]


def fields_of(schema: Mapping[str, Any], body: Mapping[str, Any]) -> list[Json]:
    """Return the fields of a request model, the required ones first, with the values of `body`."""
    required = set(schema.get("required", ()))
    found = [
        _field(name, _resolved(one, schema), body.get(name), name in required)
        for name, one in schema.get("properties", {}).items()
    ]
    return sorted(found, key=lambda field: not field["required"])


def body_of(schema: Mapping[str, Any], form: Mapping[str, Any]) -> Json:
    """Return the request body of a form; empty optional fields are left out. Reads its files, which blocks.

    A browser sends a line feed of a text as CR LF, which is a line feed again here.

    Raises:
        BadRequest: a value is not a number, or not JSON, where the schema wants one.
    """
    required, body = set(schema.get("required", ())), {}
    for name, one in schema.get("properties", {}).items():
        file = form.get(FILE + name)
        if isinstance(file, UploadFile) and file.filename:
            body[name] = base64.b64encode(file.file.read()).decode("ascii")
            continue
        value = form.get(name)
        if not isinstance(value, str) or (value == "" and name not in required):
            continue
        body[name] = _value(name, _kind(_resolved(one, schema)), value)
    return body


def shortened(schema: Mapping[str, Any], body: Mapping[str, Any]) -> Json:
    """Return a request body in which long files in base64 are named instead."""
    files = {name for name, one in schema.get("properties", {}).items() if takes_file(one)}
    return {
        name: "THE FILE IN BASE64" if name in files and len(str(value)) > SHOWN else value
        for name, value in body.items()
    }


def _field(name: str, schema: Mapping[str, Any], value: Any, required: bool) -> Json:
    kind = _kind(schema)
    plain = kind in ("text", "choice", "file")
    return {
        "name": name,
        "kind": "long" if kind == "text" and name in LONG else kind,
        "required": required,
        "about": schema.get("description", ""),
        "accept": schema.get("contentMediaType", ""),
        "choices": [str(one) for one in schema.get("enum", ())],
        "default": "" if schema.get("default") is None else str(schema["default"]),
        "value": "" if value is None else str(value) if plain else json.dumps(value, ensure_ascii=False),
    }


def _resolved(schema: Mapping[str, Any], whole: Mapping[str, Any]) -> Mapping[str, Any]:
    """Follow a reference, and take the part of a union that is not null."""
    if "$ref" in schema:
        known: Mapping[str, Any] = whole.get("$defs", {}).get(schema["$ref"].rpartition("/")[2], {})
        return {**known, **{key: value for key, value in schema.items() if key != "$ref"}}
    others = [one for one in schema.get("anyOf", ()) if one.get("type") != "null"]
    if len(others) == 1:
        return {**_resolved(others[0], whole), **{k: v for k, v in schema.items() if k != "anyOf"}}
    return schema


def _kind(schema: Mapping[str, Any]) -> str:
    if "enum" in schema:
        return "choice"
    if takes_file(schema):
        return "file"
    kinds = {"string": "text", "integer": "integer", "number": "number", "boolean": "boolean"}
    return kinds.get(str(schema.get("type")), "json")


def _value(name: str, kind: str, text: str) -> Any:
    if kind in ("text", "choice", "file"):
        return text.replace("\r\n", "\n")
    try:
        return check_json(text.encode())
    except BadRequest:
        wanted = {"integer": "a whole number", "number": "a number", "boolean": "true or false"}
        raise BadRequest(f"{name}: write {wanted.get(kind, 'JSON')}.") from None

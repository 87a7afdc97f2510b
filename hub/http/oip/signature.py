"""Which tensors a task takes and gives, by the JSON schemas of its request and response."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from hub.api import AdapterInfo
from hub.errors import BadRequest
from hub.http.oip.tensors import Tensor
from hub.registry.host import LoadedTask
from hub.serving.describe import describe_task
from hub.serving.routing.routes import Route

__all__ = ["RESPONSE", "Signature"]

Json = Mapping[str, Any]
RESPONSE = "response"  # the output that has the whole answer as JSON
_DATATYPES = {"string": "BYTES", "number": "FP32", "integer": "INT64", "boolean": "BOOL"}


class Signature:
    """The tensors of one task."""

    def __init__(self, task: LoadedTask) -> None:
        described = describe_task(task)
        self._request: Json = described["request"]
        self._response: Json = described["response"]

    @property
    def texts(self) -> list[str]:
        """The fields of a request that take a text."""
        return [name for name, types in _types(self._request) if "string" in types]

    @property
    def inputs(self) -> list[str]:
        """The texts that a request needs; where none is required, the first one."""
        needed = self._request.get("required", ())
        return [name for name in self.texts if name in needed] or self.texts[:1]

    @property
    def optional(self) -> list[str]:
        """The other fields of a request: parameters, and if they are texts also inputs."""
        return [name for name in self._request.get("properties", ()) if name not in self.inputs]

    def outputs(self, info: AdapterInfo) -> Iterator[tuple[str, str, list[int]]]:
        """Yield name, datatype and shape of each output."""
        for name, types in _types(self._response):
            if name == RESPONSE:
                continue
            if datatype := next((_DATATYPES[kind] for kind in _DATATYPES if kind in types), ""):
                yield name, datatype, [-1]
            elif "map of number" in types and info.labels:
                yield name, "FP32", [-1, len(info.labels)]
            elif "array of number" in types or "array of array of number" in types:
                yield name, "FP32", [-1, -1]
        yield RESPONSE, "BYTES", [-1]

    def fields(self, route: Route, texts: Mapping[str, Sequence[str]], parameters: Json) -> list[Json]:
        """Return the fields of a request for each row.

        Raises:
            BadRequest: the task has no such text or parameter, or a needed one is missing.
        """
        known = self._request.get("properties", {})
        if unknown := [name for name in texts if name not in self.texts]:
            raise BadRequest(
                f"Deployment {route.name!r} has no input {unknown[0][:80]!r}. Its inputs: "
                f"{', '.join(self.texts)}."
            )
        if unknown := [name for name in parameters if name not in known or name in texts]:
            raise BadRequest(
                f"Deployment {route.name!r} has no parameter {unknown[0][:80]!r} beside these inputs. Its "
                f"parameters: {', '.join(self.optional) or 'none'}."
            )
        if not texts:
            raise BadRequest(f"There is no input. Send {', '.join(self.inputs)}.")
        rows = zip(*texts.values(), strict=True)
        return [{**parameters, **dict(zip(texts, row, strict=True))} for row in rows]

    def tensors(self, answers: Sequence[Json], bodies: Sequence[bytes], info: AdapterInfo) -> list[Tensor]:
        """Return the outputs of a batch; one whose value is missing in an answer is left out."""
        found = []
        for name, datatype, shape in self.outputs(info):
            if name == RESPONSE:
                found.append(Tensor(name, datatype, (len(bodies),), [body.decode() for body in bodies]))
                continue
            values = [_row(answer.get(name), info.labels) for answer in answers]
            if any(value is None for value in values):
                continue
            if len(shape) == 1:
                found.append(Tensor(name, datatype, (len(values),), values))
            elif len({len(row) for row in values}) == 1:
                elements = [element for row in values for element in row]
                found.append(Tensor(name, datatype, (len(values), len(values[0])), elements))
        return found


def _row(value: Any, labels: Sequence[str]) -> Any:
    """Return the elements of one answer: a map in the order of the labels, None if one is missing."""
    if isinstance(value, dict):
        row = [value.get(label) for label in labels]
        return None if None in row else row
    if isinstance(value, list) and value and isinstance(value[0], list):
        return value[0] if len(value) == 1 else None
    return value


def _types(schema: Json) -> Iterator[tuple[str, set[str]]]:
    for name, field in schema.get("properties", {}).items():
        yield name, set(_names(field, schema.get("$defs", {})))


def _names(field: Json, defs: Json) -> Iterator[str]:
    if ref := field.get("$ref"):
        yield from _names(defs.get(ref.rpartition("/")[2], {}), defs)
    for option in field.get("anyOf", ()):
        yield from _names(option, defs)
    kind = field.get("type")
    if kind == "array":
        yield from (f"array of {name}" for name in _names(field.get("items", {}), defs))
    elif kind == "object" and isinstance(field.get("additionalProperties"), dict):
        yield from (f"map of {name}" for name in _names(field["additionalProperties"], defs))
    elif isinstance(kind, str):
        yield kind

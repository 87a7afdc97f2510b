"""The columns that a bulk job adds to the rows: the fields of the answers, and the errors."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hub.errors import HubError
from hub.scale.rows import RowAnswer

__all__ = ["ERRORS", "AnswerColumns", "arrow_column", "arrow_type"]

ERRORS = "errors"
_TYPES = {"string": "string", "number": "double", "integer": "int64", "boolean": "bool"}

Schema = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class _AnswerField:
    """A field of a response; `type` is an Arrow type in Arrow's words, "json" for a value of another form."""

    name: str
    type: str


class AnswerColumns:
    """Turns answers into columns; with several deployments, each name begins with that of the deployment.

    A column that the input has already gets the prefix `predicted_`.
    """

    def __init__(
        self, deployments: Sequence[str], responses: Sequence[Schema], taken: Collection[str]
    ) -> None:
        self._deployments = deployments
        self._taken = frozenset(taken)
        self._fields = [_fields(response) for response in responses]

    @property
    def errors(self) -> str:
        """The name of the column of errors."""
        return self._free(ERRORS)

    @property
    def types(self) -> dict[str, str]:
        """The Arrow type of each column in order, "json" for JSON text."""
        found = {
            self._name(place, field): field.type
            for place, fields in enumerate(self._fields)
            for field in fields
        }
        return {**found, self.errors: "string"}

    def rows(self, answers: Sequence[Sequence[RowAnswer]]) -> list[dict[str, Any]]:
        """Return the columns of each row of a block, from the answers of each version."""
        return [self._row(of_row) for of_row in zip(*answers, strict=True)]

    def _row(self, answers: Sequence[RowAnswer]) -> dict[str, Any]:
        row: dict[str, Any] = {}
        errors = []
        for place, answer in enumerate(answers):
            values: Mapping[str, Any] = answer if isinstance(answer, dict) else {}
            for field in self._fields[place]:
                row[self._name(place, field)] = values.get(field.name)
            if isinstance(answer, HubError):
                errors.append((self._deployments[place], f"{answer.code}: {answer}"))
        if len(errors) == len(answers) and len({reason for _, reason in errors}) == 1:
            row[self.errors] = errors[0][1]
        else:
            row[self.errors] = "\n".join(f"{name}: {reason}" for name, reason in errors) or None
        return row

    def _name(self, place: int, field: _AnswerField) -> str:
        one = len(self._deployments) == 1
        return self._free(field.name if one else f"{self._deployments[place]}.{field.name}")

    def _free(self, name: str) -> str:
        return f"predicted_{name}" if name in self._taken else name


def arrow_column(values: Sequence[Any], type: str) -> Any:
    """Return an Arrow array of one of the types of `AnswerColumns.types`."""
    import pyarrow as pa

    if type == "json":
        return pa.array([_json(value) for value in values], pa.string())
    return pa.array(values, arrow_type(type))


def arrow_type(type: str) -> Any:
    """Return the Arrow type of one of the types of `AnswerColumns.types`."""
    import pyarrow as pa

    if type.startswith("list<"):
        return pa.list_(arrow_type(type[5:-1]))
    return pa.string() if type == "json" else pa.type_for_alias(type)


def _json(value: Any) -> str | None:
    return None if value is None else json.dumps(value, ensure_ascii=False)


def _fields(response: Schema) -> list[_AnswerField]:
    defined = response.get("$defs", {})
    return [
        _AnswerField(name, _type(about, defined)) for name, about in response.get("properties", {}).items()
    ]


def _type(about: Schema, defined: Schema) -> str:
    """Return the Arrow type of values with a JSON Schema, "json" if they have no single one."""
    if reference := about.get("$ref"):
        return _type(defined[reference.rpartition("/")[2]], defined)
    if options := about.get("anyOf"):
        others = [one for one in options if one.get("type") != "null"]
        return _type(others[0], defined) if len(others) == 1 else "json"
    kind = about.get("type")
    if kind == "array":
        item = _type(about.get("items", {}), defined)
        return "json" if item == "json" else f"list<{item}>"
    return _TYPES.get(str(kind), "json")

"""The contract of a task with its adapters: recorded with each version, compared after an upgrade."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, Field, ValidationError

from hub.api import AdapterInfo, HeadKind, InputKind, Model, TargetKind, Task, TaskSpec

__all__ = ["PluginRef", "contract_of", "required_fields"]

_LABELS = ("a", "b", "c")  # what `head_labels` makes of them shows how outputs stand for labels
_KEYS = frozenset({"type", "enum", "const", "format", "$ref", "required"})  # of a schema, without its texts
_NESTED = frozenset({"items", "prefixItems", "anyOf", "oneOf", "allOf", "additionalProperties"})
_NAMED = frozenset({"properties", "$defs"})  # their keys are names, not keywords


class PluginRef(Model):
    """The plugin with which a version was trained or imported."""

    distribution: str
    version: str
    fingerprint: str = Field(description="Of all that adapters of the task depend on; see `contract_of`.")
    fields: dict[str, str] = Field(description="Kind of each field that training data must have.")
    adapter_format: int = Field(1, description="Task.adapter_format.")

    @property
    def name(self) -> str:
        """The distribution with its version."""
        return f"{self.distribution} {self.version}".strip()


def contract_of(spec: TaskSpec, task: Task[Any, Any], response: type[BaseModel]) -> str:
    """Return a hash of the head, the required fields, the options, the answer and the meaning of labels.

    Descriptions, defaults and limits in a schema are ignored.
    """
    target = {} if spec.target is TargetKind.LABELS else {"target": spec.target.value}
    reads = {} if spec.input is InputKind.TEXT else {"input": spec.input.value}
    parts = (
        target
        | reads
        | {
            "head": spec.head.value,
            "fields": required_fields(task),
            "adapter_format": task.adapter_format,
            "options": _shape(task.options.model_json_schema()),
            "response": _shape(response.model_json_schema(mode="serialization")),
            "outputs": _outputs(spec.head, task) if not target else [],
        }
    )
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]


def required_fields(task: Task[Any, Any]) -> dict[str, str]:
    """Return the kind of each required field, by name."""
    return {field.name: field.kind.value for field in task.fields if field.required}


def _outputs(head: HeadKind, task: Task[Any, Any]) -> list[str]:
    """Return the head outputs that the task names for sample labels; [] if it raises."""
    if head not in (HeadKind.SEQUENCE, HeadKind.TOKEN):
        return []
    try:
        settings = task.options().model_dump(mode="json")
    except ValidationError:  # an option without a default
        settings = {}
    try:
        return list(task.head_labels(AdapterInfo("contract", 0, _LABELS, settings)))
    except Exception:  # these labels or settings do not suit it
        return []


def _shape(schema: Any) -> Any:
    if isinstance(schema, list):
        return [_shape(item) for item in schema]
    if not isinstance(schema, Mapping):
        return schema
    kept: dict[str, Any] = {key: schema[key] for key in _KEYS & schema.keys()}
    kept |= {key: _shape(schema[key]) for key in _NESTED & schema.keys()}
    kept |= {key: {name: _shape(one) for name, one in schema[key].items()} for key in _NAMED & schema.keys()}
    return {key: sorted(value, key=str) if key == "required" else value for key, value in kept.items()}

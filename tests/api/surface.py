"""The surface of hub.api as text: names, fields, signatures. `python -m tests.api.surface` writes it anew."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable, Iterator
from enum import Enum
from pathlib import Path

from pydantic import BaseModel

import hub.api

SNAPSHOT = Path(__file__).with_name("surface.txt")


def surface() -> list[str]:
    """Return a line for each public name, and for each of its fields, members, methods and attributes."""
    return sorted({line for name in hub.api.__all__ for line in _lines(name, getattr(hub.api, name))})


def _lines(name: str, value: object) -> Iterator[str]:
    if inspect.isclass(value) and not hasattr(value, "__origin__"):
        yield f"{name}: class({', '.join(base.__name__ for base in value.__bases__)})"
        yield from _members(name, value)
    elif inspect.isfunction(value):
        yield from _parameters(name, value)
    else:
        yield f"{name}: {value if isinstance(value, str | int) else type(value).__name__}"


def _members(name: str, value: type) -> Iterator[str]:
    if issubclass(value, Enum):
        yield from (f"{name}.{member.name} = {member.value}" for member in value)
        return
    if dataclasses.is_dataclass(value):
        for number, one in enumerate(dataclasses.fields(value)):
            needed = one.default is one.default_factory is dataclasses.MISSING
            yield f"{name}.{one.name}: {one.type}, field {number}{'' if needed else ' (optional)'}"
    if issubclass(value, BaseModel):
        for field, info in value.model_fields.items():
            own = (inspect.get_annotations(base) for base in value.__mro__)
            written = next(annotations[field] for annotations in own if field in annotations)
            yield f"{name}.{field}: {written}{'' if info.is_required() else ' (optional)'}"
        return
    for attribute, type_ in inspect.get_annotations(value).items():
        if not attribute.startswith("_") and not dataclasses.is_dataclass(value):
            yield f"{name}.{attribute}: {type_}"
    for attribute, member in vars(value).items():
        if dataclasses.is_dataclass(value) and attribute == "__init__":
            continue
        public = not attribute.startswith("_") or attribute == "__init__"
        if public and inspect.isfunction(member):
            yield from _parameters(f"{name}.{attribute}", member)
            if getattr(member, "__isabstractmethod__", False):
                yield f"{name}.{attribute} is abstract"


def _parameters(name: str, function: Callable[..., object]) -> Iterator[str]:
    signature = inspect.signature(function)
    yield f"{name}() -> {signature.return_annotation}"
    for number, one in enumerate(signature.parameters.values()):
        if one.name == "self":
            continue
        place = number if one.kind is one.POSITIONAL_OR_KEYWORD else one.kind.description
        needed = "" if one.default is one.empty else " (optional)"
        yield f"{name}({one.name}: {one.annotation}), {place}{needed}"


if __name__ == "__main__":
    SNAPSHOT.write_text("".join(f"{line}\n" for line in surface()), encoding="utf-8")

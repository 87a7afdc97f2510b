"""Validation errors of a recipe, with file, line and key."""

from __future__ import annotations

import difflib
import math
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from hub.errors import BadRecipe
from hub.recipe.yaml_file import KeyPath

__all__ = ["Origin", "explain", "first_infinite", "sections"]

MAX_PROBLEMS = 10  # per message


@dataclass(frozen=True, slots=True)
class Origin:
    """The origin of a recipe: its file, the line of each key, the keys set on the command line."""

    path: Path | None = None
    lines: Mapping[KeyPath, int] = field(default_factory=dict)
    overridden: frozenset[str] = frozenset()

    def describe(self, key: KeyPath, problem: str) -> str:
        """Return "file:line: key: problem", as far as known."""
        dotted = ".".join(str(part) for part in key)
        if any(dotted == given or dotted.startswith(f"{given}.") for given in self.overridden):
            return f"--set {dotted}: {problem}."
        place = f"{self.path}:{self._line(key)}: " if self.path else ""
        return f"{place}{dotted}: {problem}." if dotted else f"{place}{problem}."

    def _line(self, key: KeyPath) -> int:
        while key and key not in self.lines:
            key = key[:-1]
        return self.lines.get(key, 1)


def explain(
    error: ValidationError, model: type[BaseModel], values: Any, origin: Origin, prefix: KeyPath = ()
) -> BadRecipe:
    """Convert pydantic's errors about `values` to one BadRecipe.

    `model` is the violated model; `prefix` is the path of the values in the recipe.
    """
    found = (_problem(detail, model, values) for detail in error.errors(include_url=False))
    lines = list(dict.fromkeys(origin.describe((*prefix, *key), problem) for key, problem in found))
    more = [f"... and {len(lines) - MAX_PROBLEMS} more problems."] if len(lines) > MAX_PROBLEMS else []
    return BadRecipe("\n".join([*lines[:MAX_PROBLEMS], *more]))


def first_infinite(value: Any, at: KeyPath = ()) -> KeyPath | None:
    """Return the place of the first number in nested values that is infinite or NaN, which JSON lacks."""
    if isinstance(value, float):
        return None if math.isfinite(value) else at
    inner: typing.Iterable[tuple[Any, Any]] = ()
    if isinstance(value, Mapping):
        inner = value.items()
    elif isinstance(value, list | tuple):
        inner = enumerate(value)
    places = (first_infinite(item, (*at, key)) for key, item in inner)
    return next((place for place in places if place is not None), None)


def sections(model: type[BaseModel], at: str = "") -> dict[str, type[BaseModel]]:
    """Return every model inside `model` by dotted key; models in lists have the key of the list."""
    found = {at: model}
    for name, info in model.model_fields.items():
        inner = _model_in(info.annotation)
        if inner is not None:
            found |= sections(inner, f"{at}.{info.alias or name}".lstrip("."))
    return found


def _model_in(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next(filter(None, map(_model_in, typing.get_args(annotation))), None)


def _problem(detail: ErrorDetails, model: type[BaseModel], values: Any) -> tuple[KeyPath, str]:
    key, given, kind = _key(detail["loc"], values), detail["input"], detail["type"]
    if kind == "missing":
        return (*key, detail["loc"][-1]), "is required"
    if kind == "extra_forbidden":
        return key, _unknown(str(key[-1]), _section(key[:-1], model))
    if kind == "value_error":
        return key, str(detail["ctx"]["error"])
    message = detail["msg"].replace("Input should be", "must be").replace("a valid tuple", "a list")
    message = message[0].lower() + message[1:]
    if isinstance(given, bool) and kind == "string_type":
        return key, f"{message}: YAML reads yes, no, on and off as true or false; quote the word"
    shown = repr(given)
    return key, f"{message}, not {shown if len(shown) <= 60 else f'{shown[:60]}...'}"


def _section(key: KeyPath, model: type[BaseModel]) -> type[BaseModel]:
    """Return the model at a key; list indices and keys of mappings are not sections."""
    found, at = sections(model), ""
    for part in key:
        inner = f"{at}.{part}".lstrip(".")
        at = inner if inner in found else at
    return found[at]


def _unknown(key: str, section: type[BaseModel]) -> str:
    allowed = [info.alias or name for name, info in section.model_fields.items()]
    near = difflib.get_close_matches(key, allowed, n=1)
    hint = f", did you mean {near[0]}?" if near else "."
    return f"unknown key{hint} Allowed: {', '.join(allowed) or 'none'}"


def _key(loc: KeyPath, values: Any) -> KeyPath:
    """Return the part of pydantic's location that exists in the file; the rest are branches of unions."""
    key: list[str | int] = []
    for part in loc:
        known: Any = (
            values if isinstance(values, dict) else range(len(values)) if isinstance(values, list) else ()
        )
        if part not in known:
            break
        values = values[part]
        key.append(part)
    return tuple(key)

"""Generates the tables of recipe keys in docs/recipes.md from the pydantic models.

python -m docs.recipe_table
"""

from __future__ import annotations

import types
import typing
from typing import Any

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from hub.recipe.errors import sections
from hub.recipe.recipe import Recipe

__all__ = ["markdown", "row"]

_ITEMS = {
    "data.source": "Each item of `data.source` and `data.eval`",
    "data.labels.bins": "Each item",
    "tune.space": "Each key",
}
_WORDS = {str: "text", int: "whole number", float: "number", bool: "true or false", dict: "mapping"}


def markdown() -> str:
    """Return one table for each section of a recipe."""
    found = sections(Recipe)
    del found["data.eval"]  # the same as data.source
    return "\n".join(_section(key, model) for key, model in found.items())


def _section(key: str, model: type[BaseModel]) -> str:
    items = _ITEMS.get(key)
    about = [f"{items}: {(model.__doc__ or '').splitlines()[0]}", ""] if items else []
    rows = [row(info.alias or name, info) for name, info in model.model_fields.items()]
    header = ["| key | default | what | meaning |", "|---|---|---|---|"]
    return "\n".join([f"### {f'`{key}`' if key else 'The recipe'}", "", *about, *header, *rows, ""])


def row(key: str, info: FieldInfo) -> str:
    meaning = (info.description or "").replace("|", "\\|")
    return f"| `{key}` | {_default(info)} | {_what(info.annotation)}{_bounds(info)} | {meaning} |"


def _default(info: FieldInfo) -> str:
    value = info.default
    if value is PydanticUndefined:
        return "required"
    if isinstance(value, BaseModel):
        return ""
    if value is None or value in ("", (), {}):
        return "none"
    value = f"[{', '.join(map(str, value))}]" if isinstance(value, tuple) else value
    return f"`{str(value).lower() if isinstance(value, bool) else value}`"


def _what(annotation: Any) -> str:
    arguments = typing.get_args(annotation)
    origin = typing.get_origin(annotation)
    if origin is typing.Literal:
        return ", ".join(f"`{value}`" for value in arguments)
    if origin in (types.UnionType, typing.Union):
        return " or ".join(_what(part) for part in arguments if part is not type(None))
    if origin is tuple:
        return "section or list of them" if _is_model(arguments[0]) else "list"
    if origin is typing.Annotated:
        return _what(arguments[0])
    if _is_model(annotation):
        return "section"
    return _WORDS[origin or annotation]


def _is_model(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)


def _bounds(info: FieldInfo) -> str:
    signs = {"ge": "≥", "gt": ">", "le": "≤", "lt": "<"}
    bounds = [
        f"{sign} {bound}"
        for item in info.metadata
        for name, sign in signs.items()
        if (bound := getattr(item, name, None)) is not None
    ]
    return f", {', '.join(dict.fromkeys(bounds))}" if bounds else ""


if __name__ == "__main__":
    print(markdown())

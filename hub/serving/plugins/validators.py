"""Detects request models whose validation runs plugin code, which may hang or raise anything."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

from pydantic import BaseModel

__all__ = ["runs_plugin_code"]

TRUSTED = ("hub", "pydantic")  # top-level packages whose validators return


@cache
def runs_plugin_code(model: type[BaseModel]) -> bool:
    """Return whether a validator, default factory or constructor of `model` is not pydantic's or ours."""
    # pydantic 2.14 documents the attribute, but not the keys of the schema.
    return _any_foreign(model.__pydantic_core_schema__, set())


def _any_foreign(node: object, seen: set[int]) -> bool:
    """Search a core schema: nested mappings and lists, with callables among their values."""
    if isinstance(node, Mapping):
        if id(node) in seen:
            return False
        seen.add(id(node))
        if node.get("type") == "model" and (node.get("custom_init") or node.get("post_init")):
            return True
        if node.get("regex_engine") == "python-re":  # backtracks; pydantic's own does not
            return True
        return any(
            _any_foreign(value, seen)
            for key, value in node.items()
            if key not in ("serialization", "metadata")
        )
    if isinstance(node, list | tuple):
        return any(_any_foreign(value, seen) for value in node)
    return callable(node) and not isinstance(node, type) and not _trusted(node)


def _trusted(function: Any) -> bool:
    module = getattr(function, "__module__", None) or ""
    return module.partition(".")[0] in TRUSTED

"""KEY=VALUE arguments of repeatable options."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from hub.errors import BadRequest

__all__ = ["json_pairs", "pairs"]


def pairs(
    texts: Iterable[str] | None, option: str, form: str = "KEY=VALUE", *, empty: bool = False
) -> dict[str, str]:
    """Return the values by key, for a repeated key the last one; `empty` allows KEY= as well.

    Raises:
        BadRequest: an argument is not KEY=VALUE; the message names `option` and `form`.
    """
    found = {}
    for text in texts or ():
        key, equals, value = text.partition("=")
        if not (key and equals and (value or empty)):
            raise BadRequest(f"{option} {text}: write {form}.")
        found[key] = value
    return found


def json_pairs(texts: Iterable[str] | None, option: str, *, empty: bool = False) -> dict[str, Any]:
    """Return `pairs` with each value parsed as JSON, or kept as text if it is not JSON."""
    return {key: _json(value) for key, value in pairs(texts, option, empty=empty).items()}


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text

"""What `preset` stands for: defaults of its own for keys that a recipe does not set."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = ["PRESETS", "with_preset"]

PRESETS: Mapping[str, Mapping[str, Any]] = {
    "fast": {
        "data": {"near_duplicates": "keep"},
        "method": {"freeze": -2},
        "evaluate": {"int8": False},
    },
    "best": {
        "method": {"rank": 16, "dropout": 0.1},
        "train": {"epochs": 6, "schedule": "cosine", "dropout": 0.1},
    },
}


def with_preset(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return a recipe's values with its preset's below them; an unknown preset is left to the model."""
    preset = values.get("preset")
    return _over(values, PRESETS.get(preset, {}) if isinstance(preset, str) else {})


def _over(values: Mapping[str, Any], below: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(values)
    for key, default in below.items():
        given = values.get(key)
        if key not in values:
            merged[key] = default
        elif isinstance(default, Mapping) and isinstance(given, Mapping):
            merged[key] = _over(given, default)
    return merged

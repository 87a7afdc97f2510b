"""Class names for the numeric labels of data sets with `datasets.ClassLabel` features."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = ["named_features", "stored_features", "with_names"]

FEATURES = b"huggingface"  # metadata key of Parquet files that `datasets` wrote (private in datasets 4)


def named_features(features: Mapping[str, Any]) -> dict[str, Any]:
    """Return the `datasets.ClassLabel` features, of columns or of the items of their lists."""
    import datasets

    found = {key: getattr(kind, "feature", kind) for key, kind in features.items()}
    return {key: kind for key, kind in found.items() if isinstance(kind, datasets.ClassLabel)}


def stored_features(schema: Any) -> dict[str, Any]:
    """Return the class labels of an Arrow schema; {} if `datasets` did not write it."""
    if FEATURES not in (schema.metadata or {}):
        return {}
    import datasets

    try:
        return named_features(datasets.Features.from_arrow_schema(schema))
    except (KeyError, TypeError, ValueError):
        return {}


def with_names(row: Mapping[str, Any], named: Mapping[str, Any]) -> dict[str, Any]:
    """Return the row with class numbers, single or in lists, replaced by their names."""
    words = {
        key: [_name(number, kind) for number in row[key]]
        if isinstance(row[key], list)
        else _name(row[key], kind)
        for key, kind in named.items()
    }
    return {**row, **words}


def _name(number: Any, kind: Any) -> str | None:
    """Return the name of a class; None for -1, which means no label, and for an unknown number."""
    known = isinstance(number, int) and 0 <= number < len(kind.names)
    return str(kind.int2str(number)) if known else None

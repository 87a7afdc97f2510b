"""Names of classes that a data set's features give for the numbers in its rows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = ["named_features", "stored_features", "with_names"]

FEATURES = b"huggingface"  # key of a Parquet file's metadata under which `datasets` writes them


def named_features(features: Mapping[str, Any]) -> dict[str, Any]:
    """Return the features, of a column or of the items of its lists, that are `datasets.ClassLabel`."""
    import datasets

    found = {key: getattr(kind, "feature", kind) for key, kind in features.items()}
    return {key: kind for key, kind in found.items() if isinstance(kind, datasets.ClassLabel)}


def stored_features(schema: Any) -> dict[str, Any]:
    """Return the class labels that an Arrow schema names; {} if `datasets` did not write it."""
    if FEATURES not in (schema.metadata or {}):
        return {}
    import datasets

    try:
        return named_features(datasets.Features.from_arrow_schema(schema))
    except (KeyError, TypeError, ValueError):
        return {}


def with_names(row: Mapping[str, Any], named: Mapping[str, Any]) -> dict[str, Any]:
    """Return the row with numbers, alone or in lists, replaced by their names."""
    words = {
        key: [_name(number, kind) for number in row[key]]
        if isinstance(row[key], list)
        else _name(row[key], kind)
        for key, kind in named.items()
    }
    return {**row, **words}


def _name(number: Any, kind: Any) -> str | None:
    """Return the name of a class; None for -1, which stands for no label, and for a number without a name."""
    known = isinstance(number, int) and 0 <= number < len(kind.names)
    return str(kind.int2str(number)) if known else None

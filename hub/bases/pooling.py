"""How a base was trained to make vectors, from the file of sentence-transformers beside it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from hub.api import Pooling
from hub.bases.fingerprint import read_json

__all__ = ["POOLING_FILE", "POOLING_MODES", "read_pooling"]

POOLING_FILE = "1_Pooling/config.json"
"""The path in a folder that sentence-transformers wrote; no part of the model, and not of its fingerprint."""
POOLING_MODES: Mapping[Pooling, str] = {
    Pooling.MEAN: "pooling_mode_mean_tokens",
    Pooling.CLS: "pooling_mode_cls_token",
    Pooling.LAST: "pooling_mode_lasttoken",
}
_PREFIX = "pooling_mode_"


def read_pooling(folder: Path) -> Pooling | None:
    """Return the pooling that a base was trained with; None if it is another, or nobody says.

    Raises:
        BadBase: the file is not a JSON object.
    """
    path = folder / POOLING_FILE
    if not path.is_file():
        return None
    modes = {key for key, value in read_json(path).items() if key.startswith(_PREFIX) and value is True}
    return next((pooling for pooling, mode in POOLING_MODES.items() if modes == {mode}), None)

"""The outputs of a perfect model, made from a task's own training features."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from hub.api import AdapterInfo, Features, HeadKind, Output, Row, Tokenizer

__all__ = ["oracle_outputs"]

VECTOR = 64  # dimensions
MAX_SCORE = 20.0  # so far from the other scores that softmax rounds to 1


def oracle_outputs(
    head: HeadKind,
    rows: Sequence[Row],
    features: Sequence[Features],
    tokenizer: Tokenizer,
    adapter: AdapterInfo,
) -> list[Output]:
    """Return the outputs of a perfect model, from the features with the same input ids as each row.

    A row without such features (a window that training skipped) gets a neutral output: a span at its first
    token, zeros for other heads.
    """
    if head is HeadKind.GENERATE:
        return [
            Output(row, text=_target_text(features, index, row, tokenizer, adapter))
            for index, row in enumerate(rows)
        ]
    if head is HeadKind.EMBEDDING:
        near = {tuple(item["good"]["input_ids"]): tuple(item["input_ids"]) for item in features}
        ids = [tuple(row.input_ids) for row in rows]
        return [Output(row, _direction(near.get(own, own))) for row, own in zip(rows, ids, strict=True)]
    by_ids = {tuple(item["input_ids"]): item for item in features}
    known = [by_ids.get(tuple(row.input_ids)) for row in rows]
    return [
        Output(row, _values(head, row, item, len(adapter.labels)))
        for row, item in zip(rows, known, strict=True)
    ]


def _direction(ids: tuple[int, ...]) -> npt.NDArray[np.float32]:
    """Return a vector that other ids have not: those of `good` texts equal those of their queries."""
    seed = int.from_bytes(hashlib.sha256(repr(ids).encode()).digest()[:8], "big")
    return np.random.default_rng(seed).standard_normal(VECTOR, dtype=np.float32)


def _values(head: HeadKind, row: Row, item: Features | None, labels: int) -> npt.NDArray[np.float32]:
    length = len(row.input_ids)
    if head is HeadKind.SPAN:
        starts, ends = (item["start_positions"], item["end_positions"]) if item else (0, 0)
        values = np.full((length, 2), -MAX_SCORE, np.float32)
        values[starts, 0] = values[ends, 1] = MAX_SCORE
        return values
    if head is HeadKind.TOKEN:
        values = np.zeros((length, labels), np.float32)
        for position, label in enumerate(item["labels"] if item else ()):
            values[position, max(label, 0)] = MAX_SCORE
        return values
    scores = np.zeros(labels, np.float32)
    if item is None:
        return scores
    if isinstance(item["labels"], float):  # a number
        return np.array([item["labels"]], np.float32)
    if np.ndim(item["labels"]) == 0:
        scores[item["labels"]] = MAX_SCORE
        return scores
    return np.where(np.asarray(item["labels"]) > 0.5, MAX_SCORE, -MAX_SCORE).astype(np.float32)


def _target_text(
    features: Sequence[Features], index: int, row: Row, tokenizer: Tokenizer, adapter: AdapterInfo
) -> str:
    """Return the labels, in a decoder those after the row's prompt; a chat also has labels within it."""
    if index >= len(features):
        return ""
    prompt = 0 if adapter.encoder_decoder else len(row.input_ids)
    ids = [label for label in features[index]["labels"][prompt:] if label != -100]
    return str(tokenizer.decode(ids, skip_special_tokens=True)).strip()

"""The outputs of a model that knows every answer, made from a task's own training features."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from hub.api import AdapterInfo, Features, HeadKind, Output, Row, Tokenizer

__all__ = ["oracle_outputs"]

SURE = 20.0  # a score far enough from the others that softmax rounds to 1


def oracle_outputs(
    head: HeadKind,
    rows: Sequence[Row],
    features: Sequence[Features],
    tokenizer: Tokenizer,
    adapter: AdapterInfo,
) -> list[Output]:
    """Return for each row what a perfect model would, going by the features with the same input ids.

    A row without such features (a window that training left out) gets the output that says nothing:
    a span at its first token, and zeros elsewhere.
    """
    if head is HeadKind.GENERATE:
        return [Output(row, text=_learned(features, index, tokenizer)) for index, row in enumerate(rows)]
    by_ids = {tuple(item["input_ids"]): item for item in features}
    known = [by_ids.get(tuple(row.input_ids)) for row in rows]
    return [
        Output(row, _values(head, row, item, len(adapter.labels)))
        for row, item in zip(rows, known, strict=True)
    ]


def _values(head: HeadKind, row: Row, item: Features | None, labels: int) -> npt.NDArray[np.float32]:
    length = len(row.input_ids)
    if head is HeadKind.SPAN:
        starts, ends = (item["start_positions"], item["end_positions"]) if item else (0, 0)
        values = np.full((length, 2), -SURE, np.float32)
        values[starts, 0] = values[ends, 1] = SURE
        return values
    if head is HeadKind.TOKEN:
        values = np.zeros((length, labels), np.float32)
        for position, label in enumerate(item["labels"] if item else ()):
            values[position, max(label, 0)] = SURE
        return values
    scores = np.zeros(labels, np.float32)
    if item is None:
        return scores
    if np.ndim(item["labels"]) == 0:
        scores[item["labels"]] = SURE
        return scores
    return np.where(np.asarray(item["labels"]) > 0.5, SURE, -SURE).astype(np.float32)


def _learned(features: Sequence[Features], index: int, tokenizer: Tokenizer) -> str:
    if index >= len(features):
        return ""
    ids = [label for label in features[index]["labels"] if label != -100]
    return str(tokenizer.decode(ids, skip_special_tokens=True)).strip()

"""Converts examples to training features, and checks that they have the keys the head needs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from numbers import Integral

import numpy as np

from hub.api import AdapterInfo, BadData, Features, HeadKind, Tokenizer
from hub.api.kinds.reader import InvalidRow
from hub.data.dataset import Dataset
from hub.data.examples import Item
from hub.errors import BadPlugin, BadRequest
from hub.progress import Progress, silent
from hub.registry.loaded import LoadedTask, plugin_call

__all__ = ["encodable", "make_features", "usable_rows"]

_TARGETS = {
    HeadKind.SEQUENCE: ("labels",),
    HeadKind.TOKEN: ("labels",),
    HeadKind.SPAN: ("start_positions", "end_positions"),
    HeadKind.GENERATE: ("labels",),
    HeadKind.EMBEDDING: ("good",),
}
_TEXTS = ("good", "bad")  # the other texts of an example, for EMBEDDING
_REPORT_EVERY = 200  # examples


def make_features(
    loaded: LoadedTask,
    tokenizer: Tokenizer,
    info: AdapterInfo,
    items: Sequence[Item],
    progress: Progress = silent,
) -> tuple[list[Features], list[InvalidRow]]:
    """Return the features of all examples, and the examples that are invalid for the task.

    Raises:
        BadPlugin: features lack a key that the head needs, or are longer than `max_length`.
    """
    features: list[Features] = []
    invalid: list[InvalidRow] = []
    for done, item in enumerate(items, 1):
        try:
            number = loaded.number(item.example) if loaded.numeric else None
            with plugin_call(loaded.spec.name, f"features() on {item.place}"):
                made = loaded.task.features(item.example, tokenizer, info)
        except (BadData, BadRequest) as error:
            invalid.append(item.invalid(error))
            continue
        for row in made:
            if number is not None:
                row["labels"] = number
            _check(loaded, row, info)
        features += made
        if done % _REPORT_EVERY == 0 or done == len(items):
            progress("tokenize", done, len(items))
    return features, invalid


def encodable(
    loaded: LoadedTask, tokenizer: Tokenizer, info: AdapterInfo, items: Sequence[Item]
) -> tuple[list[Item], list[InvalidRow]]:
    """Divide held-out examples into those that the task can encode and invalid ones, such as long texts."""
    good: list[Item] = []
    invalid: list[InvalidRow] = []
    for item in items:
        try:
            with plugin_call(loaded.spec.name, f"encode() on {item.place}"):
                loaded.task.encode(loaded.task.request(item.example), tokenizer, info)
            if loaded.numeric:
                loaded.number(item.example)
        except (BadData, BadRequest) as error:
            invalid.append(item.invalid(error))
        else:
            good.append(item)
    return good, invalid


def usable_rows(
    loaded: LoadedTask, tokenizer: Tokenizer, info: AdapterInfo, dataset: Dataset, progress: Progress = silent
) -> tuple[Dataset, list[InvalidRow]]:
    """Tokenize the dataset; return it without the rows that are invalid for the task, and these rows."""
    _, invalid = make_features(loaded, tokenizer, info, dataset.train, progress)
    lost = {(row.source, row.line) for row in invalid}
    train = tuple(item for item in dataset.train if (item.source, item.line) not in lost)
    validation, unanswerable = encodable(loaded, tokenizer, info, dataset.validation)
    held_out, more = encodable(loaded, tokenizer, info, dataset.held_out)
    usable = replace(dataset, train=train, validation=tuple(validation), held_out=tuple(held_out))
    return usable, [*invalid, *unanswerable, *more]


def _check(loaded: LoadedTask, row: Features, info: AdapterInfo) -> None:
    spec = loaded.spec
    if missing := [key for key in ("input_ids", *_TARGETS[spec.head]) if key not in row]:
        raise BadPlugin(
            f"Task {spec.name!r} makes features without {missing[0]!r}, which {spec.head.value} needs."
        )
    if info.image and (shape := np.shape(row.get("pixel_values", 0.0))) != info.image.shape:
        raise BadPlugin(f"Task {spec.name!r} makes images of shape {shape}; {info.image.shape} fits.")
    for tokens in (row, *(row[key] for key in _TEXTS if key in row)):
        length = len(tokens["input_ids"])
        if not 0 < length <= info.max_length:
            raise BadPlugin(
                f"Task {spec.name!r} makes features of {length} tokens; from 1 to {info.max_length} fit."
            )
    if info.encoder_decoder:
        if not 0 < len(row["labels"]) <= info.max_length:
            raise BadPlugin(
                f"Task {spec.name!r} makes {len(row['labels'])} labels; from 1 to {info.max_length} fit."
            )
    elif spec.head in (HeadKind.TOKEN, HeadKind.GENERATE) and len(row["labels"]) != length:
        raise BadPlugin(f"Task {spec.name!r} makes {len(row['labels'])} labels for {length} tokens.")
    if spec.head is HeadKind.SEQUENCE and loaded.labelled:
        _check_labels(spec.name, row["labels"], len(info.labels))


def _check_labels(task: str, labels: object, count: int) -> None:
    """Raise BadPlugin unless `labels` is an index below `count`, or `count` floats from 0 to 1."""
    if isinstance(labels, list):
        fits = len(labels) == count and all(isinstance(one, float) and 0 <= one <= 1 for one in labels)
    else:
        fits = isinstance(labels, Integral) and 0 <= int(labels) < count
    if not fits:
        raise BadPlugin(
            f"Task {task!r} makes the labels {labels!r:.80}. They must be the index of one of {count} labels "
            f"or {count} floats from 0 to 1. To learn numbers, set target=TargetKind.NUMBER in the spec."
        )

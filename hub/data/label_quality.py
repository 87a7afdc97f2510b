"""Finds contradicting and rare labels, and replaces labels."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from hub.api import Example, FieldKind, HeadKind, InputKind, split_tag
from hub.data.examples import AnyTask, Item
from hub.data.fields import labelled_fields, labels_in
from hub.recipe.by_rows import TrainingRows
from hub.registry.loaded import LoadedTask

__all__ = [
    "describe_rows",
    "find_conflicts",
    "label_counts",
    "labels_of",
    "rare_labels",
    "replace_labels",
    "target_key",
]


def target_key(item: Item, task: AnyTask) -> str:
    """Return a text that is equal for examples with equal labels; "" if the task has no labels."""
    parts = []
    for field in labelled_fields(task.fields):
        value = item.example[field.name]
        if value is None:
            continue
        unordered = field.kind in (FieldKind.LABELS, FieldKind.ENTITIES, FieldKind.RELATIONS)
        parts.append(repr(sorted(map(_flat, value)) if unordered else value))
    return "|".join(parts)


def _flat(value: Any) -> Any:
    return repr(sorted(value.items())) if isinstance(value, dict) else value


def find_conflicts(items: Sequence[Item], task: AnyTask, rule: str) -> tuple[list[Item], set[int]]:
    """Return the items whose request occurs with different labels, and the indices to filter out.

    `rule` is the recipe's `labels.conflicts`.
    """
    by_request: dict[str, list[int]] = defaultdict(list)
    for index, item in enumerate(items):
        by_request[item.request].append(index)
    found: list[int] = []
    out: set[int] = set()
    for indices in by_request.values():
        targets = {index: target_key(items[index], task) for index in indices} if len(indices) > 1 else {}
        counts = Counter(targets.values())
        if len(counts) < 2:
            continue
        found += indices
        (best, most), (_, second) = counts.most_common(2)
        if rule == "drop" or (rule == "majority" and most == second):
            out.update(indices)
        elif rule == "majority":
            out.update(index for index in indices if targets[index] != best)
    return [items[index] for index in sorted(found)], out


def label_counts(items: Sequence[Item], task: AnyTask) -> Counter[str]:
    """Count the rows that have each label."""
    return Counter(label for item in items for label in labels_of(item, task))


def rare_labels(items: Sequence[Item], task: AnyTask, min_rows: int, other: str | None) -> frozenset[str]:
    """Return the labels of fewer than `min_rows` rows.

    Without `other` their rows are removed, which may make further labels rare; those are included.
    """
    rare: frozenset[str] = frozenset()
    while True:
        left = [item for item in items if other is not None or not rare.intersection(labels_of(item, task))]
        counts = label_counts(left, task)
        more = rare | {label for label, count in counts.items() if count < min_rows and label != other}
        if more == rare or other is not None:
            return more
        rare = more


def replace_labels(items: Sequence[Item], task: AnyTask, labels: frozenset[str], other: str) -> list[Item]:
    """Return the items with each of `labels` replaced by `other`."""
    return [
        replace(
            item,
            example=_replace_labels(item.example, task, labels, other),
            sent=item.sent and _replace_labels(item.sent, task, labels, other),
        )
        if labels.intersection(labels_of(item, task))
        else item
        for item in items
    ]


def _replace_labels(example: Example, task: AnyTask, labels: frozenset[str], other: str) -> Example:
    def new(label: str) -> str:
        return other if label in labels else label

    changed = {
        field.name: _RELABEL[field.kind](example[field.name], new)
        for field in labelled_fields(task.fields)
        if example[field.name] is not None
    }
    return {**example, **changed}


def _tag(tag: str, new: Callable[[str], str]) -> str:
    _, kind = split_tag(tag)
    return tag.removesuffix(kind) + new(kind) if kind else tag


def _labelled(item: Mapping[str, Any], new: Callable[[str], str]) -> dict[str, Any]:
    return {**item, "label": new(item["label"])}


_RELABEL: Mapping[FieldKind, Callable[[Any, Callable[[str], str]], Any]] = {
    FieldKind.LABEL: lambda value, new: new(value),
    FieldKind.LABELS: lambda value, new: tuple(dict.fromkeys(map(new, value))),
    FieldKind.TAGS: lambda value, new: tuple(_tag(tag, new) for tag in value),
    FieldKind.ENTITIES: lambda value, new: tuple(_labelled(entity, new) for entity in value),
    FieldKind.RELATIONS: lambda value, new: tuple(_labelled(relation, new) for relation in value),
}


def describe_rows(
    loaded: LoadedTask, items: Sequence[Item], labels: Sequence[str], family: str
) -> TrainingRows:
    """Return what of the training rows, their labels and the type of base decides how to train."""
    head = loaded.spec.head
    labelled = head is HeadKind.SEQUENCE and not loaded.numeric
    several = [field.name for field in loaded.task.fields if field.kind is FieldKind.LABELS]
    one_each = labelled and not any(item.example[name] is not None for item in items for name in several)
    return TrainingRows(
        count=len(items),
        family=family,
        head=head,
        classes=len(labels) if one_each else 0,
        labels=labelled and loaded.spec.input is InputKind.TEXT,
    )


def labels_of(item: Item, task: AnyTask) -> set[str]:
    """Return the labels of a row."""
    fields = labelled_fields(task.fields)
    return {label for field in fields for label in labels_in(field, item.example[field.name])}

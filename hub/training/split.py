"""Which examples are trained on, which choose the best checkpoint, and which are held out."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Sequence

from hub.training.examples import AnyTask, Item
from hub.training.fields import labels_in

__all__ = ["deduplicate", "split", "without_leaks"]


def deduplicate(items: Sequence[Item]) -> list[Item]:
    """Keep the first of examples that are the same in every field."""
    seen: dict[str, Item] = {}
    for item in items:
        seen.setdefault(repr(sorted(item.example.items())), item)
    return list(seen.values())


def without_leaks(held_out: Sequence[Item], train: Sequence[Item]) -> list[Item]:
    """Drop held-out examples that ask the very request of a training example."""
    requests = {item.request for item in train}
    return [item for item in held_out if item.request not in requests]


def split(
    items: Sequence[Item], size: int, seed: int, task: AnyTask, together: str | None = None
) -> tuple[list[Item], list[Item]]:
    """Take about `size` items out; returns those left and those taken, each in order.

    With labels, each label is taken in proportion and keeps at least one example. With `together`,
    examples with one value of that field stay on one side.
    """
    chance = random.Random(seed)
    taken = (
        _whole_groups(items, size, chance, together)
        if together
        else _in_proportion(items, size, chance, task)
    )
    kept = [item for index, item in enumerate(items) if index not in taken]
    return kept, [items[index] for index in sorted(taken)]


def _in_proportion(items: Sequence[Item], size: int, chance: random.Random, task: AnyTask) -> set[int]:
    strata: dict[object, list[int]] = defaultdict(list)
    for index, item in enumerate(items):
        strata[_stratum(item, task)].append(index)
    shares = {key: len(indices) * size / len(items) for key, indices in strata.items()}
    counts = {key: min(int(share), len(strata[key]) - 1) for key, share in shares.items()}
    by_rest = sorted(shares, key=lambda key: counts[key] - shares[key])
    while (missing := size - sum(counts.values())) > 0:
        roomy = [key for key in by_rest if counts[key] < len(strata[key]) - 1]
        if not roomy:
            break
        for key in roomy[:missing]:
            counts[key] += 1
    return {index for key, indices in strata.items() for index in chance.sample(indices, counts[key])}


def _stratum(item: Item, task: AnyTask) -> object:
    """Return the example's label; of several the first, as whole combinations would be too rare."""
    for field in task.fields:
        if labels := labels_in(field, item.example[field.name]):
            return labels[0]
    return None


def _whole_groups(items: Sequence[Item], size: int, chance: random.Random, together: str) -> set[int]:
    groups: dict[str, list[int]] = defaultdict(list)
    for index, item in enumerate(items):
        groups[repr(item.example[together])].append(index)
    names = sorted(groups)
    chance.shuffle(names)
    taken: set[int] = set()
    for name in names[:-1]:
        if len(taken) + len(groups[name]) / 2 <= size:
            taken.update(groups[name])
    return taken

"""Splits examples into training and held-out ones, in proportion to labels and without leaks."""

from __future__ import annotations

import random
import warnings
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence

from hub.data.examples import AnyTask, Item
from hub.data.fields import labels_in

__all__ = ["grouped_folds", "same_example", "split", "stratum", "without_leaks"]

MAX_BALANCED_GROUPS = 2000  # with more, scikit-learn takes seconds to balance them


def same_example(item: Item) -> str:
    """Return a text that is equal for examples that are equal in every field."""
    return repr(sorted(item.example.items()))


def without_leaks(held_out: Sequence[Item], train: Sequence[Item]) -> list[Item]:
    """Drop held-out examples whose request is also that of a training example."""
    requests = {item.request for item in train}
    return [item for item in held_out if item.request not in requests]


def split(
    items: Sequence[Item], size: int, seed: int, task: AnyTask, group_field: str | None = None
) -> tuple[list[Item], list[Item]]:
    """Split off about `size` items; return the remaining and the split-off items, each in order.

    Labels are sampled in proportion, and at least one example of each remains. With `group_field`, examples
    with the same value of that field stay together, and labels are in proportion as far as the groups allow.
    """
    rng = random.Random(seed)
    if group_field is None:
        taken = _in_proportion(items, size, rng, task)
    elif len({stratum(item, task) for item in items}) > 1 and _few_groups(items, group_field):
        taken = _balanced_groups(items, size, seed, task, group_field)
    else:
        taken = _whole_groups(items, size, rng, group_field)
    kept = [item for index, item in enumerate(items) if index not in taken]
    return kept, [items[index] for index in sorted(taken)]


def _in_proportion(items: Sequence[Item], size: int, rng: random.Random, task: AnyTask) -> set[int]:
    strata: dict[object, list[int]] = defaultdict(list)
    for index, item in enumerate(items):
        strata[stratum(item, task)].append(index)
    shares = {key: len(indices) * size / len(items) for key, indices in strata.items()}
    counts = {key: min(int(share), len(strata[key]) - 1) for key, share in shares.items()}
    by_rest = sorted(shares, key=lambda key: counts[key] - shares[key])
    while (missing := size - sum(counts.values())) > 0:
        roomy = [key for key in by_rest if counts[key] < len(strata[key]) - 1]
        if not roomy:
            break
        for key in roomy[:missing]:
            counts[key] += 1
    return {index for key, indices in strata.items() for index in rng.sample(indices, counts[key])}


def stratum(item: Item, task: AnyTask) -> object:
    """Return the example's first label: combinations of labels would be too rare to stratify by."""
    for field in task.fields:
        if labels := labels_in(field, item.example[field.name]):
            return labels[0]
    return None


def _few_groups(items: Sequence[Item], group_field: str) -> bool:
    """Return whether random sampling of the groups could distort the proportions of the labels."""
    return len({repr(item.example[group_field]) for item in items}) <= MAX_BALANCED_GROUPS


def _balanced_groups(
    items: Sequence[Item], size: int, seed: int, task: AnyTask, group_field: str
) -> set[int]:
    """Return the StratifiedGroupKFold fold whose label counts are nearest to the wanted ones."""
    groups = [repr(item.example[group_field]) for item in items]
    count = min(max(2, round(len(items) / max(size, 1))), len(set(groups)))
    if count < 2:
        return set()
    labels = [str(stratum(item, task)) for item in items]
    wanted = {label: rows * size / len(items) for label, rows in Counter(labels).items()}

    def missed(part: list[int]) -> float:
        have = Counter(labels[index] for index in part)
        return sum(abs(have[label] - rows) for label, rows in wanted.items())

    parts: list[list[int]] = list(grouped_folds(labels, groups, count, seed))
    misses = [missed(part) for part in parts]
    return set(parts[misses.index(min(misses))])


def grouped_folds(labels: Sequence[str], groups: Sequence[str], count: int, seed: int) -> Iterator[list[int]]:
    """Yield the indices of `count` folds that keep groups together and labels in proportion."""
    from sklearn.model_selection import StratifiedGroupKFold

    if max(Counter(labels).values()) < count:  # no label can be in every part
        labels = [""] * len(labels)
    splitter = StratifiedGroupKFold(count, shuffle=True, random_state=seed)
    with warnings.catch_warnings():
        # A label may have fewer rows than there are folds.
        warnings.filterwarnings("ignore", message="The least populated class", category=UserWarning)
        for _, fold in splitter.split(labels, labels, groups):
            yield fold.tolist()


def _whole_groups(items: Sequence[Item], size: int, rng: random.Random, group_field: str) -> set[int]:
    groups: dict[str, list[int]] = defaultdict(list)
    for index, item in enumerate(items):
        groups[repr(item.example[group_field])].append(index)
    names = sorted(groups)
    rng.shuffle(names)
    taken: set[int] = set()
    for name in names[:-1]:
        if len(taken) + len(groups[name]) / 2 <= size:
            taken.update(groups[name])
    return taken

"""Folds for cross-validation: every training row is held out once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace

from hub.data.dataset import Dataset, chooses, divide
from hub.data.examples import AnyTask, Item
from hub.data.split import grouped_folds, stratum, without_leaks
from hub.recipe.recipe import Recipe

__all__ = ["fold_datasets", "folds"]


def folds(
    items: Sequence[Item], count: int, seed: int, task: AnyTask, group_field: str | None = None
) -> Iterator[tuple[list[Item], list[Item]]]:
    """Yield the training and the held-out items of `count` folds of similar size, each in order.

    Labels are in proportion in every fold. With `group_field`, examples with the same value of that field
    stay together, and there are at most as many folds as groups. Held-out items whose request is also that of
    a training item are dropped.
    """
    parts = (
        _grouped(items, count, seed, task, group_field)
        if group_field
        else _by_label(items, count, seed, task)
    )
    for part in parts:
        taken = set(part)
        left = [item for index, item in enumerate(items) if index not in taken]
        held_out = without_leaks([items[index] for index in sorted(taken)], left)
        if left and held_out:
            yield left, held_out


def fold_datasets(recipe: Recipe, dataset: Dataset, task: AnyTask, *, labelled: bool) -> Iterator[Dataset]:
    """Yield the data set of each fold of `evaluate.folds`, made from the training rows only.

    `labelled` is passed to `divide`.
    """
    rows = (*dataset.train, *(item.as_trained() for item in dataset.validation))
    for left, held_out in folds(
        rows, recipe.evaluate.folds or 0, recipe.train.seed, task, recipe.data.group_by
    ):
        train, validation = divide(recipe, left, task, labelled=labelled)
        yield replace(
            dataset,
            train=tuple(train),
            validation=tuple(validation),
            held_out=tuple(item.as_sent() for item in held_out),
            chooses=chooses(recipe, len(left)),
        )


def _by_label(items: Sequence[Item], count: int, seed: int, task: AnyTask) -> Iterator[list[int]]:
    from sklearn.model_selection import StratifiedKFold

    strata = [str(stratum(item, task)) for item in items]
    rows = Counter(strata)
    # Labels with fewer rows than folds form one stratum.
    strata = [label if rows[label] >= count else "" for label in strata]
    if 0 < strata.count("") < count:
        common = rows.most_common(1)[0][0]
        strata = [label or common for label in strata]
    for _, part in StratifiedKFold(count, shuffle=True, random_state=seed).split(strata, strata):
        yield part.tolist()


def _grouped(
    items: Sequence[Item], count: int, seed: int, task: AnyTask, group_field: str
) -> Iterator[list[int]]:
    groups = [repr(item.example[group_field]) for item in items]
    labels = [str(stratum(item, task)) for item in items]
    count = min(count, len(set(groups)))
    return grouped_folds(labels, groups, count, seed) if count > 1 else iter(())

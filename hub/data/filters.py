"""Row filters between loading and splitting; each counts the rows that it removes or flags."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from hub.api import FieldKind
from hub.api.kinds.reader import InvalidRow
from hub.data.duplicates import NearDuplicates
from hub.data.examples import AnyTask, Item, Loaded
from hub.data.fields import LABELLED
from hub.data.label_quality import find_conflicts, label_counts, labels_of, rare_labels, replace_labels
from hub.data.notes import DataReport, Note, first_of
from hub.data.split import same_example, without_leaks
from hub.errors import BadData
from hub.progress import Progress
from hub.recipe.recipe import Recipe

__all__ = ["RowFilters"]

MAX_SHOWN = 5  # places in a message


class RowFilters:
    """Applies a recipe's filters to loaded rows and collects counts and notes for the data report.

    Each method is called once, in the order of definition.
    """

    def __init__(self, recipe: Recipe, task: AnyTask, progress: Progress) -> None:
        self._data = recipe.data
        self._task = task
        self._progress = progress
        self._notes: list[Note] = []
        self._counts: Counter[str] = Counter()
        self._pii: Counter[str] = Counter()
        self._changed: Counter[str] = Counter()
        self._rare: frozenset[str] = frozenset()
        self._near: NearDuplicates | None = None
        self._labelled = any(field.kind in LABELLED for field in task.fields)

    def loaded(self, source: Loaded, separate: Loaded) -> None:
        """Count the rows that loading read, changed and filtered.

        Raises:
            BadData: rows contain personal data, and `data.pii` is refuse.
        """
        items = [*source.items, *separate.items]
        self._counts["read"] = source.read + separate.read
        for row in (*source.filtered, *separate.filtered):
            self._notes.append(Note(row.source, row.line, "filtered", row.reason))
        for item in items:
            self._changed.update(item.changed)
            self._pii.update(dict(item.pii))
            if item.changed:
                self._note(item, "changed", ", ".join(item.changed))
            if item.pii:
                self._note(item, "pii", ", ".join(f"{kind} {count}" for kind, count in item.pii))
        if self._pii and self._data.pii.action == "refuse":
            raise BadData(_refusal(self._pii, [item for item in items if item.pii]))
        images = any(field.kind is FieldKind.IMAGE for field in self._task.fields)
        if self._data.near_duplicates != "keep" and not images:  # which compare shingles of characters
            self._near = NearDuplicates(items, self._data.near_threshold, self._progress)

    def without_conflicts(self, items: Sequence[Item]) -> list[Item]:
        """Apply `labels.conflicts`."""
        found, out = (
            find_conflicts(items, self._task, self._data.labels.conflicts) if self._labelled else ([], ())
        )
        self._counts["conflicts"] = len(found)
        for item in found:
            self._note(item, "conflict")
        self._filter_out((items[index] for index in sorted(out)), "conflicting labels")
        return [item for index, item in enumerate(items) if index not in out]

    def without_duplicates(self, items: Sequence[Item]) -> list[Item]:
        """Keep the first of duplicate examples and, if `near_duplicates` is drop, of near duplicates."""
        first: dict[str, Item] = {}
        for item in items:
            known = first.setdefault(same_example(item), item)
            if known is not item:
                self._note(item, "duplicate", f"of {known.place}")
        unique = list(first.values())
        self._counts["duplicates"] = len(items) - len(unique)
        near = self._near.within(unique, self._task) if self._near else {}
        self._counts["near_duplicates"] = len(near)
        for index, other in near.items():
            self._note(unique[index], "near duplicate", f"of {unique[other].place}")
        if self._data.near_duplicates != "drop":
            return unique
        return [item for index, item in enumerate(unique) if index not in near]

    def without_rare(self, items: Sequence[Item], separate: Sequence[Item]) -> tuple[list[Item], list[Item]]:
        """Apply `labels.min_rows` to training rows, and the result to separate held-out rows."""
        rules = self._data.labels
        if rules.min_rows == 1:
            return list(items), list(separate)
        self._rare = rare_labels(items, self._task, rules.min_rows, rules.other)
        removed, kept = self._partition(items)
        self._counts["rare"] = len(removed)
        if rules.other is None:
            more, kept_separate = self._partition(separate)
            self._filter_out((*removed, *more), "rare label")
            return kept, kept_separate
        unseen = label_counts(separate, self._task).keys() - label_counts(items, self._task).keys()
        names = self._rare.union(unseen)
        return (
            replace_labels(items, self._task, self._rare, rules.other),
            replace_labels(separate, self._task, names, rules.other),
        )

    def _partition(self, items: Sequence[Item]) -> tuple[list[Item], list[Item]]:
        parts: tuple[list[Item], list[Item]] = [], []
        for item in items:
            parts[self._rare.isdisjoint(labels_of(item, self._task))].append(item)
        return parts

    def without_leaks(self, held_out: Sequence[Item], train: Sequence[Item]) -> list[Item]:
        """Drop held-out rows whose request equals a training row's or, with `drop`, nearly equals it."""
        clean = without_leaks(held_out, train)
        kept = {id(item) for item in clean}
        self._counts["leaked"] = len(held_out) - len(clean)
        for item in held_out:
            if id(item) not in kept:
                self._note(item, "leaked")
        near = self._near.between(clean, train) if self._near else {}
        self._counts["near_leaked"] = len(near)
        for index, other in near.items():
            self._note(clean[index], "near leak", f"of {train[other].place}")
        if self._data.near_duplicates != "drop":
            return clean
        return [item for index, item in enumerate(clean) if index not in near]

    def data_report(self, invalid: Sequence[InvalidRow]) -> tuple[DataReport, tuple[Note, ...]]:
        """Return the counts and the notes."""
        filtered = [note.detail for note in self._notes if note.what == "filtered"]
        counts = DataReport(
            invalid=len(invalid),
            changed=dict(sorted(self._changed.items())),
            filtered=dict(sorted(Counter(filtered).items())),
            near=self._data.near_duplicates,
            rare_labels=tuple(sorted(self._rare)),
            pii=dict(sorted(self._pii.items())),
            **self._counts,
        )
        return counts, tuple(self._notes)

    def _note(self, item: Item, what: str, detail: str = "") -> None:
        self._notes.append(Note(item.source, item.line, what, detail))

    def _filter_out(self, items: Iterable[Item], reason: str) -> None:
        for item in items:
            self._note(item, "filtered", reason)


def _refusal(pii: Counter[str], items: Sequence[Item]) -> str:
    kinds = ", ".join(f"{count} {kind}" for kind, count in sorted(pii.items()))
    places = first_of([item.place for item in items], MAX_SHOWN)
    return (
        f"{len(items)} rows contain personal data ({kinds}), and data.pii is refuse: {places}. Remove it, or "
        "set data.pii to mask."
    )

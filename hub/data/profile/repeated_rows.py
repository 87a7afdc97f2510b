"""Finds rows that repeat or contradict an earlier row of a stream."""

from __future__ import annotations

from collections.abc import Iterator

from hub.data.duplicates import NearDuplicates
from hub.data.examples import AnyTask, Item
from hub.data.label_quality import target_key
from hub.data.profile.column_counts import place_of
from hub.data.split import same_example
from hub.progress import Progress

__all__ = ["MAX_COMPARED", "MAX_NEAR", "Copies"]

NEAR = 0.85  # the default of data.near_threshold
MAX_COMPARED = 500_000  # distinct rows; the hashes of each take about 100 bytes
MAX_NEAR = 50_000  # distinct rows; the signature of each takes about 4 kB

SAME = "the same as an earlier row"
NEARLY = "nearly the same as an earlier row (near_duplicates)"
CONTRADICTED = "another row has the same request and another label (labels.conflicts)"


class Copies:
    """Compares each row with those before it: exactly by hashes, nearly by MinHash at the end."""

    def __init__(self, shape: AnyTask) -> None:
        self._shape = shape
        self._rows: set[int] = set()
        self._targets: dict[int, tuple[int, str]] = {}
        self._kept: list[Item] = []
        self.compared = 0

    def add(self, item: Item, labelled: bool) -> Iterator[tuple[str, str]]:
        """Yield the anomalies of the row, each with its place."""
        row = hash(same_example(item))
        place = place_of(item.source, item.line)
        if row in self._rows:
            yield SAME, place
            return
        if len(self._rows) >= MAX_COMPARED:
            return
        self._rows.add(row)
        self.compared += 1
        if len(self._kept) < MAX_NEAR:
            self._kept.append(item)
        if labelled:
            yield from self._contradictions(hash(item.request), hash(target_key(item, self._shape)), place)

    def near(self, progress: Progress) -> Iterator[tuple[str, str]]:
        """Yield the rows among the first MAX_NEAR that are nearly the same as an earlier one."""
        if self._kept:
            found = NearDuplicates(self._kept, NEAR, progress).within(self._kept, self._shape)
            for index in found:
                item = self._kept[index]
                yield NEARLY, place_of(item.source, item.line)

    @property
    def near_compared(self) -> int:
        """The number of distinct rows that were compared for near duplicates."""
        return len(self._kept)

    def _contradictions(self, request: int, target: int, place: str) -> Iterator[tuple[str, str]]:
        known, first = self._targets.setdefault(request, (target, place))
        if known == target:
            return
        if first:  # report the first row once
            yield CONTRADICTED, first
            self._targets[request] = (known, "")
        yield CONTRADICTED, place

"""Finds near-duplicate requests by MinHash and locality-sensitive hashing.

Broder, "On the resemblance and containment of documents" (1997). Candidates are compared exactly, so every
reported pair reaches the threshold.
"""

from __future__ import annotations

import json
import re
import zlib
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from typing import Any

from hub.data.examples import AnyTask, Item
from hub.data.label_quality import target_key
from hub.progress import Progress, silent

__all__ = ["NearDuplicates", "jaccard"]

SHINGLE_CHARS = 5
PERMUTATIONS = 64
MAX_CANDIDATES = 50  # comparisons per row, so that the time is linear in the number of rows
_REPORT_EVERY = 2000  # rows
_NOT_WORD = re.compile(r"\W+")


def jaccard(first: str, second: str) -> float:
    """Return the Jaccard similarity of the five-character shingles of two texts, 0 to 1.

    Case, punctuation and white space are ignored.
    """
    one, other = _shingles(first), _shingles(second)
    shared = len(one & other)
    return shared / (len(one) + len(other) - shared)


@lru_cache(maxsize=4096)
def _shingles(text: str) -> frozenset[str]:
    plain = _NOT_WORD.sub(" ", text.casefold()).strip() or text
    return frozenset(plain[at : at + SHINGLE_CHARS] for at in range(max(1, len(plain) - SHINGLE_CHARS + 1)))


class NearDuplicates:
    """Compares requests: near duplicates reach the threshold in each pair of corresponding texts."""

    def __init__(self, items: Sequence[Item], threshold: float, progress: Progress = silent) -> None:
        """Hash the requests of `items`: all items that will be compared."""
        from datasketch import MinHash

        self._threshold = threshold
        self._progress = progress
        requests = list(dict.fromkeys(item.request for item in items))
        self._texts = {request: dict(_strings(json.loads(request))) for request in requests}
        # Hash the field with the most distinct texts: questions rather than their shared context.
        values: dict[str, set[str]] = {}
        for texts in self._texts.values():
            for name, text in texts.items():
                values.setdefault(name, set()).add(text)
        self._key = max(values, key=lambda name: len(values[name]), default="")
        hashed = sorted({texts.get(self._key, "") for texts in self._texts.values()})
        pieces = ([piece.encode() for piece in _shingles(text)] for text in hashed)
        made = MinHash.generator(pieces, num_perm=PERMUTATIONS, seed=1, hashfunc=zlib.crc32)
        self._hashes = {}
        for number, (text, value) in enumerate(zip(hashed, made, strict=True), 1):
            self._hashes[text] = value
            if number % _REPORT_EVERY == 0 or number == len(hashed):
                progress("compare rows", number, len(hashed))

    def within(self, items: Sequence[Item], task: AnyTask) -> dict[int, int]:
        """Map the index of each near duplicate to an earlier item with the same labels."""
        targets = [target_key(item, task) for item in items]
        near: dict[int, int] = {}
        index = self._index()
        for at, item in enumerate(items):
            candidates = self._candidates(index, item)
            same = (other for other in candidates[:MAX_CANDIDATES] if targets[other] == targets[at])
            found = next((other for other in same if self._is_near(item, items[other])), None)
            if found is not None:
                near[at] = found
            elif len(candidates) <= MAX_CANDIDATES:
                index.insert(at, self._hash(item))
        return near

    def between(self, items: Sequence[Item], others: Sequence[Item]) -> dict[int, int]:
        """Map the index of each item that nearly equals one of `others` to that one; labels are ignored."""
        index = self._index()
        for at, item in enumerate(others):
            if len(self._candidates(index, item)) <= MAX_CANDIDATES:
                index.insert(at, self._hash(item))
        near = {}
        for at, item in enumerate(items):
            candidates = self._candidates(index, item)[:MAX_CANDIDATES]
            found = next((other for other in candidates if self._is_near(item, others[other])), None)
            if found is not None:
                near[at] = found
        return near

    def _index(self) -> Any:
        from datasketch import MinHashLSH

        # Recall counts more than precision: candidates are compared exactly afterwards.
        return MinHashLSH(threshold=self._threshold, num_perm=PERMUTATIONS, weights=(0.2, 0.8))

    def _hash(self, item: Item) -> Any:
        return self._hashes[self._texts[item.request].get(self._key, "")]

    def _candidates(self, index: Any, item: Item) -> list[int]:
        return sorted(index.query(self._hash(item)))

    def _is_near(self, item: Item, other: Item) -> bool:
        first, second = self._texts[item.request], self._texts[other.request]
        return first.keys() == second.keys() and all(
            text == second[name] or jaccard(text, second[name]) >= self._threshold
            for name, text in first.items()
        )


def _strings(value: Any, at: str = "") -> Iterator[tuple[str, str]]:
    """Yield each text in a JSON value with its path; other values as JSON, which has to be equal."""
    inner: Iterable[tuple[Any, Any]] = ()
    if isinstance(value, dict):
        inner = value.items()
    elif isinstance(value, list):
        inner = enumerate(value)
    else:
        yield at, value if isinstance(value, str) else json.dumps(value)
    for key, part in inner:
        yield from _strings(part, f"{at}/{key}")

"""Rows that ask nearly the same, by MinHash and locality-sensitive hashing.

Broder, "On the resemblance and containment of documents" (1997); the candidates that hashing finds are
compared in full, so what is reported is at least as alike as asked for.
"""

from __future__ import annotations

import json
import re
import zlib
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from typing import Any

from hub.data.examples import AnyTask, Item
from hub.data.label_quality import target_of
from hub.progress import Progress, silent

__all__ = ["NearDuplicates", "likeness"]

PIECE = 5  # characters
HASHES = 64
CROWD = 50  # rows that one is compared with at most, so that the time is linear in the rows
_REPORT_EVERY = 2000  # rows
_NOT_WORD = re.compile(r"\W+")


def likeness(first: str, second: str) -> float:
    """Return the share of pieces of five characters that two texts have in common (Jaccard), 0 to 1.

    Case, punctuation and white space do not count.
    """
    one, other = _pieces(first), _pieces(second)
    shared = len(one & other)
    return shared / (len(one) + len(other) - shared)


@lru_cache(maxsize=4096)
def _pieces(text: str) -> frozenset[str]:
    plain = _NOT_WORD.sub(" ", text.casefold()).strip() or text
    return frozenset(plain[at : at + PIECE] for at in range(max(1, len(plain) - PIECE + 1)))


class NearDuplicates:
    """Compares requests by their texts: two are alike if each text of one is like that of the other."""

    def __init__(self, items: Sequence[Item], threshold: float, progress: Progress = silent) -> None:
        """`items` are all that will be compared."""
        from datasketch import MinHash

        self._threshold = threshold
        self._progress = progress
        requests = list(dict.fromkeys(item.request for item in items))
        self._texts = {request: dict(_strings(json.loads(request))) for request in requests}
        # Hashed are the texts that differ most from row to row: questions rather than their one context.
        values: dict[str, set[str]] = {}
        for texts in self._texts.values():
            for name, text in texts.items():
                values.setdefault(name, set()).add(text)
        self._key = max(values, key=lambda name: len(values[name]), default="")
        hashed = sorted({texts.get(self._key, "") for texts in self._texts.values()})
        pieces = ([piece.encode() for piece in _pieces(text)] for text in hashed)
        made = MinHash.generator(pieces, num_perm=HASHES, seed=1, hashfunc=zlib.crc32)
        self._hashes = {}
        for number, (text, value) in enumerate(zip(hashed, made, strict=True), 1):
            self._hashes[text] = value
            if number % _REPORT_EVERY == 0 or number == len(hashed):
                progress("compare rows", number, len(hashed))

    def within(self, items: Sequence[Item], task: AnyTask) -> dict[int, int]:
        """Return the indices of items near one before them, and of that one; labels, if any, are the same."""
        targets = [target_of(item, task) for item in items]
        near: dict[int, int] = {}
        index = self._index()
        for at, item in enumerate(items):
            crowd = self._candidates(index, item)
            same = (other for other in crowd[:CROWD] if targets[other] == targets[at])
            found = next((other for other in same if self._alike(item, items[other])), None)
            if found is not None:
                near[at] = found
            elif len(crowd) <= CROWD:
                index.insert(at, self._hash(item))
        return near

    def between(self, items: Sequence[Item], others: Sequence[Item]) -> dict[int, int]:
        """Return the indices of items near one of `others`, and of that one; labels do not count."""
        index = self._index()
        for at, item in enumerate(others):
            if len(self._candidates(index, item)) <= CROWD:
                index.insert(at, self._hash(item))
        near = {}
        for at, item in enumerate(items):
            crowd = self._candidates(index, item)[:CROWD]
            found = next((other for other in crowd if self._alike(item, others[other])), None)
            if found is not None:
                near[at] = found
        return near

    def _index(self) -> Any:
        from datasketch import MinHashLSH

        # Misses cost more than candidates that are compared in vain.
        return MinHashLSH(threshold=self._threshold, num_perm=HASHES, weights=(0.2, 0.8))

    def _hash(self, item: Item) -> Any:
        return self._hashes[self._texts[item.request].get(self._key, "")]

    def _candidates(self, index: Any, item: Item) -> list[int]:
        return sorted(index.query(self._hash(item)))

    def _alike(self, item: Item, other: Item) -> bool:
        first, second = self._texts[item.request], self._texts[other.request]
        return first.keys() == second.keys() and all(
            text == second[name] or likeness(text, second[name]) >= self._threshold
            for name, text in first.items()
        )


def _strings(value: Any, at: str = "") -> Iterator[tuple[str, str]]:
    """Yield each text in a JSON value with its place; other values count as text that has to be equal."""
    inner: Iterable[tuple[Any, Any]] = ()
    if isinstance(value, dict):
        inner = value.items()
    elif isinstance(value, list):
        inner = enumerate(value)
    else:
        yield at, value if isinstance(value, str) else json.dumps(value)
    for key, part in inner:
        yield from _strings(part, f"{at}/{key}")

"""Normalizes label names and finds names that differ only in case, width or the form of a number."""

from __future__ import annotations

import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable
from functools import lru_cache

__all__ = ["INVISIBLE", "look_alike", "look_alikes", "normal_label"]

# Without joiners (U+200C, U+200D), which are used in Persian, Indic scripts and emoji.
INVISIBLE = re.compile(
    "[\x00-\x08\x0e-\x1b\x7f-\x84\x86-\x9f\u00ad\u200b\u200e\u200f\u202a-\u202e\u2060-\u2064\u2066-\u2069\ufeff]+"
)
_SPACE = re.compile(r"\s+")
_CACHED = 4096  # names; data has few distinct labels


@lru_cache(_CACHED)
def normal_label(name: str) -> str:
    """Return a label's name in Unicode form NFC, without invisible characters, with single spaces."""
    return _SPACE.sub(" ", unicodedata.normalize("NFC", INVISIBLE.sub("", name))).strip()


@lru_cache(_CACHED)
def _key(name: str) -> str:
    """Return a text that is equal for names that look like the same label."""
    folded = unicodedata.normalize("NFKC", normal_label(name)).casefold()
    try:
        return repr(float(folded))
    except ValueError:
        return folded


def look_alike(name: str, known: Iterable[str]) -> str | None:
    """Return the known name that looks like this one, such as `Good` for `good`."""
    return next((other for other in known if _key(other) == _key(name) and other != name), None)


def look_alikes(names: Iterable[str]) -> list[tuple[str, ...]]:
    """Return groups of names that look like the same label: different case or width, `1` and `1.0`."""
    groups: dict[str, list[str]] = defaultdict(list)
    for name in dict.fromkeys(names):
        groups[_key(name)].append(name)
    return [tuple(group) for group in groups.values() if len(group) > 1]

"""Pydantic's errors about a JSON body, reduced to those of the alternatives that fit best."""

from __future__ import annotations

import re
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

__all__ = ["Problem", "problems_of"]

_SAME = "Input should be "
_LENGTH = re.compile(r"\w+ should have at (least|most) (\d+) (items?) after validation, not (\d+|more)")
KEY = "[key]"  # in a location: the key itself is wrong


@dataclass(frozen=True, slots=True)
class Problem:
    """A wrong value: the keys and indices that lead to it, and what is wrong."""

    path: tuple[int | str, ...]
    message: str


@dataclass(frozen=True, slots=True)
class _Detail:
    path: tuple[int | str, ...]
    branches: tuple[tuple[tuple[int | str, ...], str], ...]  # place and name of each alternative
    kind: str
    message: str

    @property
    def mistyped(self) -> bool:
        return self.kind.endswith(("_type", "_parsing"))


def problems_of(details: Iterable[Mapping[str, Any]], value: object) -> list[Problem]:
    """Return the problems in the parsed body `value`.

    Where a field may have one of several types, pydantic reports why it has none of them, and the names of
    the types are part of the locations. Only the alternative with the fewest values of a wrong type is
    reported; others that are as near are added if they are about the same value.
    """
    placed = [_placed(detail, value) for detail in details]
    above = {one.path[:depth] for one in placed for depth in range(len(one.path))}
    return _narrowed([one for one in placed if not _follows(one, above)], 0)


def _follows(detail: _Detail, above: Container[tuple[int | str, ...]]) -> bool:
    """Return whether a list is only too short because pydantic left out its invalid items.

    `above` has the paths below which there are problems.
    """
    return detail.kind == "too_short" and detail.path in above


def _plain(message: str) -> str:
    """Return a message by pydantic without the type of the list and the steps of its validation."""
    found = _LENGTH.fullmatch(message)
    if not found:
        return message
    bound, number, items, given = found.groups()
    if (bound, number) == ("most", "0"):
        return "Should be empty"
    return f"Should have at {bound} {number} {items}, not {given}"


def _placed(detail: Mapping[str, Any], value: object) -> _Detail:
    """Split the location into parts that `value` has, and names of alternatives."""
    path: tuple[int | str, ...] = ()
    branches: list[tuple[tuple[int | str, ...], str]] = []
    location = detail["loc"]
    for number, part in enumerate(location, start=1):
        missing = detail["type"] == "missing" and number == len(location)
        if isinstance(value, Mapping) and (part in value or missing):
            value = value.get(part)
        elif isinstance(value, list) and isinstance(part, int) and part < len(value):
            value = value[part]
        elif part != KEY:
            branches.append((path, str(part)))
            continue
        path = (*path, part)
    return _Detail(path, tuple(branches), detail["type"], _plain(detail["msg"]))


def _narrowed(details: Sequence[_Detail], depth: int) -> list[Problem]:
    """Choose among the alternatives at each place, those of `depth` first."""
    found: list[Problem] = []
    for place, group in groupby(details, lambda one: _place(one, depth)):
        alike = list(group)
        if place is None:
            found += [Problem(one.path, one.message) for one in alike]
            continue
        branches = [list(branch) for _, branch in groupby(alike, lambda one: one.branches[depth])]
        best = min(_distance(branch, place) for branch in branches)
        nearest = [_narrowed(branch, depth + 1) for branch in branches if _distance(branch, place) == best]
        found += _joined(nearest) if len(nearest) > 1 else nearest[0]
    return found


def _place(detail: _Detail, depth: int) -> tuple[int | str, ...] | None:
    return detail.branches[depth][0] if depth < len(detail.branches) else None


def _distance(branch: Sequence[_Detail], place: tuple[int | str, ...]) -> tuple[bool, int, int]:
    """Return whether the value itself has another type, how many values in it have one, and all errors."""
    mistyped = [one.path for one in branch if one.mistyped]
    return place in mistyped, len(mistyped), len(branch)


def _joined(alternatives: Sequence[Sequence[Problem]]) -> list[Problem]:
    """Return the first alternative; to its first problem, others at the same place are added."""
    first, *rest = alternatives[0]
    messages = dict.fromkeys(
        problem.message for problems in alternatives for problem in problems[:1] if problem.path == first.path
    )
    text, *others = messages
    joined = ", or ".join((text, *(other.removeprefix(_SAME) for other in others)))
    return [Problem(first.path, joined), *rest]

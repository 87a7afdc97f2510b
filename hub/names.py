"""Validates names before they are used in a path or a query."""

from __future__ import annotations

import re
from dataclasses import dataclass

from hub.errors import InvalidName

__all__ = [
    "NAME_PATTERN",
    "VERSION_PATTERN",
    "VersionRef",
    "check_name",
    "parse_version_ref",
]

NAME_PATTERN = r"^(?!.*\.\.)[a-z0-9][a-z0-9._-]{0,62}$"
VERSION_PATTERN = NAME_PATTERN[:-1] + r"(@[1-9][0-9]{0,8})?$"
_NAME = re.compile(NAME_PATTERN[:-1])


@dataclass(frozen=True, slots=True)
class VersionRef:
    """`name@N`, or `name` with `number` None for the newest version."""

    name: str
    number: int | None = None

    def __str__(self) -> str:
        return self.name if self.number is None else f"{self.name}@{self.number}"


def check_name(name: str, kind: str) -> str:
    """Return `name` if it is valid, else raise InvalidName; `kind` is the word for the message."""
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise InvalidName(
            f"{str(name)[:80]!r} is not a valid {kind} name: use 1 to 63 of a-z, 0-9, '.', '_', '-', "
            "starting with a letter or digit."
        )
    return name


def parse_version_ref(text: str) -> VersionRef:
    """Parse `name` or `name@N` (N from 1), else raise InvalidName."""
    name, at, number = text.partition("@")
    check_name(name, "adapter")
    if not at:
        return VersionRef(name)
    if not re.fullmatch(r"[1-9][0-9]{0,8}", number):
        raise InvalidName(f"{text[:80]!r} is not a version: write name@N with N from 1, such as {name}@1.")
    return VersionRef(name, int(number))

"""API keys: their form, their hashes, and the scopes that say what they may be used for."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from fnmatch import fnmatchcase
from typing import Self

__all__ = [
    "EVERY_NAME",
    "HASH_PREFIX",
    "KEY_PREFIX",
    "MIN_KEY_LENGTH",
    "Right",
    "Scopes",
    "hash_key",
    "id_of_key",
]

HASH_PREFIX = "sha256:"
KEY_PREFIX = "hub_"  # of keys in the catalog: hub_<id>_<secret>
MIN_KEY_LENGTH = 16  # characters: shorter ones can be guessed
MAX_KEY_LENGTH = 1024
EVERY_NAME = "*"
_HASH = re.compile(r"[0-9a-f]{64}", re.IGNORECASE)
_PRINTABLE = re.compile(r"[!-~]*")  # what fits into an Authorization header
_PATTERN = re.compile(r"[a-z0-9*][a-z0-9._*-]{0,62}")  # a name in which * stands for any characters


class Right(StrEnum):
    """The right that a route requires."""

    INFER = "infer"
    TRAIN = "train"
    DEPLOY = "deploy"
    ADMIN = "admin"


_NAMED = frozenset({Right.INFER, Right.DEPLOY})  # can be limited to deployments by a pattern


@dataclass(frozen=True, slots=True)
class Scopes:
    """Rights, each with the pattern of the deployment names for which it holds; admin includes all rights."""

    granted: tuple[tuple[Right, str], ...]

    @classmethod
    def parse(cls, scopes: Iterable[str]) -> Self:
        """Read scopes such as `infer`, `infer:mood*`, `train`, `deploy:mood` or `admin`.

        Raises:
            ValueError: one is no scope, or there is none.
        """
        granted = tuple(dict.fromkeys(map(_parse_scope, scopes)))
        if not granted:
            raise ValueError("a key has at least one scope: infer, train, deploy or admin")
        return cls(granted)

    def allows(self, right: Right, name: str | None = None) -> bool:
        """Return whether a right is granted for a deployment; without `name`, for any at all.

        The name EVERY_NAME asks for a right that holds for every deployment.
        """
        return any(
            has is Right.ADMIN or (has is right and (name is None or fnmatchcase(name, pattern)))
            for has, pattern in self.granted
        )

    def __str__(self) -> str:
        return " ".join(
            str(right) if pattern == EVERY_NAME else f"{right}:{pattern}" for right, pattern in self.granted
        )


def id_of_key(key: str) -> str:
    """Return the public id in the text of a key of the catalog; "" for any other text."""
    if not key.startswith(KEY_PREFIX):
        return ""
    return key.removeprefix(KEY_PREFIX).partition("_")[0]


def _parse_scope(scope: str) -> tuple[Right, str]:
    name, colon, pattern = scope.partition(":")
    try:
        right = Right(name)
    except ValueError:
        raise ValueError(f"{name[:40]!r} is no scope; use infer, train, deploy or admin") from None
    if not colon:
        return right, EVERY_NAME
    if right not in _NAMED:
        raise ValueError(f"{right} takes no pattern; infer:PATTERN and deploy:PATTERN do")
    if not _PATTERN.fullmatch(pattern):
        raise ValueError(
            f"{pattern[:80]!r} is no pattern of names; use lower-case letters, digits, '.', '_', '-' and '*'"
        )
    return right, pattern


def hash_key(key: str) -> str:
    """Return `sha256:<64 hex digits>` of a key; a hash in this form is returned unchanged.

    Raises:
        ValueError: it is neither a key nor such a hash; the message does not contain it.
    """
    if key.startswith(HASH_PREFIX):
        digits = key.removeprefix(HASH_PREFIX)
        if not _HASH.fullmatch(digits):
            raise ValueError("a key that starts with 'sha256:' needs the 64 hex digits of the key's hash")
        return HASH_PREFIX + digits.lower()
    if not _PRINTABLE.fullmatch(key):
        raise ValueError("a key consists of printable ASCII characters without spaces")
    if len(key) < MIN_KEY_LENGTH:
        raise ValueError(
            f"a key has at least {MIN_KEY_LENGTH} characters, and this one has {len(key)}; "
            "`hub keys new` makes one"
        )
    if len(key) > MAX_KEY_LENGTH:
        raise ValueError(f"a key has at most {MAX_KEY_LENGTH:,} characters, and this one has {len(key):,}")
    return HASH_PREFIX + hashlib.sha256(key.encode()).hexdigest()

"""Validates API keys, and hashes them for storage and comparison."""

from __future__ import annotations

import hashlib
import re

__all__ = ["HASH_PREFIX", "MIN_KEY_LENGTH", "hash_key"]

HASH_PREFIX = "sha256:"
MIN_KEY_LENGTH = 16  # characters: shorter ones can be guessed
MAX_KEY_LENGTH = 1024
_HASH = re.compile(r"[0-9a-f]{64}", re.IGNORECASE)
_PRINTABLE = re.compile(r"[!-~]*")  # what fits into an Authorization header


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

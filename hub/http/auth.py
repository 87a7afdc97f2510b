"""Who may ask: API keys for inference, one admin key for the rest; only hashes are kept in memory."""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import os
import secrets
import tempfile
from collections.abc import Iterable
from contextlib import suppress
from enum import StrEnum
from pathlib import Path

from hub.config import Settings
from hub.errors import BadConfig, Forbidden, Unauthorized
from hub.keys import HASH_PREFIX, hash_key

__all__ = ["ADMIN_KEY_FILE", "Keys", "Right", "check_exposure", "is_loopback", "local_admin_key"]

ADMIN_KEY_FILE = "admin.key"


class Right(StrEnum):
    """What a route asks of its caller."""

    INFER = "infer"
    ADMIN = "admin"


class Keys:
    """The keys that are accepted; the admin key may do all that an API key may."""

    def __init__(self, admin_key: str, api_keys: Iterable[str] = ()) -> None:
        self._admin = _digest(admin_key)
        self._api = tuple(_digest(key) for key in api_keys)

    @classmethod
    def of(cls, settings: Settings) -> Keys:
        """Return the keys of the settings; without an admin key there, that of the home.

        Raises:
            BadConfig: `<home>/admin.key` does not hold a key.
        """
        serve = settings.serve
        return cls(serve.admin_key or local_admin_key(settings.home), serve.api_keys)

    def check(self, authorization: str | None, right: Right) -> None:
        """Accept the value of an Authorization header for `right`.

        Raises:
            Unauthorized: no key, or an unknown one.
            Forbidden: an API key where the admin key is needed.
        """
        if right is Right.INFER and not self._api:
            return
        scheme, _, key = (authorization or "").partition(" ")
        if scheme.lower() != "bearer" or not key:
            needed = "the admin key" if right is Right.ADMIN else "an API key"
            raise Unauthorized(f"This needs {needed}: send 'Authorization: Bearer KEY'.")
        digest = hashlib.sha256(key.strip().encode("utf-8", "surrogateescape")).digest()
        admin = hmac.compare_digest(digest, self._admin)
        known = [hmac.compare_digest(digest, other) for other in self._api]  # all of them: constant time
        if admin:
            return
        if not any(known):
            raise Unauthorized("The key is not known here.")
        if right is Right.ADMIN:
            raise Forbidden("An API key may ask for answers only; this needs the admin key.")


def local_admin_key(home: Path) -> str:
    """Return the key in `<home>/admin.key`, made on first use and readable by its owner alone."""
    path = home / ADMIN_KEY_FILE
    if not path.exists():
        home.mkdir(parents=True, exist_ok=True)
        descriptor, aside = tempfile.mkstemp(dir=home)  # mode 0600
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            file.write(secrets.token_urlsafe(32) + "\n")
        with suppress(FileExistsError):  # another process was first: its key holds
            os.link(aside, path)
        os.unlink(aside)
    try:
        key = path.read_text(encoding="ascii").strip()
        hash_key(key)
    except ValueError:  # of the key, or of its encoding
        raise BadConfig(f"{path} does not hold a key. Delete it and start again.") from None
    return key


def check_exposure(host: str, settings: Settings) -> None:
    """Refuse to be reachable from other machines without keys.

    Raises:
        BadConfig: `host` is beyond loopback and inference is open to all, or the admin key is none.
    """
    Keys.of(settings)
    if not is_loopback(host) and not settings.serve.api_keys:
        raise BadConfig(
            f"Binding {host} would let every machine that reaches it use this server. Set keys first "
            "(serve.api_keys in hub.toml, or HUB_SERVE__API_KEYS='[\"...\"]'), or bind 127.0.0.1."
        )


def is_loopback(host: str) -> bool:
    """Return whether a host name or address means this machine only."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def _digest(key: str) -> bytes:
    """Return the hash of a key, or the hash that `sha256:<hex>` spells out."""
    try:
        return bytes.fromhex(hash_key(key).removeprefix(HASH_PREFIX))
    except ValueError as error:
        raise BadConfig(f"A key of this server cannot be used: {error}.") from None

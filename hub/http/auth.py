"""Authentication: API keys for inference, one admin key for everything; only hashes are kept in memory."""

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
    """The right that a route requires."""

    INFER = "infer"
    ADMIN = "admin"


class Keys:
    """The accepted keys; the admin key includes the rights of an API key."""

    def __init__(self, admin_key: str, api_keys: Iterable[str] = ()) -> None:
        self._admin = _digest(admin_key)
        self._api = tuple(_digest(key) for key in api_keys)

    @classmethod
    def of(cls, settings: Settings) -> Keys:
        """Return the keys of the settings, by default with the admin key of the home.

        Raises:
            BadConfig: `<home>/admin.key` does not hold a key.
        """
        serve = settings.serve
        return cls(serve.admin_key or local_admin_key(settings.home), serve.api_keys)

    def check(self, authorization: str | None, right: Right) -> None:
        """Check the value of an Authorization header for `right`.

        Raises:
            Unauthorized: the key is missing or unknown.
            Forbidden: an API key was sent, and the admin key is needed.
        """
        if right is Right.INFER and not self._api:
            return
        scheme, _, key = (authorization or "").partition(" ")
        if scheme.lower() != "bearer" or not key:
            needed = "the admin key" if right is Right.ADMIN else "an API key"
            raise Unauthorized(f"This needs {needed}: send 'Authorization: Bearer KEY'.")
        digest = hashlib.sha256(key.strip().encode("utf-8", "surrogateescape")).digest()
        admin = hmac.compare_digest(digest, self._admin)
        known = [hmac.compare_digest(digest, other) for other in self._api]  # every key, for constant time
        if admin:
            return
        if not any(known):
            raise Unauthorized("The key is unknown.")
        if right is Right.ADMIN:
            raise Forbidden("An API key is valid for inference only; this needs the admin key.")


def local_admin_key(home: Path) -> str:
    """Return the key in `<home>/admin.key`, created on first use and readable by its owner alone."""
    path = home / ADMIN_KEY_FILE
    if not path.exists():
        home.mkdir(parents=True, exist_ok=True)
        descriptor, aside = tempfile.mkstemp(dir=home)  # mode 0600
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            file.write(secrets.token_urlsafe(32) + "\n")
        with suppress(FileExistsError):  # another process was first; its key is used
            os.link(aside, path)
        os.unlink(aside)
    try:
        key = path.read_text(encoding="ascii").strip()
        hash_key(key)
    except ValueError:  # of the key, or of its encoding
        raise BadConfig(f"{path} does not hold a key. Delete it and start the server again.") from None
    return key


def check_exposure(host: str, settings: Settings) -> None:
    """Refuse a server that other machines can use without keys.

    Raises:
        BadConfig: `host` is beyond loopback and there are no API keys, or the admin key is invalid.
    """
    Keys.of(settings)
    if not is_loopback(host) and not settings.serve.api_keys:
        raise BadConfig(
            f"Any machine that reaches {host} could use this server. Set keys first (serve.api_keys in "
            "hub.toml, or HUB_SERVE__API_KEYS='[\"...\"]'), or bind 127.0.0.1."
        )


def is_loopback(host: str) -> bool:
    """Return whether a host name or address is on loopback."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def _digest(key: str) -> bytes:
    """Return the digest of a key, or of its hash `sha256:<hex>`."""
    try:
        return bytes.fromhex(hash_key(key).removeprefix(HASH_PREFIX))
    except ValueError as error:
        raise BadConfig(f"A key of this server is invalid: {error}.") from None

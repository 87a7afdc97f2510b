"""Authentication: which caller a key belongs to, and what it may do; only hashes are kept in memory."""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import os
import secrets
import tempfile
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from starlette.requests import Request

from hub.config import Settings
from hub.errors import BadConfig, Forbidden, Unauthorized
from hub.keys import HASH_PREFIX, Right, Scopes, hash_key

__all__ = [
    "ADMIN_KEY_FILE",
    "CALLER",
    "Caller",
    "Keys",
    "Right",
    "caller_of",
    "check_exposure",
    "is_loopback",
    "local_admin_key",
]

ADMIN_KEY_FILE = "admin.key"
CALLER = "hub.caller"  # scope key: the Caller of the request, once its key is checked
_NEEDED = {Right.INFER: "an API key", Right.ADMIN: "the admin key"}


@dataclass(frozen=True, slots=True)
class Caller:
    """Who sent a request: the id of the key, and its scopes."""

    id: str
    scopes: Scopes

    def may(self, right: Right, deployment: str | None = None) -> bool:
        """Return whether the caller has a right, for `deployment` if that is given."""
        return self.scopes.allows(right, deployment)

    def require(self, right: Right, deployment: str | None = None) -> None:
        """Check a right, for `deployment` if that is given.

        Raises:
            Forbidden: the key does not have it.
        """
        if self.may(right, deployment):
            return
        where = f" for the deployment {deployment!r}" if deployment and self.may(right) else ""
        raise Forbidden(f"This needs the right '{right}'{where}, and the key has: {self.scopes}.")


ANONYMOUS = Caller("anonymous", Scopes.parse(["infer"]))
_ADMIN = Caller("admin", Scopes.parse(["admin"]))


def caller_of(request: Request) -> Caller:
    """Return who sent a request that a route has admitted."""
    caller: Caller = request.scope[CALLER]
    return caller


class Keys:
    """The accepted keys; the admin key includes the rights of an API key."""

    def __init__(self, admin_key: str, api_keys: Iterable[str] = ()) -> None:
        self._admin = _digest(admin_key)
        self._api = tuple(
            (_digest(key), Caller(f"settings-{number}", ANONYMOUS.scopes))
            for number, key in enumerate(api_keys, start=1)
        )

    @classmethod
    def of(cls, settings: Settings) -> Keys:
        """Return the keys of the settings, by default with the admin key of the home.

        Raises:
            BadConfig: `<home>/admin.key` does not hold a key.
        """
        serve = settings.serve
        return cls(serve.admin_key or local_admin_key(settings.home), serve.api_keys)

    def check(self, authorization: str | None, right: Right) -> Caller:
        """Return the caller to whom the value of an Authorization header belongs.

        Raises:
            Unauthorized: the key is missing or unknown.
            Forbidden: the key does not have the right.
        """
        if right is Right.INFER and not self._api:
            return ANONYMOUS
        scheme, _, key = (authorization or "").partition(" ")
        if scheme.lower() != "bearer" or not key:
            needed = _NEEDED.get(right, f"a key with the scope {right}")
            raise Unauthorized(f"This needs {needed}: send 'Authorization: Bearer KEY'.")
        digest = hashlib.sha256(key.strip().encode("utf-8", "surrogateescape")).digest()
        caller = _ADMIN if hmac.compare_digest(digest, self._admin) else None
        for other, owner in self._api:  # every key, for constant time
            if hmac.compare_digest(digest, other):
                caller = caller or owner
        if caller is None:
            raise Unauthorized("The key is unknown.")
        caller.require(right)
        return caller


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
    """Refuse a server that other machines, or pages of any site, can use without keys.

    Raises:
        BadConfig: there are no API keys, and `host` is beyond loopback or any origin is allowed; or the
            admin key is invalid.
    """
    Keys.of(settings)
    if not is_loopback(host) and not settings.serve.api_keys:
        raise BadConfig(
            f"Any machine that reaches {host} could use this server. Set keys first (serve.api_keys in "
            "hub.toml, or HUB_SERVE__API_KEYS='[\"...\"]'), or bind 127.0.0.1."
        )
    if "*" in settings.serve.cors_origins and not settings.serve.api_keys:
        raise BadConfig(
            'serve.cors_origins = ["*"] lets any web page use this server. Set serve.api_keys, or list the '
            "origins."
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

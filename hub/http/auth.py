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
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path

from starlette.requests import Request

from hub.config import Settings
from hub.errors import BadConfig, Forbidden, NotReady, Unauthorized
from hub.keys import HASH_PREFIX, Right, Scopes, hash_key, id_of_key
from hub.serving.accounts.callers import Callers
from hub.store.catalog.catalog import Catalog
from hub.store.catalog.keys import ApiKeys, KeyLimits, KeyTable
from hub.store.store import CATALOG_FILE

__all__ = [
    "ACCOUNT",
    "ADMIN_KEY_FILE",
    "CALLER",
    "Caller",
    "Keys",
    "Right",
    "caller_of",
    "check_exposure",
    "digest_of",
    "is_loopback",
    "local_admin_key",
    "local_key",
]

ADMIN_KEY_FILE = "admin.key"
ACCOUNT = "hub.account"  # scope key: its Account, once the request has begun
CALLER = "hub.caller"  # scope key: the Caller of the request, once its key is checked
NO_LIMITS = KeyLimits()
_NO_HASH = "00" * 32  # the hash of no key
_NEEDED = {Right.INFER: "an API key", Right.ADMIN: "the admin key"}


@dataclass(frozen=True, slots=True)
class Caller:
    """Who sent a request: the id of the key, its scopes, and its limits."""

    id: str
    scopes: Scopes
    limits: KeyLimits = NO_LIMITS

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
    """The accepted keys: those of the settings, and those of the catalog that `callers` follows.

    The admin key has every right.
    """

    def __init__(
        self,
        admin_key: str,
        api_keys: Iterable[str] = (),
        callers: Callers | None = None,
        *,
        exposed: bool = False,
    ) -> None:
        self._admin = _digest(admin_key)
        self._api = tuple(
            (_digest(key), Caller(f"settings-{number}", ANONYMOUS.scopes))
            for number, key in enumerate(api_keys, start=1)
        )
        self._callers = callers
        self._exposed = exposed

    @classmethod
    def of(cls, settings: Settings, callers: Callers | None = None) -> Keys:
        """Return the keys of the settings, by default with the admin key of the home.

        Raises:
            BadConfig: `<home>/admin.key` does not hold a key.
        """
        serve = settings.serve
        admin_key = serve.admin_key or local_admin_key(settings.home)
        return cls(
            admin_key,
            serve.api_keys,
            callers,
            exposed=not is_loopback(serve.host) or "*" in serve.cors_origins,
        )

    async def identify(self, authorization: str | None, right: Right) -> Caller:
        """Return the caller as `check` does, after a look at the catalog if its key may be a new one."""
        try:
            return self.check(authorization, right)
        except Unauthorized:
            text = _bearer(authorization)
            if self._callers is None or not (text and id_of_key(text)):
                raise
        await self._callers.refresh()
        return self.check(authorization, right)

    def check(self, authorization: str | None, right: Right) -> Caller:
        """Return the caller to whom the value of an Authorization header belongs.

        Raises:
            Unauthorized: the key is missing, unknown, expired or revoked.
            Forbidden: the key does not have the right.
            NotReady: the keys of the catalog are not known yet.
        """
        table = self._callers.table if self._callers else KeyTable()
        if right is Right.INFER and table is not None and not (self._exposed or self._api or table.by_id):
            return ANONYMOUS
        text = _bearer(authorization)
        caller = self._find(text, table or KeyTable()) if text else None
        if caller is None and table is None:
            raise NotReady("The keys of this server are not loaded yet. Try again in a few seconds.")
        if caller is None and text:
            raise Unauthorized("The key is unknown. Check it, or make one with `hub keys create`.")
        if caller is None:
            needed = _NEEDED.get(right, f"a key with the scope {right}")
            make = "" if right is Right.ADMIN else " `hub keys create` makes one."
            raise Unauthorized(f"This needs {needed}: send 'Authorization: Bearer KEY'.{make}")
        caller.require(right)
        return caller

    async def owner(self, text: str) -> Caller:
        """Return whose key a text is, after a look at the catalog if it may be a new one.

        Raises:
            Unauthorized: it is no key, or one that has expired or was revoked.
            NotReady: the keys of the catalog are not known yet.
        """
        caller = self._find(text, self._table())
        if caller is None and self._callers and id_of_key(text):
            await self._callers.refresh()
            caller = self._find(text, self._table())
        if caller is None:
            raise Unauthorized("The key is unknown. Check it, or make one with `hub keys create`.")
        return caller

    def by_id(self, id: str) -> tuple[Caller, tuple[bytes, ...]]:
        """Return the caller that the key with an id belongs to, and the digests of that key's valid texts.

        Raises:
            Unauthorized: there is no such key, or it has expired or was revoked.
            NotReady: the keys of the catalog are not known yet.
        """
        if id == _ADMIN.id:
            return _ADMIN, (self._admin,)
        for digest, owner in self._api:
            if owner.id == id:
                return owner, (digest,)
        now, key = datetime.now(UTC), self._table().by_id.get(id)
        if key is None or key.state(now) != "valid":
            raise Unauthorized("Your key is no longer valid. Sign in with another.")
        return Caller(key.id, key.scopes, key.limits), tuple(bytes.fromhex(one) for one in key.hashes(now))

    def _table(self) -> KeyTable:
        table = self._callers.table if self._callers else KeyTable()
        if table is None:
            raise NotReady("The keys of this server are not loaded yet. Try again in a few seconds.")
        return table

    def _find(self, text: str, table: KeyTable) -> Caller | None:
        """Return whose key this is; the text is compared with every key of the settings and two others.

        Raises:
            Unauthorized: it is a key that has expired or was revoked.
        """
        digest = digest_of(text)
        caller = _ADMIN if hmac.compare_digest(digest, self._admin) else None
        for other, owner in self._api:  # every key, for constant time
            if hmac.compare_digest(digest, other):
                caller = caller or owner
        now = datetime.now(UTC)
        key = table.by_id.get(id_of_key(text))
        known = [*(key.hashes(now) if key else ()), _NO_HASH, _NO_HASH][:2]
        same = [hmac.compare_digest(digest, bytes.fromhex(other)) for other in known]
        if caller or not (key and any(same)):
            return caller
        if (state := key.state(now)) != "valid":
            raise Unauthorized(f"The key {key.id} is {state}. Make another with `hub keys create`.")
        return Caller(key.id, key.scopes, key.limits)


def local_admin_key(home: Path) -> str:
    """Return the key in `<home>/admin.key`, created on first use and readable by its owner alone."""
    return local_key(home, ADMIN_KEY_FILE)


def local_key(home: Path, name: str) -> str:
    """Return the key in a file of the home, created on first use and readable by its owner alone.

    Raises:
        BadConfig: the file does not hold a key.
    """
    path = home / name
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
        NotReady: the catalog, which may have keys, does not answer.
    """
    Keys.of(settings)
    local, any_origin = is_loopback(host), "*" in settings.serve.cors_origins
    if (local and not any_origin) or settings.serve.api_keys or _has_keys(settings):
        return
    if not local:
        raise BadConfig(
            f"Any machine that reaches {host} could use this server. Create a key first (`hub keys create`), "
            "set serve.api_keys, or bind 127.0.0.1."
        )
    raise BadConfig(
        'serve.cors_origins = ["*"] lets any web page use this server. Create a key first (`hub keys '
        "create`), set serve.api_keys, or list the origins."
    )


def _has_keys(settings: Settings) -> bool:
    """Return whether the catalog has keys; does not create one."""
    where = settings.catalog.url or settings.home / CATALOG_FILE
    if isinstance(where, Path) and not where.exists():
        return False
    catalog = Catalog(where)
    try:
        return bool(ApiKeys(catalog).all())
    finally:
        catalog.close()


@lru_cache(maxsize=64)  # every request names the same few hosts
def is_loopback(host: str) -> bool:
    """Return whether a host name or address is on loopback."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def _bearer(authorization: str | None) -> str:
    """Return the key in the value of an Authorization header, or ""."""
    scheme, _, key = (authorization or "").partition(" ")
    return key.strip() if scheme.lower() == "bearer" else ""


def digest_of(text: str) -> bytes:
    """Return the digest by which a key is known."""
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).digest()


def _digest(key: str) -> bytes:
    """Return the digest of a key, or of its hash `sha256:<hex>`."""
    try:
        return bytes.fromhex(hash_key(key).removeprefix(HASH_PREFIX))
    except ValueError as error:
        raise BadConfig(f"A key of this server is invalid: {error}.") from None

"""Sessions of browsers: signed cookies that name a key, valid until they expire or the key does.

Nothing is stored: every replica with the same session key accepts the cookie. Its signature depends on the
caller's key as well, so that revoking or rotating that key ends its sessions.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from hub.errors import Forbidden, Unauthorized
from hub.http.auth import Caller, Keys, digest_of

__all__ = ["ConsoleSession", "Sessions"]

MAX_COOKIE = 512  # characters
_TOKEN = re.compile(
    r"(?P<id>[A-Za-z0-9_-]{1,64})\.(?P<ends>[0-9]{1,12})\."
    r"(?P<nonce>[A-Za-z0-9_-]{16})\.(?P<mac>[A-Za-z0-9_-]{43})"
)


@dataclass(frozen=True, slots=True)
class ConsoleSession:
    """A signed-in browser: who it is, until when (seconds since the epoch), and the token of its forms."""

    caller: Caller
    ends: int
    form_token: str

    def check_form(self, token: object) -> None:
        """Check the token that a form was sent with.

        Raises:
            Forbidden: the form is not one that this session was given.
        """
        if not isinstance(token, str) or not hmac.compare_digest(token.encode(), self.form_token.encode()):
            raise Forbidden("This form is from another session. Load the page again, then send it.")


class Sessions:
    """Opens sessions of `seconds` for keys, and reads their cookies."""

    def __init__(
        self, keys: Keys, secret: bytes, seconds: int, clock: Callable[[], float] = time.time
    ) -> None:
        self._keys = keys
        self._secret = secret
        self.seconds = seconds
        self._clock = clock
        # Browsers send a cookie to all ports of a host, where other hubs may be.
        self.cookie = f"hub_session_{_sign(secret, b'cookie')[:8]}"

    async def sign_in(self, key: str) -> str:
        """Return the cookie for a key.

        Raises:
            Unauthorized: the key is unknown, expired or revoked.
            NotReady: the keys of the catalog are not known yet.
        """
        caller = await self._keys.owner(key)
        ends = int(self._clock()) + self.seconds
        body = f"{caller.id}.{ends}.{secrets.token_urlsafe(12)}"
        return f"{body}.{self._mac(body, digest_of(key))}"

    def of(self, cookies: Mapping[str, str]) -> ConsoleSession:
        """Return the session of a request; raises as `read`."""
        return self.read(cookies.get(self.cookie))

    def read(self, cookie: str | None) -> ConsoleSession:
        """Return the session of a cookie.

        Raises:
            Unauthorized: there is none, it has ended, or its key has.
        """
        found = _TOKEN.fullmatch(cookie) if cookie and len(cookie) <= MAX_COOKIE else None
        if found is None:
            raise Unauthorized("Sign in with a key.")
        body = f"{found['id']}.{found['ends']}.{found['nonce']}"
        caller, digests = self._keys.by_id(found["id"])
        signed = [hmac.compare_digest(found["mac"], self._mac(body, digest)) for digest in digests]
        if not any(signed) or int(found["ends"]) <= self._clock():
            raise Unauthorized("Your session has ended. Sign in again.")
        return ConsoleSession(caller, int(found["ends"]), self._form_token(body))

    def _mac(self, body: str, digest: bytes) -> str:
        return _sign(self._secret, b"session\0" + digest + body.encode())

    def _form_token(self, body: str) -> str:
        return _sign(self._secret, b"form\0" + body.encode())


def _sign(secret: bytes, message: bytes) -> str:
    mac = hmac.new(secret, message, hashlib.sha256).digest()
    return base64.urlsafe_b64encode(mac).rstrip(b"=").decode()

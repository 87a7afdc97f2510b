"""Rejects requests of other sites' web pages by their Host, Origin and content type, unless they are allowed.

A page in a browser on this machine can send requests to a loopback address. If its own name resolves to
127.0.0.1 (DNS rebinding), it could also read the answers; the Host header reveals that name. A form post
needs no permission of the server, but it has an Origin and cannot have a JSON content type.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Collection, Iterable

from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp, Receive, Scope, Send

from hub.errors import BadMediaType, BadRequest, CrossOrigin, Misdirected
from hub.http.auth import is_loopback

__all__ = ["BrowserGuard", "PageAccess", "check_form", "check_media_type", "is_allowed"]

_BYTES = "application/octet-stream"
SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS", "TRACE"})
_HOST = re.compile(r"(?P<name>\[[0-9a-f:.]+\]|[a-z0-9._-]+)(?::(?P<port>\d{0,5}))?", re.IGNORECASE)
_DEFAULT_PORTS = {"http": "80", "https": "443"}
# To pages of other origins.
CLOSED = ("/admin", "/console", "/v1/load_lora_adapter", "/v1/unload_lora_adapter")
EXPOSED = (
    "retry-after",
    "server-timing",
    "x-hub-deployment",
    "x-hub-replica",
    "x-hub-request-id",
    "x-hub-sha256",
    "x-hub-track",
    "x-hub-version",
)
_FORM = "multipart/form-data"
MAX_SHOWN = 80  # characters of a header's value in an error


class BrowserGuard:
    """Accepts requests that are addressed to this server and were not sent by a page of another site.

    `bound` is the address of the listening socket. Without `allowed` names, a server on loopback accepts
    loopback names, and a server beyond loopback any name, since every request needs a key, which no page can
    add. Loopback names are always accepted, and beyond loopback all IP addresses (health probes use them),
    since only names can be rebound. Pages of `origins` may send requests, too. With `tls`, a page without TLS
    is another site, even on this host: whoever is in between can change it.
    """

    def __init__(
        self, bound: str, allowed: Iterable[str] = (), *, origins: Iterable[str] = (), tls: bool = False
    ) -> None:
        self._origins = frozenset(origins)
        self._tls = tls
        self._named = frozenset(allowed)
        self._loopback = is_loopback(bound)
        self._any = "*" in self._named or not (self._named or self._loopback)

    def check(self, method: str, headers: Iterable[tuple[bytes, bytes]], path: str = "") -> None:
        """Check a request by its method and its headers, with names in lower case.

        Raises:
            BadRequest: there is not exactly one valid Host header.
            Misdirected: the Host is not a name of this server.
            CrossOrigin: a page of another site sent it, and its method may change something.
        """
        headers = list(headers)
        host = self._check_host(_values(headers, b"host"))
        if method not in SAFE_METHODS:
            for origin in _values(headers, b"origin"):
                if not is_allowed(origin, path, self._origins):
                    self._check_origin(origin, host)

    def _check_host(self, given: list[str]) -> str:
        """Return the Host header, or "" if it is missing and any is accepted."""
        if self._any and not given:
            return ""
        found = _HOST.fullmatch(given[0]) if len(given) == 1 else None
        if found is None:
            raise BadRequest("A request needs exactly one Host header: a name or an address, and a port.")
        name = found["name"].strip("[]").lower().rstrip(".")
        is_ours = is_loopback(name) or (not self._loopback and _is_ip(name))
        if not (self._any or name in self._named or is_ours):
            raise Misdirected(
                f"The host {name[:MAX_SHOWN]!r} is not a name of this server. Use its bound address, or add "
                "the name to serve.allowed_hosts."
            )
        return given[0].lower()

    def _check_origin(self, origin: str, host: str) -> None:
        scheme, _, place = origin.lower().partition("://")
        port = _DEFAULT_PORTS.get(scheme, "")
        found = None if self._tls and scheme != "https" else _HOST.fullmatch(place)
        if found and place.removesuffix(f":{port}") == host.removesuffix(f":{port}"):
            return
        # Behind a proxy, the Host may be the server's own name while the page has the public name.
        if found and found["port"] in (None, port) and found["name"].strip("[]") in self._named:
            return
        raise CrossOrigin(
            f"This was sent by a page of {origin[:MAX_SHOWN]!r}, which is another site. Send it from a "
            "program outside a browser, or add the name of your proxy to serve.allowed_hosts or the origin "
            "to serve.cors_origins."
        )


class PageAccess(CORSMiddleware):
    """Permits pages of `origins` to send requests and to read answers, except of /admin and the console.

    Credentials that a browser adds by itself are never permitted: keys are in a header that a page must set.
    """

    def __init__(self, app: ASGIApp, origins: Collection[str]) -> None:
        super().__init__(
            app,
            allow_origins=origins,
            allow_methods=["*"],
            allow_headers=["*"],
            allow_private_network=True,  # which a page on the Internet needs to reach a server that is not
            expose_headers=EXPOSED,
        )
        self._origins = frozenset(origins)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        origins = _values(scope["headers"], b"origin")
        permitted = len(origins) == 1 and is_allowed(origins[0], scope["path"], self._origins)
        await (super().__call__ if permitted else self.app)(scope, receive, send)


def is_allowed(origin: str, path: str, origins: Collection[str]) -> bool:
    """Return whether pages of `origin` may use a path."""
    return ("*" in origins or origin in origins) and not path.startswith(CLOSED)


def check_media_type(method: str, headers: Iterable[tuple[bytes, bytes]], *, binary: bool = False) -> None:
    """Check that a body is declared as JSON in UTF-8, or with `binary` as bytes or as nothing.

    A page of another site that sends one undeclared is recognized by its Origin alone.

    Raises:
        BadMediaType: the content type is another one or missing, or the body is compressed.
    """
    if method in SAFE_METHODS:
        return
    headers = list(headers)
    if any(coding.lower() != "identity" for coding in _values(headers, b"content-encoding")):
        raise BadMediaType("The body is compressed, which this server does not read. Send it as it is.")
    declared = _values(headers, b"content-type")
    lengths = _values(headers, b"content-length")
    empty = not _values(headers, b"transfer-encoding") and lengths in ([], ["0"])
    for one in declared or ([] if empty or binary else [""]):
        if not (binary and one.strip().lower() == _BYTES):
            _check_json(one)


def check_form(headers: Iterable[tuple[bytes, bytes]]) -> None:
    """Check that a body is declared as a form with files.

    Browsers send such a form for any page, whose site the Origin tells.

    Raises:
        BadMediaType: the content type is another one or missing.
    """
    declared = _values(headers, b"content-type")
    if [one.partition(";")[0].strip().lower() for one in declared] != [_FORM]:
        raise BadMediaType(f"Send the file in a form, with the header 'content-type: {_FORM}; boundary=...'.")


def _check_json(declared: str) -> None:
    media, _, rest = declared.partition(";")
    media, rest = media.strip().lower(), rest.replace(" ", "").replace('"', "").lower()
    if media != "application/json" and not media.endswith("+json"):
        how = f"declared as {media[:MAX_SHOWN]!r}" if media else "not declared"
        raise BadMediaType(f"The body is {how}. Send JSON, with the header 'content-type: application/json'.")
    if "charset=" in rest and "charset=utf-8" not in rest and "charset=utf8" not in rest:
        raise BadMediaType("JSON must be UTF-8: send the content-type without a charset.")


def _is_ip(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _values(headers: Iterable[tuple[bytes, bytes]], wanted: bytes) -> list[str]:
    return [value.decode("latin-1") for name, value in headers if name == wanted]

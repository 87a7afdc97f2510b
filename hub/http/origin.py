"""Checks that keep web pages of other sites out: the Host, the Origin and the content type of a request.

A page in a browser on this machine can send requests to a loopback address. Under a name that its owner
points to 127.0.0.1 (DNS rebinding) it could also read the answers: the Host header gives it away. A simple
form post needs no permission of the server: it has an Origin, and cannot have a JSON content type.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable

from hub.errors import BadMediaType, BadRequest, CrossOrigin, Misdirected
from hub.http.auth import is_loopback

__all__ = ["BrowserGuard", "check_media_type"]

SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS", "TRACE"})
_HOST = re.compile(r"(?P<name>\[[0-9a-f:.]+\]|[a-z0-9._-]+)(?::(?P<port>\d{0,5}))?", re.IGNORECASE)
_DEFAULT_PORTS = {"http": "80", "https": "443"}
MAX_SHOWN = 80  # characters of a header's value in an error


class BrowserGuard:
    """Accepts requests that are addressed to this server and not sent by a page of another site.

    `bound` is the address that the server listens on. Without `allowed` names, a server on loopback takes
    loopback names, and one beyond it any name: there every request has a key, which no page can add. Loopback
    names are always taken, and beyond loopback all addresses, as probes use them: only names can be rebound.
    """

    def __init__(self, bound: str, allowed: Iterable[str] = ()) -> None:
        self._named = frozenset(allowed)
        self._loopback = is_loopback(bound)
        self._any = "*" in self._named or not (self._named or self._loopback)

    def check(self, method: str, headers: Iterable[tuple[bytes, bytes]]) -> None:
        """Check a request by its method and its headers, with names in lower case.

        Raises:
            BadRequest: it does not have exactly one valid Host header.
            Misdirected: it is addressed to another name.
            CrossOrigin: a page of another site sent it, and it may change something.
        """
        headers = list(headers)
        host = self._check_host(_values(headers, b"host"))
        if method not in SAFE_METHODS:
            for origin in _values(headers, b"origin"):
                self._check_origin(origin, host)

    def _check_host(self, given: list[str]) -> str:
        """Return the Host header, "" where any is taken and none was sent."""
        if self._any and not given:
            return ""
        found = _HOST.fullmatch(given[0]) if len(given) == 1 else None
        if found is None:
            raise BadRequest("A request needs exactly one Host header: a name or an address, and a port.")
        name = found["name"].strip("[]").lower().rstrip(".")
        is_ours = is_loopback(name) or (not self._loopback and _is_ip(name))
        if not (self._any or name in self._named or is_ours):
            raise Misdirected(
                f"This server does not answer for the host {name[:MAX_SHOWN]!r}. Address it as it is bound, "
                "or add the name to serve.allowed_hosts."
            )
        return given[0].lower()

    def _check_origin(self, origin: str, host: str) -> None:
        scheme, _, place = origin.lower().partition("://")
        port = _DEFAULT_PORTS.get(scheme, "")
        found = _HOST.fullmatch(place)
        if found and place.removesuffix(f":{port}") == host.removesuffix(f":{port}"):
            return
        # Behind a proxy the Host may be the server's own, while the page has the public name.
        if found and found["port"] in (None, port) and found["name"].strip("[]") in self._named:
            return
        raise CrossOrigin(
            f"A page of {origin[:MAX_SHOWN]!r} sent this, and only pages of this server may. Send it from a "
            "program without a browser, or add the name of your proxy to serve.allowed_hosts."
        )


def check_media_type(method: str, headers: Iterable[tuple[bytes, bytes]]) -> None:
    """Check that a body, if there is one and the method takes one, is declared as JSON in UTF-8.

    Raises:
        BadMediaType: it is declared as something else, or not at all.
    """
    if method in SAFE_METHODS:
        return
    headers = list(headers)
    declared = _values(headers, b"content-type")
    lengths = _values(headers, b"content-length")
    empty = not _values(headers, b"transfer-encoding") and lengths in ([], ["0"])
    for one in declared or ([] if empty else [""]):
        _check_json(one)


def _check_json(declared: str) -> None:
    media, _, rest = declared.partition(";")
    media, rest = media.strip().lower(), rest.replace(" ", "").replace('"', "").lower()
    if media != "application/json" and not media.endswith("+json"):
        how = f"declared as {media[:MAX_SHOWN]!r}" if media else "not declared"
        raise BadMediaType(f"The body is {how}. Send JSON, with the header 'content-type: application/json'.")
    if "charset=" in rest and "charset=utf-8" not in rest and "charset=utf8" not in rest:
        raise BadMediaType("JSON is sent in UTF-8; leave the charset out of the content-type.")


def _is_ip(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _values(headers: Iterable[tuple[bytes, bytes]], wanted: bytes) -> list[str]:
    return [value.decode("latin-1") for name, value in headers if name == wanted]

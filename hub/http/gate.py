"""The outermost ASGI layer: request ids, headers for browsers, and errors where no route accepts a request.

It precedes the metrics, whose label is the template of the route, so that clients cannot create labels.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass

from starlette.responses import Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from hub.errors import HubError, MethodNotAllowed, NotFound, TooLarge
from hub.http.headers import POLICY, safe_headers
from hub.http.origin import BrowserGuard, PageAccess, check_media_type
from hub.http.telemetry.record import CODE
from hub.http.wire import error_response

__all__ = ["NUMBER", "TEMPLATE", "Gate", "Paths"]

TEMPLATE = "hub.template"  # scope key: the path template of the route
NUMBER = "hub.request_id"  # scope key: the request id, from the caller or generated
REQUEST_ID = re.compile(rb"[A-Za-z0-9._-]{1,64}")


Refusal = Callable[[HubError], Response]


@dataclass(frozen=True, slots=True)
class _Endpoint:
    template: str
    pattern: re.Pattern[str]
    methods: dict[str, Refusal]  # and the errors of each, as the clients of its family read them
    takes_binary: bool = False  # bodies that are not only JSON, of clients that declare no content type
    takes_form: bool = False  # a form with a file, which the route checks


class Paths:
    """Every path of the routes with its methods."""

    def __init__(self, routes: Iterable[BaseRoute]) -> None:
        self._fixed: dict[str, _Endpoint] = {}
        self._open: dict[str, _Endpoint] = {}
        for found in _endpoints(routes):
            table = self._open if "{" in found.template else self._fixed
            table.setdefault(found.template, found).methods.update(found.methods)
        self._families = _families((*self._fixed.values(), *self._open.values()))

    def match(self, path: str, method: str) -> tuple[_Endpoint, dict[str, str]]:
        """Return the route and the path parameters.

        Raises:
            NotFound: no route has the path.
            MethodNotAllowed: the route has other methods.
        """
        endpoint, parameters = self._find(path)
        if endpoint.methods and method not in endpoint.methods:
            refusal = MethodNotAllowed(f"{endpoint.template} takes {', '.join(sorted(endpoint.methods))}.")
            refusal.allowed = sorted(endpoint.methods)
            raise refusal
        return endpoint, parameters

    def refuse(self, path: str, method: str, error: HubError) -> Response:
        """Return an error as the route of the path answers it, or else the routes with its first segment."""
        try:
            methods = self._find(path)[0].methods
        except NotFound:
            return self._families.get(_segment(path), error_response)(error)
        return methods.get(method, next(iter(methods.values()), error_response))(error)

    def _find(self, path: str) -> tuple[_Endpoint, dict[str, str]]:
        if found := self._fixed.get(path):
            return found, {}
        for endpoint in self._open.values():
            if match := endpoint.pattern.match(path):
                return endpoint, match.groupdict()
        raise NotFound("No such path. The page at / lists all paths.")


class Gate:
    """Wraps the application."""

    def __init__(
        self,
        app: ASGIApp,
        paths: Paths,
        guard: BrowserGuard,
        *,
        body_bytes: int,
        replica: str,
        origins: Collection[str] = (),
        tls: bool = False,
    ) -> None:
        self.app = app
        self._checked: ASGIApp = PageAccess(self._check, origins) if origins else self._check
        self._tls = tls
        self._guard = guard
        self._replica = (b"x-hub-replica", replica.encode())
        self._paths = paths
        self._body_bytes = body_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        sent = dict(scope["headers"]).get(b"x-hub-request-id", b"")
        number = sent if REQUEST_ID.fullmatch(sent) else secrets.token_hex(8).encode()
        scope[NUMBER] = number.decode()

        async def numbered(message: Message) -> None:
            if message["type"] == "http.response.start":
                page = any(name == POLICY for name, _ in message["headers"])
                safe = safe_headers(tls=self._tls, page=page)
                ours = ((b"x-hub-request-id", number), self._replica, *safe)
                message["headers"] = [*message["headers"], *ours]
            await send(message)

        await self._checked(scope, receive, numbered)

    async def _check(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            self._guard.check(scope["method"], scope["headers"], scope["path"])
            endpoint, scope["path_params"] = self._paths.match(scope["path"], scope["method"])
            scope[TEMPLATE] = endpoint.template
            if not endpoint.takes_form:
                check_media_type(scope["method"], scope["headers"], binary=endpoint.takes_binary)
                self._check_length(scope["headers"])
        except HubError as error:
            scope[CODE] = error.code
            await self._paths.refuse(scope["path"], scope["method"], error)(scope, receive, send)
            return
        await self.app(scope, receive, send)

    def _check_length(self, headers: Iterable[tuple[bytes, bytes]]) -> None:
        length = next((value for name, value in headers if name == b"content-length"), b"0")
        if length.isdigit() and int(length) > self._body_bytes:
            raise TooLarge(
                f"The body has {int(length):,} bytes and the limit is {self._body_bytes:,} "
                "(limits.body_bytes). Send less at a time."
            )


def _endpoints(routes: Iterable[BaseRoute]) -> Iterator[_Endpoint]:
    for route in routes:
        if isinstance(route, Mount) and route.path:
            reads: dict[str, Refusal] = dict.fromkeys(("GET", "HEAD"), error_response)
            yield _Endpoint(f"{route.path}/{{path}}", route.path_regex, reads)
        elif isinstance(route, Mount):
            yield from _endpoints(route.routes)
        elif isinstance(route, Route):
            binary, form = (getattr(route, name, False) for name in ("takes_binary", "takes_form"))
            methods = dict.fromkeys(route.methods or (), getattr(route, "failed", error_response))
            yield _Endpoint(route.path_format, route.path_regex, methods, binary, form)


def _families(endpoints: Iterable[_Endpoint]) -> dict[str, Refusal]:
    """Return the refusal of each first segment below which all routes share one."""
    found: dict[str, set[Refusal]] = {}
    for endpoint in endpoints:
        found.setdefault(_segment(endpoint.template), set()).update(endpoint.methods.values())
    return {segment: refusals.pop() for segment, refusals in found.items() if len(refusals) == 1}


def _segment(path: str) -> str:
    return path.removeprefix("/").partition("/")[0]

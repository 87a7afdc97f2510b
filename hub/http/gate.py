"""The outermost ASGI layer: request ids, headers for browsers, and errors where no route accepts a request.

It precedes the metrics, whose label is the template of the route, so that clients cannot create labels.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass, replace
from difflib import get_close_matches

from starlette.responses import Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from hub.errors import HubError, MethodNotAllowed, NotFound, TooLarge, listed
from hub.http.headers import POLICY, safe_headers
from hub.http.origin import BrowserGuard, PageAccess, check_media_type
from hub.http.telemetry.record import CODE
from hub.http.wire import error_response

__all__ = ["NUMBER", "TEMPLATE", "Gate", "Paths"]

TEMPLATE = "hub.template"  # scope key: the path template of the route
NUMBER = "hub.request_id"  # scope key: the request id, from the caller or generated
REQUEST_ID = re.compile(rb"[A-Za-z0-9._-]{1,64}")


API_ROOTS = ("v1", "v2", "api")
ALIKE = 0.85  # of the characters of a misspelt path
MAX_COMPARED = 80  # characters of a path
NAME_ROOTS = ("hf", "tei")  # below which every segment is the name of a deployment
ANY = "{}"  # a segment that is a parameter

Refusal = Callable[[HubError], Response]
Beginning = tuple[str, ...]  # segments


@dataclass(frozen=True, slots=True)
class _Endpoint:
    template: str
    pattern: re.Pattern[str]
    methods: dict[str, Refusal]  # and the errors of each, as the clients of its family read them
    takes_binary: bool = False  # bodies that are not only JSON, of clients that declare no content type
    takes_form: bool = False  # a form with a file, which the route checks
    root: str = ""  # below which its family also refuses what no route takes


class Paths:
    """Every path of the routes with its methods."""

    def __init__(self, routes: Iterable[BaseRoute]) -> None:
        self._fixed: dict[str, _Endpoint] = {}
        self._open: dict[str, _Endpoint] = {}
        for found in _endpoints(routes):
            table = self._open if "{" in found.template else self._fixed
            table[found.template] = _joined(table.get(found.template), found)
        self._families = _families((*self._fixed.values(), *self._open.values()))

    def match(self, path: str, method: str) -> tuple[_Endpoint, dict[str, str]]:
        """Return the route and the path parameters.

        Raises:
            NotFound: no route has the path.
            MethodNotAllowed: the route has other methods.
        """
        found = self._find(path)
        if found is None:
            raise NotFound(f"No such path. {self._meant(path)}The page at / lists all paths.")
        endpoint, parameters = found
        if endpoint.methods and method not in endpoint.methods:
            refusal = MethodNotAllowed(f"{endpoint.template} takes {', '.join(sorted(endpoint.methods))}.")
            refusal.allowed = sorted(endpoint.methods)
            raise refusal
        return endpoint, parameters

    def refuse(self, path: str, method: str, error: HubError) -> Response:
        """Return an error as the route of the path answers it, or else as its family does."""
        found = self._find(path)
        if found is None:
            return self._family(path)(error)
        methods = found[0].methods
        return methods.get(method, next(iter(methods.values()), error_response))(error)

    def _find(self, path: str) -> tuple[_Endpoint, dict[str, str]] | None:
        if found := self._fixed.get(path):
            return found, {}
        for endpoint in self._open.values():
            if match := endpoint.pattern.match(path):
                return endpoint, match.groupdict()
        return None

    def _family(self, path: str) -> Refusal:
        """Return the refusal of the longest beginning of a path whose routes share one."""
        found: Refusal = error_response
        start: Beginning = ()
        for segment in _segments(path):
            known = next((one for one in ((*start, segment), (*start, ANY)) if one in self._families), None)
            if known is None:
                break
            start, found = known, self._families[known] or found
        return found

    def _meant(self, path: str) -> str:
        """Return the path that was meant, or those beside it.

        Clients whose base URL has one segment too many or too few ask for paths that are ours but for the
        first segment.
        """
        path, slashed = path.rstrip("/"), path
        first, _, rest = path[1:].partition("/")
        roots = (*API_ROOTS, *NAME_ROOTS) if rest else API_ROOTS
        guesses = [f"/{rest}"] if first in roots and rest else [f"/{root}{path}" for root in roots]
        for guess in (path, *guesses):
            if guess != slashed and (found := self._find(guess)):
                return f"Did you mean {found[0].template}? "
        if near := get_close_matches(path[:MAX_COMPARED], self._fixed, n=1, cutoff=ALIKE):
            return f"Did you mean {near[0]}? "
        above = path.rpartition("/")[0]
        beside = [known.removeprefix(f"{above}/") for known in self._fixed if _is_below(known, above)]
        return f"Below {above} there are: {listed(beside)}. " if above and beside else ""


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
            root = getattr(route, "root", "")
            yield _Endpoint(route.path_format, route.path_regex, methods, binary, form, root)


def _joined(known: _Endpoint | None, found: _Endpoint) -> _Endpoint:
    """Return one endpoint for a path whose methods several routes have."""
    if known is None:
        return found
    return replace(
        known,
        methods={**known.methods, **found.methods},
        takes_binary=known.takes_binary or found.takes_binary,
        takes_form=known.takes_form or found.takes_form,
    )


def _is_below(path: str, above: str) -> bool:
    start, _, name = path.rpartition("/")
    return start == above and name != ""


def _families(endpoints: Iterable[_Endpoint]) -> dict[Beginning, Refusal | None]:
    """Return the refusal of each beginning of a path; None where the routes below it have several.

    Routes of a family with a `root` also refuse what no route below that root takes.
    """
    found: dict[Beginning, set[Refusal]] = {}
    roots: dict[Beginning, Refusal] = {}
    for endpoint in endpoints:
        segments = tuple(_segments(endpoint.template))
        for length in range(1, len(segments) + 1):
            found.setdefault(segments[:length], set()).update(endpoint.methods.values())
        if endpoint.root:
            roots[tuple(_segments(endpoint.root))] = next(iter(endpoint.methods.values()))
    shared = {start: found[start].pop() if len(found[start]) == 1 else None for start in found}
    return {**shared, **roots}


def _segments(path: str) -> Iterator[str]:
    for segment in path.removeprefix("/").split("/"):
        yield ANY if segment.startswith("{") else segment

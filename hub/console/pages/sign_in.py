"""Signing in with a key, and out again."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import Response

from hub.console.assets import ROOT
from hub.console.render import render
from hub.console.routes import (
    ActionRoute,
    ConsoleRoute,
    add_page,
    common,
    html,
    redirect,
    sessions_of,
)
from hub.errors import BadRequest, HubError, Unauthorized
from hub.http.forms import read_form
from hub.http.hub import hub_of
from hub.http.origin import check_form
from hub.http.telemetry.record import CODE

__all__ = ["add_routes"]

FORM_BYTES = 8192
_PATH = re.compile(rf"{ROOT}(/[A-Za-z0-9._~@%/-]*)?(\?[A-Za-z0-9._~@%=&+-]*)?")


class _OpenPage(ConsoleRoute):
    """A page that needs no session."""

    async def admit(self, request: Request) -> None:
        pass


class _SignIn(ActionRoute):
    """Takes the form with the key: no session has a token for it, and its Origin was checked."""

    async def _answer(self, request: Request, parameters: object) -> Response:
        next_page = ""
        try:
            check_form(request.scope["headers"])
            form = await read_form(request, FORM_BYTES, "the limit of a key", hub_of(request).limits.body_s)
            key, asked = form.get("key"), form.get("next")
            next_page = _own(asked if isinstance(asked, str) else "")
            if not isinstance(key, str) or not key.strip():
                raise BadRequest("Enter a key.")
            cookie = await sessions_of(request).sign_in(key.strip())
        except HubError as error:
            request.scope[CODE] = error.code
            status = 401 if isinstance(error, Unauthorized) else error.status
            return _form_page(request, next_page, str(error), status)
        response = redirect(next_page.removeprefix(ROOT))
        _set_cookie(request, response, cookie, sessions_of(request).seconds)
        return response


def add_routes(app: FastAPI) -> None:
    """Add the page, and the actions that open and end a session."""
    add_page(app, "/sign-in", _show, route=_OpenPage)
    add_page(app, "/sign-in", _show, route=_SignIn)
    add_page(app, "/sign-out", _sign_out, route=ActionRoute)


async def _show(request: Request) -> Response:
    return _form_page(request, _own(request.query_params.get("next", "")))


async def _sign_out(request: Request) -> Response:
    response = redirect("/sign-in")
    _set_cookie(request, response, "", 0)
    return response


def _form_page(request: Request, next_page: str, problem: str = "", status: int = 200) -> Response:
    local = hub_of(request).settings.serve.admin_key == ""
    values = {"next_page": next_page, "problem": problem, "local": local}
    return html(render("sign_in.html", title="Sign in", **common(request), **values), status)


def _own(path: str) -> str:
    """Return a path of the console, or "" for one that is not: the form must not lead elsewhere."""
    plain = _PATH.fullmatch(path) and ".." not in path and not urlsplit(path).netloc
    return path if plain and not path.startswith(f"{ROOT}/sign-") else ""


def _set_cookie(request: Request, response: Response, value: str, seconds: int) -> None:
    """Set or remove the session's cookie; only with TLS where the browser uses TLS, also before a proxy."""
    secure = request.url.scheme == "https" or request.headers.get("origin", "").startswith("https://")
    response.set_cookie(
        sessions_of(request).cookie,
        value,
        max_age=seconds,
        path=ROOT,
        secure=secure,
        httponly=True,
        samesite="lax",
    )

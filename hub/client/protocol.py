"""How a program beside the server talks to it: over HTTP, or to the catalog when no server runs."""

from __future__ import annotations

import getpass
import os
import socket
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Protocol, TypedDict, Unpack
from urllib.parse import quote

import httpx

from hub.client import server_file as record
from hub.config import Settings
from hub.errors import BadRequest, HubError, NotFound, NotReady, Unauthorized

__all__ = ["Client", "ServerClient", "Tried", "connect", "error_of", "find_server", "whoami"]

KEY_FILE = "admin.key"
PROBE_S = 2.0
PATIENCE_S = 600.0  # a first deploy may load a base
Json = dict[str, Any]


class Tried(TypedDict, total=False):
    """As what a version is tried: a canary with a share in percent and perhaps a guard, or a shadow."""

    canary: float | None
    shadow: bool
    guard: Mapping[str, Any]


class Client(Protocol):
    """What can be asked of a hub; answers are the JSON objects that docs/http.md describes."""

    url: str | None

    def deploy(self, deployment: str, ref: str, why: str = "", **trial: Unpack[Tried]) -> Json:
        """Put a version live under a name, or on trial there; `swap_ms` is null where no server runs."""

    def promote(self, deployment: str, why: str = "") -> Json:
        """Make the canary, or where there is none the shadow, the stable version."""

    def rollback(self, deployment: str, why: str = "") -> Json:
        """End a trial, or without one go back to the version that was live before."""

    def undeploy(self, deployment: str, why: str = "") -> Json:
        """Take a deployment away; its versions stay."""

    def deployments(self) -> list[Json]:
        """List the deployments as the catalog has them, by name."""

    def history(self, deployment: str) -> list[Json]:
        """Return every move of a deployment, oldest first."""

    def deployment(self, name: str) -> Json:
        """Return a deployment with `task`, `version`, and the JSON schemas `request` and `response`."""

    def predict(self, deployment: str, items: Sequence[Mapping[str, Any]]) -> list[Json]:
        """Answer requests; each becomes {"result": ...} or {"error": ...}, in order."""

    def replicas(self) -> Json:
        """Describe the catalog's generation and the serving processes that are live.

        Raises:
            NotReady: the catalog cannot be asked.
        """

    def status(self) -> Json:
        """Describe the server, its engines, deployments and failures."""


@contextmanager
def connect(settings: Settings, server: str | None = None) -> Iterator[Client]:
    """Open a client to `server`, else to HUB_SERVER, else to this home's server, else to its catalog.

    Raises:
        NotReady: a server was named and does not answer.
    """
    named = server or os.environ.get("HUB_SERVER")
    url = named or find_server(settings)
    if url is None:
        from hub.client.catalog import CatalogClient

        with _existing_home(settings) as here, CatalogClient(here) as local:
            yield local
        return
    with ServerClient(url, key=_key(settings, local=not named)) as remote:
        yield remote


@contextmanager
def _existing_home(settings: Settings) -> Iterator[Settings]:
    """Yield settings whose home exists: an empty one that goes again, where there is none yet.

    To ask about a home must not make it.
    """
    if settings.home.is_dir():
        yield settings
        return
    with TemporaryDirectory(prefix="hub-") as empty:
        yield settings.model_copy(update={"home": Path(empty)})


def find_server(settings: Settings) -> str | None:
    """Return the address of the server of this home if it runs and answers."""
    found = record.read(settings.home)
    if found is None:
        return None
    try:
        reply = httpx.get(f"{found.url}/livez", timeout=PROBE_S)
    except httpx.HTTPError:
        return None
    return found.url if "x-hub-request-id" in reply.headers else None


def whoami() -> str:
    """Return user@machine, for the history of a deployment."""
    try:
        return f"{getpass.getuser()}@{socket.gethostname()}"[:200]
    except (OSError, KeyError):  # a user id without a name
        return f"{os.getuid()}@{socket.gethostname()}"[:200]


class ServerClient:
    """A client over HTTP; a server's error is raised as the class that has its code."""

    def __init__(self, url: str, key: str = "") -> None:
        self.url: str | None = url.rstrip("/")
        headers = {"authorization": f"Bearer {key}"} if key else {}
        patience = httpx.Timeout(PATIENCE_S, connect=10)
        try:
            self._http = httpx.Client(base_url=url, headers=headers, timeout=patience)
        except httpx.InvalidURL as error:
            raise BadRequest(f"{url!r} is not the URL of a server: {error}.") from None

    def __enter__(self) -> ServerClient:
        return self

    def __exit__(self, *error: object) -> None:
        self._http.close()

    def deploy(self, deployment: str, ref: str, why: str = "", **trial: Unpack[Tried]) -> Json:
        return self._move("PUT", deployment, why, version=ref, **trial)

    def promote(self, deployment: str, why: str = "") -> Json:
        return self._move("POST", deployment, why, "/promote")

    def rollback(self, deployment: str, why: str = "") -> Json:
        return self._move("POST", deployment, why, "/rollback")

    def undeploy(self, deployment: str, why: str = "") -> Json:
        return self._move("DELETE", deployment, why)

    def deployments(self) -> list[Json]:
        found: list[Json] = self._ask("GET", "/admin/deployments")["deployments"]
        return found

    def history(self, deployment: str) -> list[Json]:
        found: list[Json] = self._ask("GET", f"/admin/deployments/{_part(deployment)}")["history"]
        return found

    def deployment(self, name: str) -> Json:
        found = self._ask("GET", "/v1/deployments")["deployments"]
        for deployment in found:
            if deployment["name"] == name:
                tasks = {task["name"]: task for task in self._ask("GET", "/v1/tasks")["tasks"]}
                task = tasks[deployment["task"]]
                return {**deployment, "request": task["request"], "response": task["response"]}
        raise NotFound.of("deployment", name, (deployment["name"] for deployment in found))

    def predict(self, deployment: str, items: Sequence[Mapping[str, Any]]) -> list[Json]:
        path = f"/v1/deployments/{_part(deployment)}/predict"
        answers: list[Json] = self._ask("POST", path, {"items": list(items)})["items"]
        return answers

    def replicas(self) -> Json:
        found = self._ask("GET", "/admin/replicas")
        if found["catalog_generation"] is None:
            raise NotReady(found["catalog_error"])
        return found

    def status(self) -> Json:
        return {"server": self.url, **self._ask("GET", "/admin/status")}

    def _move(self, method: str, deployment: str, why: str, step: str = "", **more: Any) -> Json:
        body = {"why": why, "by": whoami(), **more}
        return self._ask(method, f"/admin/deployments/{_part(deployment)}{step}", body)

    def _ask(self, method: str, path: str, body: Json | None = None) -> Json:
        try:
            reply = self._http.request(method, path, json=body)
        except httpx.TimeoutException:
            raise NotReady(f"The server at {self.url} did not answer in time.") from None
        except httpx.HTTPError as error:
            raise NotReady(
                f"The server at {self.url} cannot be reached: {error}. Is `hub serve` running there?"
            ) from None
        try:
            answer = reply.json()
        except ValueError:
            answer = None
        if reply.is_success and isinstance(answer, dict):
            return answer
        raise error_of(answer)


def error_of(answer: Any) -> HubError:
    """Turn an error object from the wire into the error it tells of.

    Raises:
        BadRequest: it is no such object.
    """
    try:
        code, message = str(answer["error"]["code"]), str(answer["error"]["message"])
    except (TypeError, KeyError):
        raise BadRequest("The answer is not one that a GraftHub server gives.") from None
    if code == Unauthorized.code:
        message += " Put the key in HUB_KEY."
    return next((kind for kind in _tree(HubError) if kind.code == code), HubError)(message)


def _tree(kind: type[HubError]) -> Iterator[type[HubError]]:
    yield kind
    for child in kind.__subclasses__():
        yield from _tree(child)


def _part(name: str) -> str:
    return quote(name, safe="")


def _key(settings: Settings, *, local: bool) -> str:
    """Return the key to show; one that is kept here is never sent to a server that was named."""
    if key := os.environ.get("HUB_KEY"):
        return key
    if not local:
        return ""
    if (key := settings.serve.admin_key) and not key.startswith("sha256:"):
        return key
    try:
        return (settings.home / KEY_FILE).read_text(encoding="ascii").strip()
    except OSError:
        return ""

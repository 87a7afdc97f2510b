"""The client of a running server over HTTP."""

from __future__ import annotations

import json
import os
import ssl
from collections.abc import Iterator, Mapping, Sequence
from typing import IO, Any
from urllib.parse import quote

import httpx
from httpx_sse import SSEError, connect_sse

from hub.client import server_file
from hub.client.protocol import Json
from hub.config import Settings
from hub.errors import BadRequest, HubError, NotFound, NotReady, Unauthorized
from hub.store.change import Deploy, DeploymentChange

__all__ = ["KEY_FILE", "ServerClient", "admin_key", "error_of", "find_server", "verify_server"]

_JOBS = "/v1/fine_tuning/jobs"
KEY_FILE = "admin.key"
RELOAD = "/admin/plugins/reload"
PROBE_S = 2.0
TIMEOUT_S = 600.0  # a first deploy may load a base
ARCHIVE_S = 600.0  # without progress


def find_server(settings: Settings) -> str | None:
    """Return the address of the server of this home if it runs and answers."""
    found = server_file.read(settings.home)
    if found is None:
        return None
    try:
        reply = httpx.get(f"{found.url}/livez", timeout=PROBE_S, verify=found.verify(), trust_env=False)
    except (httpx.HTTPError, OSError):
        return None
    return found.url if "x-hub-request-id" in reply.headers else None


def verify_server(settings: Settings) -> ssl.SSLContext | bool:
    """Return how httpx verifies the server of this home.

    Raises:
        OSError: its certificate cannot be read.
    """
    found = server_file.read(settings.home)
    return found.verify() if found else True


class _Answer(dict[str, Any]):
    """A JSON object; one without a key that is read is another server's, and BadRequest says so."""

    def __missing__(self, key: str) -> Any:
        raise error_of(None)


class ServerClient:
    """A client over HTTP; a server's error is raised as the class that has its code.

    The `own` server of a home is asked directly: no proxy of the environment is shown its key.
    """

    def __init__(
        self, url: str, key: str = "", verify: ssl.SSLContext | bool = True, *, own: bool = False
    ) -> None:
        self.url: str | None = url.rstrip("/")
        headers = {"authorization": f"Bearer {_checked(key)}"} if key else {}
        timeout = httpx.Timeout(TIMEOUT_S, connect=10)
        try:
            self._http = httpx.Client(
                base_url=url, headers=headers, timeout=timeout, verify=verify, trust_env=not own
            )
        except httpx.InvalidURL as error:
            raise BadRequest(f"{url!r} is not the URL of a server: {error}.") from None
        if self._http.base_url.scheme not in ("http", "https"):
            raise BadRequest(f"{url!r} is not the URL of a server, such as http://127.0.0.1:3000.")

    def __enter__(self) -> ServerClient:
        return self

    def __exit__(self, *error: object) -> None:
        self._http.close()

    def deploy(self, deployment: str, change: Deploy) -> Json:
        return self._change("PUT", deployment, change)

    def promote(self, deployment: str, change: DeploymentChange) -> Json:
        return self._change("POST", deployment, change, "/promote")

    def rollback(self, deployment: str, change: DeploymentChange) -> Json:
        return self._change("POST", deployment, change, "/rollback")

    def undeploy(self, deployment: str, change: DeploymentChange) -> Json:
        return self._change("DELETE", deployment, change)

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

    def stream(self, deployment: str, request: Mapping[str, Any]) -> Iterator[str | Json]:
        path = f"/v1/deployments/{_part(deployment)}/predict"
        try:
            with connect_sse(self._http, "POST", path, **_sent_as_json(dict(request))) as source:
                if not source.response.is_success:
                    source.response.read()
                    raise error_of(_json_of(source.response))
                for event in source.iter_sse():
                    if event.event not in ("text", "error", "end"):
                        continue
                    said = _told(event.data)
                    if event.event == "error":
                        raise error_of(said)
                    yield said["text"] if event.event == "text" else said
                    if event.event == "end":
                        return
        except (httpx.HTTPError, SSEError) as error:
            raise NotReady(
                f"The stream from {self.url} failed: {error}. Is `hub serve` running there?"
            ) from None
        raise NotReady(f"The server at {self.url} ended the stream before the text was complete.")

    def replicas(self) -> Json:
        found = self._ask("GET", "/admin/replicas")
        if found["catalog_generation"] is None:
            raise NotReady(found["catalog_error"])
        return found

    def status(self) -> Json:
        return {"server": self.url, **self._ask("GET", "/admin/status")}

    def plugins(self) -> Json:
        """Return what is installed where the server runs, what it runs, and the latest reload."""
        return self._ask("GET", "/admin/plugins")

    def reload_plugins(self, *, yes: bool, force: bool) -> Json:
        """Begin to replace the serving processes; return the state of the reload.

        Raises:
            ReloadRunning: one is going on.
        """
        return self._ask("POST", RELOAD, {"yes": yes, "force": force})

    def plugin_reload(self) -> Json:
        """Return the state of the latest reload of plugins."""
        return self._ask("GET", RELOAD)

    def metrics(self) -> str:
        """Return the text of /metrics.

        Raises:
            NotReady: the server does not answer, or not as a server of this hub.
            Unauthorized, Forbidden: the key may not call every deployment.
        """
        reply = self._reply("GET", "/metrics")
        if reply.is_success and reply.headers.get("content-type", "").startswith("text/plain"):
            return reply.text
        raise error_of(_json_of(reply))

    def jobs(self, limit: int) -> list[Json]:
        found: list[Json] = self._ask("GET", f"{_JOBS}?limit={limit}")["data"]
        return found

    def job(self, id: str) -> Json:
        return self._ask("GET", f"{_JOBS}/{_part(id)}")

    def job_events(self, id: str) -> list[Json]:
        found: list[Json] = self._ask("GET", f"{_JOBS}/{_part(id)}/events?limit=100")["data"]
        return found

    def cancel_job(self, id: str) -> Json:
        return self._ask("POST", f"{_JOBS}/{_part(id)}/cancel")

    def send_version(self, archive: IO[bytes], name: str | None = None) -> Json:
        """Send the archive of a version, to be stored as the next version of `name` there."""
        files = {"archive": ("version.tar", archive, "application/x-tar")}
        data = {"name": name} if name else {}
        reply = self._sent("POST", "/admin/versions", files=files, data=data, timeout=ARCHIVE_S)
        answer = _json_of(reply)
        if reply.is_success and isinstance(answer, dict):
            return answer
        raise error_of(answer)

    def fetch_version(self, ref: str, target: IO[bytes]) -> None:
        """Write the archive of a version to `target`."""
        path = f"/admin/versions/{_part(ref)}/archive"
        try:
            with self._http.stream("GET", path, timeout=ARCHIVE_S) as reply:
                if not reply.is_success:
                    reply.read()
                    raise error_of(_json_of(reply))
                for block in reply.iter_bytes():
                    target.write(block)
        except httpx.HTTPError as error:
            raise NotReady(f"The archive from {self.url} did not arrive: {type(error).__name__}.") from None

    def _change(self, method: str, deployment: str, change: DeploymentChange, step: str = "") -> Json:
        body = change.model_dump(mode="json", exclude_unset=True)
        return self._ask(method, f"/admin/deployments/{_part(deployment)}{step}", body)

    def _ask(self, method: str, path: str, body: Json | None = None) -> Json:
        reply = self._reply(method, path, body)
        answer = _json_of(reply)
        if reply.is_success and isinstance(answer, dict):
            return _Answer(answer)
        raise error_of(answer)

    def _reply(self, method: str, path: str, body: Json | None = None) -> httpx.Response:
        return self._sent(method, path, **({} if body is None else _sent_as_json(body)))

    def _sent(self, method: str, path: str, **content: Any) -> httpx.Response:
        try:
            return self._http.request(method, path, **content)
        except httpx.TimeoutException:
            raise NotReady(f"The server at {self.url} did not answer in time.") from None
        except httpx.HTTPError as error:
            raise NotReady(
                f"The server at {self.url} cannot be reached: {error}. Is `hub serve` running there?"
            ) from None


def _checked(key: str) -> str:
    """Return a key without white space around it, which files and secrets of others end with.

    Raises:
        BadRequest: a header cannot have it; the message does not quote it.
    """
    key = key.strip()
    if not (key.isascii() and key.isprintable()):
        raise BadRequest("HUB_KEY, or else serve.admin_key, has characters that no header can have.")
    return key


def _sent_as_json(body: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments of a request that carry a body.

    Raises:
        BadRequest: it has a number or a text that JSON in UTF-8 cannot have.
    """
    try:
        content = json.dumps(body, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode()
    except ValueError:
        raise BadRequest(
            "The request has a number that is not finite, or text that is not UTF-8: JSON can have neither."
        ) from None
    return {"content": content, "headers": {"content-type": "application/json"}}


def _json_of(reply: httpx.Response) -> Any:
    try:
        return reply.json()
    except ValueError:
        return None


def _told(data: str) -> Json:
    """Return the JSON object of an event, as `_ask` returns that of an answer."""
    try:
        told = json.loads(data)
    except ValueError:
        told = None
    if isinstance(told, dict):
        return _Answer(told)
    raise error_of(None)


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


def admin_key(settings: Settings, *, local: bool) -> str:
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

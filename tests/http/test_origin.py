"""A page of another site in a local browser cannot use the server."""

from __future__ import annotations

import pytest

from hub.errors import BadRequest, CrossOrigin, Misdirected
from hub.http.origin import BrowserGuard

JSON = {"content-type": "application/json"}
BODY = b'{"text": "a film"}'
POSTS = (
    ("POST", "/v1/deployments/mood/predict"),
    ("POST", "/v1/tasks/sentiment"),
    ("POST", "/v1/feedback"),
    ("POST", "/v1/deployments/mood/explain"),
    ("PUT", "/admin/deployments/mood"),
    ("DELETE", "/admin/deployments/mood"),
    ("POST", "/admin/deployments/mood/rollback"),
)
FORMS = ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "", None)


def code(reply) -> tuple[int, str]:
    assert not [name for name in reply.headers if name.startswith("access-control-")]
    return reply.status_code, reply.json()["error"]["code"]


@pytest.mark.parametrize(
    "host", ["attacker.example", "127.0.0.1.attacker.example:3000", "localhost.attacker.example"]
)
@pytest.mark.parametrize(
    ("method", "path"),
    [*POSTS, ("GET", "/v1/tasks"), ("GET", "/metrics"), ("GET", "/docs.json"), ("GET", "/")],
)
def test_a_rebound_name_is_answered_nothing(shared, admin, method, path, host) -> None:
    reply = shared.request(method, path, headers={**admin, **JSON, "host": host}, content=BODY)
    assert code(reply) == (421, "misdirected")


@pytest.mark.parametrize(("method", "path"), POSTS)
@pytest.mark.parametrize("declared", FORMS)
def test_a_form_is_refused_wherever_it_is_sent(shared, admin, method, path, declared) -> None:
    headers = admin if declared is None else {**admin, "content-type": declared}
    assert code(shared.request(method, path, headers=headers, content=BODY)) == (415, "bad_media_type")


@pytest.mark.parametrize(("method", "path"), POSTS)
@pytest.mark.parametrize(
    "origin", ["https://attacker.example", "null", "http://127.0.0.1:8000", "http://localhost"]
)
def test_a_page_of_another_site_changes_nothing(shared, admin, method, path, origin) -> None:
    reply = shared.request(method, path, headers={**admin, **JSON, "origin": origin}, content=BODY)
    assert code(reply) == (403, "cross_origin")


def test_no_page_is_given_permission_to_send_more(shared) -> None:
    asked = {"origin": "https://attacker.example", "access-control-request-method": "POST"}
    assert code(shared.options("/v1/tasks/sentiment", headers=asked)) == (405, "method_not_allowed")


def test_our_own_page_and_programs_are_answered(shared) -> None:
    for headers in (
        {},
        {"origin": "http://127.0.0.1:3000"},
        {"host": "localhost:3000"},
        {"host": "[::1]:3000"},
    ):
        reply = shared.post("/v1/tasks/sentiment", headers={**JSON, **headers}, content=BODY)
        assert reply.status_code == 200, headers


def guard_says(guard: BrowserGuard, **headers: str) -> type[Exception] | None:
    try:
        guard.check("POST", [(name.encode(), value.encode()) for name, value in headers.items()])
    except BadRequest as error:
        return type(error)
    except CrossOrigin:
        return CrossOrigin
    return None


@pytest.mark.parametrize(
    ("bound", "allowed", "host", "refusal"),
    [
        ("127.0.0.1", (), "127.0.0.1:3000", None),
        ("127.0.0.1", (), "LOCALHOST", None),
        ("127.0.0.1", (), "localhost.:80", None),
        ("::1", (), "[::1]:3000", None),
        ("127.0.0.1", (), "192.168.1.7", Misdirected),
        ("127.0.0.1", (), "a b", BadRequest),
        ("127.0.0.1", (), "", BadRequest),
        ("127.0.0.1", ("hub.example",), "hub.example", None),
        ("127.0.0.1", ("hub.example",), "localhost", None),
        ("127.0.0.1", ("*",), "attacker.example", None),
        ("0.0.0.0", (), "hub.example", None),
        ("0.0.0.0", ("hub.example",), "hub.example:8443", None),
        ("0.0.0.0", ("hub.example",), "other.example", Misdirected),
        ("0.0.0.0", ("hub.example",), "127.0.0.1", None),
        ("0.0.0.0", ("hub.example",), "10.1.2.3:3000", None),
        ("127.0.0.1", ("hub.example",), "10.1.2.3:3000", Misdirected),
    ],
)
def test_the_hosts_that_are_answered(bound, allowed, host, refusal) -> None:
    assert guard_says(BrowserGuard(bound, allowed), host=host) is refusal


def test_a_request_names_one_host() -> None:
    guard = BrowserGuard("127.0.0.1")
    for headers in ([], [(b"host", b"localhost"), (b"host", b"attacker.example")]):
        with pytest.raises(BadRequest, match="exactly one Host"):
            guard.check("GET", headers)


@pytest.mark.parametrize(
    ("origin", "host", "refusal"),
    [
        ("https://hub.example", "127.0.0.1:3000", None),
        ("https://hub.example:443", "hub.example", None),
        ("http://hub.example:8080", "hub.example:8080", None),
        ("https://hub.example:8443", "127.0.0.1:3000", CrossOrigin),
        ("https://a.hub.example", "127.0.0.1:3000", CrossOrigin),
        ("https://hub.example@attacker.example", "hub.example", CrossOrigin),
        ("file://", "hub.example", CrossOrigin),
    ],
)
def test_behind_a_proxy_pages_of_its_name_are_ours(origin, host, refusal) -> None:
    assert guard_says(BrowserGuard("127.0.0.1", ["hub.example"]), host=host, origin=origin) is refusal

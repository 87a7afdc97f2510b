"""A page of another site in a local browser cannot use the server."""

from __future__ import annotations

import pytest

from hub.config import load_settings
from hub.errors import BadConfig, BadRequest, CrossOrigin, Misdirected
from hub.http.app import build_app
from hub.http.auth import check_exposure
from hub.http.origin import BrowserGuard, is_allowed
from hub.http.routes.route import AdminRoute
from hub.store.change import Deploy
from tests.http.conftest import serve
from tests.support.homes import FakeHome

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
        ("127.0.0.1", (), "0.0.0.0:3000", Misdirected),
        ("127.0.0.1", (), "user@127.0.0.1", BadRequest),
        ("127.0.0.1", (), "127.0.0.1, attacker.example", BadRequest),
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


def test_under_tls_a_page_without_it_is_another_site() -> None:
    guard = BrowserGuard("127.0.0.1", ["hub.example"], tls=True)
    assert guard_says(guard, host="hub.example", origin="https://hub.example") is None
    assert guard_says(guard, host="hub.example", origin="http://hub.example") is CrossOrigin
    assert guard_says(guard, host="hub.example:443", origin="http://hub.example:443") is CrossOrigin


PAGE = "https://app.example"
ASKED = {
    "access-control-request-method": "POST",
    "access-control-request-headers": "authorization,content-type,x-stainless-os",
    "access-control-request-private-network": "true",
}


@pytest.fixture(scope="module")
def open_to_a_page(tmp_path_factory, tiny_base_folder):
    """A server that pages of one origin may use."""
    home = FakeHome(tmp_path_factory.mktemp("cors"), tiny_base_folder)
    home.store.deploy("mood", Deploy(version=home.add("mood", seed=1).ref))
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("HUB_SERVE__CORS_ORIGINS", '["https://App.example:443", "http://127.0.0.1:9000"]')
        with serve(home.path) as client:
            yield client


def permissions(reply) -> dict[str, str]:
    return {name: value for name, value in reply.headers.items() if name.startswith("access-control-")}


def test_a_listed_page_may_send_requests_and_read_answers_and_their_headers(open_to_a_page) -> None:
    asked = open_to_a_page.options("/v1/tasks/sentiment", headers={"origin": PAGE, **ASKED})
    assert asked.status_code == 200
    allowed = permissions(asked)
    assert allowed["access-control-allow-origin"] == PAGE
    assert "POST" in allowed["access-control-allow-methods"]
    assert {"authorization", "x-stainless-os"} <= set(allowed["access-control-allow-headers"].split(","))
    assert allowed["access-control-allow-private-network"] == "true"
    assert "origin" in asked.headers["vary"].lower()
    reply = open_to_a_page.post("/v1/tasks/sentiment", headers={**JSON, "origin": PAGE}, content=BODY)
    assert reply.status_code == 200
    assert permissions(reply)["access-control-allow-origin"] == PAGE
    assert "x-hub-version" in permissions(reply)["access-control-expose-headers"]
    assert "origin" in reply.headers["vary"].lower()
    assert reply.headers["cross-origin-resource-policy"] == "same-origin"


def test_a_listed_page_may_read_errors_too(open_to_a_page) -> None:
    for path, status in (("/v1/tasks/sentiment", 400), ("/nowhere", 404)):
        reply = open_to_a_page.post(path, headers={**JSON, "origin": PAGE}, content=b"{}")
        assert reply.status_code == status
        assert permissions(reply)["access-control-allow-origin"] == PAGE


def test_no_page_is_permitted_to_send_what_a_browser_adds_by_itself(open_to_a_page) -> None:
    headers = {"origin": PAGE, "cookie": "a=b", **ASKED}
    for reply in (
        open_to_a_page.options("/v1/tasks/sentiment", headers=headers),
        open_to_a_page.get("/v1/tasks", headers=headers),
    ):
        assert permissions(reply)["access-control-allow-origin"] == PAGE
        assert "access-control-allow-credentials" not in reply.headers


@pytest.mark.parametrize(
    "origin",
    [
        "https://attacker.example",
        "http://app.example",
        "https://app.example:444",
        "https://app.example.attacker.example",
        "https://sub.app.example",
        "null",
        "*",
        "",
    ],
)
def test_other_pages_get_nothing(open_to_a_page, origin) -> None:
    asked = open_to_a_page.options("/v1/tasks/sentiment", headers={"origin": origin, **ASKED})
    assert code(asked) == (405, "method_not_allowed")
    reply = open_to_a_page.post("/v1/tasks/sentiment", headers={**JSON, "origin": origin}, content=BODY)
    assert code(reply) == (403, "cross_origin")
    assert not permissions(open_to_a_page.get("/v1/tasks", headers={"origin": origin}))


def test_two_origins_are_not_one_of_them(open_to_a_page) -> None:
    headers = [("content-type", "application/json"), ("origin", PAGE), ("origin", "https://attacker.example")]
    assert code(open_to_a_page.post("/v1/tasks/sentiment", headers=headers, content=BODY)) == (
        403,
        "cross_origin",
    )


def test_no_listed_page_reaches_administration(open_to_a_page, admin) -> None:
    asked = open_to_a_page.options("/admin/deployments/mood", headers={"origin": PAGE, **ASKED})
    assert code(asked) == (405, "method_not_allowed")
    headers = {**admin, **JSON, "origin": PAGE}
    reply = open_to_a_page.put("/admin/deployments/mood", headers=headers, content=b'{"version": "mood@1"}')
    assert code(reply) == (403, "cross_origin")
    assert not permissions(open_to_a_page.get("/admin/status", headers=headers))


def test_what_needs_the_admin_key_is_closed_to_pages() -> None:
    paths = [route.path for route in build_app(load_settings()).routes if isinstance(route, AdminRoute)]
    assert len(paths) > 6
    assert [path for path in paths if is_allowed(PAGE, path, [PAGE])] == []


def test_a_rebound_name_is_refused_even_for_a_listed_page(open_to_a_page) -> None:
    headers = {**JSON, "origin": PAGE, "host": "attacker.example"}
    assert open_to_a_page.post("/v1/tasks/sentiment", headers=headers, content=BODY).status_code == 421


@pytest.mark.parametrize(
    "origin", ["app.example", "https://", "https://app.example/", "ftp://a", "https://*.a", "https://u@a", ""]
)
def test_an_origin_is_written_as_browsers_send_it(origin) -> None:
    with pytest.raises(BadConfig, match=r"cors_origins.*number 1: write scheme and host"):
        load_settings(flags={"serve": {"cors_origins": [origin]}})


def test_any_page_may_use_a_server_only_with_keys() -> None:
    with pytest.raises(BadConfig, match=r"lets any web page use this server\. Create a key"):
        check_exposure("127.0.0.1", load_settings(flags={"serve": {"cors_origins": ["*"]}}))
    keys = {"cors_origins": ["*"], "api_keys": ["a-key-of-sixteen-characters"]}
    check_exposure("127.0.0.1", load_settings(flags={"serve": keys}))
    assert is_allowed("https://any.example", "/v1/tasks", ["*"])
    assert not is_allowed("https://any.example", "/admin/status", ["*"])
    assert not is_allowed("https://any.example", "/console/sign-in", ["*"])

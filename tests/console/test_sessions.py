"""Signing in, forms with their tokens, and what a session may see."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from hub.console.sessions import Sessions
from hub.errors import Forbidden, Unauthorized
from hub.http.auth import Keys
from hub.keys import Scopes
from hub.store.catalog.keys import ApiKeys
from tests.console.conftest import ADMIN_KEY, Browser
from tests.support.homes import FakeHome
from tests.support.waiting import until

SECRET = b"s" * 32


def sessions(clock: float = 1000.0, secret: bytes = SECRET, key: str = ADMIN_KEY) -> Sessions:
    return Sessions(Keys(key), secret, 60, clock=lambda: clock)


def cookie_of(found: Sessions) -> str:
    return asyncio.run(found.sign_in(ADMIN_KEY))


def test_a_session_is_of_its_key_until_it_ends() -> None:
    cookie = cookie_of(sessions())
    found = sessions(1059).read(cookie)
    assert found.caller.id == "admin"
    with pytest.raises(Unauthorized, match="ended"):
        sessions(1060).read(cookie)


@pytest.mark.parametrize(
    "other", [sessions(secret=b"t" * 32), sessions(key="another-admin-key")], ids=["secret", "key"]
)
def test_a_session_is_valid_where_secret_and_key_are_the_same(other: Sessions) -> None:
    cookie = cookie_of(sessions())
    with pytest.raises(Unauthorized):
        other.read(cookie)


@pytest.mark.parametrize("place", range(3))
def test_a_changed_cookie_is_refused(place: int) -> None:
    parts = cookie_of(sessions()).split(".")
    parts[place] = {0: "settings-1", 1: "9999999999", 2: "A" * 16}[place]
    with pytest.raises(Unauthorized):
        sessions().read(".".join(parts))


@pytest.mark.parametrize("cookie", [None, "", "x", "admin.1.2.3", "a" * 10_000])
def test_nonsense_is_no_session(cookie: str | None) -> None:
    with pytest.raises(Unauthorized, match="Sign in"):
        sessions().read(cookie)


def test_a_form_needs_the_token_of_its_session() -> None:
    one, other = (sessions().read(cookie_of(sessions())) for _ in range(2))
    one.check_form(one.form_token)
    for token in (other.form_token, "", None):
        with pytest.raises(Forbidden):
            one.check_form(token)


def test_a_page_sends_to_sign_in_and_back(browser: Browser) -> None:
    asked = browser.get("/console/deployments/mood?x=1")
    assert asked.status_code == 303
    assert asked.headers["location"] == "/console/sign-in?next=%2Fconsole%2Fdeployments%2Fmood%3Fx%3D1"
    form = browser.get(asked.headers["location"])
    assert 'value="/console/deployments/mood?x=1"' in form.text
    done = browser.post("/console/sign-in", key=ADMIN_KEY, next="/console/deployments/mood?x=1")
    assert done.headers["location"] == "/console/deployments/mood?x=1"


@pytest.mark.parametrize(
    "elsewhere", ["https://evil.example/", "//evil.example", "/console/../admin", "/v1/tasks", "javascript:x"]
)
def test_signing_in_leads_nowhere_else(browser: Browser, elsewhere: str) -> None:
    done = browser.post("/console/sign-in", key=ADMIN_KEY, next=elsewhere)
    assert done.headers["location"] == "/console"


def test_the_cookie_is_for_this_site_and_no_script(browser: Browser) -> None:
    cookie = browser.sign_in().headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=lax" in cookie
    assert "Path=/console" in cookie
    assert "Secure" not in cookie
    secure = browser.post(
        "/console/sign-in",
        {"origin": "https://127.0.0.1:3000"},
        key=ADMIN_KEY,
    ).headers["set-cookie"]
    assert "Secure" in secure


def test_two_hubs_of_one_host_have_cookies_of_their_own() -> None:
    assert sessions().cookie == sessions().cookie != sessions(secret=b"t" * 32).cookie


@pytest.mark.parametrize("charset", ["unicode_escape", "punycode", "undefined", "utf-8; charset=punycode"])
def test_a_form_is_utf8(browser: Browser, charset: str) -> None:
    body = b'--x\r\ncontent-disposition: form-data; name="key"\r\n\r\n\\ud800a-9999\r\n--x--\r\n'
    declared = {"content-type": f"multipart/form-data; boundary=x; charset={charset}"}
    refused = browser.client.post("/console/sign-in", content=body, headers=declared)
    assert refused.status_code == 415 and "must be UTF-8" in refused.text
    taken = {"content-type": "multipart/form-data; boundary=x; charset=UTF-8"}
    assert browser.client.post("/console/sign-in", content=body, headers=taken).status_code == 401


def test_another_site_cannot_sign_a_browser_in(browser: Browser) -> None:
    refused = browser.post("/console/sign-in", {"origin": "https://evil.example"}, key=ADMIN_KEY)
    assert refused.status_code == 403
    assert "set-cookie" not in refused.headers


def test_each_sign_in_is_a_session_of_its_own(browser: Browser) -> None:
    first, second = (browser.sign_in().headers["set-cookie"].partition(";")[0] for _ in range(2))
    assert first != second


def test_pages_and_their_data_are_kept_nowhere(operator: Browser) -> None:
    for accept in ("text/html", "application/json"):
        for path in ("/console/deployments", "/console/deployments/nothing"):
            headers = operator.get(path, accept=accept).headers
            assert headers["cache-control"] == "no-store"
            assert "cookie" in headers["vary"]


def test_a_wrong_key_is_refused_without_a_cookie(browser: Browser) -> None:
    refused = browser.sign_in("a-wrong-key-of-some-length")
    assert refused.status_code == 401
    assert "unknown" in refused.text
    assert "set-cookie" not in refused.headers
    assert "a-wrong-key" not in refused.text


def test_signing_out_ends_it(operator: Browser) -> None:
    operator.send("/console/sign-out")
    assert operator.get("/console/deployments").status_code == 303


def test_a_form_without_its_token_changes_nothing(operator: Browser) -> None:
    before = operator.json("/console/deployments/mood")["deployment"]
    refused = operator.post("/console/deployments/mood/change", token="x", kind="rollback", seen="2")
    assert refused.status_code == 403
    assert operator.json("/console/deployments/mood")["deployment"] == before


def test_a_form_of_another_site_is_refused(operator: Browser) -> None:
    refused = operator.post(
        "/console/deployments/mood/change",
        {"origin": "https://evil.example"},
        token=operator.token(),
        kind="rollback",
        seen="2",
    )
    assert refused.json()["error"]["code"] == "cross_origin"


def test_an_api_key_in_a_header_opens_no_page(browser: Browser) -> None:
    page = browser.get("/console/deployments", authorization=f"Bearer {ADMIN_KEY}")
    assert page.status_code == 303


def test_pages_follow_the_scopes_of_the_key_until_it_is_revoked(browser: Browser, home: FakeHome) -> None:
    keys = ApiKeys(home.store.catalog)
    key, text = keys.create("desk", Scopes.parse(["infer:mood"]), expires=timedelta(hours=1))
    assert until(lambda: browser.sign_in(text).status_code == 303, 10)
    shown = browser.get("/console/deployments").text
    assert "/console/deployments/mood" in shown
    assert "/console/engine" not in shown
    for path in ("/console/engine", "/console/training", "/console/versions"):
        refused = browser.get(path)
        assert refused.status_code == 403
        assert "forbidden" in refused.text
    assert browser.get("/console/deployments/mood/change?kind=rollback").status_code == 403
    assert browser.send("/console/deployments/mood/try", text="Good.").status_code == 200
    keys.revoke(key.id)
    assert until(lambda: browser.get("/console/deployments").status_code == 303, 10)

"""The page at /, the API document and the metrics: from this origin, cheap, closed where keys are set."""

from __future__ import annotations

import asyncio
import gzip
import json
import re
from html.parser import HTMLParser
from urllib.parse import urljoin, urlsplit

import pytest

from hub.http.routes.cached import RecentText

ORIGIN = "http://127.0.0.1:3000"
KEY = "an-api-key-of-a-test"
TYPES = {"css": "text/css", "js": "text/javascript", "png": "image/png"}
CLOSED = ("/docs.json", "/openapi.json", "/metrics")
OPEN = ("/", "/docs", "/livez", "/readyz", "/assets/swagger-ui-bundle.js", "/assets/api.js")


class References(HTMLParser):
    """Everything that a page loads or links to, and what its policy would have to allow."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[str] = []
        self.inline: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag, attrs) -> None:
        given = dict(attrs)
        self.found += [value for name, value in attrs if name in ("src", "href", "action", "srcset", "data")]
        self.inline += [name for name in given if name == "style" or name.startswith("on")]
        if tag == "style" or (tag == "script" and "src" not in given):
            self.inline.append(tag)


@pytest.mark.parametrize("path", ["/", "/docs"])
def test_the_page_loads_everything_from_here(shared, path) -> None:
    page = shared.get(path)
    assert page.status_code == 200
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    references = References(page.text)
    assert len(references.found) == 5
    assert references.inline == []
    for reference in references.found:
        url = urlsplit(urljoin(ORIGIN + path, reference))
        assert f"{url.scheme}://{url.netloc}" == ORIGIN
        reply = shared.get(url.path)
        assert reply.status_code == 200, reference
        assert reply.headers["content-type"].partition(";")[0] == TYPES[url.path.rpartition(".")[2]]
        if reply.headers["content-type"].startswith("text/css"):
            assert [one for one in re.findall(r"url\(\s*['\"]?(\w+:)?", reply.text) if one != "data:"] == []
            assert "@import" not in reply.text


def test_our_script_asks_this_origin_alone(shared) -> None:
    script = shared.get("/assets/api.js").text
    assert "://" not in script
    assert re.findall(r'fetch\("(.*?)"', script) == ["docs.json"]


@pytest.mark.parametrize("path", ["/", "/assets/api.js", "/docs.json"])
def test_the_policy_allows_no_other_origin(shared, path) -> None:
    headers = shared.get(path).headers
    policy = dict(part.strip().split(" ", 1) for part in headers["content-security-policy"].split(";"))
    assert policy["default-src"] == policy["frame-ancestors"] == policy["base-uri"] == "'none'"
    assert policy["script-src"] == policy["connect-src"] == policy["style-src"] == "'self'"
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "no-referrer"
    assert headers["x-frame-options"] == "DENY"


@pytest.mark.parametrize(
    "path",
    [
        "/schema.json",
        "/static_content/swagger-ui.css",
        "/static_content/index.css",
        "/assets/",
        "/redoc",
        "/index.html",
    ],
)
def test_bentomls_own_pages_are_closed(shared, path) -> None:
    assert shared.get(path).status_code == 404


@pytest.mark.parametrize("path", ["/docs.json", "/openapi.json", "/", "/assets/swagger-ui-bundle.js"])
def test_who_has_it_is_sent_nothing_again(shared, path) -> None:
    first = shared.get(path, headers={"accept-encoding": "identity"})
    assert "content-encoding" not in first.headers
    again = shared.get(path, headers={"if-none-match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    assert again.headers["etag"] == first.headers["etag"]
    assert shared.get(path, headers={"if-none-match": '"another"'}).status_code == 200
    zipped = shared.get(path, headers={"accept-encoding": "br;q=1.0, gzip"})
    if len(first.content) > 1024:
        assert zipped.headers["content-encoding"] == "gzip"
        assert "accept-encoding" in zipped.headers["vary"]
        assert int(zipped.headers["content-length"]) < len(first.content) / 2
    assert zipped.content == first.content  # httpx unpacked it
    for refused in ("gzip;q=0", "gzip;q=.", "gzip;q=1.1.1"):
        reply = shared.get(path, headers={"accept-encoding": refused})
        assert reply.status_code == 200 and "content-encoding" not in reply.headers


def test_the_document_is_built_once(shared, monkeypatch) -> None:
    def fail(*given, **named):
        raise AssertionError("built for a request")

    monkeypatch.setattr("hub.http.routes.pages.json.dumps", fail)
    monkeypatch.setattr("fastapi.FastAPI.openapi", fail)
    monkeypatch.setattr(gzip, "compress", fail)
    bodies = {shared.get(path).content for path in ("/docs.json", "/openapi.json") for _ in range(3)}
    assert len(bodies) == 1
    assert json.loads(bodies.pop())["info"]["title"] == "GraftHub"


def test_the_schemas_of_tasks_are_built_once(shared, monkeypatch) -> None:
    before = shared.get("/v1/tasks").content

    def fail(*given, **named):
        raise AssertionError("built for a request")

    monkeypatch.setattr("pydantic.BaseModel.model_json_schema", fail)
    assert shared.get("/v1/tasks").content == before


def test_the_document_does_not_depend_on_deployments(client, live) -> None:
    before = client.get("/docs.json").headers["etag"]
    live("mood", seed=1)
    assert client.get("/docs.json").headers["etag"] == before


def test_metrics_are_collected_once_a_second_however_many_ask(monkeypatch) -> None:
    now, collected = [0.0], []
    monkeypatch.setattr("hub.http.routes.cached.time.monotonic", lambda: now[0])

    def collect() -> bytes:
        collected.append(now[0])
        return b"hub_calls 1"

    async def ask() -> None:
        recent = RecentText(collect, 1.0)
        assert set(await asyncio.gather(*(recent.get() for _ in range(8)))) == {b"hub_calls 1"}
        now[0] = 0.9
        await recent.get()
        now[0] = 1.0
        await recent.get()

    asyncio.run(ask())
    assert collected == [0.0, 1.0]


def test_metrics_are_in_prometheus_text_format(shared) -> None:
    reply = shared.get("/metrics")
    assert reply.headers["content-type"].startswith("text/plain; version=")
    assert "# TYPE hub_calls_total counter" in reply.text or "# TYPE hub_calls counter" in reply.text


def test_where_keys_are_set_the_page_is_open_and_what_it_shows_is_not(monkeypatch, serving) -> None:
    monkeypatch.setenv("HUB_SERVE__API_KEYS", f'["{KEY}"]')
    with serving() as client:
        for path in CLOSED:
            assert client.get(path).status_code == 401
            assert client.head(path).status_code == 405
            assert client.get(path, headers={"authorization": f"Bearer {KEY}"}).status_code == 200
        for path in OPEN:
            assert client.get(path).status_code == 200
            assert client.head(path).status_code == 200
        assert "grafthub" not in client.get("/").text.replace("GraftHub API", "").lower()


def test_without_keys_everything_for_people_and_monitoring_is_open(shared) -> None:
    for path in (*CLOSED, "/", "/docs", "/livez"):
        assert shared.get(path).status_code == 200

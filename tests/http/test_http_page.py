"""docs/http.md: its requests are sent, and answered with the fields it shows; no route goes."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from hub.api import HeadKind

PAGE = (Path(__file__).parents[2] / "docs" / "http.md").read_text(encoding="utf-8")
RECORDED = Path(__file__).with_name("routes.txt")
SENT = re.compile(r"```http\n(\w+) (\S+)\n(.*?)```(?:\n\n```json\n(.*?)```)?", re.DOTALL)


def shape(value: object) -> object:
    """What an answer has, whatever the numbers and words in it are."""
    if isinstance(value, dict):
        return {key: shape(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [shape(inner) for inner in value]
    return "number" if isinstance(value, int | float) else "text"


@pytest.fixture
def page_server(monkeypatch, serving, add, store, admin):
    """The deployments of the page: `mood`, moved once before, with a second version to come, and `reader`."""
    monkeypatch.setenv("HUB_FEEDBACK__KEEP", "answers")
    with serving() as client:
        yield prepared(client, add, admin)


def prepared(client, add, admin):
    add("mood", seed=1), add("mood", seed=2)
    add("reader", seed=3, task="qa", kind=HeadKind.SPAN, labels=())
    for name in ("mood", "reader"):
        reply = client.put(f"/admin/deployments/{name}", json={"version": f"{name}@1"}, headers=admin)
        assert reply.status_code == 200
    numbered = {"x-hub-request-id": "8f14e45fceea167a"}
    client.post("/v1/deployments/mood/predict", json={"text": "a warm film"}, headers=numbered)
    return client


def test_the_requests_of_the_page_get_the_documented_answers(page_server, admin) -> None:
    blocks = SENT.findall(PAGE)
    assert len(blocks) >= 5
    for method, path, body, shown in blocks:
        reply = page_server.request(method, path, json=json.loads(body), headers=admin)
        assert reply.is_success or "error" in shown, f"{method} {path}: {reply.text}"
        if shown:
            assert shape(reply.json()) == shape(json.loads(shown)), path


def test_the_routes_are_the_recorded_ones(page_server) -> None:
    """Add a new route to the file; what is recorded may not go."""
    now, recorded = routes(page_server), set(RECORDED.read_text(encoding="utf-8").splitlines())
    assert sorted(recorded - now) == [], "these are gone, and clients rely on them"
    assert sorted(now - recorded) == [], f"these are new: add them to {RECORDED.name}"


def test_every_admin_route_is_in_its_table(page_server) -> None:
    named = set(re.findall(r"`((?:GET|PUT|POST|DELETE) /admin\S*)`", PAGE))
    assert named == {route for route in routes(page_server) if "/admin" in route}


def routes(client) -> set[str]:
    paths = client.get("/openapi.json").json()["paths"]
    found = {f"{method.upper()} {path}" for path, by in paths.items() for method in by}
    return {route for route in found if not route.startswith("POST /v1/tasks/")}  # one of each task

"""A server with deployments, and a browser without scripts that is signed in to it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from httpx import Response
from starlette.testclient import TestClient

from hub.store.change import Deploy
from tests.http.conftest import ADMIN_KEY, _metrics_folder, serve
from tests.support.homes import FakeHome
from tests.support.serving import tiny_base_folder

__all__ = ["ADMIN_KEY", "Browser", "_metrics_folder", "tiny_base_folder"]

_TOKEN = re.compile(r'name="token" value="([^"]+)"')


class Browser:
    """Sends what a browser sends, and fills the hidden fields of forms."""

    def __init__(self, client: TestClient) -> None:
        self.client = client
        client.cookies.clear()

    def sign_in(self, key: str = ADMIN_KEY) -> Response:
        return self.post("/console/sign-in", key=key)

    def get(self, path: str, **headers: str) -> Response:
        return self.client.get(path, headers=headers, follow_redirects=False)

    def json(self, path: str) -> Any:
        return self.get(path, accept="application/json").json()

    def post(self, path: str, headers: dict[str, str] | None = None, **fields: str) -> Response:
        """Send a form; `headers` are beside those of a browser."""
        parts = {name: (None, value) for name, value in fields.items()}
        return self.client.post(path, files=parts, headers=headers or {}, follow_redirects=False)

    def token(self, page: str = "/console/deployments") -> str:
        found = _TOKEN.search(self.get(page).text)
        assert found, page
        return found[1]

    def send(self, path: str, **fields: str) -> Response:
        """Send a form of this session."""
        return self.post(path, token=self.token(), **fields)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory, tiny_base_folder: Path) -> FakeHome:
    found = FakeHome(tmp_path_factory.mktemp("console"), tiny_base_folder)
    found.store.deploy("mood", Deploy(version=found.add("mood", seed=1).ref, by="tester"))
    found.store.deploy("mood", Deploy(version=found.add("mood", seed=2).ref, by="tester", reason="better"))
    return found


@pytest.fixture(scope="module")
def server(home: FakeHome) -> Iterator[TestClient]:
    with serve(home.path, HUB_LOG__ACCESS="all") as client:
        yield client


@pytest.fixture
def browser(server: TestClient) -> Browser:
    """A browser that is not signed in."""
    return Browser(server)


@pytest.fixture
def operator(browser: Browser) -> Browser:
    """A browser that is signed in with the admin key."""
    assert browser.sign_in().status_code == 303
    return browser

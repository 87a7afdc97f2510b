"""A state folder with a tiny base and fake adapters."""

from __future__ import annotations

import os
import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from hub.store.change import Deploy
from hub.store.records import Version
from tests.support.homes import FakeHome
from tests.support.serving import add, home, store, tiny_base_folder
from tests.support.waiting import until, until_fixture

__all__ = ["add", "home", "store", "tiny_base_folder", "until_fixture"]

ADMIN_KEY = "an-admin-key-for-tests"


@pytest.fixture(scope="session", autouse=True)
def _metrics_folder() -> None:
    """Where BentoML's metrics live; `hub serve` sets it for a real server."""
    _set_metrics_folder()


@cache  # once for all folders of tests: the first app takes the variable away
def _set_metrics_folder() -> None:
    os.environ.setdefault("PROMETHEUS_MULTIPROC_DIR", tempfile.mkdtemp(prefix="hub-metrics-"))


@contextmanager
def serve(home: Path, ready: bool = True, engine: str = "fake", **variables: str) -> Iterator[TestClient]:
    """Run the real service over an in-process transport, with more variables such as HUB_JOBS__CONCURRENT."""
    with pytest.MonkeyPatch.context() as environment:
        for name, value in {"HUB_HOME": str(home), **variables}.items():
            environment.setenv(name, value)
        for name, value in (("ENGINE", engine), ("SLOTS", "4"), ("POLL_MS", "20"), ("ADMIN_KEY", ADMIN_KEY)):
            environment.setenv(f"HUB_SERVE__{name}", value)
        app = the_service().to_asgi()
    with TestClient(app, base_url="http://127.0.0.1:3000", raise_server_exceptions=False) as client:
        assert not ready or until(lambda: client.get("/readyz").status_code == 200, 60)
        yield client


@pytest.fixture
def serving(home: FakeHome) -> Callable[..., Any]:
    return lambda ready=True: serve(home.path, ready)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory, tiny_base_folder: Path) -> Iterator[TestClient]:
    """A server with the deployment `mood`, for the tests of a module that change nothing in it."""
    home = FakeHome(tmp_path_factory.mktemp("shared"), tiny_base_folder)
    home.store.deploy("mood", Deploy(version=home.add("mood", seed=1).ref, by="tester"))
    with serve(home.path) as client:
        yield client


@pytest.fixture
def client(serving: Callable[..., Any]) -> Iterator[TestClient]:
    with serving() as client:
        yield client


@pytest.fixture
def admin() -> dict[str, str]:
    """The header that an operator sends."""
    return {"authorization": f"Bearer {ADMIN_KEY}"}


@pytest.fixture
def live_in(add: Callable[..., Version], admin: dict[str, str]) -> Callable[..., Version]:
    """Store a version and put it live in a server under its adapter's name."""

    def build(client: TestClient, name: str, seed: int) -> Version:
        version = add(name, seed=seed)
        reply = client.put(f"/admin/deployments/{name}", json={"version": str(version.ref)}, headers=admin)
        assert reply.status_code == 200, reply.text
        return version

    return build


@pytest.fixture
def live(live_in: Callable[..., Version], client: TestClient) -> Callable[..., Version]:
    return lambda name, seed: live_in(client, name, seed)


def the_service() -> Any:
    with warnings.catch_warnings():
        # Importing BentoML 1.4.39 uses names that pathspec 1.1 and pydantic 2.14 deprecate.
        warnings.simplefilter("ignore", DeprecationWarning)
        from hub.http.service import svc
    return svc


@pytest.fixture(scope="session")
def service() -> Any:
    return the_service()

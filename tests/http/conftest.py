"""A state folder with a tiny base and fake adapters."""

from __future__ import annotations

import os
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from safetensors.numpy import load_file, save_file
from starlette.testclient import TestClient

from hub.bases.base import Base
from hub.bases.cache import Bases
from hub.config import Settings, load_settings
from hub.store.records import Version
from hub.store.store import Store
from hub.testing.homes import add_version, plain_adapter

AddVersion = Callable[..., Version]
Edit = Callable[[str, Any], Any]
ADMIN_KEY = "an-admin-key-for-tests"


@pytest.fixture(scope="session")
def tiny_base_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from hub.testing.tiny import tiny_encoder

    folder = tmp_path_factory.mktemp("bases") / "tiny"
    tiny_encoder(folder)
    return folder


@pytest.fixture
def fake_settings(_own_home: None) -> Settings:
    return load_settings(flags={"serve": {"engine": "fake", "slots": 4, "poll_ms": 20}})


@pytest.fixture
def store(fake_settings: Settings) -> Store:
    return Store(fake_settings.home)


@pytest.fixture
def tiny_base(fake_settings: Settings, tiny_base_folder: Path) -> Base:
    return Bases(fake_settings.home).pull(str(tiny_base_folder), "tiny")


@pytest.fixture
def add(store: Store, tiny_base: Base, tmp_path: Path) -> AddVersion:
    """Store a fake sentiment adapter whose answers depend on `seed`; `edit` changes its tensors first."""

    def build(name: str = "mood", seed: int = 0, edit: Edit | None = None, **more: object) -> Version:
        folder = plain_adapter(tmp_path / f"adapter-{name}-{seed}", seed=seed)
        if edit:
            weights = folder / "adapter_model.safetensors"
            save_file({key: edit(key, value) for key, value in load_file(weights).items()}, weights)
        return add_version(store, tiny_base, name, folder, **more)

    return build


@pytest.fixture(scope="session", autouse=True)
def _metrics_folder(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Where BentoML's metrics live; `hub serve` sets it for a real server."""
    os.environ.setdefault("PROMETHEUS_MULTIPROC_DIR", str(tmp_path_factory.mktemp("metrics")))


@pytest.fixture
def client(fake_settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[TestClient]:
    """The real service over an in-process transport, on the fake engine, once it is ready."""
    monkeypatch.setenv("HUB_SERVE__ENGINE", "fake")
    monkeypatch.setenv("HUB_SERVE__SLOTS", "4")
    monkeypatch.setenv("HUB_SERVE__POLL_MS", "20")
    monkeypatch.setenv("HUB_SERVE__ADMIN_KEY", ADMIN_KEY)
    with TestClient(the_service().to_asgi(), raise_server_exceptions=False) as client:
        wait_until_ready(client)
        yield client


def the_service() -> Any:
    with warnings.catch_warnings():
        # Importing BentoML 1.4.39 uses names that pathspec 1.1 and pydantic 2.14 deprecate.
        warnings.simplefilter("ignore", DeprecationWarning)
        from hub.http.service import svc
    return svc


def wait_until_ready(client: TestClient) -> None:
    deadline = time.monotonic() + 60
    while client.get("/readyz").status_code != 200:
        assert time.monotonic() < deadline, client.get("/readyz").text
        time.sleep(0.01)

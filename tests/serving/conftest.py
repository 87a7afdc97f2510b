"""A state folder with a tiny base and fake adapters."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from hub.bases.base import Base
from hub.bases.cache import Bases
from hub.config import Settings, load_settings
from hub.store.records import Version
from hub.store.store import Store
from hub.testing.homes import add_version, plain_adapter

AddVersion = Callable[..., Version]


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
    """Store a fake sentiment adapter whose answers depend on `seed`."""

    def build(name: str = "mood", seed: int = 0, **more: object) -> Version:
        folder = plain_adapter(tmp_path / f"adapter-{name}-{seed}", seed=seed)
        return add_version(store, tiny_base, name, folder, **more)

    return build

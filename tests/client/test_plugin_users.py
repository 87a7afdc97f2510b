"""Which deployments need a plugin: for its task, or for the engine that runs their base."""

from __future__ import annotations

from pathlib import Path

import pytest

from hub.bases.base import Base, BaseKind
from hub.client.plugin_users import users_of
from hub.config import load_settings
from hub.registry.host import Registry
from hub.store.change import Deploy
from hub.store.store import Store
from tests.support.homes import add_version, plain_adapter
from tests.support.plugins import Install, install, plugin_of

__all__ = ["install"]

ENGINE = """\
@hookimpl
def hub_engines():
    yield EngineSpec(name="marbles", summary="Counts marbles.", factory="made:Marbles", bases=("marbles:*",))


class Marbles(EngineBuilder[NoOptions]):
    def build(self, request):
        raise NotImplementedError
"""


def deploy(tmp_path: Path, name: str, source: str) -> None:
    """Deploy an adapter of a built-in task on a base from `source`."""
    base = Base(name, source, name[0] * 64, BaseKind.ENCODER, "bert", 64, tmp_path / name)
    store = Store(load_settings().home)
    add_version(store, base, name, plain_adapter(tmp_path / f"{name}-adapter"))
    store.deploy(name, Deploy(version=f"{name}@1", by="test"))


@pytest.fixture
def store(install: Install, tmp_path: Path) -> Store:
    """`round`, on a base that the engine of the plugin `made` runs, and `flat`, on another."""
    install(plugin_of(tmp_path, ENGINE))
    deploy(tmp_path, "round", "marbles:12")
    deploy(tmp_path, "flat", "minilm")
    Registry.of(load_settings())  # `users_of` knows what was found when plugins were last loaded
    return Store(load_settings().home)


def test_a_deployment_needs_the_engine_that_runs_its_base(store: Store) -> None:
    users = users_of("made", load_settings(), store)
    assert users.deployments == {"round": ["round@1"]}
    assert users.versions == ["round@1"]
    assert users.described() == "round (round@1, its base runs on the engine marbles)"


def test_the_engine_of_serve_engine_runs_all_other_bases(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HUB_SERVE__ENGINE", "marbles")
    assert set(users_of("made", load_settings(), store).deployments) == {"round", "flat"}


def test_a_plugin_without_an_engine_has_no_deployment_of_other_tasks(store: Store, install: Install) -> None:
    install("acme-tickets")
    Registry.of(load_settings())
    assert users_of("acme-tickets", load_settings(), store).deployments == {}
    sentiment = users_of("grafthub-sentiment", load_settings(), store)
    assert sentiment.described() == "flat (flat@1), round (round@1)"

"""A replica whose adapters are on S3: it serves what it has while that is gone."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from fsspec.core import url_to_fs

from hub.errors import BadAdapter, SourceUnavailable
from hub.serving.control import reconciler
from hub.store.change import Deploy
from hub.store.records import Version
from hub.store.store import Store
from tests.fixtures.s3 import S3Server
from tests.support.homes import FakeHome, add_version, plain_adapter


@pytest.fixture
def elsewhere(tmp_path: Path, s3_url: str, monkeypatch: pytest.MonkeyPatch) -> Store:
    """The store of another machine, which shares catalog and URL with this one."""
    catalog = f"sqlite:///{tmp_path}/catalog.db"
    monkeypatch.setenv("HUB_CATALOG__URL", catalog)
    monkeypatch.setenv("HUB_STORE__BLOBS", s3_url)
    return Store(tmp_path / "elsewhere", catalog, s3_url)


@pytest.fixture
def trained(elsewhere: Store, home: FakeHome, tmp_path: Path) -> Callable[[int], Version]:
    def store(seed: int) -> Version:
        return add_version(elsewhere, home.base, "mood", plain_adapter(tmp_path / f"made-{seed}", seed=seed))

    return store


@pytest.fixture
def s3(moto_server: S3Server) -> Iterator[S3Server]:
    """Start the server again whatever becomes of the test."""
    yield moto_server
    if not moto_server.is_running:
        moto_server.start()


def test_s3_gone_for_a_while_leaves_what_is_live_live(elsewhere, trained, start, s3: S3Server) -> None:
    elsewhere.deploy("mood", Deploy(version=str(trained(1).ref), by="test"))
    replica = start()
    before = replica.ask("mood", "good").scores
    second = trained(2)
    s3.stop()
    with pytest.raises(SourceUnavailable, match="cannot be reached"):
        replica.runtime.deploy("mood", Deploy(version=second.ref, by="test"))
    assert (replica.live(), replica.ask("mood", "good").scores) == ({"mood": "mood@1"}, before)
    assert elsewhere.deployment("mood").stable.number == 1
    s3.start()
    replica.runtime.deploy("mood", Deploy(version=second.ref, by="test"))
    assert replica.ask("mood", "good").version == "mood@2"
    assert replica.ask("mood", "good").scores != before


def test_a_version_that_is_altered_on_s3_does_not_go_live(elsewhere, trained, start, s3_url: str) -> None:
    elsewhere.deploy("mood", Deploy(version=str(trained(1).ref), by="test"))
    replica = start()
    second = trained(2)
    weights = bytearray((second.path / "adapter_model.safetensors").read_bytes())
    weights[-1] ^= 1
    files, root = url_to_fs(s3_url)
    files.pipe_file(f"{root}/{second.sha256}/adapter_model.safetensors", bytes(weights))
    with pytest.raises(BadAdapter, match="altered or cut off"):
        replica.runtime.deploy("mood", Deploy(version=second.ref, by="test"))
    assert replica.ask("mood", "good").version == "mood@1"


def test_a_move_made_elsewhere_while_s3_is_gone_is_followed_once_it_is_back(
    elsewhere, trained, start, s3: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reconciler, "RETRY_AFTER_S", 1.0)
    elsewhere.deploy("mood", Deploy(version=str(trained(1).ref), by="test"))
    replica = start()
    second = trained(2)
    s3.stop()
    elsewhere.deploy("mood", Deploy(version=str(second.ref), by="test"))
    until = time.monotonic() + 10
    while not replica.runtime.status()["failures"] and time.monotonic() < until:
        time.sleep(0.05)
    assert "cannot be reached" in str(replica.runtime.status()["failures"])
    assert replica.ask("mood", "good").version == "mood@1"
    s3.start()
    until = time.monotonic() + 20
    while replica.live() != {"mood": "mood@2"} and time.monotonic() < until:
        time.sleep(0.1)
    assert replica.ask("mood", "good").version == "mood@2"

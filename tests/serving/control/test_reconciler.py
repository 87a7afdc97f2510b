"""The reconciler loads versions before it takes the lock: changes of this process are not held up."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from hub.store.change import Deploy, DeploymentChange
from hub.store.records import Version


class Disk:
    """Holds up the loads of some versions."""

    def __init__(self) -> None:
        self.held: set[str] = set()
        self.waiting: set[str] = set()
        self.released = threading.Event()

    def watch(self, hub) -> None:
        residency = hub.runtime._ready().residency
        fetch = residency._fetch

        def slow(version: Version):
            if str(version.ref) in self.held:
                self.waiting.add(str(version.ref))
                self.released.wait(60)
            return fetch(version)

        residency._fetch = slow


@pytest.fixture
def disk() -> Iterator[Disk]:
    disk = Disk()
    yield disk
    disk.released.set()


def test_a_load_that_hangs_delays_neither_a_deploy_nor_other_deployments(
    add, start, store, disk, until
) -> None:
    hub = start(slots=8)
    disk.watch(hub)
    disk.held.add("slow@1")
    add("slow", seed=1), add("mood", seed=2), add("taste", seed=3)
    store.deploy("slow", Deploy(version="slow@1", by="elsewhere"))
    assert until(lambda: disk.waiting == {"slow@1"})
    hub.runtime.deploy("mood", Deploy(version="mood@1", by="t"))
    assert hub.live() == {"mood": "mood@1"}
    disk.released.set()
    assert until(lambda: hub.live() == {"mood": "mood@1", "slow": "slow@1"})
    assert until(lambda: hub.runtime.status()["generation"] == store.generation())


def test_deployments_are_loaded_beside_each_other(add, start, store, disk, until) -> None:
    hub = start(slots=8)
    disk.watch(hub)
    disk.held.add("slow@1")
    add("slow", seed=1), add("mood", seed=2)
    hub.runtime._ready().reconciler.stop()  # so that one `converge` finds both
    store.deploy("mood", Deploy(version="mood@1", by="elsewhere"))
    store.deploy("slow", Deploy(version="slow@1", by="elsewhere"))  # the latest change is loaded first
    converging = threading.Thread(target=hub.runtime._ready().reconciler.converge)
    converging.start()
    assert until(lambda: hub.live() == {"mood": "mood@1"})
    assert disk.waiting == {"slow@1"}
    disk.released.set()
    converging.join(20)
    assert hub.live() == {"mood": "mood@1", "slow": "slow@1"}


@pytest.mark.parametrize("removed", [True, False])
def test_a_load_that_ends_late_does_not_undo_a_newer_change(add, start, store, disk, until, removed) -> None:
    hub = start(slots=8)
    add(seed=1), add(seed=2), add(seed=3)
    hub.runtime.deploy("mood", Deploy(version="mood@1", by="t"))
    disk.watch(hub)
    disk.held.add("mood@2")
    store.deploy("mood", Deploy(version="mood@2", by="elsewhere"))
    assert until(lambda: disk.waiting == {"mood@2"})
    if removed:
        hub.runtime.undeploy("mood", DeploymentChange(by="t"))
    else:
        hub.runtime.deploy("mood", Deploy(version="mood@3", by="t"))
    wanted = {} if removed else {"mood": "mood@3"}
    assert hub.live() == wanted
    published = []
    publish = hub.runtime.router.publish
    hub.runtime.router.publish = lambda routes: (published.append(routes), publish(routes))
    disk.released.set()
    assert until(lambda: hub.runtime.status()["generation"] == store.generation())
    assert until(lambda: bool(published))
    assert all(
        {name: str(route.version.ref) for name, route in one.by_name.items()} == wanted for one in published
    )

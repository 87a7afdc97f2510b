"""A state folder with a tiny base and fake adapters."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from hub.config import Settings, find_home, load_settings
from hub.registry.host import Registry
from hub.serving.batching.base_workers import BaseWorker
from hub.serving.meter import Meter
from hub.serving.observation import Observation, Observer
from hub.serving.routing.routes import by_name
from hub.serving.runtime import Runtime
from hub.store.records import Deployment, Version
from hub.store.store import Store
from tests.support.homes import FakeHome


@pytest.fixture(scope="session")
def tiny_base_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from tests.support.tiny import tiny_encoder

    folder = tmp_path_factory.mktemp("bases") / "tiny"
    tiny_encoder(folder)
    return folder


@pytest.fixture
def home(_own_home: None, tiny_base_folder: Path) -> FakeHome:
    return FakeHome(find_home(), tiny_base_folder)


@pytest.fixture
def store(home: FakeHome) -> Store:
    return home.store


@pytest.fixture
def add(home: FakeHome) -> Callable[..., Version]:
    return home.add


class Harness:
    """A started runtime, asked from ordinary threads."""

    def __init__(
        self,
        settings: Settings,
        url: str | None = None,
        observer: Observer | None = None,
        meter: Meter | None = None,
    ) -> None:
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self.thread.start()
        self.runtime = Runtime(settings, Registry.of(settings), meter, observer=observer)
        self.runtime.start(self.loop, url).join()

    def ask(self, name: str, *texts: str, key: str = "") -> Answered:
        return self.submit(name, *texts, key=key).result(30)

    def submit(self, name: str, *texts: str, key: str = "") -> Future[Answered]:
        return asyncio.run_coroutine_threadsafe(self._ask(name, texts, key), self.loop)

    async def _ask(self, name: str, texts: Sequence[str], key: str) -> Answered:
        with await self.runtime.router.admit(by_name(name), key) as admission:
            model = admission.route.task.request
            requests = [model.model_construct(text=text) for text in texts]
            answers = await self.runtime.pipeline.run(admission, requests, request_id="r-1")
            return Answered(str(admission.version.ref), answers.items)

    @property
    def base_worker(self) -> BaseWorker:
        (base_worker,) = self.runtime._ready().base_workers.all()
        return base_worker

    def leases(self) -> int:
        return sum(view.leases for view in self.base_worker.slots.view())

    def live(self) -> dict[str, str]:
        return {name: str(route.version.ref) for name, route in self.runtime.router.routes.by_name.items()}

    def close(self) -> None:
        self.runtime.close()
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join()
        self.loop.close()


@dataclass(frozen=True)
class Answered:
    version: str
    items: Sequence[Any]

    @property
    def scores(self) -> dict[str, float]:
        (item,) = self.items
        if isinstance(item, Exception):
            raise item
        return item.scores


def let_time_pass(runtime: Runtime) -> None:
    """Let the plugin's call in this thread have run for longer than any time limit."""
    for task in list(runtime.pipeline.pool._tasks.values()):
        for one in list(task._live):
            if one.thread is threading.current_thread():
                one.began -= 1000


class Watching:
    """An observer that keeps what it hears."""

    def __init__(self) -> None:
        self.seen: list[Observation] = []
        self.wanted = True

    def wants(self, deployment: Deployment) -> bool:
        return self.wanted

    def observe(self, seen: Observation) -> None:
        self.seen.append(seen)


@pytest.fixture
def watching() -> Watching:
    return Watching()


@pytest.fixture
def start(home: FakeHome) -> Iterator[Callable[..., Harness]]:
    """Start a runtime on the fake engine; flags are those of `serve`, or limits given as a mapping.

    With a `url` it is a server's, which other replicas see. There is no adapter cache.
    """
    started: list[Harness] = []

    def build(
        limits: dict[str, Any] | None = None,
        url: str | None = None,
        observer: Observer | None = None,
        meter: Meter | None = None,
        **serve: Any,
    ) -> Harness:
        usual = {"engine": "fake", "slots": 4, "poll_ms": 20, "adapter_cache_mb": 0}
        flags = {"serve": usual | serve, "limits": limits or {}}
        started.append(Harness(load_settings(flags=flags), url, observer, meter))
        return started[-1]

    yield build
    for harness in started:
        harness.close()

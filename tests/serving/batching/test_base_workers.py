"""What a serving process does with its memory when a base is opened, or cannot be."""

from __future__ import annotations

import gc
import weakref

import pytest

from hub.config import ServeSettings, Settings
from hub.engine import fake
from hub.engine.fake import FakeEngine
from hub.serving.batching import base_workers as base_workers_module
from hub.serving.batching.base_workers import BaseWorkers
from hub.serving.meter import Meter
from hub.store.store import Store
from tests.support.homes import FakeHome


class Circle:
    """An object that only the garbage collector frees."""

    def __init__(self) -> None:
        self.itself = self


def test_garbage_of_requests_is_collected_however_much_was_loaded_with_a_base(
    home: FakeHome, store: Store
) -> None:
    loaded: list[list[int]] = [[] for _ in range(300_000)]  # as many objects as libraries and models have
    settings = Settings(home=home.path, serve=ServeSettings(engine="fake"))
    base_workers = BaseWorkers(store.bases, settings, deliver=lambda jobs: None, meter=Meter())
    try:
        base_workers.open(home.base.fingerprint)
        circle = Circle()
        gc.collect(1)  # it has lived long enough that only a full collection frees it
        freed = weakref.ref(circle)
        del circle
        for _ in range(400):
            requests: list[list[int]] = [[] for _ in range(1000)]
        assert freed() is None
        assert len(loaded) > len(requests)
    finally:
        base_workers.close()


@pytest.mark.parametrize("fails", ["probe_row", "SlotCleaner", "Batcher"])
def test_an_engine_is_not_left_open_where_what_comes_beside_it_fails(
    home: FakeHome, store: Store, monkeypatch: pytest.MonkeyPatch, fails: str
) -> None:
    """Each further try would hold one more copy of the base."""
    opened: list[FakeEngine] = []
    closed: list[FakeEngine] = []

    class Watched(FakeEngine):
        def __init__(self, slots: int) -> None:
            super().__init__(slots)
            opened.append(self)

        def close(self) -> None:
            super().close()
            closed.append(self)

    def no_thread(*args: object, **kwargs: object) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(fake, "FakeEngine", Watched)
    settings = Settings(home=home.path, serve=ServeSettings(engine="fake"))
    base_workers = BaseWorkers(store.bases, settings, deliver=lambda jobs: None, meter=Meter())
    try:
        with monkeypatch.context() as patch:
            patch.setattr(base_workers_module, fails, no_thread)
            with pytest.raises(RuntimeError, match="new thread"):
                base_workers.open(home.base.fingerprint)
        assert opened == closed
        assert base_workers.open(home.base.fingerprint).engine is opened[-1]
    finally:
        base_workers.close()

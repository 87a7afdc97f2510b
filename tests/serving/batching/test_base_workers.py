"""What a serving process does with its memory when a base is opened."""

from __future__ import annotations

import gc
import weakref

from hub.config import ServeSettings, Settings
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

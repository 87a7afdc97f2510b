"""One engine under load in this process: samples of its memory, one JSON object a line, on stdout."""

from __future__ import annotations

import json
import random
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import psutil

from benchmarks.soak.growth import Sample
from hub.client.catalog import CatalogClient
from hub.config import load_settings
from hub.errors import NotFound, NotReady
from hub.store.change import Deploy, DeploymentChange

__all__ = ["DEPLOYMENTS", "LARGE", "SLOTS", "VERSIONS", "Order", "name_of"]

DEPLOYMENTS, VERSIONS = 10, 2
LARGE = "large"  # the adapter of the largest rank that is served
SLOTS = 8  # fewer than deployments, so that versions are evicted and loaded again
ITEMS = (1, 1, 1, 2, 3, 5, 8, 13, 32)  # rows of one call, as often as listed
SWAP_S = 5.0
GIVE_BACK_S = 90.0  # longest wait for memory to be given back
LOAD_TIMEOUT_S = 600.0  # a busy machine opens a base slowly
MB = 1_000_000
WORDS = ("the", "film", "story", "cast", "music", "ending", "is", "great", "dull", "funny", "slow", "not")


@dataclass(frozen=True)
class Order:
    """What one process is to do: `calls_per_s` over all clients, for `seconds`."""

    home: str
    engine: str
    seconds: float
    sample_s: float
    clients: int
    calls_per_s: float
    most_words: int


def name_of(deployment: int) -> str:
    """Return the name of a deployment, which is also that of its adapter."""
    return f"mood-{deployment}"


class _Load:
    """Clients that send calls at a steady rate, and moves of deployments between two versions."""

    def __init__(self, client: CatalogClient, order: Order) -> None:
        self._client = client
        self._order = order
        self._stop = threading.Event()
        self.calls = self.rows = 0
        self._lock = threading.Lock()
        self.error: BaseException | None = None

    def start(self) -> list[threading.Thread]:
        ways = [lambda seed=seed: self._ask(seed) for seed in range(self._order.clients)] + [self._swap]
        threads = [threading.Thread(target=self._guarded, args=(way,)) for way in ways]
        for thread in threads:
            thread.start()
        return threads

    def stop(self) -> None:
        self._stop.set()

    def _guarded(self, way: Any) -> None:
        try:
            way()
        except BaseException as error:
            self.error = error
            self._stop.set()

    def _ask(self, seed: int) -> None:
        chance = random.Random(seed)
        pause = self._order.clients / self._order.calls_per_s
        due = time.monotonic()
        while not self._stop.wait(max(0.0, due - time.monotonic())):
            due = max(due + pause, time.monotonic() - pause)
            items = [{"text": self._text(chance)} for _ in range(chance.choice(ITEMS))]
            try:
                answers = self._client.predict(name_of(chance.randrange(DEPLOYMENTS)), items)
            except NotReady:
                continue  # a move under way on a busy machine
            if failed := [answer for answer in answers if "result" not in answer]:
                raise RuntimeError(f"A request failed: {failed[0]}")
            with self._lock:
                self.calls += 1
                self.rows += len(items)

    def _swap(self) -> None:
        chance = random.Random(-1)
        while not self._stop.wait(SWAP_S):
            name = name_of(chance.randrange(DEPLOYMENTS))
            self._client.deploy(name, Deploy(version=f"{name}@{chance.randint(1, VERSIONS)}"))

    def _text(self, chance: random.Random) -> str:
        """Return short texts mostly, and one in ten of any length."""
        most = self._order.most_words if chance.random() < 0.1 else min(30, self._order.most_words)
        return " ".join(chance.choices(WORDS, k=chance.randint(1, most)))


def main() -> None:
    """Carry out the order on stdin."""
    order = Order(**json.load(sys.stdin))
    serve = {"engine": order.engine, "slots": SLOTS, "device": "cpu", "load_timeout_s": LOAD_TIMEOUT_S}
    settings = load_settings(Path(order.home), {"serve": serve})
    settings = settings.model_copy(update={"home": Path(order.home)})
    with CatalogClient(settings) as client:
        for number in range(VERSIONS, 0, -1):  # each version is loaded once: the adapter cache fills here
            for name in map(name_of, range(DEPLOYMENTS)):
                client.deploy(name, Deploy(version=f"{name}@{number}"))
                _await(client, name)
        _settle(client)
        load = _Load(client, order)
        threads = load.start()
        try:
            for sample in _samples(order, load):
                sys.stdout.write(json.dumps(asdict(sample)) + "\n")
                sys.stdout.flush()
        finally:
            load.stop()
            for thread in threads:
                thread.join()
        if load.error:
            raise load.error
        rank = _large_rank(client)
    sys.stdout.write(json.dumps({"calls": load.calls, "rows": load.rows, **rank}) + "\n")


def _large_rank(client: CatalogClient) -> dict[str, float]:
    """Deploy and undeploy an adapter of a large rank; return what it took and what it left behind, in MB."""
    before = _unshared()
    client.deploy(LARGE, Deploy(version=f"{LARGE}@1"))
    _await(client, LARGE)
    took = _unshared() - before
    client.undeploy(LARGE, DeploymentChange())
    deadline = time.monotonic() + GIVE_BACK_S
    while (kept := _unshared() - before) > took / 10 and time.monotonic() < deadline:
        time.sleep(1)
    return {"rank_took_mb": took, "rank_kept_mb": kept}


def _await(client: CatalogClient, name: str) -> None:
    """Ask a deployment until it answers: a busy machine may take longer than a request waits."""
    deadline = time.monotonic() + LOAD_TIMEOUT_S
    while True:
        try:
            client.predict(name, [{"text": "the film is great"}])
            return
        except (NotReady, NotFound):
            if time.monotonic() > deadline:
                raise


def _settle(client: CatalogClient) -> None:
    """Wait until graphs are made and measured: what they take is no growth."""
    assert client._local, "a deployment was asked"
    for base_worker in client._local._runtime._ready().base_workers.all():
        base_worker.engine.settle(LOAD_TIMEOUT_S)


def _unshared() -> float:
    return float(psutil.Process().memory_full_info().uss / MB)


def _samples(order: Order, load: _Load) -> Iterator[Sample]:
    process, began = psutil.Process(), time.monotonic()
    while (now := time.monotonic() - began) < order.seconds and load.error is None:
        memory = process.memory_full_info()
        yield Sample(round(now, 1), round(memory.rss / MB, 2), round(memory.uss / MB, 2))
        time.sleep(order.sample_s)


if __name__ == "__main__":
    main()

"""How long a move takes from the catalog to a replica that did not make it, and to the list of replicas.

`python -m benchmarks.converge [--catalog postgresql://...] [--moves N] [--poll-ms N]`; without a URL, SQLite.
A replica on the fake engine follows the catalog in this process; another connection moves a deployment. Each
move is to a version that has to be loaded.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from benchmarks.report import report
from hub.bases.cache import Bases
from hub.config import load_settings
from hub.registry.host import Registry
from hub.serving.runtime import Runtime
from hub.store.catalog.replicas import Replicas
from hub.store.change import Deploy
from hub.store.store import Store
from tests.support.homes import add_version, plain_adapter

ENOUGH_S = 30.0


def main() -> None:
    """Measure, and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--catalog", default="")
    parser.add_argument("--moves", type=int, default=40)
    parser.add_argument("--poll-ms", type=int, default=250)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="hub-converge-") as folder:
        live, told = _measure(Path(folder), given.catalog, given.moves, given.poll_ms)
    kind = "PostgreSQL" if given.catalog else "SQLite"
    rows = [
        [what, *(f"{_at(took, q) * 1000:.0f} ms" for q in (0.5, 0.95, 1.0))]
        for what, took in (("serves it", live), ("is listed with it", told))
    ]
    figures = {
        "served_p50_ms": _at(live, 0.5) * 1000,
        "served_p95_ms": _at(live, 0.95) * 1000,
        "listed_p95_ms": _at(told, 0.95) * 1000,
    }
    # A poll is at most one interval away; the rest is for loading, on a machine that does other things too.
    met = report(
        f"converge on {kind}, polled every {given.poll_ms} ms",
        ("ANOTHER REPLICA", "MEDIAN", "P95", "MOST"),
        rows,
        figures,
        {"served_p95_ms": ("<=", 2 * given.poll_ms)},
    )
    raise SystemExit(0 if met else 1)


def _measure(folder: Path, catalog: str, moves: int, poll_ms: int) -> tuple[list[float], list[float]]:
    from tests.support.tiny import tiny_encoder

    home = folder / "home"
    tiny_encoder(folder / "tiny")
    base = Bases(home).pull(str(folder / "tiny"), "tiny")
    store = Store(home, catalog)
    for seed in range(moves + 1):
        add_version(store, base, "mood", plain_adapter(folder / f"adapter-{seed}", seed=seed))
    store.deploy("mood", Deploy(version="mood@1", by="benchmark"))
    serve = {"engine": "fake", "slots": 4, "poll_ms": poll_ms}
    settings = load_settings(flags={"serve": serve, "catalog": {"url": catalog}}).model_copy(
        update={"home": home}
    )
    loop = asyncio.new_event_loop()
    threading.Thread(target=loop.run_forever, daemon=True).start()
    runtime = Runtime(settings, Registry.of(settings))
    runtime.start(loop, "http://benchmark").join()
    replicas = Replicas(store.catalog)
    live, told = [], []
    for number in range(2, moves + 2):
        time.sleep(random.uniform(0.3, 0.6))  # anywhere between two polls
        wanted = store.deploy("mood", Deploy(version=f"mood@{number}", by="benchmark")).generation
        began = time.perf_counter()
        live.append(_until(began, partial(_serves, runtime, wanted)))
        told.append(_until(began, partial(_listed, replicas, wanted)))
    runtime.close()
    loop.call_soon_threadsafe(loop.stop)
    store.catalog.close()
    return live, told


def _serves(runtime: Runtime, generation: int) -> bool:
    return runtime.router.routes.generation == generation


def _listed(replicas: Replicas, generation: int) -> bool:
    return [one.generation for one in replicas.live()] == [generation]


def _until(began: float, holds: Callable[[], bool]) -> float:
    while not holds():
        if time.perf_counter() - began > ENOUGH_S:
            raise TimeoutError("It did not converge.")
        time.sleep(0.001)
    return time.perf_counter() - began


def _at(took: Sequence[float], share: float) -> float:
    if share == 1.0:
        return max(took)
    return statistics.quantiles(took, n=100, method="inclusive")[round(share * 100) - 1]


if __name__ == "__main__":
    main()

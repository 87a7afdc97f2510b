"""The home under test: its adapters on disk, and a process that stores and removes versions."""

from __future__ import annotations

import asyncio
import multiprocessing
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.fingerprinted import LABELS, SETTINGS, Oracle, Truth, draw, save
from benchmarks.hot_swap.timeline import Live
from hub.api import HeadKind
from hub.bases.base import Base
from hub.bases.cache import Bases
from hub.store.change import Deploy
from hub.store.store import Store

__all__ = ["Home", "Importer", "importer", "prepare"]

_opened: tuple[Store, Base] | None = None  # in the importing process


@dataclass(frozen=True)
class Home:
    """A state folder; for each deployment the adapters that may be stored for it, by number; one for none."""

    path: Path
    base: str
    truth: Truth
    adapters: dict[str, dict[int, Path]]
    ballast: Path


def prepare(folder: Path, base: Base, texts: Sequence[str], deployments: int, contents: int) -> Home:
    """Make a home with the base in it, and `contents` adapters for each deployment; none is stored yet."""
    path = folder / "home"
    own = Bases(path).pull(str(base.path), base.name)
    oracle = Oracle(own, texts)
    truth = Truth(oracle)
    numbers = iter(np.random.default_rng(0).choice(2**16, deployments * contents + 1, replace=False).tolist())
    adapters: dict[str, dict[int, Path]] = {}
    for index in range(deployments):
        name = f"tenant-{index:02}"
        adapters[name] = {}
        for _ in range(contents):
            content = draw(oracle, next(numbers))
            truth.add(content)
            adapters[name][content.number] = save(content, folder / "adapters" / name / str(content.number))
    ballast = save(draw(oracle, next(numbers)), folder / "adapters" / "ballast")
    return Home(path, base.name, truth, adapters, ballast)


class Importer:
    """Stores, deploys and removes versions in its process."""

    def __init__(self, pool: ProcessPoolExecutor) -> None:
        self._pool = pool

    async def store(self, name: str, folder: Path, *, deploy: bool = False) -> Live:
        """Store an adapter as the next version of `name`; `deploy`: and put it live there, for a start."""
        return await asyncio.get_running_loop().run_in_executor(self._pool, _add, name, folder, deploy)

    async def remove(self, refs: Sequence[str]) -> None:
        """Remove versions and their files."""
        await asyncio.get_running_loop().run_in_executor(self._pool, _remove, refs)


@contextmanager
def importer(home: Home) -> Iterator[Importer]:
    """Start the importing process."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, context, initializer=_open, initargs=(home.path, home.base)) as pool:
        yield Importer(pool)


def _open(path: Path, base: str) -> None:
    global _opened  # noqa: PLW0603 - a pool has no other place for what its process is set up with
    store = Store(path)
    _opened = store, store.bases.get(base)


def _add(name: str, folder: Path, deploy: bool) -> Live:
    assert _opened
    store, base = _opened
    version = store.import_peft(
        folder, name, task="classification", head=HeadKind.SEQUENCE, base=base, labels=LABELS,
        settings=SETTINGS, max_length=64,
    )  # fmt: skip
    if deploy:
        store.deploy(name, Deploy(version=version.ref, by="benchmark"))
    return Live(str(version.ref), version.sha256)


def _remove(refs: Sequence[str]) -> None:
    assert _opened
    for ref in refs:
        _opened[0].remove(ref)

"""The home under test: its adapters on disk, and a process that stores and removes versions."""

from __future__ import annotations

import asyncio
import multiprocessing
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from benchmarks.fingerprinted import Oracle
from benchmarks.hot_swap.scores import STORED as SCORED
from benchmarks.hot_swap.scores import Scores
from benchmarks.hot_swap.texts import STORED as GENERATED
from benchmarks.hot_swap.texts import GeneratedTexts
from benchmarks.hot_swap.timeline import Live
from hub.bases.base import Base, BaseKind
from hub.bases.cache import Bases
from hub.store.change import Deploy
from hub.store.importing import import_peft
from hub.store.store import Store

__all__ = ["Home", "Importer", "importer", "prepare"]

_opened: tuple[Store, Base, Mapping[str, Any]] | None = None  # in the importing process


class Telltale(Protocol):
    """Draws contents, and knows what each answers to each text and under which hash it is stored."""

    def draw(self, number: int, folder: Path) -> Path:
        """Save the content of a number as PEFT would, and work out its answers."""

    def stored(self, sha256: str, number: int) -> None:
        """Note the hash under which a content was stored."""

    def fault(self, sha256: str, text: str, body: bytes) -> str | None:
        """Say what is wrong with an answer that names the content of this hash; None: nothing."""

    def separation(self) -> float:
        """Return how far a wrong answer is at least from the right one."""


@dataclass(frozen=True)
class Home:
    """A state folder; for each deployment the adapters that may be stored for it, by number; one for none."""

    path: Path
    base: str
    truth: Telltale
    adapters: dict[str, dict[int, Path]]
    ballast: Path
    streams: bool  # answers are streams of text


def prepare(folder: Path, base: Base, texts: Sequence[str], deployments: int, contents: int) -> Home:
    """Make a home with the base in it, and `contents` adapters for each deployment; none is stored yet.

    On an encoder they give scores, on a decoder they generate text.
    """
    path = folder / "home"
    own = Bases(path).pull(str(base.path), base.name)
    scores = base.kind is BaseKind.ENCODER
    truth: Telltale = Scores(Oracle(own, texts)) if scores else GeneratedTexts(own, texts)
    numbers = iter(np.random.default_rng(0).choice(2**16, deployments * contents + 1, replace=False).tolist())
    adapters: dict[str, dict[int, Path]] = {}
    for index in range(deployments):
        name = f"tenant-{index:02}"
        adapters[name] = {}
        for _ in range(contents):
            number = next(numbers)
            adapters[name][number] = truth.draw(number, folder / "adapters" / name / str(number))
    ballast = truth.draw(next(numbers), folder / "adapters" / "ballast")
    return Home(path, base.name, truth, adapters, ballast, not scores)


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
    with ProcessPoolExecutor(
        1, context, initializer=_open, initargs=(home.path, home.base, GENERATED if home.streams else SCORED)
    ) as pool:
        yield Importer(pool)


def _open(path: Path, base: str, stored: Mapping[str, Any]) -> None:
    global _opened  # noqa: PLW0603 - a pool has no other place for what its process is set up with
    store = Store(path)
    _opened = store, store.bases.get(base), stored


def _add(name: str, folder: Path, deploy: bool) -> Live:
    assert _opened
    store, base, stored = _opened
    version = import_peft(store, folder, name, base=base, **stored)
    if deploy:
        store.deploy(name, Deploy(version=version.ref, by="benchmark"))
    return Live(str(version.ref), version.sha256)


def _remove(refs: Sequence[str]) -> None:
    assert _opened
    for ref in refs:
        _opened[0].remove(ref)

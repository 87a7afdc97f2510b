# ruff: noqa: TID253 - imported when an engine is built, and by nothing else
"""Autotune: measures the backbones of an engine on a few shapes, then picks the fastest for each batch.

Measurements are cached by machine, library versions, base and stacks.
"""

from __future__ import annotations

import hashlib
import logging
import os
import platform
import statistics
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch

from hub.bases.base import Base
from hub.engine.choice.backbones import Backbone, Backbones, Order
from hub.engine.choice.timings import Shape, Timings
from hub.engine.protocol import BARE_SLOT
from hub.engine.torch.tensors import BatchTensors
from hub.errors import EngineFailed

__all__ = ["Tuner", "Tuning"]

log = logging.getLogger(__name__)

REVISION = 2  # raise it when what is measured changes
SHAPES: tuple[Shape, ...] = (
    (1, 16), (1, 64), (4, 32), (1, 256), (16, 24), (8, 96), (32, 32), (64, 64), (16, 256),
)  # fmt: skip
REPEATS = 5
MAX_SLOWDOWN = 1.6  # times the fastest: a slower backbone is not measured again on a shape
MIN_COSINE = 0.999  # between hidden states of a backbone and of the reference


@dataclass(frozen=True, slots=True)
class Tuning:
    """How long to measure, in seconds, and whether to ignore cached measurements."""

    budget_s: float = 10.0
    again: bool = False


class Tuner:
    """Ranks the backbones of one engine by speed."""

    def __init__(self, base: Base, cache: Path, threads: int, tuning: Tuning) -> None:
        self._base = base
        self._cache = cache
        self._threads = threads
        self._tuning = tuning
        self.timings: Timings | None = None

    def __call__(self, backbones: Backbones) -> Order:
        """Measure, or read cached measurements; a candidate that is never chosen is dropped."""
        path = self._cache / f"tune-{self._key(backbones)}.json"
        timings = None if self._tuning.again else Timings.load(path)
        if timings is None:
            timings, sound = _measure(self._base, backbones, self._tuning.budget_s)
            if sound:
                timings.save(path)
        self.timings = timings
        best = timings.best()
        # int8 runs only the adapters that passed its gate; the others need the next backbone.
        exact = {next(n for n in timings.order(*shape) if not _is_int8(n)) for shape in timings.shapes}
        for name in sorted({*timings.seconds, *timings.refused} - exact - set(best.values())):
            backbones.drop(name)
        log.info(
            "Base %s: %s.",
            self._base.name,
            ", ".join(f"{rows}x{tokens} on {name}" for (rows, tokens), name in best.items()),
        )
        return _order(timings, backbones)

    def _key(self, backbones: Backbones) -> str:
        device = backbones.reference.device
        on = torch.cuda.get_device_name(device) if device.type == "cuda" else _processor()
        parts = [str(REVISION), self._base.fingerprint, on, str(os.cpu_count()), str(self._threads)]
        parts += [_version(name) for name in _PACKAGES]
        parts += sorted(backbone.name for backbone in backbones.all if backbone.covers(_BARE))
        parts += sorted(name for graph in backbones.graphs for name in graph.stacks)
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:32]


_BARE = frozenset({BARE_SLOT})
_PACKAGES = ("torch", "transformers", "onnxruntime-gpu", "onnxruntime", "openvino")


def _order(timings: Timings, backbones: Backbones) -> Order:
    by_name = {backbone.name: backbone for backbone in backbones.all}

    @lru_cache(maxsize=4096)
    def order(rows: int, tokens: int) -> Sequence[Backbone]:
        return [by_name[name] for name in timings.order(rows, tokens) if name in by_name]

    return order


def _measure(base: Base, backbones: Backbones, budget_s: float) -> tuple[Timings, bool]:
    """Time the backbones in turns, cheap shapes first, until the time budget is used; drop those that fail.

    Returns False too if one has failed: it may not the next time.
    """
    began = time.perf_counter()
    failed: set[str] = set()
    refused: dict[str, str] = {}
    usable = [backbone for backbone in backbones.all if backbone.covers(_BARE)]
    for backbone in usable:
        with _dropped_if_it_fails(backbone, backbones, failed):
            if reason := _fault(backbone, backbones, base):
                refused[backbone.name] = reason
    seconds: dict[str, dict[Shape, float]] = {b.name: {} for b in usable if b.name not in refused}
    for rows, tokens in SHAPES:
        shape = (rows, min(tokens, base.max_length))
        deadline = began + budget_s
        seconds = {name: found for name, found in seconds.items() if name not in failed}
        if seconds and all(seconds.values()) and time.perf_counter() > deadline:
            break
        candidates = [backbone for backbone in usable if backbone.name in seconds]
        for name, took in _time_shape(candidates, backbones, shape, deadline, failed).items():
            seconds[name][shape] = took
    return Timings(
        {name: found for name, found in seconds.items() if name not in failed}, refused
    ), not failed


@contextmanager
def _dropped_if_it_fails(backbone: Backbone, backbones: Backbones, failed: set[str]) -> Iterator[None]:
    """Drop a candidate that raises in the block; the reference may not, nor any once the engine is closed."""
    try:
        yield
    except Exception as error:  # the errors of runtimes share no class
        if backbone is backbones.reference or backbones.closed:
            raise
        log.warning("%s fails on this base and is not used: %s", backbone.name, error)
        failed.add(backbone.name)
        backbones.drop(backbone.name)


def _time_shape(
    candidates: Sequence[Backbone], backbones: Backbones, shape: Shape, deadline: float, failed: set[str]
) -> dict[str, float]:
    took: dict[str, list[float]] = {backbone.name: [] for backbone in candidates}
    batch = _batch(backbones, shape)
    for turn in range(REPEATS + 1):
        for backbone in candidates:
            known = took[backbone.name]
            fastest = min((min(one) for one in took.values() if one), default=float("inf"))
            if backbone.name in failed or (known and min(known) > MAX_SLOWDOWN * fastest):
                continue
            with _dropped_if_it_fails(backbone, backbones, failed):
                one = _time(backbone, backbones, batch)
                if turn:  # the first run allocates memory
                    known.append(one)
        if turn and time.perf_counter() > deadline:
            break
    return {name: statistics.median(one) for name, one in took.items() if name not in failed}


def _time(backbone: Backbone, backbones: Backbones, batch: BatchTensors) -> float:
    if backbones.closed:
        raise EngineFailed("The engine is closed.")
    with backbones.busy, torch.inference_mode():
        began = time.perf_counter()
        states = backbone.run(batch).states
        if states.device.type == "cuda":
            torch.cuda.synchronize(states.device)
        return time.perf_counter() - began


def _fault(backbone: Backbone, backbones: Backbones, base: Base) -> str:
    """Return how a backbone deviates from the reference on a small batch; "" if it does not.

    An int8 backbone is not checked: it only runs adapters that were evaluated on it.
    """
    if backbone is backbones.reference or _is_int8(backbone.name):
        return ""
    batch = _batch(backbones, (4, min(24, base.max_length)))
    with backbones.busy, torch.inference_mode():
        expected, got = (b.run(batch).states.float() for b in (backbones.reference, backbone))
    cosine = torch.cosine_similarity(expected, got, dim=-1).min().item()
    if cosine >= MIN_COSINE:
        return ""
    return f"its hidden states have a cosine of {cosine:.4f} to those in float32, less than {MIN_COSINE}"


def _batch(backbones: Backbones, shape: Shape) -> BatchTensors:
    """Make rows of random tokens, which use the filled slots in turn."""
    rows, tokens = shape
    random = torch.Generator().manual_seed(rows * tokens)
    ids = torch.randint(backbones.reference.model.config.vocab_size, shape, generator=random)
    filled = torch.tensor(sorted(backbones.filled) or [BARE_SLOT])
    slots = filled[torch.arange(rows) % len(filled)]
    batch = BatchTensors(ids, torch.ones_like(ids), torch.zeros_like(ids), slots)
    return BatchTensors(*(tensor.to(backbones.reference.device) for tensor in batch.present()))


def _is_int8(name: str) -> bool:
    return "int8" in name


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    wanted = ("model name", "flags", "CPU part")
    return "\n".join(dict.fromkeys(line for line in lines if line.startswith(wanted)))


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""

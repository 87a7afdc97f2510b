"""What all parts share: the base, random adapters in PEFT's format and in ours, rows, turns."""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from hub.api import HeadKind, Row
from hub.bases.base import Base
from hub.bases.cache import Bases
from hub.cli.screen.output import error_console
from hub.config import find_home
from hub.engine.peft.format import parse
from hub.engine.protocol import AdapterWeights, EngineRow

if TYPE_CHECKING:
    from collections.abc import Iterator

    from hub.engine.slot_engine import SlotEngine

__all__ = ["QV", "Found", "Setting", "in_turns", "rows_of"]

QV = ("query", "value")
RANK = 8
PAUSE_S = 0.03


@dataclass
class Found:
    """What a part measured."""

    rows: list[tuple[object, ...]] = field(default_factory=list)
    figures: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Setting:
    """Where things are kept, how often is measured, and where real texts are, if anywhere."""

    folder: Path
    rounds: int
    data: Path | None

    @cached_property
    def base(self) -> Base:
        return Bases(find_home()).pull("minilm")

    def adapter(self, seed: int, targets: str | Sequence[str] = QV) -> Path:
        """Return the PEFT folder of one random adapter, made when first asked for."""
        from transformers.utils import logging

        from tests.support.tiny import tiny_adapter

        logging.set_verbosity_error()
        logging.disable_progress_bar()
        folder = self.folder / f"{'all' if targets == 'all-linear' else 'qv'}-{seed}"
        if not folder.exists():
            tiny_adapter(
                self.base, folder, kind=HeadKind.SEQUENCE, labels=("n", "p"), rank=RANK, seed=seed,
                targets=targets, spread=0.05,
            )  # fmt: skip
        return folder

    def weights(self, seed: int, targets: str | Sequence[str] = QV) -> AdapterWeights:
        """Return one adapter as the engine takes it; those past the first 64 are the first, shuffled."""
        first = seed % 64
        folder = self.adapter(first, targets)
        from safetensors.numpy import load_file

        config = json.loads((folder / "adapter_config.json").read_text(encoding="utf-8"))
        tensors: Mapping[str, Any] = load_file(folder / "adapter_model.safetensors")
        if seed != first:
            random = np.random.default_rng(seed)
            tensors = {name: random.permuted(value, axis=-1) for name, value in tensors.items()}
        return parse(config, tensors, kind=HeadKind.SEQUENCE, num_labels=2, sha256=str(seed))

    @contextmanager
    def engine(self, kind: str, slots: int) -> Iterator[SlotEngine]:
        """Build an engine whose graphs and measurements are kept for the whole run, and close it."""
        from hub.engine.build import build_engine

        cache = self.folder / "engines"
        engine: Any = build_engine(self.base, kind=kind, slots=slots, device="cpu", cache=cache)
        try:
            yield engine
        finally:
            engine.close()

    def say(self, text: str) -> None:
        error_console().print(f"[dim]{text}[/]")


def rows_of(
    count: int, tokens: int, slots: Sequence[int], head: HeadKind = HeadKind.SEQUENCE, seed: int = 1
) -> list[EngineRow]:
    """Make rows of random word pieces, in the slots given, in turns."""
    random = np.random.default_rng(seed)
    ids = random.integers(1000, 30000, (count, tokens)).tolist()
    return [EngineRow(Row(one), slots[index % len(slots)], head) for index, one in enumerate(ids)]


def in_turns(ways: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """Run every way once a round, after one round that does not count; return median milliseconds.

    A pause before each lets the threads of the one before, which wait by spinning, give the cores back.
    """
    took: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(rounds + 1):
        for name, way in ways.items():
            time.sleep(PAUSE_S)
            began = time.perf_counter()
            way()
            if turn:
                took[name].append((time.perf_counter() - began) * 1000)
    return {name: statistics.median(one) for name, one in took.items()}

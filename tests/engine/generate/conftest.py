"""An engine with adapters in its slots, and the rows that write on it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from queue import SimpleQueue

import pytest

from hub.api import HeadKind, Output, Sampling
from hub.engine.generate.rows import GeneratingRow
from hub.engine.protocol import EngineRow
from hub.errors import HubError
from tests.support.profiles import thorough


@dataclass
class Written:
    """What one row has written, piece by piece."""

    row: EngineRow
    pieces: list[str]
    ended: SimpleQueue[Output | HubError]

    def wait(self) -> Output:
        outcome = self.ended.get(timeout=60)
        if isinstance(outcome, HubError):
            raise outcome
        assert "".join(self.pieces) == outcome.text
        return outcome

    def join(self) -> None:
        """Wait for the end, and leave the outcome to `wait`."""
        self.ended.put(self.ended.get(timeout=60))


FAMILIES = ("llama", "qwen2", "bart", "marian", "t5")
# One stack, and two: for what the loop does with rows, whatever the family computes.
few_families = pytest.mark.parametrize("writer", FAMILIES if thorough() else ("llama", "bart"), indirect=True)


@pytest.fixture(params=FAMILIES)
def writer(request, base_of, trained, engine_of, fill):
    """An engine with three adapters, and a function that begins a row."""
    base = base_of(request.param)
    adapters = [trained(base, HeadKind.GENERATE, rank=rank, seed=60 + rank, spread=0.3) for rank in (1, 4, 8)]
    engine = engine_of(base, "torch")
    fill(engine, adapters)
    return Writer(engine, adapters)


class Writer:
    """Begins rows on an engine whose slots hold `adapters`."""

    def __init__(self, engine, adapters) -> None:
        self.engine, self.adapters = engine, adapters

    def row(self, slot: int, length: int, number: int, tokens: int, **sampling) -> EngineRow:
        row = self.adapters[slot - 1].row(slot, length, number, max_new_tokens=tokens)
        return replace(row, row=replace(row.row, sampling=Sampling(**sampling)))

    def begin(self, row: EngineRow) -> tuple[Written, GeneratingRow]:
        written = Written(row, [], SimpleQueue())
        generating = self.engine.generate(row, written.pieces.append, written.ended.put)
        return written, generating

    def alone(self, row: EngineRow) -> Output:
        return self.begin(row)[0].wait()

    def expected(self, row: EngineRow) -> str:
        return self.adapters[row.slot - 1].alone_text(row.row)

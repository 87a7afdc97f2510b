"""What an engine is given and what it gives back; free of torch, so anything may import it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from hub.api import HeadKind, Output, Row

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Array = npt.NDArray[np.float32]

__all__ = ["AdapterWeights", "Engine", "EngineInfo", "EngineRow", "LoraPair"]

BARE_SLOT = 0  # all zeros: the bare base


@dataclass(frozen=True, slots=True)
class LoraPair:
    """Low-rank update of one linear layer: y += b @ (a @ x), the scaling already folded into b."""

    a: Array  # [r, in]
    b: Array  # [out, r]


@dataclass(frozen=True, slots=True)
class AdapterWeights:
    """One adapter's arrays, parsed and checked, independent of any engine.

    `lora` is keyed by module path inside the backbone ("encoder.layer.0.attention.self.query").
    `head` is keyed by parameter path in the head model outside the backbone ("classifier.weight").
    """

    kind: HeadKind
    lora: Mapping[str, LoraPair]
    head: Mapping[str, Array]
    num_labels: int  # C; 2 for SPAN; 0 where the kind has no head
    sha256: str

    @property
    def rank(self) -> int:
        """Largest rank over the layers."""
        return max((pair.a.shape[0] for pair in self.lora.values()), default=0)

    @property
    def nbytes(self) -> int:
        """Bytes of all arrays as float32."""
        pairs = sum(pair.a.nbytes + pair.b.nbytes for pair in self.lora.values())
        return int(pairs + sum(array.nbytes for array in self.head.values()))


@dataclass(frozen=True, slots=True)
class EngineRow:
    """A row, the slot that holds its adapter, and what to compute for it."""

    row: Row
    slot: int
    head: HeadKind


@dataclass(frozen=True, slots=True)
class EngineInfo:
    """What an engine says of itself; sizes in bytes."""

    name: str
    device: str
    dtype: str
    slots: int
    base_bytes: int
    slot_bytes: int
    note: str = ""  # what is unusual now: something still being prepared, or a fallback and why


class Engine(Protocol):
    """Runs rows on one base.

    `run` is called from one thread at a time. `write` and `clear` may be called from another thread
    while `run` is under way, for slots that no row of that run names.
    """

    def check(self, weights: AdapterWeights) -> None:
        """Raise BadAdapter (or a subclass) if `weights` cannot run on this base."""

    def write(self, slot: int, weights: AdapterWeights) -> None:
        """Put `weights` into a free slot (from 1), growing rank or label stacks if needed."""

    def clear(self, slot: int) -> None:
        """Zero a slot."""

    def run(self, rows: Sequence[EngineRow]) -> list[Output]:
        """Compute all rows in one forward (GENERATE rows in one generate call); keeps the order.

        Raises:
            EngineFailed: the forward failed; no row has an answer.
        """

    def settle(self, timeout: float) -> bool:
        """Wait for preparation that goes on in the background; False if it is not over after `timeout` s.

        Rows run correctly before; they may run slower.
        """

    def info(self) -> EngineInfo:
        """Describe the engine."""

    def close(self) -> None:
        """Free the device memory."""

"""The engine protocol: its inputs and outputs; free of torch, so any module may import it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from hub.api import HeadKind, Output, Row
from hub.engine.shares import Flow
from hub.errors import HubError

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Array = npt.NDArray[np.float32]

__all__ = [
    "BARE_SLOT",
    "AdapterWeights",
    "Engine",
    "EngineInfo",
    "EngineRow",
    "Generating",
    "GenerationInfo",
    "GenerationLimits",
    "LayerUpdate",
    "OnEnd",
    "OnText",
]

BARE_SLOT = 0  # all zeros: the bare base


@dataclass(frozen=True, slots=True)
class LayerUpdate:
    """The update of one layer; None where the adapter changes nothing.

    A linear layer computes y = output_scale * (W (input_scale * x) + bias) + b (a x), the scaling of
    LoRA folded into b. With `magnitude` (DoRA, arXiv:2402.09353) each output is scaled by
    magnitude / |row of W + b a|.
    """

    a: Array | None = None  # [r, in]
    b: Array | None = None  # [out, r]
    magnitude: Array | None = None  # [out]
    input_scale: Array | None = None  # [in]; IA3 (arXiv:2205.05638) on a feed-forward layer
    output_scale: Array | None = None  # [out]; IA3 elsewhere

    @property
    def rank(self) -> int:
        return 0 if self.a is None else int(self.a.shape[0])

    @property
    def changes(self) -> bool:
        """False if the update does not change the layer's output.

        A magnitude counts as a change: whether it is one depends on the weights of the base.
        """
        return self.magnitude is not None or self.changes_any_base

    @property
    def changes_any_base(self) -> bool:
        """Whether the update changes the layer's output for any weights of the base."""
        scales = (self.input_scale, self.output_scale)
        return (self.b is not None and bool(self.b.any())) or any(
            s is not None and bool((s != 1).any()) for s in scales
        )

    @property
    def arrays(self) -> list[Array]:
        """The arrays that are not None."""
        values = (self.a, self.b, self.magnitude, self.input_scale, self.output_scale)
        return [value for value in values if value is not None]


@dataclass(frozen=True, slots=True)
class AdapterWeights:
    """The checked arrays of one adapter, independent of any engine.

    Paths are those of the model PEFT wrapped, head included: "bert.encoder.layer.0.attention.self.query".
    `layers` is keyed by module path, `full` by the path of a parameter that was trained whole
    ("classifier.weight", and biases trained beside LoRA). A `merged` adapter runs on a copy of the base of
    its own: its `full` holds every parameter that differs from the base, and `layers` is empty. `int8`: its
    answers were measured on an int8 base and are good enough.
    """

    kind: HeadKind
    layers: Mapping[str, LayerUpdate]
    full: Mapping[str, Array]
    num_labels: int  # C; 2 for SPAN; 0 where the kind has no head
    sha256: str
    merged: bool = False
    int8: bool = False

    @property
    def rank(self) -> int:
        """Largest rank over the layers."""
        return max((update.rank for update in self.layers.values()), default=0)

    @property
    def changes(self) -> bool:
        """False if the adapter does not change the backbone's output.

        A bias that was trained beside the layers counts as a change, as a magnitude does.
        """
        biases = (name.removesuffix(".bias") for name in self.full if name.endswith(".bias"))
        return (
            self.merged
            or any(update.changes for update in self.layers.values())
            or any(f"{module}.weight" not in self.full for module in biases)  # a head has both
        )

    @property
    def changes_any_base(self) -> bool:
        """Whether the adapter changes the backbone's output for any weights of the base."""
        return self.merged or any(update.changes_any_base for update in self.layers.values())

    @property
    def nbytes(self) -> int:
        """Bytes of all arrays as float32."""
        updates = sum(array.nbytes for update in self.layers.values() for array in update.arrays)
        return int(updates + sum(array.nbytes for array in self.full.values()))


@dataclass(frozen=True, slots=True)
class EngineRow:
    """A row, the slot that holds its adapter, and what to compute for it.

    A row of `head` SEQUENCE gets the scores of the head in its slot, which may also be of kind SEQUENCE_MEAN.

    `flow`: with whom a row that generates text shares the engine; by default with those of other slots.
    """

    row: Row
    slot: int
    head: HeadKind
    flow: Flow | None = None


@dataclass(frozen=True, slots=True)
class GenerationLimits:
    """How many texts are generated at once on a base, and the bytes of their keys and values.

    `prefix_bytes`: of those that are kept for texts that begin alike.
    """

    rows: int = 32
    nbytes: int = 2_000_000_000
    prefix_bytes: int = 256_000_000


@dataclass(frozen=True, slots=True)
class GenerationInfo:
    """The texts in progress on an engine, and the tokens counted since it was built.

    `running` and `waiting` are texts, not beams. `memory` is the share of `GenerationLimits.nbytes` that is
    allocated. `cached_tokens` of the prompts were not computed again.
    """

    running: int = 0
    waiting: int = 0
    memory: float = 0.0
    prompt_tokens: int = 0
    cached_tokens: int = 0
    generated_tokens: int = 0


@dataclass(frozen=True, slots=True)
class EngineInfo:
    """The description of an engine; sizes in bytes."""

    name: str
    device: str
    dtype: str
    slots: int
    base_bytes: int
    slot_bytes: int
    note: str = ""  # current notices: a preparation in progress, or a fallback with its reason
    choices: str = ""  # backbones for small and for large batches
    generation: GenerationInfo | None = None  # of an engine that `streams`


class Generating(Protocol):
    """A row for which an engine generates text; `started_at` is when it left the queue, 0.0 before.

    The clock is time.perf_counter.
    """

    started_at: float

    def cancel(self) -> None:
        """End the row before the next step, with the text so far."""


OnText = Callable[[str], None]
OnEnd = Callable[[Output | HubError], None]


class Engine(Protocol):
    """Runs rows on one base.

    Other threads may call any method during `run`, but `write` and `clear` only for slots that no running
    row uses. Forwards run one after another, except those `aside`.
    """

    def check(self, weights: AdapterWeights) -> None:
        """Raise BadAdapter (or a subclass) if `weights` cannot run on this base."""

    def write(self, slot: int, weights: AdapterWeights) -> None:
        """Write `weights` to a free slot (from 1); grows the rank or label stacks if needed."""

    def clear(self, slot: int) -> None:
        """Zero a slot."""

    def run(self, rows: Sequence[EngineRow], *, aside: bool = False) -> list[Output]:
        """Compute all rows in one forward (GENERATE rows in one generate call); keeps the order.

        `aside`: in parallel to a forward in progress, if the engine can; else after it, and before the next.
        Use it for few rows only, because it slows forwards down.

        Raises:
            EngineFailed: the forward failed; no row has an answer.
        """

    @property
    def packs(self) -> bool:
        """Whether rows that score share sequences, so that little padding is computed."""

    @property
    def streams(self) -> bool:
        """Whether the engine implements `generate`."""

    def generate(self, row: EngineRow, on_text: OnText, on_end: OnEnd) -> Generating:
        """Start to generate the text of a row, and return at once; other rows may join and leave meanwhile.

        Both callbacks run in the engine's thread: `on_text` for each piece of text, and `on_end` once, when
        the engine has removed the row and its slot may be reused.

        Raises:
            BadRequest, TooLarge: no text can be generated from the row; `on_end` is not called.
            BadSampling: the base cannot follow the row's sampling settings.
            NotReady: the engine is closed.
        """

    def settle(self, timeout: float) -> bool:
        """Wait for background preparation; False if it takes longer than `timeout` seconds.

        Rows run correctly before, but may run slower.
        """

    def info(self) -> EngineInfo:
        """Describe the engine."""

    def close(self) -> None:
        """Free the device memory."""

# ruff: noqa: TID253 - imported when an engine is built, and by nothing else
"""The engine: one base, the adapters in its slots, and the backbones that may run a batch."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import torch
from transformers import PreTrainedConfig

from hub.api import HeadKind, Output
from hub.bases.base import Base, BaseKind
from hub.engine.batch import BatchLimits, collate, distinct
from hub.engine.choice.timings import Timings
from hub.engine.generate.generator import TextGenerator
from hub.engine.generate.open import can_decode
from hub.engine.generate.rows import GeneratingRow
from hub.engine.protocol import (
    BARE_SLOT,
    AdapterWeights,
    EngineInfo,
    EngineRow,
    GenerationLimits,
    OnEnd,
    OnText,
)
from hub.engine.tokenizer import load_tokenizer
from hub.engine.torch.aside import Aside
from hub.engine.torch.backbone import TorchBackbone
from hub.engine.torch.generate import Generator
from hub.engine.torch.heads import HEADED, HeadSlots, Hidden, pool_rows
from hub.engine.torch.loading import base_tensors, end_tokens, load_model
from hub.engine.torch.packed import run_packed
from hub.engine.torch.placement import Placed, Placement
from hub.engine.torch.tensors import BatchTensors, on_device
from hub.errors import BadAdapter, BadSampling, EngineFailed, HubError, UnsupportedAdapter

if TYPE_CHECKING:
    from hub.engine.choice.backbones import Backbones
    from hub.engine.protocol import Array

__all__ = ["SlotEngine"]


@dataclass(frozen=True, slots=True)
class _Occupant:
    """The contents of a slot; `alone`: the backbone of a merged adapter."""

    kind: HeadKind
    num_labels: int
    sha256: str
    alone: TorchBackbone | None = None


class SlotEngine:
    """Runs rows on one base; implements `Engine`."""

    def __init__(
        self,
        base: Base,
        backbones: Backbones,
        *,
        slots: int,
        device: str = "cpu",
        own: TemporaryDirectory[str] | None = None,
        generation: GenerationLimits = GenerationLimits(),  # noqa: B008 - frozen
    ) -> None:
        self._own = own
        self._base = base
        self._slots = slots
        self._device = torch.device(device)
        self._backbones = backbones
        model = backbones.reference.model
        config, tokenizer = model.config, load_tokenizer(base)
        types = getattr(config, "type_vocab_size", 0) or 1
        vocabulary = 1 if base.image else config.vocab_size
        self._limits = BatchLimits(base.max_length, vocabulary, types, base.image)
        self._pad = tokenizer.pad_token_id or 0
        self._heads: dict[HeadKind, HeadSlots] = {}
        self._headless: dict[HeadKind, str] = {}  # reasons
        self._make_heads(config, backbones.pooler)
        self._placement = Placement(backbones.reference, self._heads)
        self._generator: Generator | None = None
        self._texts: TextGenerator | None = None  # None: the base's rows cannot join and leave
        if base.kind.generates:
            self._generator = Generator(model, tokenizer, base.max_length)
            if can_decode(model, base.max_length):
                start = getattr(config, "decoder_start_token_id", None) or 0
                self._texts = TextGenerator(
                    base, tokenizer, self._limits, generation, start, end_tokens(model, tokenizer)
                )
        self._occupants: Mapping[int, _Occupant] = {}  # replaced as a whole, never mutated
        self._writing = threading.Lock()  # taken before the locks of `_backbones`
        self._aside = Aside(self._device)  # one for all writes, each of which holds `_writing`

    def check(self, weights: AdapterWeights) -> None:
        self._refuse_kind(weights)
        if weights.merged:
            self._placement.place_merged(weights)
        else:
            self._placement.place(weights)

    def write(self, slot: int, weights: AdapterWeights) -> None:
        if not BARE_SLOT < slot <= self._slots:
            raise ValueError(f"Slot {slot} is not between 1 and {self._slots}.")
        self._refuse_kind(weights)
        with self._writing:
            self._vacate(slot)
        with torch.no_grad():
            placed, alone = self._merge(weights) if weights.merged else (self._placement.place(weights), None)
            with self._writing, self._aside:
                self._backbones.write(slot, placed.backbone, int8=weights.int8)
                for kind, head in self._heads.items():
                    head.write(slot, placed.head if kind is weights.kind.layered else {})
                occupant = _Occupant(weights.kind, weights.num_labels, weights.sha256, alone)
                self._occupants = {**self._occupants, slot: occupant}

    def clear(self, slot: int) -> None:
        with self._writing, torch.no_grad(), self._aside:
            self._vacate(slot)
            self._backbones.write(slot, {})
            for head in self._heads.values():
                head.write(slot, {})

    def run(self, rows: Sequence[EngineRow], *, aside: bool = False) -> list[Output]:
        for row in rows:
            self._refuse(row)
        outputs: dict[int, Output] = {}
        try:
            with torch.inference_mode():
                for indices in self._forwards(rows):
                    found = self._forward([rows[i] for i in indices], aside)
                    outputs.update(zip(indices, found, strict=True))
        except HubError:
            raise
        except Exception as error:  # torch and onnxruntime share no error class
            raise EngineFailed(
                f"A forward of {len(rows)} rows on {self._base.name!r} failed: {error}"
            ) from error
        return [outputs[index] for index in range(len(rows))]

    @property
    def packs(self) -> bool:
        return self._backbones.packs

    @property
    def streams(self) -> bool:
        return self._texts is not None

    def generate(self, row: EngineRow, on_text: OnText, on_end: OnEnd) -> GeneratingRow:
        assert self._texts is not None, "only an engine that `streams`"
        return self._texts.begin(*self._texts_of(row), on_text, on_end)

    def settle(self, timeout: float) -> bool:
        return self._backbones.settle(timeout)

    @property
    def linears(self) -> dict[str, tuple[int, int]]:
        """The input and output width of every linear layer that an adapter may change, by path."""
        layers = self._placement.layers.items()
        return {p: (m.in_features, m.out_features) for p, m in layers if isinstance(m, torch.nn.Linear)}

    @property
    def timings(self) -> Timings | None:
        """The measured times of the backbones, if any."""
        return self._backbones.timings

    @property
    def backbones(self) -> tuple[str, ...]:
        """The names of the backbones that can run a batch now."""
        return tuple(b.name for b in self._backbones.all if b.covers(self._backbones.filled))

    def warm(self, timeout: float) -> bool:
        """Prepare for rows of the bare base as well; waits as `settle` does."""
        return self._backbones.warm(timeout)

    def info(self) -> EngineInfo:
        return EngineInfo(
            name=self._backbones.name,
            device=str(self._device),
            dtype=str(self._backbones.reference.dtype).removeprefix("torch."),
            slots=self._slots,
            base_bytes=self._backbones.nbytes,
            slot_bytes=self._backbones.slot_bytes + sum(head.slot_bytes for head in self._heads.values()),
            note=self._backbones.note,
            choices=self._backbones.choices(),
            generation=self._texts.info() if self._texts else None,
        )

    def close(self) -> None:
        if texts := self.__dict__.pop("_texts", None):
            texts.close()
        backbones = self.__dict__.pop("_backbones", None)
        for name in ("_heads", "_generator", "_placement"):
            self.__dict__.pop(name, None)
        if backbones:
            backbones.close()
        if self._own:
            self._own.cleanup()
        if self._device.type == "cuda":
            torch.cuda.empty_cache()

    def _make_heads(self, config: PreTrainedConfig, pooler: torch.nn.Module | None) -> None:
        weights = base_tensors(self._base)
        for kind in HEADED:
            try:
                self._heads[kind] = HeadSlots(
                    kind, config, self._slots, self._device, pooler, weights, self._base.kind
                )
            except (UnsupportedAdapter, ValueError) as error:  # ValueError: the family has no such head
                self._headless[kind] = f"Base {self._base.name!r} has no {kind} head to serve: {error}"

    def _merge(self, weights: AdapterWeights) -> tuple[Placed, TorchBackbone]:
        """Build the backbone of a merged adapter; only its head is written to the slot."""
        fresh = load_model(self._base, self._device, dtype=self._backbones.reference.dtype)
        placed, changed = self._placement.place_merged(weights)
        return placed, self._backbones.reference.with_weights(changed, fresh)

    def _vacate(self, slot: int) -> None:
        """Remove the adapter of a slot, and free its backbone if it is merged."""
        occupant = self._occupants.get(slot)
        self._occupants = {key: value for key, value in self._occupants.items() if key != slot}
        if occupant and occupant.alone:
            occupant.alone.free()

    def _forwards(self, rows: Sequence[EngineRow]) -> list[list[int]]:
        """Group row indices by forward: scored rows, generated rows, merged adapters by slot."""
        groups: dict[tuple[bool, int], list[int]] = {}
        for index, row in enumerate(rows):
            occupant = self._occupants.get(row.slot)
            alone = row.slot if occupant and occupant.alone else BARE_SLOT
            groups.setdefault((row.head is HeadKind.GENERATE, alone), []).append(index)
        return list(groups.values())

    def _forward(self, rows: Sequence[EngineRow], aside: bool) -> list[Output]:
        occupant = self._occupants.get(rows[0].slot)
        alone = occupant.alone if occupant else None
        if rows[0].head is HeadKind.GENERATE and self._texts:
            return self._texts.run([self._texts_of(row) for row in rows])
        if rows[0].head is HeadKind.GENERATE:
            # transformers does not document whether two calls of `generate` may run concurrently.
            with self._backbones.busy:
                return self._generate(rows, alone)
        return self._score(rows, alone, aside)

    def _score(self, rows: Sequence[EngineRow], alone: TorchBackbone | None, aside: bool) -> list[Output]:
        run_rows, places = distinct(rows)
        batch = collate(run_rows, self._limits, self._pad)
        tensors = BatchTensors.of(batch, self._device)
        parts: dict[tuple[HeadKind, bool], list[int]] = {}  # rows with outputs of one shape, padding aside
        for i, row in enumerate(rows):
            parts.setdefault((self._kind_of(row), row.row.pooling is None), []).append(i)
        decode = any(kind in self._heads and self._heads[kind].reads_decoder for kind, _ in parts)

        slots = frozenset(batch.slots.tolist())
        run = alone.run if alone else partial(self._backbones.run, slots=slots, aside=aside)
        packs = alone.packs if alone else self.packs
        hidden = run_packed(batch, tensors, self._pad, partial(run, decode=decode), packs=packs)
        # All is computed before anything is copied back: a copy waits for the GPU.
        computed = [
            (index, self._values(kind, tensors, hidden, [places[i] for i in index], run_rows))
            for (kind, _), index in parts.items()
        ]
        outputs: dict[int, Output] = {}
        for index, values in computed:
            for i, value in zip(index, values.cpu().numpy(), strict=True):
                outputs[i] = Output(rows[i].row, self._own_part(value, rows[i]))
        return [outputs[i] for i in range(len(rows))]

    def _values(
        self,
        kind: HeadKind,
        tensors: BatchTensors,
        hidden: Hidden,
        index: Sequence[int],
        rows: Sequence[EngineRow],
    ) -> torch.Tensor:
        """Compute one head kind for the rows at `index`; outputs still include padding."""
        if list(index) != list(range(len(tensors.slots))):
            picked = on_device(index, self._device)
            tensors, hidden = tensors.rows(picked), hidden.rows(picked)
        if kind is HeadKind.EMBEDDING:
            poolings = [pooling for i in index if (pooling := rows[i].row.pooling)]
            states = hidden.states.float()
            return pool_rows(states, tensors.mask, poolings) if poolings else states
        head = self._heads[kind.layered]
        run = head.of_means if kind is HeadKind.SEQUENCE_MEAN else head.run
        return run(hidden, tensors.input_ids, tensors.mask, tensors.slots)

    def _own_part(self, value: Array, row: EngineRow) -> Array:
        """Remove padded labels and tokens."""
        if row.head is HeadKind.EMBEDDING:
            return value if row.row.pooling else value[: len(row.row.input_ids)]
        labels = self._occupants[row.slot].num_labels
        if row.head.declared is HeadKind.SEQUENCE:
            return value[:labels]
        return value[: len(row.row.input_ids), :labels]

    def _kind_of(self, row: EngineRow) -> HeadKind:
        """Return the kind of its slot's head if that gives what the row asks for, else what it asks for."""
        occupant = self._occupants.get(row.slot)
        return occupant.kind if occupant and occupant.kind.declared is row.head.declared else row.head

    def _texts_of(self, row: EngineRow) -> tuple[EngineRow, TorchBackbone, str]:
        """Check a row for `TextGenerator`, and add its backbone and the sha256 of its adapter."""
        self._refuse(row)
        collate([row], self._limits, self._pad)  # raises if no forward can take it
        occupant = self._occupants.get(row.slot)
        if occupant is None:
            return row, self._backbones.reference, ""
        return row, occupant.alone or self._backbones.reference, occupant.sha256

    def _generate(self, rows: Sequence[EngineRow], alone: TorchBackbone | None) -> list[Output]:
        assert self._generator is not None, "`run` refuses GENERATE rows on a base that generates no text"
        left = self._base.kind is BaseKind.DECODER
        tensors = BatchTensors.of(collate(rows, self._limits, self._pad, left=left), self._device)
        backbone = alone or self._backbones.reference
        backbone.select(tensors.slots)
        return self._generator.run(rows, tensors.input_ids, tensors.mask, backbone.model)

    def _refuse_kind(self, weights: AdapterWeights) -> None:
        if weights.kind is HeadKind.GENERATE and not self._generator:
            raise BadAdapter(
                f"Base {self._base.name!r} is of kind {self._base.kind} and generates no text. It cannot "
                f"serve a {weights.kind} adapter."
            )
        if reason := self._headless.get(weights.kind.layered):
            raise UnsupportedAdapter(reason)

    def _refuse(self, row: EngineRow) -> None:
        if row.head is HeadKind.GENERATE and not self._generator:
            raise EngineFailed(f"Base {self._base.name!r} generates no text. It cannot run a {row.head} row.")
        if row.row.pixel_values is not None and self._limits.image is None:
            raise EngineFailed(f"Base {self._base.name!r} reads text. It cannot run a row of an image.")
        if not self._texts and not row.row.sampling.is_default:
            raise BadSampling(
                f"Base {self._base.name!r} generates the most likely tokens only, and takes no other "
                "sampling setting. Send none."
            )
        occupant, kind = self._occupants.get(row.slot), self._kind_of(row)
        if kind.layered in self._heads and (occupant is None or occupant.kind is not kind):
            raise EngineFailed(f"Slot {row.slot} holds no adapter with a {row.head} head.")
        if kind.layered in self._headless:
            raise EngineFailed(self._headless[kind.layered])

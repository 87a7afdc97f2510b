# ruff: noqa: TID253 - imported when an engine is built, and by nothing else
"""The reference engine: one torch backbone, slotted in place."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor
from transformers import PreTrainedConfig, PreTrainedModel

from hub.api import HeadKind, Output
from hub.bases.base import Base, BaseKind
from hub.engine.batch import Batch, Limits, collate
from hub.engine.generate import Generator
from hub.engine.heads import BackboneOutput, HeadSlots, mean_pool
from hub.engine.loading import load_model, load_tokenizer, takes_token_types
from hub.engine.lora import LoraLayers, SlotContext
from hub.engine.protocol import BARE_SLOT, AdapterWeights, EngineInfo, EngineRow
from hub.errors import BadAdapter, EngineFailed, HubError, UnsupportedAdapter

if TYPE_CHECKING:
    from hub.engine.protocol import Array

__all__ = ["BatchTensors", "TorchEngine"]

_HEADED = (HeadKind.SEQUENCE, HeadKind.TOKEN, HeadKind.SPAN)


class BatchTensors(NamedTuple):
    """A batch on the device."""

    input_ids: Tensor  # [B, T]
    mask: Tensor  # [B, T]
    token_types: Tensor  # [B, T]
    slots: Tensor  # [B]

    @classmethod
    def of(cls, batch: Batch, device: torch.device) -> BatchTensors:
        arrays = (batch.input_ids, batch.attention_mask, batch.token_type_ids, batch.slots)
        return cls(*(torch.from_numpy(array).to(device) for array in arrays))

    def rows(self, index: Tensor) -> BatchTensors:
        """Return the rows at `index` [n]."""
        return BatchTensors(*(tensor.index_select(0, index) for tensor in self))


class TorchEngine:
    """Runs rows on one base; see `Engine` for what each method promises."""

    def __init__(
        self, base: Base, *, slots: int, device: str = "cpu", threads: int = 0, **loading: Any
    ) -> None:
        if threads:
            torch.set_num_threads(threads)
        self._base = base
        self._slots = slots
        self._device = torch.device(device)
        self._model: PreTrainedModel = load_model(base, self._device, **loading)
        self._backbone: PreTrainedModel = self._model.base_model
        config, tokenizer = self._model.config, load_tokenizer(base)
        self._limits = Limits(base.max_length, config.vocab_size, getattr(config, "type_vocab_size", 0) or 1)
        self._pad = tokenizer.pad_token_id or 0
        self._takes_types = takes_token_types(self._backbone)
        self._context = SlotContext()
        self._lora = LoraLayers(self._backbone, slots, self._context)
        self._heads: dict[HeadKind, HeadSlots] = {}
        self._headless: dict[HeadKind, str] = {}  # reasons
        self._generator: Generator | None = None
        if base.kind is BaseKind.DECODER:
            self._generator = Generator(self._model, tokenizer, base.max_length)
        else:
            self._make_heads(config)
        self._occupants: Mapping[int, tuple[HeadKind, int]] = {}  # slot: kind, C; replaced, never changed
        self._writing = threading.Lock()

    def check(self, weights: AdapterWeights) -> None:
        if not self._runs(weights.kind):
            raise BadAdapter(f"{self._nature()} It cannot serve a {weights.kind} adapter.")
        if reason := self._headless.get(weights.kind):
            raise UnsupportedAdapter(reason)
        if weights.kind is HeadKind.SEQUENCE and getattr(self._backbone, "pooler", self) is None:
            raise UnsupportedAdapter(
                f"Base {self._base.name!r} came without a trained pooler, which a {weights.kind} head reads."
            )
        self._lora.check(weights.lora)
        if head := self._heads.get(weights.kind):
            head.check(weights.head, weights.num_labels)

    def write(self, slot: int, weights: AdapterWeights) -> None:
        if not BARE_SLOT < slot <= self._slots:
            raise ValueError(f"Slot {slot} is not between 1 and {self._slots}.")
        self.check(weights)
        with self._writing, torch.no_grad():
            self._lora.write(slot, weights.lora)
            for kind, head in self._heads.items():
                head.write(slot, weights.head if kind is weights.kind else {})
            self._occupants = {**self._occupants, slot: (weights.kind, weights.num_labels)}

    def clear(self, slot: int) -> None:
        with self._writing, torch.no_grad():
            self._occupants = {key: value for key, value in self._occupants.items() if key != slot}
            self._lora.clear(slot)
            for head in self._heads.values():
                head.write(slot, {})

    def run(self, rows: Sequence[EngineRow]) -> list[Output]:
        for row in rows:
            self._refuse(row)
        generated = [index for index, row in enumerate(rows) if row.head is HeadKind.GENERATE]
        scored = [index for index, row in enumerate(rows) if row.head is not HeadKind.GENERATE]
        outputs: dict[int, Output] = {}
        try:
            with torch.inference_mode():
                for indices, compute in ((generated, self._generate), (scored, self._score)):
                    if indices:
                        outputs.update(zip(indices, compute([rows[i] for i in indices]), strict=True))
        except HubError:
            raise
        except Exception as error:  # torch and onnxruntime share no error class
            raise EngineFailed(
                f"A forward of {len(rows)} rows on {self._base.name!r} failed: {error}"
            ) from error
        return [outputs[index] for index in range(len(rows))]

    def settle(self, timeout: float) -> bool:
        return True

    def info(self) -> EngineInfo:
        parameters = list(self._model.parameters())
        return EngineInfo(
            name="torch",
            device=str(self._device),
            dtype=str(parameters[0].dtype).removeprefix("torch."),
            slots=self._slots,
            base_bytes=sum(parameter.nbytes for parameter in parameters),
            slot_bytes=self._lora.slot_bytes + sum(head.slot_bytes for head in self._heads.values()),
        )

    def close(self) -> None:
        for name in ("_model", "_backbone", "_lora", "_heads", "_generator"):
            self.__dict__.pop(name, None)
        if self._device.type == "cuda":
            torch.cuda.empty_cache()

    def _make_heads(self, config: PreTrainedConfig) -> None:
        for kind in _HEADED:
            try:
                self._heads[kind] = HeadSlots(kind, config, self._slots, self._device)
            except (UnsupportedAdapter, ValueError) as error:  # ValueError: the family has no such head
                self._headless[kind] = f"Base {self._base.name!r} has no {kind} head to serve: {error}"

    def _hidden(self, tensors: BatchTensors) -> BackboneOutput:
        """Run the backbone once on the whole batch."""
        self._context.slots = tensors.slots
        types = {"token_type_ids": tensors.token_types} if self._takes_types else {}
        output = self._backbone(input_ids=tensors.input_ids, attention_mask=tensors.mask, **types)
        return BackboneOutput(output.last_hidden_state, output.get("pooler_output"))

    def _score(self, rows: Sequence[EngineRow]) -> list[Output]:
        batch = collate(rows, self._limits, self._pad)
        tensors = BatchTensors.of(batch, self._device)
        output = self._hidden(tensors)
        outputs: dict[int, Output] = {}
        for kind in dict.fromkeys(row.head for row in rows):
            index = [i for i, row in enumerate(rows) if row.head is kind]
            values = self._values(kind, tensors, output, index)
            for i, value in zip(index, values, strict=True):
                outputs[i] = Output(rows[i].row, self._own_part(value, rows[i]))
        return [outputs[i] for i in range(len(rows))]

    def _values(
        self, kind: HeadKind, tensors: BatchTensors, output: BackboneOutput, index: Sequence[int]
    ) -> Array:
        """Compute one kind for the rows at `index`; padded labels and tokens are still there."""
        if len(index) < len(tensors.slots):
            picked = torch.tensor(index, device=self._device)
            tensors, output = tensors.rows(picked), output.rows(picked)
        if kind is HeadKind.EMBEDDING:
            values = mean_pool(output.hidden.float(), tensors.mask)
        else:
            values = self._heads[kind].run(output, tensors.input_ids, tensors.mask, tensors.slots)
        array: Array = values.cpu().numpy()
        return array

    def _own_part(self, value: Array, row: EngineRow) -> Array:
        """Cut what padding added: labels that other adapters have, tokens that other rows have."""
        if row.head is HeadKind.EMBEDDING:
            return value
        labels = self._occupants[row.slot][1]
        return value[:labels] if row.head is HeadKind.SEQUENCE else value[: len(row.row.input_ids), :labels]

    def _generate(self, rows: Sequence[EngineRow]) -> list[Output]:
        assert self._generator is not None, "run refuses GENERATE rows where nothing generates"
        tensors = BatchTensors.of(collate(rows, self._limits, self._pad, left=True), self._device)
        self._context.slots = tensors.slots
        return self._generator.run(rows, tensors.input_ids, tensors.mask)

    def _runs(self, kind: HeadKind) -> bool:
        return (kind is HeadKind.GENERATE) == (self._generator is not None)

    def _nature(self) -> str:
        does = "generates text only" if self._generator else "generates no text"
        return f"Base {self._base.name!r} is of kind {self._base.kind} and {does}."

    def _refuse(self, row: EngineRow) -> None:
        if not self._runs(row.head):
            raise EngineFailed(f"{self._nature()} It cannot run a {row.head} row.")
        kind, _ = self._occupants.get(row.slot, (None, 0))
        if row.head in self._heads and kind is not row.head:
            raise EngineFailed(f"Slot {row.slot} holds no adapter with a {row.head} head.")

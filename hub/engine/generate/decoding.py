# ruff: noqa: TID253 - imported by the torch engine only
"""The decoding of one model: each step decodes a token of every row, then prefills a piece of a prompt."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from hub.api import FinishReason
from hub.engine.generate.arena import Arena, column_bytes
from hub.engine.generate.rows import GeneratingRow, MemoryLimit, Turns
from hub.engine.generate.sampling import BaseRules, Chooser
from hub.engine.generate.text import TextStream
from hub.errors import EngineFailed, HubError

__all__ = ["Decoding", "can_decode", "end_tokens"]

log = logging.getLogger(__name__)

PREFILL_TOKENS = {"cpu": 256, "cuda": 2048}


class Decoding:
    """The generating rows of one decoder: live rows are 0..n-1 of the arena, rows in prefill follow.

    `step` and `add` must be called from one thread.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        select: Callable[[Tensor], None],
        tokenizer: PreTrainedTokenizerBase,
        *,
        max_rows: int,
        max_bytes: int,
    ) -> None:
        self._model = model
        self._select = select
        self._tokenizer = tokenizer
        self._device = model.device
        config = model.config.get_text_config(decoder=True)
        self._limit = MemoryLimit(max_rows, max_bytes, column_bytes(config, model.dtype))
        self._budget = PREFILL_TOKENS.get(self._device.type, PREFILL_TOKENS["cpu"])
        self._arena = Arena(config.num_hidden_layers, self._device)
        self._ends = end_tokens(model, tokenizer)
        self._rules = BaseRules.of(model.generation_config, sorted(self._ends))
        self._eager = config._attn_implementation == "eager"  # private in transformers 5.23
        self._waiting = Turns()
        self._live: list[_Live] = []
        self._prefilling: list[_Live] = []

    def __len__(self) -> int:
        return len(self._waiting) + len(self._live) + len(self._prefilling)

    def add(self, row: GeneratingRow) -> None:
        """Queue a row for prefill.

        Raises:
            Overloaded: it does not fit into memory even alone.
        """
        self._limit.check(row)
        self._waiting.add(row)

    def step(self) -> None:
        """Compute one token of every live row, then at most one piece of prefill."""
        self._remove_cancelled()
        if self._live:
            self._forward(self._live, first=0)
        self._prefill()
        if not len(self):
            self._arena.clear()

    def fail(self, error: HubError) -> None:
        """End every row with an error."""
        for live in [*self._live, *self._prefilling]:
            live.end(error)
        for row in self._waiting.drop(lambda row: True):
            row.end(error)
        self._live, self._prefilling = [], []
        self._arena.clear()

    def _remove_cancelled(self) -> None:
        for row in self._waiting.drop(lambda row: row.cancelled):
            row.end()
        for live in [live for live in (*self._live, *self._prefilling) if live.row.cancelled]:
            self._leave(live, None)

    def _prefill(self) -> None:
        if not self._prefilling:
            self._prefilling = self._admit()
        if not self._prefilling:
            return
        self._forward(self._prefilling, first=len(self._live), budget=self._budget)
        ready = [live for live in self._prefilling if live.row.tokens]
        assert len(ready) in (0, len(self._prefilling)), "a prompt in parts is alone"
        self._live += ready
        self._prefilling = self._prefilling[len(ready) :]

    def _admit(self) -> list[_Live]:
        """Admit the next rows: as many short prompts as fit in one piece, or one long prompt."""
        admitted: list[_Live] = []
        columns = max((live.row.columns for live in self._live), default=0)
        while row := self._waiting.peek():
            columns = max(columns, row.columns)
            rows = len(self._live) + len(admitted) + 1
            padded = max(len(row.prompt), *(len(one.row.prompt) for one in admitted), 0) * (len(admitted) + 1)
            if not self._limit.fits(rows, columns) or (admitted and padded > self._budget):
                break
            admitted.append(self._begin(self._waiting.take()))
            self._arena.reserve(rows, columns, self._limit.max_rows(columns))
        return admitted

    def _begin(self, row: GeneratingRow) -> _Live:
        chooser = Chooser(row.sampling, self._rules, row.prompt, self._device)
        return _Live(row, chooser, TextStream(self._tokenizer, row.sampling.stop))

    def _forward(self, rows: list[_Live], first: int, budget: int | None = None) -> None:
        """Run the pending tokens of adjacent rows; if that fails, one row at a time."""
        try:
            logits = self._logits(rows, first, budget)
        except Exception as error:
            log.error("A step of %d generating rows failed.", len(rows), exc_info=error)
            self._forward_alone(rows, first, budget)
            return
        self._advance(rows, logits)

    def _forward_alone(self, rows: list[_Live], first: int, budget: int | None) -> None:
        """Run rows again one by one, so that only those that fail alone end with an error."""
        for live in list(rows):
            try:
                logits = self._logits([live], first + rows.index(live), budget)
            except Exception as error:
                message = f"The engine failed ({type(error).__name__})."
                self._leave(live, error if isinstance(error, HubError) else EngineFailed(message))
                continue
            self._advance([live], logits)

    def _logits(self, rows: Sequence[_Live], first: int, budget: int | None) -> Tensor:
        """Return the logits after each row's pending tokens, [n, V]."""
        pending = [live.row.pending[:budget] for live in rows]
        lengths = [len(tokens) for tokens in pending]
        width = max(lengths)
        ids = torch.zeros(len(rows), width, dtype=torch.int64)
        for index, tokens in enumerate(pending):
            ids[index, width - len(tokens) :] = torch.tensor(tokens)
        positions, mask = self._arena.set_window(first, [live.row.stored for live in rows], lengths)
        self._select(torch.tensor([live.row.slot for live in rows], device=self._device))
        output = self._model(
            input_ids=ids.to(self._device),
            position_ids=positions,
            attention_mask=self._additive(mask) if self._eager else mask,
            past_key_values=self._arena.cache,
            use_cache=True,
            logits_to_keep=1,
        )
        for live, length in zip(rows, lengths, strict=True):
            live.row.stored += length
        logits: Tensor = output.logits[:, -1].float()
        return logits

    def _additive(self, mask: Tensor) -> Tensor:
        """Return the mask that `eager` attention adds to the scores."""
        dtype = self._model.dtype
        zeros = torch.zeros(mask.shape, dtype=dtype, device=mask.device)
        return zeros.masked_fill(~mask, torch.finfo(dtype).min)

    def _advance(self, rows: Sequence[_Live], logits: Tensor) -> None:
        """Append the next token of each row whose prompt is complete, and remove rows that have ended."""
        likely = logits.argmax(-1).tolist()
        ended: list[tuple[_Live, HubError | None]] = []
        for live, scores, token in zip(rows, logits, likely, strict=True):
            if live.row.stored < len(live.row.prompt):
                continue
            try:
                self._append(live, token if live.chooser.plain else live.chooser.choose(scores))
            except Exception as error:
                log.error("The next token of a row could not be chosen.", exc_info=error)
                ended.append((live, EngineFailed(f"The engine failed ({type(error).__name__}).")))
                continue
            if live.row.reason:
                ended.append((live, None))
        for live, failure in ended:
            self._leave(live, failure)

    def _append(self, live: _Live, token: int) -> None:
        row = live.row
        row.tokens.append(token)
        live.chooser.record(token)
        if token in self._ends:
            row.reason = FinishReason.STOP
        else:
            live.emit(live.stream.add(token))
            if live.stream.stopped:
                row.reason = FinishReason.STOP
            elif len(row.tokens) == row.limit:
                row.reason = FinishReason.LENGTH
        if row.reason:
            live.emit(live.stream.end())

    def _leave(self, live: _Live, error: HubError | None) -> None:
        """Remove a row; the last live row moves to its place, and the last row in prefill to that one's."""
        if live in self._live:
            at = self._live.index(live)
            last = len(self._live) - 1
            if at != last:
                self._arena.move(last, at)
                self._live[at] = self._live[last]
            self._live.pop()
            if self._prefilling:
                self._arena.move(last + len(self._prefilling), last)
                self._prefilling = [self._prefilling[-1], *self._prefilling[:-1]]
        else:
            at = self._prefilling.index(live)
            last = len(self._prefilling) - 1
            if at != last:
                self._arena.move(len(self._live) + last, len(self._live) + at)
                self._prefilling[at] = self._prefilling[last]
            self._prefilling.pop()
        live.end(error)


class _Live:
    """A row that is in the arena."""

    __slots__ = ("chooser", "row", "stream")

    def __init__(self, row: GeneratingRow, chooser: Chooser, stream: TextStream) -> None:
        self.row = row
        self.chooser = chooser
        self.stream = stream

    def emit(self, text: str) -> None:
        if text:
            self.row.text += text
            self.row.on_text(text)

    def end(self, error: HubError | None) -> None:
        self.row.end(error)


def can_decode(model: PreTrainedModel, max_length: int) -> bool:
    """Return whether `Decoding` supports a model: a decoder with rotary positions and full attention.

    Others may compute positions from a 2-D mask (ALiBi, OPT) or need a mask for each kind of layer.
    """
    config: Any = model.config.get_text_config(decoder=True)
    rotary = any(name.endswith("rotary_emb") for name, _ in model.named_modules())
    if model.config.is_encoder_decoder or not rotary:
        return False
    kinds = set(getattr(config, "layer_types", None) or ["full_attention"])
    return (
        kinds == {"full_attention"} and (getattr(config, "sliding_window", None) or max_length) >= max_length
    )


def end_tokens(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> frozenset[int]:
    """Return the tokens that end a text: those saved with the base, and the tokenizer's."""
    saved = model.generation_config.eos_token_id
    ends = {*(saved if isinstance(saved, list) else [saved]), tokenizer.eos_token_id} - {None}
    return frozenset(ends)

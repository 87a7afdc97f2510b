# ruff: noqa: TID253 - imported by the torch engine only
"""The decoding of one model: each step decodes a token of every row, then prefills a piece of a prompt."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase
from transformers.utils import ModelOutput

from hub.engine.generate.arena import Arena, column_bytes, decoder_layers
from hub.engine.generate.live import Beams, Live
from hub.engine.generate.prefix import PrefixCache
from hub.engine.generate.rows import GeneratingRow, MemoryLimit, TokenCounts, Turns, columns_of
from hub.engine.generate.sampling import BaseRules, Chooser
from hub.engine.generate.text import TextStream
from hub.engine.protocol import GenerationLimits
from hub.engine.torch.loading import end_tokens
from hub.engine.torch.tensors import on_device, to_device
from hub.errors import BadSampling, EngineFailed, HubError

__all__ = ["Decoding"]

log = logging.getLogger(__name__)

PREFILL_TOKENS = {"cpu": 256, "cuda": 2048}  # in one piece
PIECES = 4  # admitted at once, before rows that arrive meanwhile


class Decoding:
    """The generating rows of one decoder: live rows are 0..n-1 of the arena, rows in prefill follow.

    `step` and `add` must be called from one thread.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        select: Callable[[Tensor], None],
        tokenizer: PreTrainedTokenizerBase,
        limits: GenerationLimits,
        prefixes: PrefixCache,
        counts: TokenCounts,
    ) -> None:
        self._model = model
        self._counts = counts
        self._prefixes = prefixes
        self._select = select
        self._tokenizer = tokenizer
        self._device = model.device
        config = model.config.get_text_config(decoder=True)
        layers = decoder_layers(model)
        self._limit = MemoryLimit(limits.rows, limits.nbytes, column_bytes(config, layers, model.dtype))
        self._budget = PREFILL_TOKENS.get(self._device.type, PREFILL_TOKENS["cpu"])
        self._arena = Arena(layers, self._device)
        self._arenas = [self._arena]
        self._ends = end_tokens(model, tokenizer)
        self._rules = BaseRules.of(model.generation_config, sorted(self._ends), self._device)
        self._eager = config._attn_implementation == "eager"  # private in transformers 5.23
        self._waiting = Turns()
        self._live: list[Live] = []
        self._prefilling: list[Live] = []

    def __len__(self) -> int:
        return len(self._waiting) + len(self._live) + len(self._prefilling)

    @property
    def running(self) -> int:
        """Texts that have left the queue."""
        return sum(live.leads for live in (*self._live, *self._prefilling))

    @property
    def waiting(self) -> int:
        """Texts in the queue."""
        return len(self._waiting)

    @property
    def memory(self) -> float:
        """The allocated share of the limit."""
        return sum(arena.nbytes for arena in self._arenas) / self._limit.nbytes

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
            self._clear()

    def fail(self, error: HubError) -> None:
        """End every row with an error."""
        for live in [*self._live, *self._prefilling]:
            if live.leads:
                live.end(error)
        for row in self._waiting.drop(lambda row: True):
            row.end(error)
        self._live, self._prefilling = [], []
        self._clear()

    def _remove_cancelled(self) -> None:
        for row in self._waiting.drop(lambda row: row.cancelled):
            row.end()
        for live in [live for live in (*self._live, *self._prefilling) if live.row.cancelled]:
            self._leave(live, None)

    def _prefill(self) -> None:
        """Compute the prompts of the next rows, or a part of a long prompt."""
        if not self._prefilling:
            self._admit()
        if not self._prefilling:
            return
        self._forward(self._next_piece(), first=len(self._live), budget=self._budget)
        ready = [live for live in self._prefilling if live.row.tokens]
        self._prefilling = self._prefilling[len(ready) :]
        self._live += ready
        for live in ready:
            self._cache_prefix(live.row, self._live.index(live))
            if live.beams:
                self._spread(live, live.beams)

    def _next_piece(self) -> list[Live]:
        """Return as many rows in prefill as fit in one piece with their padding, at least one."""
        piece: list[Live] = []
        longest = 0
        for live in self._prefilling:
            longest = max(longest, self._to_compute(live.row))
            if piece and longest * (len(piece) + 1) > self._budget:
                break
            piece.append(live)
        return piece

    def _spread(self, live: Live, beams: Beams) -> None:
        """Copy the keys and values of a prompt to a row for each beam."""
        added, first = beams.spread(), len(self._live)
        self._move_prefilling(first, first + len(added))
        sources = [self._live.index(live)] * len(added)
        for arena in self._arenas:
            arena.copy(sources, range(first, first + len(added)))
        self._live += added

    def _move_prefilling(self, source: int, target: int) -> None:
        """Move the rows in prefill that are at arena row `source` and after it."""
        moved = self._prefilling[min(source, target) - len(self._live) :]
        if any(live.row.stored for live in moved):
            for arena in self._arenas:
                arena.copy(range(source, source + len(moved)), range(target, target + len(moved)))

    def _row_of(self, live: Live) -> int:
        """Return the row of the arena."""
        if live in self._live:
            return self._live.index(live)
        return len(self._live) + self._prefilling.index(live)

    def _admit(self) -> None:
        """Admit the next rows, and sort them so that prompts of similar length are computed together."""
        prefixes: dict[Live, list[Tensor]] = {}
        tokens = 0
        while row := self._waiting.peek():
            joining = [one for one in (*(live.row for live in prefixes), row) for _ in range(one.places)]
            rows = [*(live.row for live in self._live), *joining]
            columns = columns_of(rows)
            prefix = self._cached_prefix(row)
            row.cached = sum(states.shape[2] for states in prefix)
            tokens += self._to_compute(row) - row.cached
            if not self._limit.fits(len(rows), columns) or (prefixes and tokens > PIECES * self._budget):
                break
            live = self._begin(row)
            self._prefilling.append(live)  # if anything fails from here on, `fail` ends it
            self._waiting.take()
            prefixes[live] = prefix
            self._counts.prompt += len(row.row.input_ids)
            self._counts.cached += row.cached
            self._reserve(rows, self._limit.max_rows(columns))
        self._prefilling.sort(key=lambda live: self._to_compute(live.row) - live.row.cached)
        for index, live in enumerate(self._prefilling, len(self._live)):
            if prefix := prefixes[live]:
                self._arena.write(index, torch.cat(prefix, dim=2))
                live.row.stored = live.row.cached

    def _to_compute(self, row: GeneratingRow) -> int:
        """Return how many tokens the prefill of a row has yet to compute."""
        return len(row.prompt) - row.stored

    def _cached_prefix(self, row: GeneratingRow) -> list[Tensor]:
        """Return the cached keys and values of the prompt's beginning; its last token is always computed."""
        return self._prefixes.find(row.version, row.prompt[:-1])

    def _cache_prefix(self, row: GeneratingRow, index: int) -> None:
        """Cache the stored tokens of arena row `index`."""
        tokens = [*row.prompt, *row.tokens][: row.stored]
        self._prefixes.store(row.version, tokens, partial(self._arena.read, index))

    def _reserve(self, rows: Sequence[GeneratingRow], max_rows: int) -> None:
        self._arena.reserve(len(rows), max(row.columns for row in rows), max_rows)

    def _move(self, source: int, target: int) -> None:
        for arena in self._arenas:
            arena.copy([source], [target])

    def _clear(self) -> None:
        for arena in self._arenas:
            arena.clear()

    def _begin(self, row: GeneratingRow) -> Live:
        chooser = Chooser(row.sampling, self._rules, row.prompt, self._device, row.constraint)
        live = Live(row, chooser, TextStream(self._tokenizer, row.sampling.stop))
        if row.places > 1:
            live.beams = Beams(live, self._ends)
        return live

    def _forward(self, rows: Sequence[Live], first: int, budget: int | None = None) -> None:
        """Run the pending tokens of adjacent rows; if that fails, one text at a time."""
        try:
            logits = self._logits(rows, first, budget)
        except Exception as error:
            log.error("A step of %d generating rows failed.", len(rows), exc_info=error)
            self._forward_alone(rows, budget)
            return
        self._advance(rows, logits)

    def _forward_alone(self, rows: Sequence[Live], budget: int | None) -> None:
        """Run texts again one by one, so that only those that fail alone end with an error."""
        for live in [live for live in rows if live.leads]:
            try:
                # Each beam alone: the beams of a text need not be adjacent.
                parts = [self._logits([one], self._row_of(one), budget) for one in live.members]
            except Exception as error:
                message = f"The engine failed ({type(error).__name__})."
                self._leave(live, error if isinstance(error, HubError) else EngineFailed(message))
                continue
            self._advance(live.members, torch.cat(parts))

    def _logits(self, rows: Sequence[Live], first: int, budget: int | None) -> Tensor:
        """Return the logits after each row's pending tokens, [n, V]."""
        pending = [live.row.pending[:budget] for live in rows]
        lengths = [len(tokens) for tokens in pending]
        positions, mask = self._arena.set_window(first, [live.row.stored for live in rows], lengths)
        self._select(on_device([live.row.slot for live in rows], self._device))
        output = self._run(rows, first, self._padded(pending), positions, self._attention(mask))
        for live, length in zip(rows, lengths, strict=True):
            live.row.stored += length
        logits: Tensor = output.logits[:, -1].float()
        return logits

    def _run(
        self, rows: Sequence[Live], first: int, ids: Tensor, positions: Tensor, mask: Tensor
    ) -> ModelOutput:
        """Run the model on `ids` [n, T], padded on the left, of arena rows `first` on."""
        output: ModelOutput = self._model(
            input_ids=ids,
            position_ids=positions,
            attention_mask=mask,
            past_key_values=self._arena.cache,
            use_cache=True,
            logits_to_keep=1,
        )
        return output

    def _padded(self, rows: Sequence[Sequence[int]]) -> Tensor:
        """Pad token ids on the left to [n, T]."""
        ids = torch.zeros(len(rows), max(map(len, rows)), dtype=torch.int64)
        for index, tokens in enumerate(rows):
            ids[index, ids.shape[1] - len(tokens) :] = torch.tensor(tokens)
        return to_device(ids, self._device)

    def _attention(self, mask: Tensor) -> Tensor:
        """Return a mask as the model's attention takes it: `eager` adds it to the scores."""
        if not self._eager:
            return mask
        least = torch.finfo(self._model.dtype).min
        return torch.zeros(mask.shape, dtype=self._model.dtype, device=mask.device).masked_fill(~mask, least)

    def _advance(self, rows: Sequence[Live], logits: Tensor) -> None:
        """Append the next token of each row whose prompt is complete, and remove rows that have ended."""
        likely = logits.argmax(-1).tolist()
        ended: list[tuple[Live, HubError | None]] = []
        running: list[Beams] = []
        for live, scores, token in zip(rows, logits, likely, strict=True):
            if live.row.stored < len(live.row.prompt) or not live.leads:
                continue
            try:
                if live.beams:
                    live.beams.advance(logits[[rows.index(one) for one in live.members]])
                else:
                    live.append(token if live.chooser.plain else live.chooser.choose(scores), self._ends)
            except BadSampling as error:
                ended.append((live, error))
                continue
            except Exception as error:
                log.error("The next token of a row could not be chosen.", exc_info=error)
                ended.append((live, EngineFailed(f"The engine failed ({type(error).__name__}).")))
                continue
            self._counts.generated += 1
            if live.row.reason:
                ended.append((live, None))
            elif live.beams:
                running.append(live.beams)
        self._reorder(running)
        for live, failure in ended:
            self._leave(live, failure)

    def _reorder(self, texts: Sequence[Beams]) -> None:
        """Give each beam the keys and values of the beam that it continues."""
        pairs = [
            (beams.members[parent], beam)
            for beams in texts
            for parent, beam in zip(beams.parents, beams.members, strict=False)
            if beams.members[parent] is not beam
        ]
        if pairs:
            sources, targets = ([self._live.index(one) for one in side] for side in zip(*pairs, strict=True))
            self._arena.copy(sources, targets, max(beam.row.stored for _, beam in pairs))

    def _leave(self, live: Live, error: HubError | None) -> None:
        """Remove a text."""
        if live in self._live and not live.beams and not error:
            self._cache_prefix(live.row, self._live.index(live))
        try:
            for one in live.members:
                self._vacate(one)
        finally:
            live.end(error)

    def _vacate(self, live: Live) -> None:
        """Remove a row; the last live row moves to its place, and the rows in prefill follow."""
        if live in self._live:
            at, last = self._live.index(live), len(self._live) - 1
            self._live[at] = self._live[last]
            self._live.pop()  # before anything is moved, which may fail
            if at != last:
                self._move(last, at)
            self._move_prefilling(last + 1, last)
        else:
            at = self._row_of(live)
            self._prefilling.remove(live)
            self._move_prefilling(at + 1, at)

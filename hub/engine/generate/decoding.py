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

from hub.engine.generate.arena import Arena, column_bytes
from hub.engine.generate.live import Beams, Live
from hub.engine.generate.prefix import PrefixCache
from hub.engine.generate.rows import GeneratingRow, MemoryLimit, Turns
from hub.engine.generate.sampling import BaseRules, Chooser
from hub.engine.generate.text import TextStream
from hub.engine.protocol import GenerationLimits
from hub.engine.torch.loading import end_tokens
from hub.errors import BadSampling, EngineFailed, HubError

__all__ = ["Decoding"]

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
        limits: GenerationLimits,
        prefixes: PrefixCache,
    ) -> None:
        self._model = model
        self._prefixes = prefixes
        self._select = select
        self._tokenizer = tokenizer
        self._device = model.device
        config = model.config.get_text_config(decoder=True)
        layers = _decoder_layers(model)
        self._limit = MemoryLimit(limits.rows, limits.nbytes, column_bytes(config, layers, model.dtype))
        self._budget = PREFILL_TOKENS.get(self._device.type, PREFILL_TOKENS["cpu"])
        self._arena = Arena(layers, self._device)
        self._arenas = [self._arena]
        self._ends = end_tokens(model, tokenizer)
        self._rules = BaseRules.of(model.generation_config, sorted(self._ends))
        self._eager = config._attn_implementation == "eager"  # private in transformers 5.23
        self._waiting = Turns()
        self._live: list[Live] = []
        self._prefilling: list[Live] = []

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
        if not self._prefilling:
            self._prefilling = self._admit()
        if not self._prefilling:
            return
        self._forward(self._prefilling, first=len(self._live), budget=self._budget)
        ready = [live for live in self._prefilling if live.row.tokens]
        for index, live in enumerate(ready, len(self._live)):
            self._cache_prefix(live.row, index)
        assert len(ready) in (0, len(self._prefilling)), "a prompt in parts is alone"
        self._live += ready
        self._prefilling = self._prefilling[len(ready) :]
        for live in ready:
            if live.beams:
                self._spread(live, live.beams)

    def _spread(self, live: Live, beams: Beams) -> None:
        """Copy the keys and values of a prompt to a row for each beam."""
        added, first = beams.spread(), len(self._live)
        sources = [self._live.index(live)] * len(added)
        for arena in self._arenas:
            arena.copy(sources, range(first, first + len(added)))
        self._live += added

    def _admit(self) -> list[Live]:
        """Admit the next rows: as many short prompts as fit in one piece, or one long prompt."""
        admitted: list[Live] = []
        longest = 0
        while row := self._waiting.peek():
            joining = [one for one in (*(live.row for live in admitted), row) for _ in range(one.places)]
            rows = [*(live.row for live in self._live), *joining]
            columns = max(one.all_columns for one in rows)
            prefix = self._cached_prefix(row)
            longest = max(longest, self._to_compute(row) - sum(states.shape[2] for states in prefix))
            padded = longest * (len(admitted) + 1)
            if not self._limit.fits(len(rows), columns) or (admitted and padded > self._budget):
                break
            admitted.append(self._begin(self._waiting.take()))
            self._reserve(rows, self._limit.max_rows(columns))
            if prefix:
                self._use_prefix(row, len(self._live) + len(admitted) - 1, torch.cat(prefix, dim=2))
        return admitted

    def _to_compute(self, row: GeneratingRow) -> int:
        """Return how many tokens the prefill of a row computes without cached ones."""
        return len(row.prompt)

    def _cached_prefix(self, row: GeneratingRow) -> list[Tensor]:
        """Return the cached keys and values of the prompt's beginning; its last token is always computed."""
        return self._prefixes.find(row.version, row.prompt[:-1])

    def _use_prefix(self, row: GeneratingRow, index: int, states: Tensor) -> None:
        self._arena.write(index, states)
        row.stored = row.cached = states.shape[2]

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

    def _forward(self, rows: list[Live], first: int, budget: int | None = None) -> None:
        """Run the pending tokens of adjacent rows; if that fails, one text at a time."""
        try:
            logits = self._logits(rows, first, budget)
        except Exception as error:
            log.error("A step of %d generating rows failed.", len(rows), exc_info=error)
            self._forward_alone(rows, first, budget)
            return
        self._advance(rows, logits)

    def _forward_alone(self, rows: list[Live], first: int, budget: int | None) -> None:
        """Run texts again one by one, so that only those that fail alone end with an error."""
        for live in [live for live in rows if live.leads]:
            try:
                # Each beam alone: the beams of a text need not be adjacent.
                parts = [self._logits([one], first + rows.index(one), budget) for one in live.members]
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
        self._select(torch.tensor([live.row.slot for live in rows], device=self._device))
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
        return ids.to(self._device)

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
        for one in live.members:
            self._vacate(one)
        live.end(error)

    def _vacate(self, live: Live) -> None:
        """Remove a row; the last live row moves to its place, and the last row in prefill to that one's."""
        if live in self._live:
            at = self._live.index(live)
            last = len(self._live) - 1
            if at != last:
                self._move(last, at)
                self._live[at] = self._live[last]
            self._live.pop()
            if self._prefilling:
                self._move(last + len(self._prefilling), last)
                self._prefilling = [self._prefilling[-1], *self._prefilling[:-1]]
        else:
            at = self._prefilling.index(live)
            last = len(self._prefilling) - 1
            if at != last:
                self._move(len(self._live) + last, len(self._live) + at)
                self._prefilling[at] = self._prefilling[last]
            self._prefilling.pop()


def _decoder_layers(model: PreTrainedModel) -> int:
    config = model.config
    if not config.is_encoder_decoder:
        return int(config.get_text_config(decoder=True).num_hidden_layers)
    names = ("decoder_layers", "num_decoder_layers", "num_hidden_layers")  # BART, T5, others
    return next(int(layers) for name in names if (layers := getattr(config, name, None)))

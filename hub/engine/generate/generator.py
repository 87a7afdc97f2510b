# ruff: noqa: TID253 - imported by the torch engine only
"""Generates texts on one base, whose rows join and leave between decoding steps."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from functools import partial
from queue import SimpleQueue

from transformers import PreTrainedTokenizerBase

from hub.api import Output
from hub.bases.base import Base, BaseKind
from hub.engine.batch import BatchLimits
from hub.engine.generate.constraints import Constraints
from hub.engine.generate.decoding import Decoding
from hub.engine.generate.loop import GenerationLoop
from hub.engine.generate.open import open_decoding
from hub.engine.generate.prefix import PrefixCache
from hub.engine.generate.rows import GeneratingRow, TokenCounts, check_room
from hub.engine.protocol import EngineRow, GenerationInfo, GenerationLimits, OnEnd, OnText
from hub.engine.torch.backbone import TorchBackbone
from hub.errors import BadSampling, HubError

__all__ = ["TextGenerator"]


class TextGenerator:
    """Generates texts on a base and on the backbones of its merged adapters.

    `start` is the token that a decoder with an encoder begins with; a text ends with one of `ends`.
    """

    def __init__(
        self,
        base: Base,
        tokenizer: PreTrainedTokenizerBase,
        inputs: BatchLimits,
        limits: GenerationLimits,
        start: int,
        ends: Collection[int],
    ) -> None:
        self._inputs = inputs
        self._start = [start] if base.kind is BaseKind.ENCODER_DECODER else None
        self._tokenizer = tokenizer
        self._limits = limits
        self._prefixes = PrefixCache(limits.prefix_bytes)
        self._constraints = Constraints(tokenizer, inputs.vocabulary, ends)
        self._counts = TokenCounts()
        self._loop = GenerationLoop(self._open, base.name)

    def info(self) -> GenerationInfo:
        """Describe the texts in progress and the tokens so far."""
        state, counts = self._loop.state, self._counts
        return GenerationInfo(
            state.running, state.waiting, state.memory, counts.prompt, counts.cached, counts.generated
        )

    def begin(
        self, row: EngineRow, backbone: TorchBackbone, version: str, on_text: OnText, on_end: OnEnd
    ) -> GeneratingRow:
        """Start a row; see `Engine.generate`. `version` is the sha256 of the weights in its slot."""
        generating = self._prepare(row, version, on_text, on_end)
        self._loop.submit(backbone, generating)
        return generating

    def run(self, rows: Sequence[tuple[EngineRow, TorchBackbone, str]]) -> list[Output]:
        """Generate the texts of rows, each with its backbone and version, and wait for them.

        Raises: the error of the first row that failed.
        """
        ended: SimpleQueue[tuple[int, Output | HubError]] = SimpleQueue()

        def end(index: int, outcome: Output | HubError) -> None:
            ended.put((index, outcome))

        prepared = [
            self._prepare(row, version, _ignore, partial(end, index))
            for index, (row, _, version) in enumerate(rows)
        ]
        for generating, (_, backbone, _) in zip(prepared, rows, strict=True):
            self._loop.submit(backbone, generating)
        outcomes = dict(ended.get() for _ in rows)
        outputs: list[Output] = []
        for index in range(len(rows)):
            if isinstance(outcome := outcomes[index], HubError):
                raise outcome
            outputs.append(outcome)
        return outputs

    def close(self) -> None:
        """End all rows with NotReady."""
        self._loop.close()

    def _prepare(self, row: EngineRow, version: str, on_text: OnText, on_end: OnEnd) -> GeneratingRow:
        bias = row.row.sampling.logit_bias
        if (largest := max(bias, default=0)) >= self._inputs.vocabulary:
            raise BadSampling(f"logit_bias names token {largest}; this base has {self._inputs.vocabulary}.")
        prompt = self._start or row.row.input_ids
        limit = check_room(len(prompt), row.row.max_new_tokens, self._inputs.max_length)
        constraint = self._constraints.of(row.row.sampling)
        return GeneratingRow(row.row, prompt, row.slot, limit, on_text, on_end, version, constraint, row.flow)

    def _open(self, backbone: TorchBackbone) -> Decoding:
        return open_decoding(
            backbone.model, backbone.select, self._tokenizer, self._limits, self._prefixes, self._counts
        )


def _ignore(text: str) -> None:
    return

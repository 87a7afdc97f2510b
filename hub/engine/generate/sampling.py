# ruff: noqa: TID253 - imported by the torch engine only
"""Chooses the next token of each row: greedy, or sampled with the row's own settings and generator."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import GenerationConfig
from transformers.generation.logits_process import (
    LogitsProcessor,
    NoBadWordsLogitsProcessor,
    NoRepeatNGramLogitsProcessor,
    SuppressTokensLogitsProcessor,
)

from hub.api import Sampling

__all__ = ["BaseRules", "Chooser"]


@dataclass(frozen=True, slots=True)
class BaseRules:
    """What the base's own generation config asks for, whatever the request."""

    repetition_penalty: float
    processors: tuple[LogitsProcessor, ...]

    @classmethod
    def of(cls, config: GenerationConfig, ends: Sequence[int]) -> BaseRules:
        """Read the settings that `generate` of transformers applies to greedy decoding as well."""
        found: list[LogitsProcessor] = []
        if size := config.no_repeat_ngram_size:
            found.append(NoRepeatNGramLogitsProcessor(size))
        if words := config.bad_words_ids:
            found.append(NoBadWordsLogitsProcessor(words, list(ends)))
        if tokens := config.suppress_tokens:
            found.append(SuppressTokensLogitsProcessor(tokens))
        return cls(config.repetition_penalty or 1.0, tuple(found))


class Chooser:
    """The sampling state of one row: its settings, its random numbers, and the tokens it has seen."""

    def __init__(
        self, sampling: Sampling, rules: BaseRules, prompt: Sequence[int], device: torch.device
    ) -> None:
        self.sampling = sampling
        self._rules = rules
        own = sampling.repetition_penalty
        self._penalty = rules.repetition_penalty if own is None else own
        self._seen = list(prompt)
        self._random: torch.Generator | None = None
        if sampling.temperature > 0:
            # On the CPU whatever the device: a seed gives the same text everywhere.
            self._random = torch.Generator()
            if sampling.seed is None:
                self._random.seed()
            else:
                self._random.manual_seed(sampling.seed)
        self._bias: tuple[Tensor, Tensor] | None = None
        if sampling.logit_bias:
            tokens = torch.tensor(list(sampling.logit_bias), device=device)
            self._bias = tokens, torch.tensor(list(sampling.logit_bias.values()), device=device)

    @property
    def plain(self) -> bool:
        """Whether the next token is the one with the largest logit."""
        return (
            self._random is None
            and self._penalty == 1.0
            and self._bias is None
            and not self._rules.processors
        )

    def saw(self, token: int) -> None:
        """Note a token of the answer."""
        self._seen.append(token)

    def choose(self, logits: Tensor) -> int:
        """Return the next token, from float32 logits [V]."""
        scores = self._adjusted(logits)
        if self._random is None:
            return int(scores.argmax())
        scores = _filtered(scores / self.sampling.temperature, self.sampling)
        # One number a token, and the inverse of the distribution function: it depends on nothing else.
        number = torch.rand(1, generator=self._random, dtype=torch.float64).to(scores.device)
        cumulated = scores.double().softmax(-1).cumsum(-1)
        place = torch.searchsorted(cumulated, number * cumulated[-1], right=True)
        return int(place.clamp(max=len(scores) - 1))

    def _adjusted(self, logits: Tensor) -> Tensor:
        scores = logits.clone()
        if self._penalty != 1.0:  # Keskar et al., arXiv:1909.05858
            seen = torch.tensor(sorted(set(self._seen)), device=scores.device)
            found = scores[seen]
            scores[seen] = torch.where(found < 0, found * self._penalty, found / self._penalty)
        if self._rules.processors:
            seen = torch.tensor([self._seen], device=scores.device)
            for processor in self._rules.processors:
                scores = processor(seen, scores.unsqueeze(0)).squeeze(0)
        if self._bias is not None:
            tokens, values = self._bias
            scores[tokens] += values
        return scores


def _filtered(scores: Tensor, sampling: Sampling) -> Tensor:
    """Exclude tokens by rank (top_k), by cumulated (top_p) and by relative probability (min_p), in turn."""
    if 0 < sampling.top_k < len(scores):
        least = scores.topk(sampling.top_k).values[-1]
        scores = scores.masked_fill(scores < least, -torch.inf)
    if sampling.top_p < 1.0:
        ordered, tokens = scores.sort(descending=True)
        probabilities = ordered.softmax(-1)
        before = probabilities.cumsum(-1) - probabilities
        excluded = before >= sampling.top_p  # never the most likely token: nothing is before it
        scores = scores.scatter(0, tokens, ordered.masked_fill(excluded, -torch.inf))
    if sampling.min_p > 0.0:
        probabilities = scores.softmax(-1)
        scores = scores.masked_fill(probabilities < sampling.min_p * probabilities.max(), -torch.inf)
    return scores

# ruff: noqa: TID253 - imported by the torch engine only
"""Chooses the next token of a row: greedy, or sampled with the row's settings and random generator."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import GenerationConfig
from transformers.generation.logits_process import (
    ForcedBOSTokenLogitsProcessor,
    LogitsProcessor,
    MinLengthLogitsProcessor,
    NoBadWordsLogitsProcessor,
    NoRepeatNGramLogitsProcessor,
    RepetitionPenaltyLogitsProcessor,
    SuppressTokensLogitsProcessor,
)

from hub.api import Sampling
from hub.engine.generate.constraints import Constraint
from hub.engine.torch.tensors import on_device, to_device

__all__ = ["BaseRules", "Chooser", "LogitRules"]

MIN_TEMPERATURE = 1e-30  # the likeliest token is certain; logits divided by less would be infinite in float32


@dataclass(frozen=True, slots=True)
class BaseRules:
    """The rules of the base's generation config, which apply to every request."""

    repetition_penalty: float
    processors: tuple[LogitsProcessor, ...]
    renormalize: bool = False  # the probabilities after those; matters to the scores of beams only

    @classmethod
    def of(cls, config: GenerationConfig, ends: Sequence[int], device: torch.device) -> BaseRules:
        """Read the settings that `generate` of transformers also applies to greedy decoding.

        `device` is that of the logits.
        """
        found: list[LogitsProcessor] = []
        if size := config.no_repeat_ngram_size:
            found.append(NoRepeatNGramLogitsProcessor(size))
        if words := config.bad_words_ids:
            found.append(NoBadWordsLogitsProcessor(words, list(ends)))
        if tokens := config.suppress_tokens:
            found.append(SuppressTokensLogitsProcessor(tokens, device=str(device)))
        if length := config.min_length:
            found.append(MinLengthLogitsProcessor(length, list(ends), device=str(device)))
        if (first := config.forced_bos_token_id) is not None:
            found.append(ForcedBOSTokenLogitsProcessor(first))
        return cls(config.repetition_penalty or 1.0, tuple(found), bool(config.renormalize_logits))


class LogitRules:
    """What one request and its base change in the logits before a token is chosen."""

    def __init__(self, sampling: Sampling, rules: BaseRules, device: torch.device) -> None:
        own = sampling.repetition_penalty
        penalty = float(rules.repetition_penalty if own is None else own)
        repetition = [RepetitionPenaltyLogitsProcessor(penalty)] if penalty != 1.0 else []
        self._processors = (*repetition, *rules.processors)
        self._renormalize = rules.renormalize
        self._bias: tuple[Tensor, Tensor] | None = None
        if sampling.logit_bias:
            values = torch.tensor(list(sampling.logit_bias.values()))
            self._bias = on_device(list(sampling.logit_bias), device), to_device(values, device)

    def __bool__(self) -> bool:
        """Whether they change anything."""
        return bool(self._processors) or self._bias is not None

    def apply(self, scores: Tensor, seen: Sequence[Sequence[int]]) -> Tensor:
        """Return the changed scores [n, V], given the tokens so far, those of the prompt included, [n][T]."""
        scores = scores.clone()
        if self._processors:
            tokens = on_device(seen, scores.device)
            for processor in self._processors:
                scores = processor(tokens, scores)
        if self._bias is not None:
            biased, values = self._bias
            scores[:, biased] += values
        return scores

    def log_probs(self, logits: Tensor, seen: Sequence[Sequence[int]]) -> Tensor:
        """Return the scores of the next token for beam search: the rules change log p, not the logits."""
        scores = logits.log_softmax(-1)
        if self:
            scores = self.apply(scores, seen)
        return scores.log_softmax(-1) if self._renormalize else scores


class Chooser:
    """The sampling state of one row: settings, random generator, constraint, and the tokens so far."""

    def __init__(
        self,
        sampling: Sampling,
        rules: BaseRules,
        prompt: Sequence[int],
        device: torch.device,
        constraint: Constraint | None = None,
    ) -> None:
        self.sampling = sampling
        self._constraint = constraint
        self.rules = LogitRules(sampling, rules, device)
        self._seen = list(prompt)
        self._random: torch.Generator | None = None
        if sampling.temperature > 0:
            # Always on the CPU, so that a seed gives the same text on every device.
            self._random = torch.Generator()
            if sampling.seed is None:
                self._random.seed()
            else:
                self._random.manual_seed(sampling.seed)

    @property
    def plain(self) -> bool:
        """Whether the next token is the one with the largest logit."""
        return self._random is None and not self.rules and self._constraint is None

    def record(self, token: int) -> None:
        """Record a token of the answer."""
        self._seen.append(token)
        if self._constraint:
            self._constraint.advance(token)

    def choose(self, logits: Tensor) -> int:
        """Return the next token, from float32 logits [V].

        Raises:
            BadSampling: the row's constraint allows no token.
        """
        scores = self.rules.apply(logits.unsqueeze(0), [self._seen]).squeeze(0)
        if self._constraint:
            scores = _constrained(scores, logits, self._constraint)
        if self._random is None:
            return int(scores.argmax())
        scores = _filtered(scores / max(self.sampling.temperature, MIN_TEMPERATURE), self.sampling)
        # Inverse transform sampling: the token depends on one random number and the distribution only.
        number = torch.rand(1, generator=self._random, dtype=torch.float64).to(scores.device)
        cumulated = scores.double().softmax(-1).cumsum(-1)
        place = torch.searchsorted(cumulated, number * cumulated[-1], right=True)
        return int(place.clamp(max=len(scores) - 1))


def _constrained(scores: Tensor, logits: Tensor, constraint: Constraint) -> Tensor:
    """Exclude all but the allowed tokens.

    Where the base's rules have excluded each of these, such as with a suppressed token, the logits count.
    """
    excluded = ~torch.from_numpy(constraint.allowed(len(scores))).to(scores.device)
    masked = scores.masked_fill(excluded, -torch.inf)
    return masked if masked.max() > -torch.inf else logits.masked_fill(excluded, -torch.inf)


def _filtered(scores: Tensor, sampling: Sampling) -> Tensor:
    """Exclude tokens by rank (top_k), cumulative probability (top_p) and relative probability (min_p)."""
    if 0 < sampling.top_k < len(scores):
        smallest = scores.topk(sampling.top_k).values[-1]
        scores = scores.masked_fill(scores < smallest, -torch.inf)
    if sampling.top_p < 1.0:
        ordered, tokens = scores.sort(descending=True)
        probabilities = ordered.softmax(-1)
        before = probabilities.cumsum(-1) - probabilities
        excluded = before >= sampling.top_p  # never the most probable token
        scores = scores.scatter(0, tokens, ordered.masked_fill(excluded, -torch.inf))
    if sampling.min_p > 0.0:
        probabilities = scores.softmax(-1)
        scores = scores.masked_fill(probabilities < sampling.min_p * probabilities.max(), -torch.inf)
    return scores

# ruff: noqa: TID253 - imported by the torch engine only
"""Beam search over the tokens of one text; it knows neither the model nor its cache."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection
from dataclasses import dataclass

import torch
from torch import Tensor

from hub.engine.torch.tensors import to_device
from hub.errors import EngineFailed

__all__ = ["BeamSearch", "Hypothesis"]


@dataclass(frozen=True, slots=True)
class Hypothesis:
    """A text, or its beginning; `score` is log p, of a finished one divided by length ** length_penalty."""

    tokens: list[int]
    score: float
    stopped: bool = False  # by an end token or a stop string, not by the limit


class BeamSearch:
    """Finds the text with the best score, as `generate` of transformers 5.23 does with early_stopping=False.

    Each step extends the running hypotheses by one token. The best `beams` of all extensions are kept if they
    have ended, and as many of those that have not run on. The search is done when `beams` texts have ended
    and the best running hypothesis, were it to end now, would not be better than the worst of them.

    Where transformers has -1e9 for "no hypothesis", this has -inf: with a strongly negative length penalty
    the score of a text is below -1e9, and `generate` then returns an empty text.
    """

    def __init__(self, beams: int, length_penalty: float, limit: int, ends: Collection[int]) -> None:
        self._beams = beams
        self._penalty = length_penalty
        self._limit = limit
        self._ends = ends
        self._candidates = max(2, 1 + len(ends)) * beams  # `beams` of them have no end token
        self._length = 0
        self._finished: list[Hypothesis] = []  # best first
        self.running = [Hypothesis([], 0.0)]
        """Best first: one before the first step, then `beams`, of which those scored -inf only fill up."""
        self.done = False

    @property
    def best(self) -> Hypothesis:
        """The best text; only once the search is done."""
        return self._finished[0]

    def step(self, log_probs: Tensor, stops: Callable[[int, int], bool]) -> list[int]:
        """Extend the running hypotheses; return which of the old ones each of the new ones continues.

        `log_probs` are those of the next token of each hypothesis, float32 [n, V]. `stops(i, token)` returns
        whether a token that is no end token ends hypothesis i.

        Raises:
            EngineFailed: no token has a finite score.
        """
        self._length += 1
        running: list[Hypothesis] = []
        parents: list[int] = []
        for rank, (score, parent, token) in enumerate(self._extensions(log_probs)):
            if rank >= self._beams == len(running):
                break
            tokens = [*self.running[parent].tokens, token]
            stopped = token in self._ends or stops(parent, token)
            if stopped or self._length == self._limit:
                if rank < self._beams:
                    self._finished.append(Hypothesis(tokens, self._normalized(score), stopped))
            elif len(running) < self._beams:
                running.append(Hypothesis(tokens, score))
                parents.append(parent)
        self._finished = sorted(self._finished, key=lambda one: -one.score)[: self._beams]
        if not running and not self._finished:
            raise EngineFailed("The model gave no finite score for any token.")
        self.done = not running or (
            len(self._finished) == self._beams
            and self._normalized(running[0].score) <= self._finished[-1].score
        )
        missing = 0 if self.done else self._beams - len(running)
        self.running = running + [Hypothesis(one.tokens, -math.inf) for one in running[:1] * missing]
        return parents + parents[:1] * missing

    def _extensions(self, log_probs: Tensor) -> list[tuple[float, int, int]]:
        """Return the best extensions as score, hypothesis and token."""
        scores = to_device(torch.tensor([one.score for one in self.running]), log_probs.device)
        totals = (log_probs + scores.unsqueeze(1)).flatten()
        best = totals.topk(min(self._candidates, len(totals)))
        found = zip(best.values.tolist(), best.indices.tolist(), strict=True)
        return [(score, *divmod(index, log_probs.shape[1])) for score, index in found if score > -math.inf]

    def _normalized(self, score: float) -> float:
        return score / math.pow(self._length, self._penalty)

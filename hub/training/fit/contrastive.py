# ruff: noqa: TID253 - imported when a training run starts, and by nothing else
"""The loss of vectors: each query of a batch picks its good text among all texts of the batch.

The other rows' texts are negatives, as in Henderson et al. 2017, https://arxiv.org/abs/1705.00652, and so are
bad texts, as in Karpukhin et al. 2020, https://arxiv.org/abs/2004.04906.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from hub.api import Features
from hub.engine.torch.heads import pool
from hub.errors import BadPlugin
from hub.training.fit.loss import Loss, Share
from hub.vectors import Embedding

__all__ = ["AMONG", "TEXTS", "ContrastiveLoss", "VectorLoss", "choices"]

VectorLoss = Callable[[Tensor, Tensor, Tensor], Any]
"""Returns a loss of queries [B, H], texts [M, H] and candidates [B, M]; None for the default one."""
TEXTS = "texts"  # the key of a batch for its M good and bad texts, themselves a batch of tokens
AMONG = "among"  # the key for which of them each of B queries picks from: [B, M], its own good text at [i, i]


@dataclass(frozen=True, slots=True)
class ContrastiveLoss(Loss):
    """Cross entropy over the scores of a query and all texts of its batch, times `embedding.scale`.

    A pass over the queries and one over the texts give gradients to the same adapter. `own` is the task's
    loss, which is used if it returns one; see `Task.vector_loss`.
    """

    embedding: Embedding = Embedding()  # noqa: RUF009 - frozen
    own: VectorLoss | None = None

    def _mean(self, model: Any, inputs: dict[str, Any], share: Share) -> tuple[Tensor, Any]:
        texts, among = inputs.pop(TEXTS), inputs.pop(AMONG)
        queries, others = self._vectors(model, inputs), self._vectors(model, texts)  # [B, H], [M, H]
        if self.own and (loss := self.own(queries, others, among)) is not None:
            return _checked(loss), {}
        scores = queries @ others.T * self.embedding.scale  # [B, M]
        own = torch.arange(len(scores), device=scores.device)
        loss = functional.cross_entropy(scores.masked_fill(~among, float("-inf")), own)
        return loss, {"scores": scores}

    def _vectors(self, model: Any, tokens: Mapping[str, Tensor]) -> Tensor:
        states = model(**tokens).last_hidden_state.float()
        vectors = pool(states, tokens["attention_mask"], self.embedding.pooling)
        return functional.normalize(vectors, dim=1) if self.embedding.normalize else vectors


def _checked(loss: Any) -> Tensor:
    """Return the task's loss; raise BadPlugin if it cannot be minimized."""
    if isinstance(loss, Tensor) and loss.ndim == 0 and loss.requires_grad:
        return loss
    raise BadPlugin("vector_loss() must return a torch tensor without dimensions that has a gradient.")


def choices(batch: Sequence[Features]) -> tuple[list[Features], Tensor]:
    """Return the texts of a batch, first the good ones, and which of them each query picks from [B, M].

    A query does not pick from texts that are equal to its good text, or good for an equal query.
    """
    texts = [row["good"] for row in batch] + [row["bad"] for row in batch if "bad" in row]
    ids = [tuple(text["input_ids"]) for text in texts]
    queries = [tuple(row["input_ids"]) for row in batch]
    good = {query: {ids[i] for i, other in enumerate(queries) if other == query} for query in set(queries)}
    among = [
        [place == row or text not in good[query] for place, text in enumerate(ids)]
        for row, query in enumerate(queries)
    ]
    return texts, torch.tensor(among)

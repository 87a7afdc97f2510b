# ruff: noqa: TID253 - imported when a training run starts, and by nothing else
"""One of several processes that train a model together, each on its part of every batch."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor, distributed

from hub.errors import HubError
from hub.training.fit.loss import Loss, Share

__all__ = ["Shard"]

_NOTHING = Share(0.0, 0.0)


@dataclass(frozen=True, slots=True)
class Shard:
    """Process `rank` of `world`, in torch's default process group.

    All processes read all batches in the same order. Of each batch [B, ...], this one takes the rows rank,
    rank + world, ..., padded like the whole batch.
    """

    rank: int
    world: int

    def parts(
        self, batches: Sequence[Mapping[str, Tensor]], loss: Loss
    ) -> list[tuple[dict[str, Tensor], Share]]:
        """Return this process's part of each batch of one optimizer step, with its share of the loss.

        DistributedDataParallel averages gradients over processes, so the mean of the losses of all processes
        is the loss of one batch of all rows. A part without rows has a row of another, without weight.
        """
        every = [part for batch in batches for part in self._split(batch)]
        shares = iter(loss.shares([part for part in every if part is not None]))
        weighed = [_NOTHING if part is None else next(shares) for part in every]
        mine = slice(self.rank, None, self.world)
        return [
            (
                {key: value[:1] for key, value in batch.items()} if part is None else part,
                Share(share.loss * self.world, share.penalty * self.world),
            )
            for batch, part, share in zip(batches, every[mine], weighed[mine], strict=True)
        ]

    def agreed(self, compute: Callable[[], dict[str, float]]) -> dict[str, float]:
        """Return what the first process computes, in all processes.

        Raises:
            HubError: it raised one; all processes raise it.
        """
        found: list[Any] = [None]
        if self.rank == 0:
            try:
                found = [compute()]
            except HubError as error:
                found = [error]
        distributed.broadcast_object_list(found)
        if isinstance(found[0], HubError):
            raise found[0]
        return dict(found[0])

    def _split(self, batch: Mapping[str, Tensor]) -> list[dict[str, Tensor] | None]:
        rows = len(next(iter(batch.values())))
        return [
            {key: value[rank :: self.world].contiguous() for key, value in batch.items()}
            if rank < rows
            else None
            for rank in range(self.world)
        ]

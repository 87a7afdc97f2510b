# ruff: noqa: TID253 - imported when a training run starts, and by nothing else
"""Batches of similar length, in an order that depends only on seed and epoch."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional
from torch.utils.data import Sampler

from hub.api import Features
from hub.evaluation.logits import IGNORED
from hub.training.fit.contrastive import AMONG, TEXTS, choices

__all__ = ["Batches", "LengthGroups", "PairBatches", "collator", "pad_alike"]

_IMAGE = ("input_ids", "pixel_values")
POOL = 64  # batches that are sorted by length together: more reduce padding, fewer mix better


class Batches(Sampler[int]):
    """Yields indices of rows; the order depends on `epoch`, which is set to resume a run."""

    epoch = 0


class LengthGroups(Batches):
    """Yields indices so that each batch of `batch_size` has rows of similar length.

    With `weights`, an epoch samples as many rows as there are, in proportion to their weights.
    """

    def __init__(
        self, lengths: Sequence[int], batch_size: int, seed: int, weights: Sequence[float] | None = None
    ) -> None:
        self.lengths = lengths
        self.batch_size = batch_size
        self.seed = seed
        self.weights = weights

    def __len__(self) -> int:
        return len(self.lengths)

    def __iter__(self) -> Iterator[int]:
        chance = random.Random(f"{self.seed}-{self.epoch}")
        order = list(range(len(self.lengths)))
        if self.weights is None:
            chance.shuffle(order)
        else:
            order = chance.choices(order, self.weights, k=len(order))
        batches: list[list[int]] = []
        for start in range(0, len(order), POOL * self.batch_size):
            pool = sorted(order[start : start + POOL * self.batch_size], key=self.lengths.__getitem__)
            batches += [pool[at : at + self.batch_size] for at in range(0, len(pool), self.batch_size)]
        # Only the last batch may be short; it stays last, so that the others keep their boundaries.
        short = batches.pop() if len(batches[-1]) < self.batch_size else []
        chance.shuffle(batches)
        for batch in (*batches, short):
            yield from batch


class PairBatches(Batches):
    """Yields indices of rows so that each row stands beside another one of its label.

    An epoch has each row at least once; a label with an odd number of rows has one twice. Labels with a
    single row come last.
    """

    def __init__(self, labels: Sequence[int], seed: int) -> None:
        self.labels = labels
        self.seed = seed

    def __len__(self) -> int:
        return sum(count + (count % 2 if count > 1 else 0) for count in Counter(self.labels).values())

    def __iter__(self) -> Iterator[int]:
        chance = random.Random(f"{self.seed}-{self.epoch}")
        pairs: list[tuple[int, ...]] = []
        single: list[int] = []
        for label in sorted(set(self.labels)):
            order = [index for index, own in enumerate(self.labels) if own == label]
            chance.shuffle(order)
            if len(order) == 1:
                single += order
                continue
            if len(order) % 2:
                order.append(chance.choice(order[:-1]))
            pairs += zip(order[::2], order[1::2], strict=True)
        chance.shuffle(pairs)
        chance.shuffle(single)
        for pair in pairs:
            yield from pair
        yield from single


def collator(pad: int) -> Callable[[Sequence[Features]], dict[str, Any]]:
    """Return a function that pads the features of a batch and converts them to tensors.

    For vectors, these are the tensors of the queries, and those of the texts under TEXTS. Images are all of
    one size, and their placeholder ids are left out.
    """

    def collate(batch: Sequence[Features]) -> dict[str, Any]:
        if "good" in batch[0]:
            texts, among = choices(batch)
            queries = [{key: row[key] for key in row if key not in ("good", "bad")} for row in batch]
            return {**collate(queries), TEXTS: collate(texts), AMONG: among}
        if "pixel_values" in batch[0]:
            images = torch.from_numpy(np.stack([row["pixel_values"] for row in batch]))
            others = {key: torch.tensor([row[key] for row in batch]) for key in batch[0] if key not in _IMAGE}
            return {"pixel_values": images, **others}
        padding = {"input_ids": pad, "token_type_ids": 0, "labels": IGNORED}
        tensors: dict[str, Any] = {
            key: torch.tensor(_padded([row[key] for row in batch], padding.get(key))) for key in batch[0]
        }
        longest = tensors["input_ids"].shape[1]
        lengths = torch.tensor([len(row["input_ids"]) for row in batch])
        tensors["attention_mask"] = (torch.arange(longest) < lengths[:, None]).long()
        return tensors

    return collate


def pad_alike(batches: Sequence[dict[str, Tensor]], pad: int) -> list[dict[str, Tensor]]:
    """Pad batches [B, T] of token inputs without labels to the longest of them."""
    padding = {"input_ids": pad, "token_type_ids": 0, "attention_mask": 0}
    longest = max(batch["input_ids"].shape[1] for batch in batches)
    return [
        {
            key: functional.pad(value, (0, longest - value.shape[1]), value=padding[key])
            if key in padding
            else value
            for key, value in batch.items()
        }
        for batch in batches
    ]


def _padded(values: Sequence[Any], padding: int | None) -> Sequence[Any]:
    """Pad values per token to the longest; classes, positions and lists of classes are returned unchanged."""
    per_token = isinstance(values[0], list) and not any(isinstance(v, float) for v in values[0][:1])
    if padding is None or not per_token:
        return values
    longest = max(map(len, values))
    return [[*value, *[padding] * (longest - len(value))] for value in values]

# ruff: noqa: TID253 - imported when a training run starts, and by nothing else
"""Caches activations: frozen layers below the lowest trained one run once per row."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from torch import Tensor, nn

from hub.api import Features
from hub.training.fit.methods import embeddings_of, layers_of

__all__ = [
    "CHOOSING",
    "ROWS",
    "TRAINED",
    "UNUSED",
    "Activations",
    "Batch",
    "CacheUse",
    "Room",
    "Stock",
    "cached",
    "fixed_layers",
    "numbered",
]

ROWS = "rows"  # the key of a batch for its row numbers [B]


@dataclass(frozen=True, slots=True)
class Room:
    """The limits of the cache in bytes: in memory, and in a file of the run's folder."""

    memory: int
    disk: int

    @classmethod
    def in_folder(cls, folder: Path) -> Room:
        """Return 1 GiB of memory and half of the free disk space; the page cache makes files as fast."""
        return cls(1 << 30, shutil.disk_usage(folder).free // 2)


@dataclass(frozen=True, slots=True)
class CacheUse:
    """The number of cached layers, the bytes, and "memory" or "disk"; or the reason for no cache."""

    layers: int = 0
    bytes: int = 0
    place: str = ""
    note: str = ""


UNUSED = CacheUse()


class Activations:
    """The cached outputs of layer `depth` for each token of each row.

    The states of all rows are concatenated in one array [N, H], which is allocated for the first batch.
    """

    def __init__(
        self, lengths: Sequence[int], depth: int, dtype: torch.dtype, room: Room, folder: Path
    ) -> None:
        self.depth = depth
        self.use = CacheUse()
        self._dtype, self._room, self._folder = dtype, room, folder
        self._lengths = torch.tensor(lengths)  # [R]
        self._starts = self._lengths.cumsum(0) - self._lengths
        self._known = torch.zeros(len(lengths), dtype=torch.bool)
        self._states: Tensor | None = None  # [N, H]
        self._closed = False

    def keep(self, rows: Tensor, hidden: Tensor) -> None:
        """Cache the states [B, T, H] of rows, if there is room."""
        if self._states is None and not self._closed:
            self._make(hidden.shape[-1])
        if self._states is None:
            return
        inside, at = self._places(rows, hidden.shape[1])
        self._states[at[inside]] = hidden.detach()[inside.to(hidden.device)].to("cpu", self._dtype)
        self._known[rows] = True

    def find(self, rows: Tensor, length: int) -> Tensor | None:
        """Return the states [B, length, H] of rows, zero at padding; None unless all are cached."""
        if self._states is None or not bool(self._known[rows].all()):
            return None
        inside, at = self._places(rows, length)
        states = self._states[at.clamp(max=len(self._states) - 1)]
        # Positions of padding hold states of other rows, or uninitialized memory.
        return states.masked_fill_(~inside[..., None], 0)

    def _places(self, rows: Tensor, length: int) -> tuple[Tensor, Tensor]:
        """Return the token mask [B, length] of rows, and the index of each position in the states."""
        steps = torch.arange(length)
        return steps < self._lengths[rows][:, None], self._starts[rows][:, None] + steps

    def _make(self, width: int) -> None:
        tokens = int(self._lengths.sum())
        size = tokens * width * self._dtype.itemsize
        if size <= self._room.memory:
            self._states = torch.empty(tokens, width, dtype=self._dtype)
            self.use = CacheUse(self.depth, size, "memory")
        elif size <= self._room.disk:
            file = self._folder / "activations"
            flat = torch.from_file(str(file), shared=True, size=tokens * width, dtype=self._dtype)
            file.unlink()  # the mapping keeps the data alive
            self._states = flat.view(tokens, width)
            self.use = CacheUse(self.depth, size, "disk")
        else:
            self._closed = True
            note = f"{size / 2**30:.1f} GiB of activations fit neither in memory nor on the disk"
            self.use = CacheUse(note=note)


Batch = Callable[[Tensor | None, str], None]
"""Called before a batch with its row numbers [B] and their use; None if the rows have no numbers."""

TRAINED = "trained on"
CHOOSING = "validation"


class Stock:
    """The caches of a run, by use of the rows; trials with equal frozen layers share them."""

    def __init__(self, folder: Path, room: Room | None = None) -> None:
        self._folder, self._room = folder, room
        self._made: dict[tuple[str, int, torch.dtype], Activations] = {}

    def of(self, use: str, lengths: Sequence[int], depth: int, dtype: torch.dtype) -> Activations:
        """Return the cached activations of these rows at this depth, or an empty cache."""
        key = (use, depth, dtype)
        if key not in self._made:
            self._folder.mkdir(parents=True, exist_ok=True)
            room = self._room or Room.in_folder(self._folder)
            self._made[key] = Activations(lengths, depth, dtype, room, self._folder)
        return self._made[key]


def numbered(features: Sequence[Features]) -> list[Features]:
    """Add row numbers to features, for `cached`."""
    return [{**row, ROWS: number} for number, row in enumerate(features)]


def fixed_layers(model: PeftModel, inputs: Mapping[str, Tensor]) -> int:
    """Return the number of lowest layers whose outputs need no gradient, determined with a probe batch."""
    moving: dict[int, bool] = {}

    def watch(number: int, layer: nn.Module, args: Any, output: Any) -> None:
        moving[number] = _hidden(output).requires_grad

    (_, found), training = layers_of(model.get_base_model()), model.training
    hooks = [layer.register_forward_hook(partial(watch, number)) for number, layer in enumerate(found)]
    model.eval()
    try:
        with torch.enable_grad():
            model(**{name: tensor.to(model.device) for name, tensor in inputs.items()})
    finally:
        model.train(training)
        for hook in hooks:
            hook.remove()
    return next((number for number in range(len(found)) if moving.get(number, True)), len(found))


@contextmanager
def cached(model: PeftModel, kept: Mapping[str, Activations]) -> Iterator[Batch]:
    """Replace the forward of the fixed layers by cache lookups, without dropout, within the block.

    `kept` has the caches by use, all of the same depth.
    """
    base = model.get_base_model()
    fixed: Sequence[Any] = layers_of(base)[1][: next(iter(kept.values())).depth]
    lookup = _Lookup()
    for number, layer in enumerate(fixed):
        last = number == len(fixed) - 1
        layer.forward = partial(lookup.last if last else lookup.below, layer.forward)
    embeddings = [module for _, module in embeddings_of(base)]
    still = [module for layer in (*fixed, *embeddings) for module in layer.modules()]

    def batch(rows: Tensor | None, use: str = TRAINED) -> None:
        lookup.begin(None if rows is None else rows.cpu(), kept.get(use))
        if rows is not None:
            for module in still:
                module.training = False

    try:
        yield batch
    finally:
        for layer in fixed:
            del layer.forward  # restores the method of the class


class _Lookup:
    """Forwards of the fixed layers: on a hit, the last returns cached states and the others their input."""

    def __init__(self) -> None:
        self._activations: Activations | None = None
        self._alone = True  # layers return a tensor of hidden states, not a tuple
        self._rows: Tensor | None = None
        self._found: Tensor | None = None

    def begin(self, rows: Tensor | None, activations: Activations | None) -> None:
        self._rows, self._activations, self._found = rows, activations, None

    def below(self, forward: Any, *args: Any, **kwargs: Any) -> Any:
        hidden_states = args[0] if args else kwargs["hidden_states"]
        if self._find(hidden_states) is None:
            return forward(*args, **kwargs)
        return hidden_states if self._alone else (hidden_states, None)

    def last(self, forward: Any, *args: Any, **kwargs: Any) -> Any:
        hidden_states = args[0] if args else kwargs["hidden_states"]
        if self._find(hidden_states) is None:
            output = forward(*args, **kwargs)
            self._alone = isinstance(output, Tensor)
            if self._rows is not None and self._activations is not None:
                self._activations.keep(self._rows, _hidden(output))
            if self._find(hidden_states) is None:
                return output
        # Also on the first pass: cached states may be rounded, and all epochs must see the same states.
        assert self._found is not None
        found = self._found.to(hidden_states.device, hidden_states.dtype)
        return found if self._alone else (found, None)

    def _find(self, hidden_states: Tensor) -> Tensor | None:
        if self._rows is not None and self._activations is not None and self._found is None:
            self._found = self._activations.find(self._rows, hidden_states.shape[1])
        return self._found


def _hidden(output: Any) -> Tensor:
    hidden: Tensor = output if isinstance(output, Tensor) else output[0]
    return hidden

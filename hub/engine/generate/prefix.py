# ruff: noqa: TID253 - imported by the torch engine only
"""Keys and values of the first tokens of earlier texts, reused by rows that begin alike."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from torch import Tensor

__all__ = ["BLOCK_TOKENS", "PrefixCache"]

BLOCK_TOKENS = 32

_Key = tuple[str | int, tuple[int, ...]]  # the block before it, or the version; its tokens


@dataclass(frozen=True, slots=True)
class _Block:
    number: int
    states: Tensor  # keys and values of all layers, [2 L, heads, BLOCK_TOKENS, D]


class PrefixCache:
    """The blocks of one base, in chains: each follows one other block, or begins the texts of a version.

    A version is the sha256 of its weights, so versions never share a block. Blocks are found by their tokens
    themselves, not by a hash of them. The least recently used are removed first, and a block never before
    those that follow it. Not thread-safe.
    """

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._blocks: OrderedDict[_Key, _Block] = OrderedDict()  # in each chain, later blocks come first
        self._created = 0
        self.nbytes = 0

    def __len__(self) -> int:
        return len(self._blocks)

    def find(self, version: str, tokens: Sequence[int]) -> list[Tensor]:
        """Return the longest chain of whole blocks that `tokens` begin with."""
        keys, found = self._chain(version, tokens)
        self._touch(keys[: len(found)])
        return [block.states for block in found]

    def store(self, version: str, tokens: Sequence[int], read: Callable[[int, int], Tensor]) -> None:
        """Add the whole blocks of `tokens` that are missing.

        `read(start, stop)` returns the keys and values of those tokens, [2 L, heads, stop - start, D].
        """
        if not self._max_bytes or len(tokens) < BLOCK_TOKENS:
            return
        keys, found = self._chain(version, tokens)
        self._touch(keys)
        last: str | int = found[-1].number if found else version
        whole = len(tokens) // BLOCK_TOKENS
        if len(found) == whole:
            return
        states = read(len(found) * BLOCK_TOKENS, whole * BLOCK_TOKENS)
        for index in range(len(found), whole):
            part = states[:, :, (index - len(found)) * BLOCK_TOKENS :][:, :, :BLOCK_TOKENS].clone()
            if (index + 1) * part.nbytes > self._max_bytes:
                break
            key = (last, tuple(tokens[index * BLOCK_TOKENS : (index + 1) * BLOCK_TOKENS]))
            last = self._add(key, part)
            keys.append(key)
        self._touch(keys)

    def _chain(self, version: str, tokens: Sequence[int]) -> tuple[list[_Key], list[_Block]]:
        keys: list[_Key] = []
        found: list[_Block] = []
        last: str | int = version
        for start in range(0, len(tokens) - BLOCK_TOKENS + 1, BLOCK_TOKENS):
            key = (last, tuple(tokens[start : start + BLOCK_TOKENS]))
            if (block := self._blocks.get(key)) is None:
                break
            keys.append(key)
            found.append(block)
            last = block.number
        return keys, found

    def _touch(self, keys: Sequence[_Key]) -> None:
        for key in reversed(keys):
            self._blocks.move_to_end(key)

    def _add(self, key: _Key, states: Tensor) -> int:
        while self._blocks and self.nbytes + states.nbytes > self._max_bytes:
            _, oldest = self._blocks.popitem(last=False)
            self.nbytes -= oldest.states.nbytes
        self._created += 1
        self._blocks[key] = _Block(self._created, states)
        self.nbytes += states.nbytes
        return self._created

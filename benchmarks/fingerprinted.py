"""Adapters whose every answer tells which content gave it, and what their answers have to be.

A content is a LoRA and a multi-label head for a BERT-type base. Its first labels spell a number of its own in
bits: the head's bias puts each bit's score near .12 or .88, whatever the text. The other labels, the probes,
depend on the LoRA and the text. So a head over another's LoRA, or over the bare base, spells the right number
with wrong probes; `Truth.separation` says how wrong, which has to be far above TOLERANCE.

What an answer has to be comes from the base's weights with the LoRA added to them, in float32, under
transformers: neither an engine of ours nor PEFT takes part.
"""

from __future__ import annotations

import json
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from hub.bases.base import Base

__all__ = [
    "LABELS",
    "SETTINGS",
    "TOLERANCE",
    "Content",
    "Oracle",
    "Truth",
    "draw",
    "number_of",
    "save",
    "short_texts",
]

Array = npt.NDArray[np.float32]
Scores = Mapping[str, float]

WORDS = (
    "the",
    "a",
    "is",
    "was",
    "this",
    "that",
    "good",
    "bad",
    "great",
    "poor",
    "film",
    "book",
    "plot",
    "not",
)
BITS, PROBES = 16, 16
LABELS = tuple(f"bit_{n}" for n in range(BITS)) + tuple(f"probe_{n}" for n in range(PROBES))
SETTINGS = {"multi_label": True}
TOLERANCE = 0.04  # of a distance between answers; float32 is off by 1e-5, bf16 by .015, others by over .1
BIT_BIAS = 2.0
PROBE_SPREAD = 3.0
WAYS = ((("query", "value"), 8, 1.0), (None, 4, 0.5))  # layers, rank, norm of the change over the weight's


@dataclass(frozen=True, eq=False)
class Content:
    """One adapter: (A, B) by layer, at scale 1, and the head."""

    number: int
    loras: Mapping[str, tuple[Array, Array]]  # A [r, in], B [out, r]
    weight: Array  # [L, H]
    bias: Array  # [L]

    def scores(self, pooled: Array) -> Array:
        """Return what the head makes of pooled states: [..., H] to [..., L]."""
        return np.asarray(1 / (1 + np.exp(-(pooled @ self.weight.T + self.bias))), dtype=np.float32)


class Oracle:
    """A base as transformers runs it, with any content's LoRA added to its weights."""

    def __init__(self, base: Base, texts: Sequence[str]) -> None:
        from transformers import AutoModel, AutoTokenizer

        self.texts = tuple(texts)
        self._model: Any = AutoModel.from_pretrained(base.path, local_files_only=True).float().eval()
        tokenizer: Any = AutoTokenizer.from_pretrained(base.path, local_files_only=True)
        self._batch = dict(tokenizer(list(texts), return_tensors="pt", padding=True))

    @cached_property
    def layers(self) -> dict[str, Array]:
        """The weights of the encoder's linear layers, by path."""
        return {
            name.removesuffix(".weight"): value.detach().numpy()
            for name, value in self._model.named_parameters()
            if name.startswith("encoder.") and name.endswith(".weight") and value.dim() == 2
        }

    @cached_property
    def bare(self) -> Array:
        """The pooled states of the base without an adapter, [T, H]."""
        return self._pooled({})

    def pooled(self, content: Content) -> Array:
        """Return the pooled states under a content's LoRA, [T, H]."""
        return self._pooled({layer: b @ a for layer, (a, b) in content.loras.items()})

    def _pooled(self, added: Mapping[str, Array]) -> Array:
        import torch

        weights = {f"{name}.weight": torch.from_numpy(self.layers[name] + by) for name, by in added.items()}
        with torch.inference_mode():
            out = torch.func.functional_call(self._model, weights, kwargs=self._batch)
        return np.asarray(out.pooler_output.numpy())


class Truth:
    """What each content answers to each text, and under which hash it is stored."""

    def __init__(self, oracle: Oracle) -> None:
        self._oracle = oracle
        self._at = {text: index for index, text in enumerate(oracle.texts)}
        self._contents: dict[int, Content] = {}
        self._pooled: dict[int, Array] = {}  # [T, H]
        self._numbers: dict[str, int] = {}

    def add(self, content: Content) -> None:
        """Work out a content's answers."""
        self._contents[content.number] = content
        self._pooled[content.number] = self._oracle.pooled(content)

    def stored(self, sha256: str, number: int) -> None:
        """Note the hash under which a content was stored."""
        self._numbers[sha256] = number

    def fault(self, sha256: str, text: str, scores: Scores) -> str | None:
        """Say what is wrong with an answer that names the content of this hash; None: nothing."""
        number = self._numbers.get(sha256)
        if number is None or scores.keys() != set(LABELS):
            return "not a content of ours"
        if number_of(scores) != number:
            return "the head of another content"
        want = self._contents[number].scores(self._pooled[number][self._at[text]])
        got = np.array([scores[label] for label in LABELS])
        return "the LoRA of another content, or none" if _distance(got, want) > TOLERANCE else None

    def separation(self) -> float:
        """Return the least distance, at any text, of a head over a wrong LoRA or none from the truth."""
        states = [*self._pooled.values(), self._oracle.bare]
        least = np.inf
        for number, content in self._contents.items():
            own = self._pooled[number]
            others = np.stack([state for state in states if state is not own])  # [N, T, H]
            least = min(least, _distance(content.scores(others), content.scores(own)).min())
        return float(least)


def draw(oracle: Oracle, number: int) -> Content:
    """Draw a content: all from its number, which is below 2 ** BITS."""
    chance = np.random.default_rng(number)
    suffixes, rank, strength = WAYS[number % len(WAYS)]
    loras = {
        name: _lora(chance, weight, rank, strength)
        for name, weight in oracle.layers.items()
        if suffixes is None or name.rpartition(".")[2] in suffixes
    }
    usual = oracle.bare.mean(axis=0)  # [H]
    bits = chance.standard_normal((BITS, len(usual)), dtype=np.float32)
    bits /= np.abs(bits).sum(axis=1, keepdims=True)  # pooled states are within 1: no more than 1 is added
    probes = chance.standard_normal((PROBES, len(usual)), dtype=np.float32)
    probes *= PROBE_SPREAD / np.linalg.norm(usual)
    signs = np.array([1 if number >> bit & 1 else -1 for bit in range(BITS)])
    bias = np.concatenate([BIT_BIAS * signs, -probes @ usual]).astype(np.float32)
    return Content(number, loras, np.concatenate([bits, probes]), bias)


def save(content: Content, folder: Path) -> Path:
    """Write a content as PEFT would."""
    from safetensors.numpy import save_file

    tensors = {"classifier.weight": content.weight, "classifier.bias": content.bias}
    for layer, (a, b) in content.loras.items():
        tensors |= {f"bert.{layer}.lora_A.weight": a, f"bert.{layer}.lora_B.weight": b}
    rank = next(iter(content.loras.values()))[0].shape[0]
    config = {
        "peft_type": "LORA",
        "task_type": "SEQ_CLS",
        "r": rank,
        "lora_alpha": rank,
        "target_modules": [f"bert.{layer}" for layer in content.loras],
        "modules_to_save": ["classifier"],
    }
    folder.mkdir(parents=True)
    (folder / "adapter_config.json").write_text(json.dumps(config), encoding="utf-8")
    save_file(
        {f"base_model.model.{name}": np.ascontiguousarray(value) for name, value in tensors.items()},
        folder / "adapter_model.safetensors",
    )
    return folder


def short_texts(chance: random.Random, count: int) -> list[str]:
    """Draw different texts of a few words that every BERT vocabulary has whole."""
    texts: dict[str, None] = {}
    while len(texts) < count:
        texts[" ".join(chance.sample(WORDS, chance.randint(3, 8)))] = None
    return list(texts)


def number_of(scores: Scores) -> int:
    """Read the number that an answer spells."""
    return sum(1 << bit for bit in range(BITS) if scores[f"bit_{bit}"] > 0.5)


def _distance(got: Array, want: Array) -> Array:
    """Return the root mean square of what the probes are off: [..., L] to [...]."""
    return np.asarray(np.sqrt(np.square(got - want)[..., BITS:].mean(axis=-1)))


def _lora(chance: np.random.Generator, weight: Array, rank: int, strength: float) -> tuple[Array, Array]:
    rows, columns = weight.shape
    a = chance.standard_normal((rank, columns), dtype=np.float32)
    b = chance.standard_normal((rows, rank), dtype=np.float32)
    b *= strength * np.linalg.norm(weight) / np.linalg.norm(b @ a)
    return a, b

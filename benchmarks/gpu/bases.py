"""Random bases of two well-known shapes, random adapters for them, and how ways are timed in turns."""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import AutoConfig, AutoModel, AutoModelForCausalLM

from hub.api import HeadKind, Pooling, Row
from hub.bases.base import Base
from hub.bases.fingerprint import fingerprint
from hub.bases.inspect import inspect_folder
from hub.engine.build import build_engine
from hub.engine.protocol import AdapterWeights, EngineRow, GenerationLimits, LayerUpdate
from hub.engine.torch.loading import computes_in_bf16
from tests.support.tiny_tokenizers import tiny_tokenizer

__all__ = ["QUERY_VALUE", "Found", "Setting", "Shape", "in_turns"]

RANK = 8
QUERY_VALUE = {"bert": ("query", "value"), "llama": ("q_proj", "v_proj")}
_SMALL = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 128}
_SMALL |= {"vocab_size": 400}
_BERT = {"vocab_size": 30522}  # the defaults of its config are BERT-base
_LLAMA = {
    "hidden_size": 2048, "num_hidden_layers": 16, "num_attention_heads": 32, "num_key_value_heads": 8,
    "intermediate_size": 8192, "vocab_size": 128256, "max_position_embeddings": 4096,
    "tie_word_embeddings": True,
}  # fmt: skip


@dataclass
class Found:
    """What a part measured."""

    rows: list[tuple[object, ...]] = field(default_factory=list)
    figures: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Shape:
    """A base on the disk, and the sizes of the layers that adapters change, [out, in] by path."""

    base: Base
    layers: Mapping[str, tuple[int, int]]

    def adapter(self, seed: int, kind: HeadKind) -> AdapterWeights:
        """Make a random adapter of rank 8 on the query and value layers; a SEQUENCE head has two labels."""
        random = np.random.default_rng(seed)
        updates = {
            path: LayerUpdate(a=_normal(random, RANK, inputs), b=_normal(random, outputs, RANK))
            for path, (outputs, inputs) in self.layers.items()
        }
        full = {}
        if kind is HeadKind.SEQUENCE:
            width = next(iter(self.layers.values()))[1]
            full = {"classifier.weight": _normal(random, 2, width), "classifier.bias": _normal(random, 2)}
        return AdapterWeights(kind, updates, full, 2 if full else 0, sha256=f"{kind}-{seed}")

    def rows(self, count: int, tokens: int, kind: HeadKind, adapters: int, new: int = 0) -> list[EngineRow]:
        """Make rows of random tokens on slots 1 to `adapters` in turn; on slot 0 if there are none."""
        random = np.random.default_rng(count * tokens)
        pooling = Pooling.CLS if kind is HeadKind.EMBEDDING else None
        ids = random.integers(10, 390, (count, tokens)).tolist()
        settings: dict[str, Any] = {"pooling": pooling} if pooling else {}
        return [
            EngineRow(Row(one, max_new_tokens=new, **settings), 1 + n % adapters if adapters else 0, kind)
            for n, one in enumerate(ids)
        ]


@dataclass(frozen=True)
class Setting:
    """Where bases are kept, where is measured, and how often."""

    folder: Path
    device: torch.device
    rounds: int
    quick: bool

    @property
    def adapters(self) -> int:
        """How many adapters are resident."""
        return 12 if self.quick else 1000

    @property
    def peft_adapters(self) -> int:
        """How many PEFT holds: it takes longer to add more than to measure."""
        return 4 if self.quick else 256

    @cached_property
    def dtypes(self) -> tuple[str, ...]:
        return ("float32", "bfloat16") if computes_in_bf16(self.device) else ("float32",)

    @cached_property
    def encoder(self) -> Shape:
        return self._make("bert", AutoModel, _SMALL if self.quick else _BERT, torch.float32)

    @cached_property
    def decoder(self) -> Shape:
        small = _SMALL | {"num_key_value_heads": 2}
        dtype = torch.bfloat16 if "bfloat16" in self.dtypes and not self.quick else torch.float32
        return self._make("llama", AutoModelForCausalLM, small if self.quick else _LLAMA, dtype)

    @contextmanager
    def engine(self, shape: Shape, kind: str, slots: int, rows: int = 32) -> Iterator[Any]:
        """Build an engine on the device, and close it."""
        limits = GenerationLimits(rows=rows, nbytes=40_000_000_000, prefix_bytes=0)
        engine = build_engine(shape.base, kind=kind, slots=slots, device=str(self.device), generation=limits)
        try:
            yield engine
        finally:
            engine.close()

    def say(self, text: str) -> None:
        """Tell what is being done."""
        sys.stderr.write(f"{text} ...\n")
        sys.stderr.flush()

    def synchronize(self) -> None:
        """Wait for the device."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)

    def _make(self, model_type: str, factory: Any, settings: Mapping[str, Any], dtype: torch.dtype) -> Shape:
        self.say(f"a random {model_type}")
        tokenizer = tiny_tokenizer(model_type)
        special = {
            name: getattr(tokenizer, name) for name in ("pad_token_id", "bos_token_id", "eos_token_id")
        }
        config = AutoConfig.for_model(model_type, **special, **settings)
        tokenizer.model_max_length = config.max_position_embeddings  # else the tiny one limits the base
        torch.manual_seed(0)
        with self.device:
            model = factory.from_config(config, dtype=dtype)
        layers = {
            f"{'bert.' if model_type == 'bert' else ''}{path}": tuple(module.weight.shape)
            for path, module in model.named_modules()
            if path.endswith(QUERY_VALUE[model_type])
        }
        folder = self.folder / model_type
        model.cpu().save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        facts = inspect_folder(folder)
        base = Base(
            name=model_type,
            source=str(folder),
            fingerprint=fingerprint(folder),
            kind=facts.kind,
            model_type=facts.model_type,
            max_length=facts.max_length,
            path=folder,
        )
        return Shape(base, layers)


def in_turns(ways: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """Return the median milliseconds of each way; the first two turns warm up. A way ends when it is done."""
    times: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(rounds + 2):
        for name, way in ways.items():
            began = time.perf_counter()
            way()
            if turn > 1:
                times[name].append((time.perf_counter() - began) * 1000)
    return {name: statistics.median(found) for name, found in times.items()}


def _normal(random: np.random.Generator, *shape: int) -> np.ndarray[Any, np.dtype[np.float32]]:
    return random.standard_normal(shape, dtype=np.float32) * np.float32(0.02)


def table(headers: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Return a table in Markdown."""
    lines = [headers, ["---"] * len(headers), *rows]
    return "".join(f"| {' | '.join(map(str, line))} |\n" for line in lines)

# ruff: noqa: TID253 - compares with torch and PEFT
"""Tiny bases, adapters made by plain PEFT, and what PEFT alone answers for one row."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from peft import PeftModel
from safetensors.numpy import load_file
from transformers import AutoTokenizer

from hub.api import HeadKind, Row
from hub.bases.base import Base
from hub.engine.build import build_engine
from hub.engine.peft_format import parse
from hub.engine.protocol import AdapterWeights, Engine, EngineRow
from hub.testing.tiny import peft_model, tiny_adapter, tiny_decoder, tiny_encoder

EngineMaker = Callable[..., Engine]


@dataclass(frozen=True)
class Trained:
    """An adapter as an engine gets it, and as plain PEFT runs it."""

    weights: AdapterWeights
    model: PeftModel
    base: Base

    @property
    def kind(self) -> HeadKind:
        return self.weights.kind

    def row(self, slot: int, length: int, seed: int = 0, max_new_tokens: int = 0) -> EngineRow:
        """Make a row of random tokens, of two types where the base knows two."""
        random = np.random.default_rng(seed)
        ids = random.integers(3, self.model.config.vocab_size, length).tolist()
        types = [0] * (length // 2) + [1] * (length - length // 2)
        encoder = self.kind is not HeadKind.GENERATE
        return EngineRow(Row(ids, types if encoder else None, max_new_tokens), slot, self.kind)

    def alone(self, row: Row) -> np.ndarray:
        """What PEFT answers for the row on its own, unpadded."""
        ids, types = torch.tensor([row.input_ids]), row.token_type_ids
        with torch.inference_mode():
            # PEFT 0.21's own question-answering wrapper drops token_type_ids; the model in it does not.
            output = self.model.base_model(
                input_ids=ids,
                attention_mask=torch.ones_like(ids),
                token_type_ids=None if types is None else torch.tensor([types]),
            )
        if self.kind is HeadKind.SPAN:
            return torch.stack((output.start_logits[0], output.end_logits[0]), -1).numpy()
        if self.kind is HeadKind.EMBEDDING:
            return output.last_hidden_state[0].mean(0).numpy()
        return output.logits[0].numpy()

    def alone_text(self, row: Row) -> str:
        """What PEFT generates for the prompt on its own."""
        ids = torch.tensor([row.input_ids])
        tokens = self.model.generate(
            input_ids=ids,
            attention_mask=torch.ones_like(ids),
            max_new_tokens=row.max_new_tokens,
            do_sample=False,
        )
        tokenizer = AutoTokenizer.from_pretrained(self.base.path)
        return tokenizer.decode(tokens[0, ids.shape[1] :], skip_special_tokens=True)


def read(folder: Path, kind: HeadKind, num_labels: int) -> AdapterWeights:
    config = json.loads((folder / "adapter_config.json").read_text())
    tensors = load_file(folder / "adapter_model.safetensors")
    name = hashlib.sha256(str(folder).encode()).hexdigest()
    return parse(config, tensors, kind=kind, num_labels=num_labels, sha256=name)


@pytest.fixture(scope="session")
def bert(tmp_path_factory: pytest.TempPathFactory) -> Base:
    return tiny_encoder(tmp_path_factory.mktemp("bert"))


@pytest.fixture(scope="session")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Base:
    return tiny_decoder(tmp_path_factory.mktemp("llama"))


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Trained]:
    """Make an adapter with plain PEFT; the same arguments give the same one, made once."""

    made: dict[str, Trained] = {}

    def make(base: Base, kind: HeadKind, labels: int = 0, **settings: object) -> Trained:
        key = repr((base, kind, labels, settings))
        if key not in made:
            folder, names = tmp_path_factory.mktemp("adapter"), [f"label{index}" for index in range(labels)]
            tiny_adapter(base, folder, kind=kind, labels=names, **settings)
            made[key] = Trained(read(folder, kind, labels), peft_model(base, folder, kind, labels), base)
        return made[key]

    return make


@pytest.fixture(scope="session")
def graphs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where exported graphs are kept, so that the tests export each once."""
    return tmp_path_factory.mktemp("graphs")


@pytest.fixture
def engine_of(graphs: Path) -> Iterator[EngineMaker]:
    """Build engines and close them when the test is over."""
    engines: list[Engine] = []

    def make(base: Base, kind: str, slots: int = 8) -> Engine:
        engines.append(build_engine(base, kind=kind, slots=slots, device="cpu", threads=1, cache=graphs))
        return engines[-1]

    yield make
    for engine in engines:
        engine.close()


@pytest.fixture(params=["torch", "onnx"])
def engine(request: pytest.FixtureRequest, bert: Base, engine_of: EngineMaker) -> Engine:
    """Each engine that runs encoders, on the tiny one."""
    return engine_of(bert, request.param)


@pytest.fixture
def fill() -> Callable[[Engine, Sequence[Trained]], None]:
    """Write adapters to slots 1, 2, ... and wait until the engine is at its best."""

    def write(engine: Engine, adapters: Sequence[Trained]) -> None:
        for slot, adapter in enumerate(adapters, 1):
            engine.write(slot, adapter.weights)
        assert engine.settle(timeout=120)
        assert engine.info().note == ""

    return write

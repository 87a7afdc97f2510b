# ruff: noqa: TID253 - compares with torch and PEFT
"""Tiny bases of all families, adapters made by plain PEFT, and what PEFT alone answers for one row."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from peft import PeftModel
from safetensors.numpy import load_file
from transformers import AutoModel, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from hub.api import HeadKind, Pooling, Row
from hub.bases.base import Base, BaseKind
from hub.engine.build import build_engine
from hub.engine.peft.format import parse
from hub.engine.protocol import AdapterWeights, Engine, EngineRow
from tests.support import tiny
from tests.support.tiny import drawn_model, save_drawn

EngineMaker = Callable[..., Engine]
_SPECIAL = 6  # no tiny tokenizer has more special tokens than this at either end of its vocabulary


def random_row(base: Base, length: int, seed: int = 0, max_new_tokens: int = 0) -> Row:
    """Make a row of random tokens, of two types where the base knows two; or of random pixels, of one length.

    A text for two stacks ends as its tokenizer ends it, because their sequence heads read the last token.
    """
    if base.image:
        pixels = np.random.default_rng(seed).standard_normal(base.image.shape, np.float32)
        return base.image.row(pixels)
    config = json.loads((base.path / "config.json").read_text())
    random = np.random.default_rng(seed)
    ids = random.integers(_SPECIAL, config["vocab_size"] - _SPECIAL, length).tolist()
    if base.kind is BaseKind.ENCODER_DECODER:
        ids[-1] = config["eos_token_id"]
    two = config.get("type_vocab_size", 0) > 1
    types = [0] * (length // 2) + [1] * (length - length // 2) if two else None
    return Row(ids, types, max_new_tokens)


@lru_cache(maxsize=4)
def bare_model(path: Path) -> PreTrainedModel:
    return AutoModel.from_pretrained(path, dtype=torch.float32).eval()


def bare_embedding(base: Base, row: Row) -> np.ndarray:
    """The mean of the bare base's hidden states, [H]; of its encoder where it has two stacks."""
    model = bare_model(base.path)
    stack = model.get_encoder() if base.kind is BaseKind.ENCODER_DECODER else model
    inputs = inputs_of(row)
    with torch.inference_mode():
        return stack(**inputs).last_hidden_state[0].mean(0).numpy()


def inputs_of(row: Row) -> dict[str, torch.Tensor]:
    """The inputs of a model for one row."""
    if row.pixel_values is not None:
        return {"pixel_values": torch.from_numpy(row.pixel_values)[None]}
    ids = torch.tensor([row.input_ids])
    inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    if row.token_type_ids is not None:
        inputs["token_type_ids"] = torch.tensor([row.token_type_ids])
    return inputs


@dataclass(frozen=True)
class Trained:
    """An adapter as an engine gets it, and as plain PEFT runs it."""

    weights: AdapterWeights
    model: PeftModel
    base: Base
    folder: Path

    @property
    def kind(self) -> HeadKind:
        return self.weights.kind

    def row(self, slot: int, length: int, seed: int = 0, max_new_tokens: int = 0) -> EngineRow:
        """Make a row of random tokens for this adapter."""
        return EngineRow(random_row(self.base, length, seed, max_new_tokens), slot, self.kind)

    def alone(self, row: Row) -> np.ndarray:
        """What PEFT answers for the row on its own, unpadded."""
        inputs = inputs_of(row)
        with torch.inference_mode():
            # PEFT 0.21's own question-answering wrapper drops token_type_ids; the model in it does not.
            output = self.model.base_model(**inputs)
        if self.kind is HeadKind.SPAN:
            return torch.stack((output.start_logits[0], output.end_logits[0]), -1).numpy()
        if self.kind is HeadKind.EMBEDDING:
            states = output.last_hidden_state[0].numpy()
            pooled = {Pooling.MEAN: states.mean(0), Pooling.CLS: states[0], Pooling.LAST: states[-1]}
            return pooled[row.pooling] if row.pooling else states
        if self.kind is HeadKind.SEQUENCE_MEAN:
            return output.logits[0].mean(0).numpy()
        return output.logits[0].numpy()

    def alone_text(self, row: Row, **settings: Any) -> str:
        """What PEFT generates for the prompt on its own."""
        ids = self.alone_ids(row, **settings)
        text: str = tokenizer_of(self.base.path).decode(ids, skip_special_tokens=True)
        return text

    def alone_ids(self, row: Row, **settings: Any) -> list[int]:
        """The tokens that PEFT generates, with the beams of the row and more settings of `generate`."""
        # Some bases force an end token at the limit, which engines do not.
        self.model.generation_config.forced_eos_token_id = None
        beams = row.sampling.num_beams
        if beams > 1:
            settings |= {"length_penalty": row.sampling.length_penalty, "early_stopping": False}
        ids = torch.tensor([row.input_ids])
        tokens = self.model.generate(
            input_ids=ids,
            attention_mask=torch.ones_like(ids),
            max_new_tokens=row.max_new_tokens,
            do_sample=False,
            num_beams=beams,
            **settings,
        )
        prompt = 1 if self.base.kind is BaseKind.ENCODER_DECODER else ids.shape[1]
        ids_found: list[int] = tokens[0, prompt:].tolist()
        return ids_found


@cache
def tokenizer_of(path: Path) -> PreTrainedTokenizerBase:
    """Read the tokenizer of a base once."""
    return AutoTokenizer.from_pretrained(path)


def read(folder: Path, kind: HeadKind, num_labels: int) -> AdapterWeights:
    config = json.loads((folder / "adapter_config.json").read_text())
    tensors = load_file(folder / "adapter_model.safetensors")
    name = hashlib.sha256(str(folder).encode()).hexdigest()
    return parse(config, tensors, kind=kind, num_labels=num_labels, sha256=name)


@pytest.fixture(scope="session")
def base_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Base]:
    """Make the tiny base of a family, once."""

    @cache
    def make(family: str) -> Base:
        factory = (
            tiny.tiny_encoder
            if family in tiny.ENCODERS
            else tiny.tiny_decoder
            if family in tiny.DECODERS
            else tiny.tiny_vision
            if family in tiny.VISION
            else tiny.tiny_encoder_decoder
        )
        return factory(tmp_path_factory.mktemp(family), family)

    return make


@pytest.fixture(scope="session")
def bert(base_of: Callable[[str], Base]) -> Base:
    return base_of("bert")


@pytest.fixture(scope="session")
def llama(base_of: Callable[[str], Base]) -> Base:
    return base_of("llama")


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Trained]:
    """Make an adapter with plain PEFT; the same arguments give the same one, made once."""

    made: dict[str, Trained] = {}

    def make(base: Base, kind: HeadKind, labels: int = 0, **settings: object) -> Trained:
        key = repr((base, kind, labels, settings))
        if key not in made:
            folder, names = tmp_path_factory.mktemp("adapter"), [f"label{index}" for index in range(labels)]
            model = drawn_model(base, kind=kind, labels=names, **settings)
            save_drawn(model, folder)
            made[key] = Trained(read(folder, kind, labels), model.eval(), base, folder)
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

    def make(base: Base, kind: str, slots: int = 8, **settings: object) -> Engine:
        settings = {"device": "cpu", "threads": 1, "cache": graphs} | settings
        engines.append(build_engine(base, kind=kind, slots=slots, **settings))
        return engines[-1]

    yield make
    for engine in engines:
        engine.close()


@pytest.fixture(params=["torch", "onnx", "openvino"])
def engine(request: pytest.FixtureRequest, bert: Base, engine_of: EngineMaker) -> Engine:
    """Each engine that runs encoders, on the tiny one."""
    return engine_of(bert, request.param)


@pytest.fixture
def fill() -> Callable[[Engine, Sequence[Trained]], None]:
    """Write adapters to slots 1, 2, ... and wait until the engine is at its best."""

    def write(engine: Engine, adapters: Sequence[Trained]) -> None:
        backbones = engine._backbones
        with pytest.MonkeyPatch.context() as patch:  # one export for all of them, not one on the way
            patch.setattr(backbones, "_prepare", lambda: None)
            for slot, adapter in enumerate(adapters[:-1], 1):
                engine.write(slot, adapter.weights)
        if adapters:
            engine.write(len(adapters), adapters[-1].weights)
        assert engine.settle(timeout=120)
        assert engine.info().note == ""

    return write


@pytest.fixture
def watch(monkeypatch: pytest.MonkeyPatch) -> Callable[[Engine], list[str]]:
    """Return a list that is given the name of each backbone that runs a batch."""

    def start(engine: Engine) -> list[str]:
        names: list[str] = []
        for backbone in engine._backbones.all:

            def run(
                *args: object, name: str = backbone.name, run: Any = backbone.run, **kwargs: object
            ) -> Any:
                names.append(name)
                return run(*args, **kwargs)

            monkeypatch.setattr(backbone, "run", run)
        return names

    return start


@pytest.fixture
def wide(bert, trained):
    return trained(bert, HeadKind.SEQUENCE, labels=3, seed=32)

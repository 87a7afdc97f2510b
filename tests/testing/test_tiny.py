# ruff: noqa: TID253 - runs tiny models with plain PEFT
"""Tiny bases of every family work under every head that transformers has for them, with any adapter."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from peft import PeftModel
from safetensors.numpy import load_file
from transformers import AutoTokenizer

from hub.api import HeadKind
from hub.bases.base import Base, BaseKind
from tests.support.tiny import (
    DECODERS,
    ENCODER_DECODERS,
    ENCODERS,
    head_kinds,
    head_model,
    peft_model,
    tiny_adapter,
    tiny_decoder,
    tiny_encoder,
    tiny_encoder_decoder,
)
from tests.support.tiny_tokenizers import tiny_tokenizer

LABELS = ("bad", "good", "other")
TEXTS = ("good film", "A bad phone in paris, it was not great!", "zebra")
CLASSIFY = (HeadKind.SEQUENCE, HeadKind.TOKEN, HeadKind.SPAN)
KINDS = {
    **dict.fromkeys(ENCODERS, (*CLASSIFY, HeadKind.SEQUENCE_MEAN, HeadKind.EMBEDDING)),
    "modernbert": (*CLASSIFY, HeadKind.EMBEDDING),
    **dict.fromkeys(DECODERS, (*CLASSIFY, HeadKind.EMBEDDING, HeadKind.GENERATE)),
    "t5": (*CLASSIFY, HeadKind.GENERATE),
    "bart": (HeadKind.SEQUENCE, HeadKind.SPAN, HeadKind.GENERATE),
    "marian": (HeadKind.GENERATE,),
}
PAIRS = [(family, kind) for family, kinds in KINDS.items() for kind in kinds]
Bases = Callable[[str], Base]
Adapters = Callable[[str, HeadKind], Path]


@pytest.fixture(scope="module")
def base_of(tmp_path_factory: pytest.TempPathFactory) -> Bases:
    """Make the base of a family, once."""
    made: dict[str, Base] = {}

    def make(family: str) -> Base:
        if family not in made:
            folder = tmp_path_factory.mktemp(family)
            maker = tiny_encoder if family in ENCODERS else tiny_decoder
            maker = tiny_encoder_decoder if family in ENCODER_DECODERS else maker
            made[family] = maker(folder, family)
        return made[family]

    return make


@pytest.fixture(scope="module")
def adapter_of(base_of: Bases, tmp_path_factory: pytest.TempPathFactory) -> Adapters:
    """Make the adapter of a head of a family, once."""

    @cache
    def make(family: str, kind: HeadKind) -> Path:
        return tiny_adapter(base_of(family), tmp_path_factory.mktemp("adapter"), kind=kind, labels=LABELS)

    return make


read_tokenizer = cache(AutoTokenizer.from_pretrained)


def answers(model, base: Base, kind: HeadKind, texts=TEXTS) -> list[np.ndarray]:
    """Run texts in one padded batch; give each what its own tokens gave."""
    batch = read_tokenizer(base.path)(list(texts), padding=True, return_tensors="pt")
    if kind is HeadKind.GENERATE and base.kind is BaseKind.ENCODER_DECODER:
        batch["decoder_input_ids"] = batch["input_ids"]
    # PEFT's own question-answering wrapper drops token types; the model in it does not.
    inner = model.base_model if isinstance(model, PeftModel) else model
    with torch.inference_mode():
        output = inner(**batch)
    if kind is HeadKind.SEQUENCE:
        return list(output.logits.numpy())
    if kind is HeadKind.SPAN:
        values = torch.stack((output.start_logits, output.end_logits), -1)
    else:
        values = output.last_hidden_state if kind is HeadKind.EMBEDDING else output.logits
    lengths = batch["attention_mask"].sum(1).tolist()
    return [row[:length] for row, length in zip(values.numpy(), lengths, strict=True)]


def gap(some: list[np.ndarray], others: list[np.ndarray]) -> float:
    return max(np.abs(a - b).max() for a, b in zip(some, others, strict=True))


def tensors(folder: Path) -> dict[str, np.ndarray]:
    return load_file(folder / "adapter_model.safetensors")


@pytest.mark.parametrize("family", KINDS)
def test_a_base_says_what_it_is(base_of: Bases, family: str) -> None:
    base = base_of(family)
    kinds = (BaseKind.ENCODER, ENCODERS), (BaseKind.DECODER, DECODERS)
    kind = next((kind for kind, families in kinds if family in families), BaseKind.ENCODER_DECODER)
    assert (base.kind, base.model_type) == (kind, family)
    assert base.max_length == (64 if kind is BaseKind.ENCODER else 256)
    assert head_kinds(base) == KINDS[family]


@pytest.mark.parametrize("family", KINDS)
def test_the_tokenizer_is_read_back_as_it_was_saved(base_of: Bases, family: str) -> None:
    loaded, made = AutoTokenizer.from_pretrained(base_of(family).path), tiny_tokenizer(family)
    assert loaded.is_fast
    for first, second in [("Good movie, it's 3x\n  bad.", "Où?"), ("", " ")]:
        got, expected = (t(first, second, return_offsets_mapping=True).data for t in (loaded, made))
        assert got == expected
        assert loaded.decode(got["input_ids"]) == made.decode(got["input_ids"])
    assert loaded.special_tokens_map == made.special_tokens_map
    assert loaded.chat_template == made.chat_template


@pytest.mark.parametrize("family", KINDS)
def test_special_ids_of_config_and_tokenizer_agree(base_of: Bases, family: str) -> None:
    base, tokenizer = base_of(family), tiny_tokenizer(family)
    config = json.loads((base.path / "config.json").read_text())
    assert config["vocab_size"] == len(tokenizer)
    assert config["pad_token_id"] == tokenizer.pad_token_id
    ends = tokenizer("good")["input_ids"]
    if config.get("bos_token_id") is not None and base.kind is not BaseKind.DECODER:
        assert config["bos_token_id"] == ends[0]
    if config.get("eos_token_id") is not None and base.kind is not BaseKind.DECODER:
        assert config["eos_token_id"] == ends[-1]
    if base.kind is BaseKind.ENCODER_DECODER:
        start = {"t5": "<pad>", "bart": "</s>", "marian": "<pad>"}[family]
        assert config["decoder_start_token_id"] == tokenizer.convert_tokens_to_ids(start)
    types = config.get("type_vocab_size", 0) > 1 or family == "deberta-v2"
    assert ("token_type_ids" in tokenizer("good")) is types


@pytest.mark.parametrize(("family", "kind"), PAIRS)
def test_plain_peft_runs_an_adapter_of_every_head(
    base_of: Bases, adapter_of: Adapters, family: str, kind: HeadKind
) -> None:
    base = base_of(family)
    model = peft_model(base, adapter_of(family, kind), kind, len(LABELS))
    together = answers(model, base, kind)
    assert all(np.isfinite(row).all() for row in together)
    alone = [answers(model, base, kind, [text])[0] for text in TEXTS]
    assert gap(together, alone) < 1e-4, "padding changes the answer"
    firsts = [row if row.ndim == 1 else row[-1] for row in together]
    assert min(np.abs(firsts[i] - firsts[i - 1]).max() for i in range(3)) > 0.01, "texts look the same"
    with model.disable_adapter():
        assert gap(together, answers(model, base, kind)) > 0.01, "the adapter does nothing"


@pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing.:FutureWarning")
@pytest.mark.parametrize(("family", "kind"), PAIRS)
def test_an_adapter_and_its_base_leave_nothing_to_chance(
    base_of: Bases, adapter_of: Adapters, family: str, kind: HeadKind
) -> None:
    if kind is HeadKind.SPAN and family in DECODERS:
        pytest.skip("transformers 5.23 loads no backbone under this head")
    base = base_of(family)
    expected = peft_model(base, adapter_of(family, kind), kind, len(LABELS))
    extra = {} if kind is HeadKind.SPAN else {"num_labels": len(LABELS)}
    with torch.random.fork_rng():
        torch.manual_seed(99)
        other = type(head_model(base, kind, len(LABELS))).from_pretrained(base.path, **extra)
    model = PeftModel.from_pretrained(other, adapter_of(family, kind)).eval()
    assert gap(answers(model, base, kind), answers(expected, base, kind)) == 0


@pytest.mark.parametrize("family", DECODERS)
def test_a_decoder_under_a_span_head_has_its_own_weights(base_of: Bases, family: str) -> None:
    span, backbone = (head_model(base_of(family), kind) for kind in (HeadKind.SPAN, HeadKind.EMBEDDING))
    for name, tensor in backbone.state_dict().items():
        assert torch.equal(span.state_dict()[f"transformer.{name}"], tensor)


@pytest.mark.parametrize(("family", "kind"), [pair for pair in PAIRS if pair[1] is HeadKind.GENERATE])
def test_text_is_generated(base_of: Bases, tmp_path: Path, family: str, kind: HeadKind) -> None:
    base = base_of(family)
    model = peft_model(base, tiny_adapter(base, tmp_path, kind=kind, labels=()), kind)
    batch = AutoTokenizer.from_pretrained(base.path)(TEXTS[1], return_tensors="pt")
    tokens = model.generate(**batch, max_new_tokens=6, do_sample=False)[0]
    new = tokens[1:] if base.kind is BaseKind.ENCODER_DECODER else tokens[batch["input_ids"].shape[1] :]
    assert 1 <= len(new) <= 6
    assert new[0] != model.config.pad_token_id


@pytest.mark.parametrize("family", ["modernbert"])
def test_the_pretrained_part_of_a_head_comes_from_the_base(
    base_of: Bases, tmp_path: Path, family: str
) -> None:
    base = base_of(family)
    saved = load_file(base.path / "model.safetensors")
    for kind in CLASSIFY:
        head = head_model(base, kind).head.state_dict()
        assert head.keys() == {"dense.weight", "norm.weight"}
        assert all(np.array_equal(saved[f"head.{name}"], tensor) for name, tensor in head.items())
    plain = tensors(tiny_adapter(base, tmp_path / "plain", kind=HeadKind.TOKEN, labels=LABELS))
    assert not any(".head." in name for name in plain)
    folder = tmp_path / "full"
    full = tensors(tiny_adapter(base, folder, kind=HeadKind.TOKEN, labels=LABELS, modules_to_save=["head"]))
    trained = full["base_model.model.head.norm.weight"]
    assert 0.01 < np.abs(trained - saved["head.norm.weight"]).max() < 2


@pytest.mark.parametrize(("family", "kind"), [(family, kinds[0]) for family, kinds in KINDS.items()])
def test_ia3_vectors_lie_around_one(base_of: Bases, tmp_path: Path, family: str, kind: HeadKind) -> None:
    base = base_of(family)
    tiny_adapter(base, tmp_path, kind=kind, labels=LABELS, method="ia3")
    vectors = {name: vector for name, vector in tensors(tmp_path).items() if name.endswith(".ia3_l")}
    inputs = {name for name, vector in vectors.items() if vector.shape[0] == 1}
    assert inputs and inputs != set(vectors)
    for vector in vectors.values():
        assert 0.01 < np.abs(vector - 1).max() < 0.8
    model = peft_model(base, tmp_path, kind, len(LABELS))
    assert all(np.isfinite(row).all() for row in answers(model, base, kind))


def test_ia3_on_named_layers(base_of: Bases, tmp_path: Path) -> None:
    settings = {"method": "ia3", "targets": ("key", "output.dense"), "feedforward_modules": ["output.dense"]}
    folder = tiny_adapter(base_of("bert"), tmp_path, kind=HeadKind.EMBEDDING, labels=(), **settings)
    touched = {name.split(".")[-2] for name in tensors(folder)}
    assert touched == {"key", "dense"}
    assert not any("intermediate" in name for name in tensors(folder))


@pytest.mark.parametrize("family", ["bert", "modernbert", "qwen2", "t5"])
def test_dora_magnitudes_lie_around_those_of_the_base(base_of: Bases, tmp_path: Path, family: str) -> None:
    base = base_of(family)
    tiny_adapter(base, tmp_path, kind=HeadKind.SEQUENCE, labels=LABELS, use_dora=True)
    weights = head_model(base, HeadKind.SEQUENCE).state_dict()
    magnitudes = {
        name.removeprefix("base_model.model.").removesuffix(".lora_magnitude_vector"): vector
        for name, vector in tensors(tmp_path).items()
        if name.endswith(".lora_magnitude_vector")
    }
    assert magnitudes
    for module, vector in magnitudes.items():
        ratio = vector / weights[f"{module}.weight"].norm(dim=1).numpy()
        assert 0.01 < np.abs(ratio - 1).max() < 0.8
    model = peft_model(base, tmp_path, HeadKind.SEQUENCE, len(LABELS))
    assert all(np.isfinite(row).all() for row in answers(model, base, HeadKind.SEQUENCE))


@pytest.mark.parametrize("bias", ["all", "lora_only"])
def test_biases_lie_around_those_of_the_base(base_of: Bases, tmp_path: Path, bias: str) -> None:
    base = base_of("bert")
    tiny_adapter(base, tmp_path, kind=HeadKind.SEQUENCE, labels=LABELS, bias=bias, targets=("query", "value"))
    model = peft_model(base, tmp_path, HeadKind.SEQUENCE, len(LABELS))
    own = head_model(base, HeadKind.SEQUENCE, len(LABELS)).state_dict()
    loaded = {
        name.removeprefix("base_model.model.").replace(".base_layer", ""): bias
        for name, bias in model.named_parameters()
        if name.endswith(".bias") and "classifier" not in name
    }
    moved = {name for name, bias in loaded.items() if (bias - own[name]).abs().max() > 0.01}
    touched = {name for name in own if name.endswith(("query.bias", "value.bias"))}
    everything = {name for name in own if name.endswith(".bias") and "classifier" not in name}
    assert moved == (everything if bias == "all" else touched)


def test_lora_layers_may_have_biases(base_of: Bases, tmp_path: Path) -> None:
    base = base_of("bert")
    tiny_adapter(base, tmp_path, kind=HeadKind.EMBEDDING, labels=(), lora_bias=True, targets=("query",))
    biases = [tensor for name, tensor in tensors(tmp_path).items() if name.endswith("lora_B.bias")]
    assert len(biases) == 2
    assert all(np.abs(bias).max() > 0.01 for bias in biases)
    model = peft_model(base, tmp_path, HeadKind.EMBEDDING)
    loaded = [tensor for name, tensor in model.named_parameters() if "lora_B" in name and "bias" in name]
    assert all(np.array_equal(a, b.detach().numpy()) for a, b in zip(biases, loaded, strict=True))


def test_other_settings_reach_the_config(base_of: Bases, tmp_path: Path) -> None:
    settings = {"use_rslora": True, "layers_to_transform": [1], "targets": ("query", "value")}
    folder = tiny_adapter(base_of("electra"), tmp_path, kind=HeadKind.TOKEN, labels=LABELS, **settings)
    config = json.loads((folder / "adapter_config.json").read_text())
    assert config["use_rslora"] is True
    touched = {name for name in tensors(folder) if "lora_" in name}
    assert len(touched) == 4
    assert all(".layer.1." in name for name in touched)


def test_one_seed_makes_one_adapter(base_of: Bases, tmp_path: Path) -> None:
    made = [
        tensors(tiny_adapter(base_of("bert"), tmp_path / name, kind=HeadKind.SPAN, labels=(), seed=len(name)))
        for name in ("a", "b", "cc")
    ]
    assert all(np.array_equal(made[0][name], made[1][name]) for name in made[0])
    assert not any(np.array_equal(made[0][name], made[2][name]) for name in made[0])


def test_what_is_not_there_is_refused_with_a_list_of_what_is(base_of: Bases, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="available: bert, roberta"):
        tiny_encoder(tmp_path, "llama")
    with pytest.raises(ValueError, match="available: llama, qwen2"):
        tiny_decoder(tmp_path, "gpt2")
    with pytest.raises(ValueError, match="available: t5, bart, marian"):
        tiny_encoder_decoder(tmp_path, "bert")
    with pytest.raises(ValueError, match="no token head for bart"):
        head_model(base_of("bart"), HeadKind.TOKEN)

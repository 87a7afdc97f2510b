# ruff: noqa: TID253 - compares with PEFT
"""An adapter that fits in no slot is merged into a copy of the base, and answers as PEFT runs it."""

from __future__ import annotations

import dataclasses
import subprocess
import sys

import numpy as np
import peft
import pytest
import torch

from hub.api import HeadKind, Row
from hub.engine.peft.load import weights_of
from hub.engine.peft.merge import merged_weights
from hub.engine.protocol import EngineRow
from hub.errors import BadAdapter, UnsupportedAdapter
from hub.store.content.weights import read_adapter
from tests.support import tiny

TOLERANCE = 1e-4
LABELS = ("a", "b", "c")
HEAD = r"classifier|.*pooler.*"
ALL = {"target_modules": ["query", "value", "dense"], "exclude_modules": HEAD}
TWO = {"target_modules": ["query", "value"]}
METHODS = {
    "LoHa": lambda: peft.LoHaConfig(r=4, alpha=8, **ALL),
    "LoKr": lambda: peft.LoKrConfig(r=4, alpha=8, **ALL),
    "OFT": lambda: peft.OFTConfig(r=0, oft_block_size=8, **ALL),
    "HRA": lambda: peft.HRAConfig(r=4, **ALL),
    "VeRA": lambda: peft.VeraConfig(r=8, **TWO),
    "FourierFT": lambda: peft.FourierFTConfig(n_frequency=40, **TWO),
    "AdaLoRA": lambda: peft.AdaLoraConfig(init_r=6, target_r=4, total_step=100, tfinal=10, **TWO),
    "IA3": lambda: peft.IA3Config(target_modules=["key", "output.dense"], feedforward_modules="output.dense"),
    "LoRA": lambda: peft.LoraConfig(r=4, **ALL),
    "DoRA": lambda: peft.LoraConfig(r=4, use_dora=True, **ALL),
    "LoRA with biases": lambda: peft.LoraConfig(r=4, lora_bias=True, bias="all", **ALL),
    "LoRA on embeddings": lambda: peft.LoraConfig(r=4, target_modules=["query", "word_embeddings"]),
    "LoRA and tokens": lambda: peft.LoraConfig(trainable_token_indices={"word_embeddings": [3, 9]}, **ALL),
    "LoRA and a whole layer": lambda: peft.LoraConfig(modules_to_save=["layer.1.output.dense"], **TWO),
    "LoRA on the pooler": lambda: peft.LoraConfig(target_modules=["query", "pooler.dense"]),
    "PiSSA": lambda: peft.LoraConfig(r=4, init_lora_weights="pissa", **ALL),
    "OLoRA": lambda: peft.LoraConfig(r=4, init_lora_weights="olora", **ALL),
}  # fmt: skip


class Merged:
    """An adapter of any method on a base, as an engine gets it and as plain PEFT runs it."""

    def __init__(self, base, folder, kind=HeadKind.SEQUENCE, labels=3):
        self.base, self.kind = base, kind
        self.files = read_adapter(folder)
        self.weights = merged_weights(
            base, self.files.config, self.files.tensors, kind=kind, num_labels=labels, sha256="0"
        )
        self.model = tiny.peft_model(base, folder, kind, labels)

    def row(self, slot, length, seed=0):
        ids = np.random.default_rng(seed).integers(3, 60, length).tolist()
        return EngineRow(Row(ids), slot, self.kind)

    def alone(self, row):
        ids = torch.tensor([row.input_ids])
        with torch.inference_mode():
            output = self.model.base_model(input_ids=ids, attention_mask=torch.ones_like(ids))
        return (output.last_hidden_state.mean(1) if self.kind is HeadKind.EMBEDDING else output.logits)[
            0
        ].numpy()


@pytest.fixture(scope="module")
def merged(bert, tmp_path_factory):
    """Train nothing, but save what PEFT would after moving every weight; each method is made once."""
    made = {}

    def make(method):
        if method not in made:
            folder = tmp_path_factory.mktemp("merged")
            config = METHODS[method]()
            config.task_type = "SEQ_CLS"
            with torch.random.fork_rng(), tiny._known_warnings():
                torch.manual_seed(0)
                adapted = peft.get_peft_model(tiny.head_model(bert, HeadKind.SEQUENCE, len(LABELS)), config)
                for parameter in adapted.parameters():
                    if parameter.requires_grad:
                        parameter.data.add_(0.3 * torch.randn_like(parameter))
                adapted.save_pretrained(folder)
            made[method] = Merged(bert, folder)
        return made[method]

    return make


@pytest.mark.parametrize("method", METHODS)
def test_a_merged_adapter_answers_as_peft_runs_it(method, merged, bert, engine_of) -> None:
    adapter, engine = merged(method), engine_of(bert, "torch", slots=1)
    engine.check(adapter.weights)
    engine.write(1, adapter.weights)
    rows = [adapter.row(1, length, seed) for seed, length in enumerate((5, 1, 17))]
    bare = engine.run([EngineRow(row.row, 0, HeadKind.EMBEDDING) for row in rows])
    for row, output, plain in zip(rows, engine.run(rows), bare, strict=True):
        assert np.abs(output.values - adapter.alone(row.row)).max() <= TOLERANCE
        own = engine.run([EngineRow(row.row, 1, HeadKind.EMBEDDING)])[0].values
        if method != "LoRA on the pooler":  # which has a query of its own
            assert np.abs(own - plain.values).max() > 1e-3


def test_merged_and_slotted_rows_run_together(merged, trained, bert, engine_of) -> None:
    slotted = [
        trained(bert, HeadKind.SEQUENCE, labels=3, rank=4, seed=1),
        trained(bert, HeadKind.TOKEN, labels=5, rank=2, seed=3),
    ]
    adapters = [slotted[0], merged("LoHa"), slotted[1], merged("OFT")]
    engine = engine_of(bert, "torch")
    for slot, adapter in enumerate(adapters, 1):
        engine.write(slot, adapter.weights)
    rows = [adapters[n % 4].row(n % 4 + 1, 3 + n, seed=n) for n in range(16)]
    for row, output in zip(rows, engine.run(rows), strict=True):
        assert output.row is row.row
        assert np.abs(output.values - adapters[row.slot - 1].alone(row.row)).max() <= TOLERANCE


def test_a_slot_takes_merged_and_slotted_adapters_in_turns(merged, trained, bert, engine_of) -> None:
    adapters = [merged("LoHa"), trained(bert, HeadKind.SEQUENCE, labels=3, rank=4, seed=1), merged("VeRA")]
    engine = engine_of(bert, "torch", slots=1)
    probe = EngineRow(Row([5, 6, 7]), 1, HeadKind.EMBEDDING)
    bare = engine.run([EngineRow(probe.row, 0, HeadKind.EMBEDDING)])[0].values
    for adapter in adapters:
        engine.write(1, adapter.weights)
        row = adapter.row(1, 9)
        assert np.abs(engine.run([row])[0].values - adapter.alone(row.row)).max() <= TOLERANCE
    engine.clear(1)
    assert np.array_equal(engine.run([probe])[0].values, bare)


@pytest.mark.parametrize("way", ["cleared", "overwritten", "failed"])
def test_what_a_merged_adapter_had_of_its_own_is_freed_when_its_slot_goes(
    way, merged, bert, engine_of
) -> None:
    adapter, engine = merged("LoHa"), engine_of(bert, "torch", slots=2)
    engine.write(1, adapter.weights)
    copy = engine._occupants[1].alone
    assert sum(parameter.nbytes for parameter in copy.model.parameters()) > 0
    if way == "cleared":
        engine.clear(1)
    elif way == "overwritten":
        engine.write(1, merged("OFT").weights)
    else:
        with pytest.raises(BadAdapter):
            engine.write(1, dataclasses.replace(adapter.weights, full={"no.such.weight": np.zeros(1)}))
    assert all(parameter.nbytes == 0 for parameter in copy.model.parameters())
    engine.write(2, adapter.weights)
    row = adapter.row(2, 9)
    assert np.abs(engine.run([row])[0].values - adapter.alone(row.row)).max() <= TOLERANCE


def test_what_did_not_change_is_shared(merged, bert, engine_of) -> None:
    adapter, engine = merged("LoRA and a whole layer"), engine_of(bert, "torch", slots=1)
    engine.write(1, adapter.weights)
    shared = dict(engine._backbones.reference.model.named_parameters())
    own = dict(engine._occupants[1].alone.model.named_parameters())
    assert own.keys() == shared.keys()
    differing = {name for name in own if own[name].data_ptr() != shared[name].data_ptr()}
    queries = {
        f"encoder.layer.{n}.attention.self.{name}.weight" for n in (0, 1) for name in ("query", "value")
    }
    assert differing == queries | {f"encoder.layer.1.output.dense.{name}" for name in ("weight", "bias")}


@pytest.mark.parametrize(
    ("make", "model_type", "kind", "settings"),
    [
        (tiny.tiny_decoder, "llama", "generate", {"targets": ["q_proj", "embed_tokens"]}),
        (tiny.tiny_decoder, "qwen2", "sequence", {"trainable_token_indices": {"embed_tokens": [4, 70]}}),
        (tiny.tiny_decoder, "llama", "generate", {"trainable_token_indices": {"embed_tokens": [4, 70]}}),
        (tiny.tiny_encoder_decoder, "t5", "generate", {"modules_to_save": ["layer_norm"]}),
        (tiny.tiny_encoder, "deberta-v2", "token", {"modules_to_save": ["rel_embeddings"]}),
        (tiny.tiny_encoder, "modernbert", "sequence", {"targets": ["Wqkv", "tok_embeddings"]}),
        (tiny.tiny_encoder, "bert", "embedding", {"trainable_token_indices": {"word_embeddings": [4, 7]}}),
        (tiny.tiny_encoder, "distilbert", "sequence", {"use_dora": True, "modules_to_save": ["lin1"]}),
    ],
)
@pytest.mark.filterwarnings("ignore::UserWarning:peft")
def test_other_families_and_heads(make, model_type, kind, settings, tmp_path, engine_of) -> None:
    base, kind = make(tmp_path / "base", model_type), HeadKind(kind)
    labels = LABELS if kind in (HeadKind.SEQUENCE, HeadKind.TOKEN) else ()
    folder = tiny.tiny_adapter(base, tmp_path / "adapter", kind=kind, labels=labels, **settings)
    adapter, engine = Merged(base, folder, kind, len(labels)), engine_of(base, "torch", slots=1)
    engine.write(1, adapter.weights)
    if kind is HeadKind.GENERATE:
        row = EngineRow(Row([70, 71, 72], max_new_tokens=8), 1, kind)
        ids = torch.tensor([row.row.input_ids])
        tokens = adapter.model.generate(
            input_ids=ids, attention_mask=torch.ones_like(ids), max_new_tokens=8, do_sample=False, num_beams=1
        )
        tokens = tokens[0, 1 if model_type == "t5" else ids.shape[1] :]
        assert engine.run([row])[0].text == engine._generator._tokenizer.decode(
            tokens, skip_special_tokens=True
        )
        return
    for row in (adapter.row(1, 4), adapter.row(1, 11, seed=1)):
        assert np.abs(engine.run([row])[0].values - adapter.alone(row.row)).max() <= TOLERANCE


def changed(adapter, **config):
    return {**adapter.files.config, **config}


@pytest.mark.parametrize(
    ("method", "config", "message"),
    [
        ("LoHa", {"peft_type": "XLORA"}, "XLORA adapter, which cannot be merged"),
        ("LoHa", {"peft_type": "BOFT"}, "BOFT adapter, which cannot be merged"),
        ("LoRA", {"init_lora_weights": "pissa_niter_4"}, "'pissa_niter_4' changed the base weights"),
        ("LoRA", {"init_lora_weights": "corda"}, "'corda' changed the base weights"),
        ("LoRA", {"megatron_config": {"x": 1}, "megatron_core": "os"}, "megatron_config"),
        ("LoRA", {"layer_replication": [[0, 2]]}, "layer_replication"),
        ("LoRA", {"some_future_option": 1}, "some_future_option"),
        ("LoRA", {"target_modules": r"(a)\1"}, "cannot be matched in linear time"),
        ("LoRA", {"rank_pattern": {r"(a)\1": 2}}, "cannot be matched in linear time"),
    ],
)
def test_what_cannot_be_merged_is_refused_by_name(method, config, message, merged, bert) -> None:
    adapter = merged(method)
    with pytest.raises(UnsupportedAdapter, match=message):
        merged_weights(
            bert,
            changed(adapter, **config),
            adapter.files.tensors,
            kind=HeadKind.SEQUENCE,
            num_labels=3,
            sha256="",
        )


@pytest.mark.parametrize(
    ("config", "edit", "message"),
    [
        ({"r": 10**9}, None, "more than 8,192"),
        ({"r": 2}, None, "size mismatch"),
        ({"r": "many"}, None, "not sound|cannot put"),
        ({"target_modules": ["nothing_here"]}, None, "which target_modules does not name"),
        ({}, lambda t: {**t, "base_model.model.bert.x": t[min(t)]}, "config does not explain"),
        ({}, lambda t: {k: v for k, v in t.items() if "hada_w1_a" not in k}, "lacks tensors"),
        ({}, lambda t: {k: v for k, v in t.items() if "classifier" not in k}, "classifier"),
        ({}, lambda t: {k: v if "classifier" in k else 0 * v for k, v in t.items()}, "changes nothing"),
    ],
)
def test_an_unsound_adapter_is_refused(config, edit, message, merged, bert) -> None:
    adapter = merged("LoHa")
    tensors = edit(adapter.files.tensors) if edit else adapter.files.tensors
    with pytest.raises(BadAdapter, match=message):
        merged_weights(
            bert, changed(adapter, **config), tensors, kind=HeadKind.SEQUENCE, num_labels=3, sha256=""
        )


@pytest.mark.parametrize("method", ["LoHa", "PiSSA", "LoRA and tokens", "LoRA on embeddings", "AdaLoRA"])
def test_unless_it_is_asked_for_the_refusal_names_the_way_out(method, merged, bert) -> None:
    adapter = merged(method)
    with pytest.raises(UnsupportedAdapter, match="serve: merged in the recipe, --merged at import"):
        weights_of(bert, adapter.files.config, adapter.files.tensors, kind=HeadKind.SEQUENCE, num_labels=3)


def test_peft_is_loaded_for_merged_adapters_alone() -> None:
    code = (
        "import sys\n"
        "sys.modules['peft'] = None  # importing it fails\n"
        "import hub.engine.assemble, hub.engine.peft.load, hub.serving.residency.residency\n"
        "try:\n"
        "    import hub.engine.peft.merge\n"
        "except ModuleNotFoundError as error:\n"
        "    assert error.name == 'peft'\n"
        "else:\n"
        "    raise AssertionError\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)

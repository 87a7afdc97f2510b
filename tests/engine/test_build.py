# ruff: noqa: TID253 - saves models
"""Which engine a base gets, how its weights are loaded, and what stays unimported."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file
from transformers import AutoModel, AutoModelForCausalLM, AutoModelForSequenceClassification

from hub.api import HeadKind, Row
from hub.bases.auto_classes import AUTO_CLASSES
from hub.engine.build import build_engine
from hub.engine.choice.autotune import Tuning
from hub.engine.onnx.graph import runs_graphs
from hub.engine.protocol import EngineRow
from hub.engine.torch import loading
from hub.engine.torch.loading import load_model, one_load_at_a_time, pick_device
from hub.errors import BadAdapter, BadConfig, EngineFailed, UnsupportedAdapter


def test_auto_is_onnx_for_encoders_and_torch_for_the_others_on_a_cpu(bert, llama, base_of, engine_of):
    assert engine_of(bert, "auto").info().name == "onnx"
    assert engine_of(llama, "auto").info().name == "torch"
    assert engine_of(base_of("t5"), "auto").info().name == "torch"
    assert engine_of(bert, "torch").info().name == "torch"


@pytest.mark.parametrize("fast", [True, False])
def test_auto_has_a_bf16_candidate_where_the_cpu_computes_in_bf16(bert, engine_of, monkeypatch, fast):
    monkeypatch.setattr("hub.engine.assemble.computes_in_bf16", lambda device: fast)
    monkeypatch.setattr("hub.engine.assemble.find_spec", lambda name: None)

    def kinds(kind):
        return [backbone.name for backbone in engine_of(bert, kind)._backbones.all]

    bf16 = ["torch bfloat16"] if fast else []
    assert kinds("auto") == ["onnx float32", "onnx int8", *bf16, "torch float32"]
    assert kinds("onnx") == ["onnx float32", "torch float32"]
    assert kinds("onnx-int8") == ["onnx int8", "onnx float32", "torch float32"]
    assert kinds("torch") == ["torch float32"]


def test_without_an_onnxruntime_for_the_device_auto_is_torch_and_onnx_is_refused(
    bert, trained, fill, engine_of, monkeypatch
):
    monkeypatch.setattr("hub.engine.assemble.runs_graphs", lambda device: False)
    monkeypatch.setattr("hub.engine.assemble.computes_in_bf16", lambda device: True)
    for kind in ("onnx", "onnx-int8"):
        with pytest.raises(BadConfig, match=r"onnxruntime does not run on 'cpu'\. Use torch, or auto"):
            build_engine(bert, kind=kind, slots=1, device="cpu")
    monkeypatch.setattr("hub.engine.assemble.find_spec", lambda name: None)  # nor OpenVINO
    engine = engine_of(bert, "auto", tuning=Tuning(budget_s=0))
    fill(engine, [trained(bert, HeadKind.SEQUENCE, labels=3, seed=1)])
    assert "torch float32" in engine.timings.seconds
    assert set(engine.backbones) <= {"torch bfloat16", "torch float32"}


@pytest.mark.parametrize(("provider", "runs"), [("CUDAExecutionProvider", True), ("AzureProvider", False)])
def test_graphs_run_on_a_gpu_with_its_provider_alone(monkeypatch, provider, runs):
    monkeypatch.setattr("onnxruntime.get_available_providers", lambda: [provider, "CPUExecutionProvider"])
    assert runs_graphs(torch.device("cuda:0")) is runs
    assert runs_graphs(torch.device("cpu"))
    assert not runs_graphs(torch.device("mps"))


def test_bf16_is_refused_where_the_cpu_does_not_compute_in_it(bert, llama, engine_of, monkeypatch):
    monkeypatch.setattr("hub.engine.assemble.computes_in_bf16", lambda device: False)
    for base in (bert, llama):
        with pytest.raises(BadConfig, match=r"Device 'cpu' has no bf16 instructions here. Use torch"):
            build_engine(base, kind="torch-bf16", slots=1, device="cpu")
    monkeypatch.setattr("hub.engine.assemble.computes_in_bf16", lambda device: True)
    for base in (bert, llama):
        assert engine_of(base, "torch-bf16").info().dtype == "bfloat16"


def test_the_fake_engine_needs_no_base(bert, tmp_path):
    base = replace(bert, path=tmp_path / "nothing here")
    assert build_engine(base, kind="fake", slots=3).info().slots == 3


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        (
            {"kind": "tensorrt"},
            "No engine named 'tensorrt'. Choose one of: auto, onnx, onnx-int8, openvino, openvino-bf16",
        ),
        ({"device": "abacus"}, "No device named 'abacus'. Choose one of: auto, cpu, cuda"),
        ({"device": "cuda:77"}, "Device 'cuda:77' cannot be used here"),
    ],
)
def test_what_does_not_exist_is_named(bert, settings, reason):
    with pytest.raises(BadConfig, match=reason):
        build_engine(bert, slots=1, **settings)


@pytest.mark.parametrize(
    ("kind", "runtime"), [("onnx", "onnx"), ("onnx-int8", "onnx"), ("openvino", "OpenVINO")]
)
def test_engines_that_cannot_run_the_base_are_refused(llama, base_of, kind, runtime):
    for base, what in ((llama, "decoder"), (base_of("bart"), "encoder-decoder")):
        with pytest.raises(BadConfig, match=f"{runtime} engines run encoders; .* of kind {what}. Use torch"):
            build_engine(base, kind=kind, slots=1)


def test_the_cpu_is_always_a_device():
    assert pick_device("cpu") == "cpu"
    assert pick_device("auto") in ("cpu", "cuda", "mps")


def copied(base, folder):
    return replace(base, path=shutil.copytree(base.path, folder / "copy"))


def drop_weights(base, prefix):
    file = base.path / "model.safetensors"
    kept = {name: tensor for name, tensor in load_file(file).items() if not name.startswith(prefix)}
    save_file(kept, file, metadata={"format": "pt"})


def test_a_base_without_its_weights_is_refused(bert, tmp_path):
    base = copied(bert, tmp_path)
    drop_weights(base, "encoder.layer.1.output")
    with pytest.raises(EngineFailed, match=r"lacks weights: encoder.layer.1.output.*Pull it again"):
        build_engine(base, kind="torch", slots=1)
    (base.path / "model.safetensors").write_bytes(b"not weights")
    with pytest.raises(EngineFailed, match="cannot be loaded"):
        build_engine(base, kind="torch", slots=1)


def test_a_base_without_a_pooler_serves_all_but_sequence_heads(bert, trained, tmp_path, engine_of):
    base = copied(bert, tmp_path)
    drop_weights(base, "pooler.")
    engine = engine_of(base, "torch", slots=1)
    with pytest.raises(UnsupportedAdapter, match="without a trained pooler"):
        engine.check(trained(bert, HeadKind.SEQUENCE, labels=2, seed=51, targets=["query"]).weights)
    span = trained(bert, HeadKind.SPAN, rank=8, seed=23)
    engine.write(1, span.weights)
    row = span.row(1, 8)
    assert abs(engine.run([row])[0].values - span.alone(row.row)).max() <= 1e-4


def test_a_head_that_cannot_be_slotted_is_refused_and_the_rest_served(bert, trained, engine_of, monkeypatch):
    """Of the families here none has one: let it be BERT's, with a parameter of another kind of layer."""

    class Gated:
        @staticmethod
        def from_config(config, **settings):
            model = AutoModelForSequenceClassification.from_config(config, **settings)
            model.gate = torch.nn.Parameter(torch.ones(1))
            return model

    monkeypatch.setattr(transformers, AUTO_CLASSES[HeadKind.SEQUENCE], Gated)
    engine = engine_of(bert, "torch", slots=1)
    with pytest.raises(UnsupportedAdapter, match=r"no sequence head to serve: .* normalisation layers: gate"):
        engine.check(trained(bert, HeadKind.SEQUENCE, labels=2, seed=51, targets=["query"]).weights)
    token = trained(bert, HeadKind.TOKEN, labels=2, seed=52, targets=["query"])
    engine.write(1, token.weights)
    row = token.row(1, 8)
    assert abs(engine.run([row])[0].values - token.alone(row.row)).max() <= 1e-4
    [output] = engine.run([EngineRow(Row([5, 6]), 0, HeadKind.EMBEDDING)])
    assert output.values.shape == (32,)


def test_a_head_whose_own_layers_the_base_lacks_comes_from_the_adapter(base_of, trained, tmp_path, engine_of):
    """ModernBERT saved as a bare backbone lacks the dense layer and norm of its heads."""
    base = copied(base_of("modernbert"), tmp_path)
    AutoModel.from_pretrained(base.path).save_pretrained(base.path)
    adapter = trained(base, HeadKind.SEQUENCE, labels=3, seed=53, targets=["Wqkv"])
    assert {"head.dense.weight", "head.norm.weight"} <= adapter.weights.full.keys()
    engine = engine_of(base, "torch", slots=1)
    engine.write(1, adapter.weights)
    row = adapter.row(1, 8)
    assert abs(engine.run([row])[0].values - adapter.alone(row.row)).max() <= 1e-4
    whole = trained(base_of("modernbert"), HeadKind.SEQUENCE, labels=3, seed=53, targets=["Wqkv"])
    assert "head.dense.weight" not in whole.weights.full
    with pytest.raises(BadAdapter, match=r"head\.dense\.weight \(32, 32\).*; the adapter's has classifier"):
        engine.check(whole.weights)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_a_cpu_without_the_instructions_computes_in_fp32(llama, tmp_path, dtype, engine_of, monkeypatch):
    monkeypatch.setattr(loading, "computes_in_bf16", lambda device: False)
    base = copied(llama, tmp_path)
    AutoModelForCausalLM.from_pretrained(llama.path, dtype=dtype).save_pretrained(base.path)
    assert engine_of(base, "auto", slots=1).info().dtype == "float32"


def test_a_cpu_with_the_instructions_computes_in_what_a_decoder_was_saved_in(
    llama, tmp_path, engine_of, monkeypatch
):
    monkeypatch.setattr(loading, "computes_in_bf16", lambda device: True)
    base = copied(llama, tmp_path)
    AutoModelForCausalLM.from_pretrained(llama.path, dtype=torch.bfloat16).save_pretrained(base.path)
    assert engine_of(base, "auto", slots=1).info().dtype == "bfloat16"


@pytest.mark.parametrize("kind", ["onnx", "auto", "torch"])
def test_an_encoder_computes_in_fp32_whatever_it_was_saved_in(bert, tmp_path, engine_of, kind):
    base = copied(bert, tmp_path)
    AutoModel.from_pretrained(bert.path, dtype=torch.bfloat16).save_pretrained(base.path)
    assert engine_of(base, kind, slots=1).info().dtype == "float32"


def test_an_engine_that_was_not_built_leaves_no_folder(bert, tmp_path, monkeypatch):
    monkeypatch.setattr("hub.engine.assemble.computes_in_bf16", lambda device: False)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with pytest.raises(BadConfig):
        build_engine(bert, kind="torch-bf16", slots=1, device="cpu")
    assert list(tmp_path.iterdir()) == []


def test_only_real_engines_import_heavy_libraries():
    code = """
import sys, hub.engine.build, hub.engine.protocol, hub.engine.slots.table, hub.engine.fake
import hub.engine.peft.format, hub.engine.batch
heavy = {"torch", "transformers", "peft", "onnxruntime", "onnx"} & set(sys.modules)
sys.exit(f"imported: {heavy}" if heavy else 0)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_bases_are_loaded_side_by_side(base_of, bert):
    """transformers loads one model at a time: of two, those with tied weights came without their lm_head."""
    bases = [bert, base_of("llama"), base_of("qwen2")] * 4
    with ThreadPoolExecutor(6) as threads:
        models = list(threads.map(lambda base: load_model(base, torch.device("cpu")), bases))
    assert [model.config.model_type for model in models] == ["bert", "llama", "qwen2"] * 4


@pytest.mark.parametrize(
    ("name", "method"),
    [("AutoModel", "from_pretrained"), ("AutoModelForTokenClassification", "from_config")],
)
def test_nothing_is_loaded_while_an_engine_builds_the_base_and_its_heads(bert, monkeypatch, name, method):
    """transformers sets the default dtype and patches torch for all threads while it builds a model."""
    cls, free = getattr(transformers, name), []
    build = getattr(cls, method)

    def watched(*args, **settings):
        with ThreadPoolExecutor(1) as thread:
            free.append(thread.submit(one_load_at_a_time.acquire, blocking=False).result())
        return build(*args, **settings)

    monkeypatch.setattr(cls, method, watched)
    build_engine(bert, kind="torch", slots=1).close()
    assert free and not any(free)

# ruff: noqa: TID253 - saves models
"""Which engine a base gets, how its weights are loaded, and what stays unimported."""

from __future__ import annotations

import shutil
import subprocess
import sys
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModel, AutoModelForCausalLM, ModernBertConfig

from hub.api import HeadKind, Row
from hub.bases.base import BaseKind
from hub.engine.build import build_engine
from hub.engine.loading import pick_device
from hub.engine.protocol import EngineRow
from hub.errors import BadConfig, EngineFailed, UnsupportedAdapter


def test_auto_is_onnx_for_encoders_and_torch_for_decoders_on_a_cpu(bert, llama, engine_of):
    assert engine_of(bert, "auto").info().name == "onnx"
    assert engine_of(llama, "auto").info().name == "torch"
    assert engine_of(bert, "torch").info().name == "torch"


def test_the_fake_engine_needs_no_base(bert, tmp_path):
    base = replace(bert, path=tmp_path / "nothing here")
    assert build_engine(base, kind="fake", slots=3).info().slots == 3


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"kind": "tensorrt"}, "No engine named 'tensorrt'. There is: auto, onnx, torch, fake"),
        ({"device": "abacus"}, "No device named 'abacus'. There is: auto, cpu, cuda"),
        ({"device": "cuda:77"}, "Device 'cuda:77' cannot be used here"),
    ],
)
def test_what_does_not_exist_is_named(bert, settings, reason):
    with pytest.raises(BadConfig, match=reason):
        build_engine(bert, slots=1, **settings)


def test_engines_that_cannot_run_the_base_are_refused(llama):
    with pytest.raises(BadConfig, match="onnx engine runs encoders on the CPU"):
        build_engine(llama, kind="onnx", slots=1)
    with pytest.raises(BadConfig, match="encoder-decoder"):
        build_engine(replace(llama, kind=BaseKind.ENCODER_DECODER), slots=1)


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


def test_a_base_without_a_pooler_serves_all_but_sequence_heads(bert, trained, tmp_path):
    base = copied(bert, tmp_path)
    drop_weights(base, "pooler.")
    engine = build_engine(base, kind="torch", slots=1)
    with pytest.raises(UnsupportedAdapter, match="without a trained pooler"):
        engine.check(trained(bert, HeadKind.SEQUENCE, labels=2, seed=51, targets=["query"]).weights)
    span = trained(bert, HeadKind.SPAN, rank=8, seed=23)
    engine.write(1, span.weights)
    row = span.row(1, 8)
    assert abs(engine.run([row])[0].values - span.alone(row.row)).max() <= 1e-4


def test_a_head_that_cannot_be_slotted_is_refused_and_the_rest_served(bert, trained, tmp_path):
    base = copied(bert, tmp_path)
    AutoModel.from_config(
        ModernBertConfig(
            vocab_size=200, hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=48,
            pad_token_id=0, bos_token_id=2, eos_token_id=3, cls_token_id=2, sep_token_id=3,
        )
    ).save_pretrained(base.path)  # fmt: skip
    engine = build_engine(base, kind="torch", slots=1)
    with pytest.raises(UnsupportedAdapter, match=r"no sequence head to serve.*head\.norm\.weight"):
        engine.check(trained(bert, HeadKind.SEQUENCE, labels=2, seed=51, targets=["query"]).weights)
    [output] = engine.run([EngineRow(Row([5, 6]), 0, HeadKind.EMBEDDING)])
    assert output.values.shape == (32,)


@pytest.mark.skipif(torch.cpu._is_avx512_bf16_supported(), reason="this CPU computes in bf16")
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_a_cpu_without_the_instructions_computes_in_fp32(llama, tmp_path, dtype):
    base = copied(llama, tmp_path)
    AutoModelForCausalLM.from_pretrained(llama.path, dtype=dtype).save_pretrained(base.path)
    assert build_engine(base, slots=1, device="cpu").info().dtype == "float32"


def test_the_onnx_engine_computes_in_fp32_whatever_the_base_was_saved_in(bert, tmp_path):
    base = copied(bert, tmp_path)
    AutoModel.from_pretrained(bert.path, dtype=torch.bfloat16).save_pretrained(base.path)
    engine = build_engine(base, kind="onnx", slots=1)
    assert engine.info().dtype == "float32"
    engine.close()


def test_only_real_engines_import_heavy_libraries():
    code = """
import sys, hub.engine.build, hub.engine.protocol, hub.engine.slots, hub.engine.fake
import hub.engine.peft_format, hub.engine.batch
heavy = {"torch", "transformers", "peft", "onnxruntime", "onnx"} & set(sys.modules)
sys.exit(f"imported: {heavy}" if heavy else 0)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr

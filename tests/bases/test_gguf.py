from __future__ import annotations

import json
from pathlib import Path

import pytest

from hub.bases.gguf import _convert, convert
from hub.bases.weights_file import read_header
from hub.errors import BadBase
from tests.support.tiny import tiny_decoder


@pytest.mark.slow
def test_the_converted_model_is_a_plain_bf16_one(smollm2) -> None:
    config = json.loads((smollm2.path / "config.json").read_text())
    assert (config["dtype"], config["num_hidden_layers"]) == ("bfloat16", 30)
    assert "quantization_config" not in config
    header = read_header(smollm2.path / "model.safetensors", BadBase)
    assert {entry["dtype"] for entry in header.values()} == {"BF16"}
    assert header["model.embed_tokens.weight"]["shape"] == [49152, 576]


@pytest.mark.slow
def test_the_converted_model_still_speaks(smollm2) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(smollm2.path)
    model = AutoModelForCausalLM.from_pretrained(smollm2.path)
    question = [{"role": "user", "content": "What is the capital of France?"}]
    rows = tokenizer.apply_chat_template(
        question, add_generation_prompt=True, return_tensors="pt", return_dict=True
    )
    answer = model.generate(**rows, max_new_tokens=12, do_sample=False)[0, rows["input_ids"].shape[1] :]
    assert "Paris" in tokenizer.decode(answer)


def test_no_second_model_is_made_to_save_the_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig
    from transformers.quantizers.auto import AutoHfQuantizer

    base = tiny_decoder(tmp_path / "base", "llama")
    model, tokenizer = (kind.from_pretrained(base.path) for kind in (AutoModelForCausalLM, AutoTokenizer))
    model.config.quantization_config = GgufConfig(dequantize=True)
    model.hf_quantizer = AutoHfQuantizer.from_config(model.config.quantization_config)
    monkeypatch.setattr(AutoModelForCausalLM, "from_pretrained", lambda *_, **__: model)
    monkeypatch.setattr(AutoModelForCausalLM, "from_config", None)
    monkeypatch.setattr(AutoTokenizer, "from_pretrained", lambda *_, **__: tokenizer)
    _convert(tmp_path / "model.gguf", tmp_path / "out")
    assert "quantization_config" not in json.loads((tmp_path / "out" / "config.json").read_text())
    header = read_header(tmp_path / "out" / "model.safetensors", BadBase)
    assert header.keys() == read_header(base.path / "model.safetensors", BadBase).keys()


@pytest.mark.slow
def test_what_is_no_gguf_file_is_refused_with_a_reason(tmp_path: Path) -> None:
    weights = tmp_path / "model.gguf"
    weights.write_bytes(b"GGUF" + bytes(64))
    with pytest.raises(BadBase, match=r"model\.gguf could not be converted"):
        convert(weights, tmp_path)

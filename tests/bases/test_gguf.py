from __future__ import annotations

import json
from pathlib import Path

import pytest

from hub.bases.gguf import convert
from hub.bases.weights_file import read_header
from hub.errors import BadBase


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


@pytest.mark.slow
def test_what_is_no_gguf_file_is_refused_with_a_reason(tmp_path: Path) -> None:
    weights = tmp_path / "model.gguf"
    weights.write_bytes(b"GGUF" + bytes(64))
    with pytest.raises(BadBase, match=r"model\.gguf could not be converted"):
        convert(weights, tmp_path)

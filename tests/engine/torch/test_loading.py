"""Tokenizers are read from tokenizer.json, whatever class a base names."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from hub.engine.tokenizer import load_tokenizer
from tests.support.tiny import tiny_encoder_decoder


@pytest.mark.parametrize("name", ["MarianTokenizer", "PreTrainedTokenizerFast"])
def test_marian_has_its_fast_tokenizer(tmp_path: Path, name: str) -> None:
    base = tiny_encoder_decoder(tmp_path / "marian", "marian")
    expected = load_tokenizer(base)("Un chien.")["input_ids"]
    file = base.path / "tokenizer_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"tokenizer_class": name}))
    tokenizer = load_tokenizer(base)
    assert tokenizer.is_fast
    assert tokenizer("Un chien.")["input_ids"] == expected
    assert tokenizer.eos_token_id is not None and tokenizer.pad_token_id is not None

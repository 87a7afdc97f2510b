# ruff: noqa: TID253 - loads tokenizers of transformers
"""A folder's tokenizer is compared with its base's by what it does, on every family."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from transformers import AutoTokenizer

from hub.api import HeadKind
from hub.bases.base import Base
from hub.engine.peft.tokenizer import check_tokenizer
from hub.errors import BadAdapter
from tests.support.tiny import DECODERS, ENCODER_DECODERS, ENCODERS

FAMILIES = (*ENCODERS, *DECODERS, *ENCODER_DECODERS)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_tokenizer_that_was_saved_again_is_the_base_s(
    base_of: Callable[[str], Base], family: str, tmp_path: Path
) -> None:
    base = base_of(family)
    AutoTokenizer.from_pretrained(base.path).save_pretrained(tmp_path)
    check_tokenizer(tmp_path, base, HeadKind.GENERATE)
    for path in tmp_path.iterdir():
        if path.name != "tokenizer.json":
            path.unlink()
    check_tokenizer(tmp_path, base, HeadKind.GENERATE)


def test_a_folder_without_a_tokenizer_has_the_base_s(bert: Base, tmp_path: Path) -> None:
    check_tokenizer(tmp_path, bert, HeadKind.SEQUENCE)


def test_a_padding_token_among_the_known_ones_changes_nothing(llama: Base, tmp_path: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(llama.path)
    tokenizer.pad_token = tokenizer.eos_token
    tokenizer.save_pretrained(tmp_path)
    check_tokenizer(tmp_path, llama, HeadKind.SEQUENCE)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda tokenizer: setattr(tokenizer, "chat_template", "{{ messages }}"), "chat template"),
        (lambda tokenizer: setattr(tokenizer, "eos_token", tokenizer.pad_token), "end token"),
    ],
)
def test_how_a_text_is_asked_for_and_ends_matters_to_generation_alone(
    base_of: Callable[[str], Base], tmp_path: Path, change: Callable[[object], None], named: str
) -> None:
    base = base_of("qwen2")
    tokenizer = AutoTokenizer.from_pretrained(base.path)
    change(tokenizer)
    tokenizer.save_pretrained(tmp_path)
    check_tokenizer(tmp_path, base, HeadKind.SEQUENCE)
    with pytest.raises(BadAdapter, match=named):
        check_tokenizer(tmp_path, base, HeadKind.GENERATE)


def test_settings_without_a_vocabulary_are_read_over_the_base_s(bert: Base, tmp_path: Path) -> None:
    settings = json.loads((bert.path / "tokenizer_config.json").read_text())
    file = tmp_path / "tokenizer_config.json"
    file.write_text(json.dumps(settings))
    check_tokenizer(tmp_path, bert, HeadKind.SEQUENCE)
    file.write_text(json.dumps(settings | {"truncation_side": "left"}))
    with pytest.raises(BadAdapter, match="truncation side \\('left', the base's: 'right'\\)"):
        check_tokenizer(tmp_path, bert, HeadKind.SEQUENCE)

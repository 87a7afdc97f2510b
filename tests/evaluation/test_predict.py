"""Rows that are run in batches score as they do alone, and as they are served."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch  # noqa: TID253

from hub.api import HeadKind, Row
from hub.bases.base import Base
from hub.engine.peft.model import load_adapted
from hub.engine.tokenizer import load_tokenizer
from hub.evaluation.predict import forward_rows
from tests.support.tiny import tiny_adapter, tiny_decoder, tiny_encoder_decoder

LABELS = ("negative", "positive")
TEXTS = ("slow", "the service was slow", "food", "the food was good and cheap")


def classifier(base: Base, folder: Path) -> tuple[Any, Any, list[Row]]:
    adapter = tiny_adapter(base, folder / "adapter", kind=HeadKind.SEQUENCE, labels=LABELS)
    tokenizer = load_tokenizer(base)
    rows = [Row(**tokenizer(text, return_attention_mask=False)) for text in TEXTS]
    return load_adapted(adapter, base, HeadKind.SEQUENCE, len(LABELS), "cpu"), tokenizer, rows


def alone(model: Any, rows: list[Row]) -> list[np.ndarray]:
    with torch.inference_mode():
        return [model(input_ids=torch.tensor([list(row.input_ids)])).logits[0].numpy() for row in rows]


@pytest.mark.parametrize("pad", [None, -1, 0, 2, 1_000_000])
def test_a_decoder_with_a_head_reads_the_last_token_whatever_pads(tmp_path: Path, pad: int | None) -> None:
    """Some configs have no padding token, and others another one than the tokenizer."""
    model, tokenizer, rows = classifier(tiny_decoder(tmp_path / "base"), tmp_path)
    model.config.pad_token_id = None
    expected = alone(model, rows)
    model.config.pad_token_id = pad
    found = [output.values for output in forward_rows(model, tokenizer, HeadKind.SEQUENCE, rows)]
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert model.config.pad_token_id == pad


@pytest.mark.parametrize("model_type", ["bart", "t5"])
def test_rows_of_two_stacks_may_hold_the_end_token_too(tmp_path: Path, model_type: str) -> None:
    """As texts that name it do, and pairs; transformers refuses both in one batch."""
    model, tokenizer, rows = classifier(tiny_encoder_decoder(tmp_path / "base", model_type), tmp_path)
    end = model.config.eos_token_id
    rows[1:3] = [Row(input_ids=[*row.input_ids[:2], end, *row.input_ids[2:]]) for row in rows[1:3]]
    found = [output.values for output in forward_rows(model, tokenizer, HeadKind.SEQUENCE, rows)]
    np.testing.assert_allclose(found, alone(model, rows), atol=1e-5)


@pytest.mark.parametrize("model_type", ["bart", "t5"])
def test_the_decoder_of_two_stacks_reads_the_row_shifted_by_one(tmp_path: Path, model_type: str) -> None:
    model, tokenizer, rows = classifier(tiny_encoder_decoder(tmp_path / "base", model_type), tmp_path)
    found = [output.values for output in forward_rows(model, tokenizer, HeadKind.SEQUENCE, rows)]
    np.testing.assert_allclose(found, alone(model, rows), atol=1e-5)

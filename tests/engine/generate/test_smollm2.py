# ruff: noqa: TID253 - compares with transformers and PEFT
"""SmolLM2 with the shipped adapter and a random one: rows of both and of the base equal PEFT alone."""

from __future__ import annotations

import json
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from peft import PeftModel
from safetensors.numpy import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from hub.api import HeadKind, Row
from hub.bases.base import Base
from hub.engine.build import build_engine
from hub.engine.peft.format import parse
from hub.engine.protocol import AdapterWeights, EngineRow
from tests.support.profiles import thorough
from tests.support.tiny import peft_model, tiny_adapter

SHIPPED = Path(__file__).parents[3] / "adapters" / "ui-strings-en-fr"
TEXTS = ("Please enter a valid email address.", "12 results found", "Save changes", "Two dogs play in the")
TEXTS = TEXTS if thorough() else TEXTS[:2]
TOKENS = 6


@pytest.fixture
def base(smollm2: Base, tmp_path: Path) -> Base:
    """The base in float32: in bf16, near ties fall one way or the other with the size of a batch."""
    AutoModelForCausalLM.from_pretrained(smollm2.path, dtype=torch.float32).save_pretrained(tmp_path / "base")
    AutoTokenizer.from_pretrained(smollm2.path).save_pretrained(tmp_path / "base")
    return replace(smollm2, path=tmp_path / "base")


def weights(folder: Path) -> AdapterWeights:
    config = json.loads((folder / "adapter_config.json").read_text())
    tensors = load_file(folder / "adapter_model.safetensors")
    return parse(config, tensors, kind=HeadKind.GENERATE, num_labels=0, sha256=folder.name)


@pytest.mark.slow
def test_rows_of_real_adapters_and_of_the_base_equal_peft_alone(base: Base, tmp_path: Path) -> None:
    drawn = tiny_adapter(base, tmp_path / "drawn", kind=HeadKind.GENERATE, labels=(), rank=8, spread=0.05)
    tokenizer = AutoTokenizer.from_pretrained(base.path)
    models = {
        slot: peft_model(base, folder, HeadKind.GENERATE) for slot, folder in ((1, SHIPPED), (2, drawn))
    }
    rows = [
        EngineRow(Row(tokenizer(text)["input_ids"], max_new_tokens=TOKENS), slot, HeadKind.GENERATE)
        for text in TEXTS
        for slot in (0, 1, 2)
    ]
    engine = build_engine(base, kind="torch", slots=2, device="cpu")
    try:
        for slot, folder in ((1, SHIPPED), (2, drawn)):
            engine.write(slot, weights(folder))
        texts = [output.text for output in engine.run(rows)]
    finally:
        engine.close()
    assert texts == [alone(models[row.slot or 1], tokenizer, row) for row in rows]
    assert len(set(texts)) > 2 * len(TEXTS)


def alone(model: PeftModel, tokenizer: AutoTokenizer, row: EngineRow) -> str:
    ids = torch.tensor([row.row.input_ids])
    asked = {"input_ids": ids, "attention_mask": torch.ones_like(ids), "max_new_tokens": TOKENS}
    with nullcontext() if row.slot else model.disable_adapter():
        tokens = model.generate(**asked, do_sample=False)
    text: str = tokenizer.decode(tokens[0, ids.shape[1] :], skip_special_tokens=True)
    return text

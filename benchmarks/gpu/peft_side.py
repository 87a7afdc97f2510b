"""PEFT on the same shapes: many random adapters in one model, a mixed batch by `adapter_names`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from peft import LoraConfig, get_peft_model

from benchmarks.gpu.bases import QUERY_VALUE, RANK, Setting, Shape
from hub.engine.protocol import EngineRow

__all__ = ["batch_of", "peft_model"]


def peft_model(setting: Setting, shape: Shape, factory: Any, dtype: torch.dtype, **settings: Any) -> Any:
    """Load the base with `setting.peft_adapters` adapters on it, named "1", "2", ..."""
    model = factory.from_pretrained(shape.base.path, dtype=dtype, **settings).to(setting.device)
    names = list(QUERY_VALUE[shape.base.model_type])
    config = LoraConfig(r=RANK, target_modules=names, init_lora_weights=False)
    adapted = get_peft_model(model, config, adapter_name="1", autocast_adapter_dtype=False)
    for number in range(2, setting.peft_adapters + 1):
        adapted.add_adapter(str(number), config, autocast_adapter_dtype=False)
    return adapted.to(setting.device, dtype).eval()


def batch_of(setting: Setting, rows: Sequence[EngineRow]) -> dict[str, Any]:
    """Return rows of one length as PEFT takes them; those of adapters it does not hold use another."""
    ids = torch.tensor([row.row.input_ids for row in rows]).to(setting.device)
    names = [str((row.slot - 1) % setting.peft_adapters + 1) for row in rows]
    return {"input_ids": ids, "attention_mask": torch.ones_like(ids), "adapter_names": names}

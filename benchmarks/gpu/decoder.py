"""A decoder of Llama 3.2 1B's shape: tokens a second, beside PEFT's mixed batch and the bare base."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from transformers import AutoModelForCausalLM

from benchmarks.gpu.bases import Found, Setting, in_turns
from benchmarks.gpu.peft_side import batch_of, peft_model
from hub.api import HeadKind
from hub.engine.protocol import EngineRow

__all__ = ["run"]

SHAPES = ((64, 64, 32), (256, 64, 32), (1024, 64, 32))  # rows, tokens of a prompt, tokens of an answer


def run(setting: Setting) -> Found:
    """Time the greedy answers of many rows, each of its own adapter."""
    found, shape = Found(), setting.decoder
    shapes = ((4, 8, 6),) if setting.quick else SHAPES
    most = max(rows for rows, _, _ in shapes)
    setting.say(f"{setting.adapters} adapters on a decoder")
    with (
        setting.engine(shape, "torch", setting.adapters, rows=most) as engine,
        setting.engine(shape, "torch", 1, rows=most) as bare,
    ):
        for slot in range(1, setting.adapters + 1):
            engine.write(slot, shape.adapter(slot, HeadKind.GENERATE))
        dtype = str(engine.info().dtype)
        model = peft_model(setting, shape, AutoModelForCausalLM, getattr(torch, dtype))
        for count, prompt, new in shapes:
            setting.say(f"{count} prompts of {prompt} tokens")
            rows = shape.rows(count, prompt, HeadKind.GENERATE, setting.adapters, new)
            plain = shape.rows(count, prompt, HeadKind.GENERATE, 0, new)
            ways = {
                "ours": partial(engine.run, rows),
                "bare": partial(bare.run, plain),
                "PEFT": partial(_peft, setting, model, rows, new),
            }
            times = in_turns(ways, max(1, setting.rounds // 3))
            name = f"{count}x{prompt}+{new}"
            tokens = sum(output.tokens for output in engine.run(rows))
            found.rows += [(f"{name} {dtype}", way, f"{ms:.0f}", "ms") for way, ms in times.items()]
            found.figures |= {
                f"tokens_per_s_{name}": 1000 * tokens / times["ours"],
                f"generate_vs_peft_{name}": times["PEFT"] / times["ours"],
                f"generate_vs_bare_{name}": times["ours"] / times["bare"],
            }
    return found


def _peft(setting: Setting, model: Any, rows: list[EngineRow], new: int) -> object:
    with torch.inference_mode():
        tokens = model.generate(
            **batch_of(setting, rows), max_new_tokens=new, do_sample=False, pad_token_id=0
        )
    return tokens.tolist()

"""Forwards of one shape: ours, PEFT's, the bare base's, and each backbone's."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from benchmarks.mixed.adapters import QV, Found, Setting, in_turns, rows_of
from hub.api import HeadKind
from tests.support.backbones import chosen, run_on

if TYPE_CHECKING:
    from hub.engine.protocol import EngineRow

__all__ = ["against_bare", "against_peft", "choices"]

ADAPTERS = 64
OTHER_SHAPES = ((1, 24), (1, 128), (2, 48), (6, 20), (12, 64), (24, 40), (48, 32), (64, 20), (32, 128))


def against_peft(setting: Setting) -> Found:
    """Time mixed batches here and by PEFT, in fp32 and bf16."""
    found = Found()
    setting.say("64 adapters in PEFT, in fp32 and bf16")
    models = {dtype: _peft(setting, dtype) for dtype in ("float32", "bfloat16")}
    with ExitStack() as stack:
        engine, small = (stack.enter_context(setting.engine("auto", ADAPTERS)) for _ in range(2))
        _fill(setting, engine, QV)
        _fill(setting, small, QV, int8=True)
        alone = {
            name: stack.enter_context(setting.engine(kind, ADAPTERS)) for name, kind in _openvino().items()
        }
        for one in alone.values():
            _fill(setting, one, QV)
        for rows, tokens, solo in ((64, 32, True), (32, 128, False), (1, 32, False)):
            setting.say(f"{rows} rows x {tokens} tokens, {min(rows, ADAPTERS)} adapters")
            batch = rows_of(rows, tokens, range(1, ADAPTERS + 1))
            ways: dict[str, Callable[[], object]] = {
                "ours": partial(engine.run, batch),
                "ours, int8 allowed": partial(small.run, batch),
                **{f"ours, {name}": partial(one.run, batch) for name, one in alone.items()},
            }
            for dtype, model in models.items():
                ways[f"PEFT {dtype}"] = _mixed(model, batch)
                if solo:
                    ways[f"PEFT {dtype}, one by one"] = _solo(model, batch)
            times = in_turns(ways, setting.rounds)
            found.rows += [(f"{rows}x{tokens}", way, f"{ms:.1f}", "ms") for way, ms in times.items()]
            ours, fp32 = times["ours"], times["PEFT float32"]
            found.figures[f"int8_vs_peft_{rows}x{tokens}"] = fp32 / times["ours, int8 allowed"]
            if rows == 1:
                found.figures["vs_peft_1x32"] = fp32 / ours
            elif tokens == 128:
                found.figures["vs_peft_mixed_32x128"] = fp32 / ours
            else:
                best = min(fp32, times["PEFT bfloat16"])
                found.figures["int8_vs_peft_64x32_same"] = best / times["ours, int8 allowed"]
                solo_best = min(times[f"PEFT {dtype}, one by one"] for dtype in models)
                found.figures |= {
                    "vs_peft_mixed_64": fp32 / ours,
                    "vs_peft_mixed_64_same": best / ours,
                    "vs_peft_solo_64": times["PEFT float32, one by one"] / ours,
                    "vs_peft_solo_64_same": solo_best / ours,
                }
    return found


def against_bare(setting: Setting) -> Found:
    """Time 64 rows of 64 adapters beside the same backbone with nothing slotted."""
    found = Found()
    for name, targets in (("qv", QV), ("all", "all-linear")):
        setting.say(f"64 adapters on {name}, and none")
        with setting.engine("auto", ADAPTERS) as engine:
            _fill(setting, engine, targets)
            kind = _kind(chosen(engine, 64, 32))
            with setting.engine(kind, 1) as bare:
                bare.warm(timeout=300)
                rows = rows_of(64, 32, range(1, ADAPTERS + 1))
                plain = rows_of(64, 32, [0], HeadKind.EMBEDDING)
                ways = {f"adapters, {kind}": partial(engine.run, rows), "bare": partial(bare.run, plain)}
                times = in_turns(ways, 2 * setting.rounds)
        found.rows += [(f"64x32 {name}", way, f"{ms:.1f}", "ms") for way, ms in times.items()]
        with_adapters, without = times.values()
        found.figures[f"vs_bare_64_{name}"] = with_adapters / without
    return found


def choices(setting: Setting) -> Found:
    """Compare what `auto` picks, on shapes it did not measure, with every backbone it might have picked."""
    found, worst = Found(), 0.0
    with setting.engine("auto", ADAPTERS) as engine:
        _fill(setting, engine, QV)
        for rows, tokens in OTHER_SHAPES:
            batch = rows_of(rows, tokens, range(1, ADAPTERS + 1))
            ways = {name: partial(run_on, engine, name, batch) for name in engine.backbones}
            times = in_turns(ways, setting.rounds)
            picked, best = chosen(engine, rows, tokens), min(times, key=times.__getitem__)
            ratio = times[picked] / times[best]
            worst = max(worst, ratio)
            found.rows.append((f"{rows}x{tokens}", f"chosen {picked}, best {best}", f"{ratio:.2f}", "ratio"))
    found.figures["worst_choice"] = worst
    return found


def _fill(setting: Setting, engine: Any, targets: str | Sequence[str], *, int8: bool = False) -> None:
    """Fill the slots; with `int8` as if every adapter had passed its gate, which random ones have not."""
    for slot in range(1, ADAPTERS + 1):
        engine.write(slot, replace(setting.weights(slot, targets), int8=int8))
    if not engine.settle(timeout=300) or engine.info().note:
        raise SystemExit(f"The engine did not settle: {engine.info().note}")


def _kind(backbone: str) -> str:
    """Return the engine that has this backbone alone."""
    runtime, dtype = backbone.split()
    return runtime + {"float32": "", "bfloat16": "-bf16", "int8": "-int8"}[dtype]


def _openvino() -> dict[str, str]:
    """Return the engines of OpenVINO that run here, by the name of their backbone."""
    if find_spec("openvino") is None:
        return {}
    from hub.engine.openvino.backbone import computes_in_bf16

    names = ("openvino float32", *(["openvino bfloat16"] if computes_in_bf16() else []))
    return {name: _kind(name) for name in names}


def _peft(setting: Setting, dtype: str) -> Any:
    import torch
    from peft import PeftModel

    from tests.support.tiny import head_model

    model: Any = None
    for slot in range(1, ADAPTERS + 1):
        folder = setting.adapter(slot % 64)
        if model is None:
            base = head_model(setting.base, HeadKind.SEQUENCE, 2)
            model = PeftModel.from_pretrained(base, folder, adapter_name=f"a{slot}")
        else:
            model.load_adapter(folder, adapter_name=f"a{slot}")
    return model.to(getattr(torch, dtype)).eval()


def _inputs(batch: Sequence[EngineRow]) -> dict[str, Any]:
    import torch

    ids = torch.tensor([row.row.input_ids for row in batch])
    return {"input_ids": ids, "attention_mask": torch.ones_like(ids)}


def _mixed(model: Any, batch: Sequence[EngineRow]) -> Callable[[], object]:
    import torch

    names = [f"a{row.slot}" for row in batch]
    extra = {"adapter_names": names} if len(names) > 1 else {}
    if not extra:
        model.set_adapter(names[0])

    def run() -> object:
        with torch.inference_mode():
            return model(**_inputs(batch), **extra).logits.float().numpy()

    return run


def _solo(model: Any, batch: Sequence[EngineRow]) -> Callable[[], object]:
    """Run each adapter's rows by themselves."""
    import torch

    def run() -> object:
        with torch.inference_mode():
            for row in batch:
                model.set_adapter(f"a{row.slot}")
                model(**_inputs([row])).logits.float().numpy()
        return None

    return run

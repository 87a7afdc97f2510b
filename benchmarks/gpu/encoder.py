"""An encoder of BERT-base's shape: mixed batches, the backbone in a graph, and writes beside forwards."""

from __future__ import annotations

import statistics
import threading
import time
import traceback
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from transformers import AutoModelForSequenceClassification

from benchmarks.gpu.bases import Found, Setting, in_turns
from benchmarks.gpu.peft_side import batch_of, peft_model
from hub.api import HeadKind
from hub.engine.torch.backbone import TorchBackbone
from hub.engine.torch.heads import Hidden
from hub.engine.torch.tensors import BatchTensors

__all__ = ["graphs", "mixed", "writes"]

Way = Callable[[], torch.Tensor]
KINDS = {"float32": "torch", "bfloat16": "torch-bf16"}
SHAPES = ((64, 32), (64, 128), (256, 32), (256, 128), (1024, 32))
GRAPH_SHAPES = ((1, 32), (8, 32), (64, 32))  # longer forwards are not bound by their launches
WRITES = 200


def mixed(setting: Setting) -> Found:
    """Time one forward over many adapters beside PEFT and beside the same base without any."""
    found = Found()
    for dtype in setting.dtypes:
        setting.say(f"{setting.adapters} adapters in {dtype}")
        with (
            setting.engine(setting.encoder, KINDS[dtype], setting.adapters) as engine,
            setting.engine(setting.encoder, KINDS[dtype], 1) as bare,
        ):
            _fill(setting, engine)
            model = peft_model(
                setting,
                setting.encoder,
                AutoModelForSequenceClassification,
                getattr(torch, dtype),
                num_labels=2,
            )
            for count, tokens in ((4, 8), (12, 8)) if setting.quick else SHAPES:
                rows = setting.encoder.rows(count, tokens, HeadKind.SEQUENCE, setting.adapters)
                plain = setting.encoder.rows(count, tokens, HeadKind.EMBEDDING, 0)
                ways = {
                    "ours": partial(engine.run, rows),
                    "bare": partial(bare.run, plain),
                    "PEFT": partial(_peft, setting, model, rows),
                }
                times, shape = in_turns(ways, setting.rounds), f"{count}x{tokens} {dtype}"
                found.rows += [(shape, way, f"{ms:.2f}", "ms") for way, ms in times.items()]
                name = f"{count}x{tokens}_{dtype}"
                found.figures |= {
                    f"vs_peft_{name}": times["PEFT"] / times["ours"],
                    f"vs_bare_{name}": times["ours"] / times["bare"],
                    f"rows_per_s_{name}": 1000 * count / times["ours"],
                }
            del model
    return found


def graphs(setting: Setting) -> Found:
    """Time the backbone alone: each operation launched by itself, compiled, and in a CUDA graph."""
    found, dtype = Found(), setting.dtypes[-1]
    with setting.engine(setting.encoder, KINDS[dtype], setting.adapters) as engine:
        _fill(setting, engine)
        backbone: TorchBackbone = engine._backbones.reference
        for count, tokens in ((1, 8), (4, 8)) if setting.quick else GRAPH_SHAPES:
            setting.say(f"the backbone on {count} rows of {tokens} tokens")
            batch = _batch(setting, count, tokens)
            shape = f"{count}x{tokens} {dtype}"
            with torch.inference_mode():
                ways, failed = _ways(setting, backbone, batch)
                times = in_turns(ways, setting.rounds)
                expected = ways["eager"]().float()
                for way, run in ways.items():
                    off = float((run().float() - expected).abs().max())
                    found.rows.append((shape, way, f"{times[way]:.2f}", f"ms, off by {off:.1e}"))
                    if way != "eager":
                        found.figures[f"{way}_{count}x{tokens}"] = times["eager"] / times[way]
            found.rows += [(shape, way, "failed", reason) for way, reason in failed.items()]
    return found


def writes(setting: Setting) -> Found:
    """Time writes of slots beside forwards, and those forwards beside forwards alone."""
    shape = setting.encoder
    adapters = [shape.adapter(seed, HeadKind.SEQUENCE) for seed in range(8)]
    slots = setting.adapters
    with setting.engine(shape, KINDS[setting.dtypes[-1]], slots) as engine:
        for slot in range(1, slots + 1):
            engine.write(slot, adapters[slot % 8])
        count, tokens = (4, 8) if setting.quick else (64, 32)
        forward = partial(engine.run, shape.rows(count, tokens, HeadKind.SEQUENCE, slots // 2))
        alone = in_turns({"alone": forward}, setting.rounds)["alone"]
        took: list[float] = []
        stop = threading.Event()
        writer = threading.Thread(target=_write_until, args=(engine, adapters, slots, stop, took))
        beside: list[float] = []
        writer.start()
        try:
            while len(took) < (10 if setting.quick else WRITES) and writer.is_alive():
                beside.append(in_turns({"beside": forward}, 1)["beside"])
        finally:
            stop.set()
            writer.join()
    took.sort()
    p50, p99, slower = took[len(took) // 2], took[int(len(took) * 0.99)], statistics.median(beside) / alone
    return Found(
        [("a write", "median", f"{p50:.2f}", "ms"), ("a write", "p99", f"{p99:.2f}", "ms")],
        {"write_p50_ms": p50, "write_p99_ms": p99, "forward_beside_writes": slower},
    )


def _write_until(
    engine: Any, adapters: list[Any], slots: int, stop: threading.Event, took: list[float]
) -> None:
    """Write the second half of the slots, which no forward reads, every few milliseconds."""
    turn = 0
    while not stop.wait(0.005):
        began = time.perf_counter()
        engine.write(slots // 2 + 1 + turn % (slots // 2), adapters[turn % len(adapters)])
        took.append((time.perf_counter() - began) * 1000)
        turn += 1


def _fill(setting: Setting, engine: Any) -> None:
    for slot in range(1, setting.adapters + 1):
        engine.write(slot, setting.encoder.adapter(slot, HeadKind.SEQUENCE))


def _peft(setting: Setting, model: Any, rows: Any) -> object:
    with torch.inference_mode():
        return model(**batch_of(setting, rows)).logits.float().cpu().numpy()


def _batch(setting: Setting, count: int, tokens: int) -> BatchTensors:
    """Make a batch whose last row is padded."""
    ids = torch.randint(10, 390, (count, tokens), generator=torch.Generator().manual_seed(0))
    mask = torch.ones_like(ids)
    mask[-1, tokens // 2 :] = 0
    slots = torch.arange(count) % setting.adapters + 1
    return BatchTensors(*(one.to(setting.device) for one in (ids, mask, torch.zeros_like(ids), slots)))


def _ways(
    setting: Setting, backbone: TorchBackbone, batch: BatchTensors
) -> tuple[dict[str, Way], dict[str, str]]:
    """Return what ran once, and the errors of what did not."""
    makers: dict[str, Callable[[], Way]] = {
        "eager": lambda: _waiting(setting, backbone.run, batch),
        "compile": lambda: _compiled(setting, backbone, batch),
    }
    if setting.device.type == "cuda":
        makers["graph"] = lambda: _graph(setting, backbone, batch)
    ways: dict[str, Way] = {}
    failed: dict[str, str] = {}
    for name, make in makers.items():
        try:
            way = make()
            way()
        except Exception as error:  # neither a compiler nor a capture is to end the run
            traceback.print_exc()
            failed[name] = type(error).__name__
        else:
            ways[name] = way
    return ways, failed


def _waiting(setting: Setting, forward: Callable[[BatchTensors], Hidden], batch: BatchTensors) -> Way:
    def run() -> torch.Tensor:
        states = forward(batch).states
        setting.synchronize()
        return states

    return run


def _compiled(setting: Setting, backbone: TorchBackbone, batch: BatchTensors) -> Way:
    backend = "eager" if setting.quick else "inductor"
    return _waiting(setting, torch.compile(backbone.run, dynamic=False, backend=backend), batch)


def _graph(setting: Setting, backbone: TorchBackbone, batch: BatchTensors) -> Way:
    """Capture a forward; a graph reads the stacks where they are, and so what is written to slots later."""
    stream = torch.cuda.Stream(setting.device)  # type: ignore[no-untyped-call]
    stream.wait_stream(torch.cuda.current_stream(setting.device))
    with torch.cuda.stream(stream):
        for _ in range(3):
            backbone.run(batch)
    torch.cuda.current_stream(setting.device).wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        states = backbone.run(batch).states

    def replay() -> torch.Tensor:
        graph.replay()
        setting.synchronize()
        return states

    return replay

"""`hub bench`: measures the engines on this machine and shows the fastest for each batch shape."""

from __future__ import annotations

import statistics
import time
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from hub.cli.context import Context
from hub.cli.screen.output import JSON_FLAG, error_console, print_json, say, table
from hub.errors import BadRequest

if TYPE_CHECKING:
    from hub.bases.base import Base
    from hub.engine.protocol import AdapterWeights
    from hub.engine.slot_engine import SlotEngine

__all__ = ["bench"]

SETTLE_S = 600.0
INT8 = "onnx int8"
Targets = Literal["qv", "all"]
_QV = ("query", "value", "query_proj", "value_proj", "q_lin", "v_lin", "q_proj", "v_proj", "q", "v", "Wqkv")


def bench(
    base: Annotated[str, typer.Argument(help="A pulled base; see hub base list.")] = "minilm",
    adapters: Annotated[int, typer.Option(min=1, max=1000, help="Number of adapters in each batch.")] = 16,
    rank: Annotated[int, typer.Option(min=1, max=256, help="Rank of the adapters.")] = 8,
    targets: Annotated[Targets, typer.Option(help="Adapted layers: query and value, or all linear.")] = "all",
    budget: Annotated[float, typer.Option(min=0.1, help="Seconds spent on measuring.")] = 10.0,
    again: Annotated[bool, typer.Option("--again", help="Measure again even if results are cached.")] = False,
    as_json: Annotated[bool, JSON_FLAG] = False,
) -> None:
    """Measure the engines on this machine with random adapters, and show the fastest for each batch shape."""
    from hub.engine.build import build_engine
    from hub.engine.choice.autotune import Tuning
    from hub.registry.opening import engine_for
    from hub.serving.batching.base_workers import ENGINE_CACHE

    context = Context.load()
    settings, found = context.settings, context.bases.get(base)
    if (made := engine_for(found.source, "auto")) != "auto":
        raise BadRequest(
            f"{base} runs on the engine {made}, which a plugin made for it: there is nothing to choose. To "
            f"measure a version on it: hub evaluate --engine {made}"
        )
    with error_console().status(f"Loading {base}"):
        engine: Any = build_engine(
            found,
            kind="auto",
            slots=adapters,
            device=settings.serve.device,
            threads=settings.serve.threads,
            cache=settings.home / ENGINE_CACHE,
            tuning=Tuning(budget, again),
        )
    try:
        result = _measure(engine, found, adapters, rank, targets)
    finally:
        engine.close()
    if as_json:
        print_json(result)
    else:
        _show(result)


def _measure(engine: SlotEngine, base: Base, adapters: int, rank: int, targets: Targets) -> dict[str, Any]:
    writes = []
    with error_console().status("Preparing graphs and measuring; the first time this takes a while"):
        for slot in range(1, adapters + 1):
            weights = _random(engine, rank, targets, slot)
            began = time.perf_counter()
            engine.write(slot, weights)
            writes.append((time.perf_counter() - began) * 1000)
        if not engine.warm(SETTLE_S):
            error_console().print("[yellow]The measurement has not finished; the table is incomplete.[/]")
    info, timings = engine.info(), engine.timings
    shapes = timings.shapes if timings else []
    return {
        "base": base.name,
        "device": info.device,
        "base_bytes": info.base_bytes,
        "slot_bytes": info.slot_bytes,
        "adapter_bytes": weights.nbytes,
        "write_ms": statistics.median(writes),
        "note": info.note,
        "choices": info.choices,
        "refused": dict(timings.refused) if timings else {},
        "shapes": [
            {
                "rows": rows,
                "tokens": tokens,
                "chosen": next(name for name in timings.order(rows, tokens) if name != INT8),
                "chosen_if_int8": timings.order(rows, tokens)[0],
                "ms": {
                    name: round(one[rows, tokens] * 1000, 2)
                    for name, one in timings.seconds.items()
                    if (rows, tokens) in one
                },
            }
            for rows, tokens in shapes
            if timings
        ],
    }


def _random(engine: SlotEngine, rank: int, targets: Targets, seed: int) -> AdapterWeights:
    """Return a random adapter without a head; it may run in int8, since its answers are not used."""
    import numpy as np

    from hub.api import HeadKind
    from hub.engine.protocol import AdapterWeights, LayerUpdate

    random = np.random.default_rng(seed)
    layers = {
        path: LayerUpdate(
            a=random.normal(0, 0.02, (rank, inputs)).astype(np.float32),
            b=random.normal(0, 0.02, (outputs, rank)).astype(np.float32),
        )
        for path, (inputs, outputs) in engine.linears.items()
        if targets == "all" or path.rpartition(".")[2] in _QV
    }
    return AdapterWeights(HeadKind.EMBEDDING, layers, {}, 0, str(seed), int8=True)


def _show(result: dict[str, Any]) -> None:
    names = sorted({name for shape in result["shapes"] for name in shape["ms"]})
    say(f"[bold]{result['base']}[/] on {result['device']}: milliseconds a batch")
    rows = [
        (
            f"{one['rows']} x {one['tokens']}",
            *(one["ms"].get(name, "") for name in names),
            one["chosen"] + (", or int8" if one["chosen_if_int8"] == INT8 else ""),
        )
        for one in result["shapes"]
    ]
    if rows:
        table(("ROWS x TOKENS", *names, "CHOSEN"), rows)
    else:
        say(f"There is no choice: {result['choices']} runs every batch.")
    if INT8 in names:
        say("int8 runs only adapters that passed the accuracy check in int8.")
    for name, reason in result["refused"].items():
        say(f"[yellow]{name}[/] is not used: {reason}.")
    if result["note"]:
        say(f"[yellow]{result['note']}[/]")
    say(
        f"All copies of the base: {result['base_bytes'] / 1e6:.0f} MB; an adapter: "
        f"{result['adapter_bytes'] / 1e3:.0f} kB; its slot: {result['slot_bytes'] / 1e3:.0f} kB; writing a "
        f"slot: {result['write_ms']:.2f} ms."
    )

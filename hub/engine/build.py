"""Which engine a base gets; heavy libraries are imported only when one is built."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING

from hub.bases.base import Base, BaseKind
from hub.errors import BadConfig

if TYPE_CHECKING:
    from hub.engine.protocol import Engine

__all__ = ["ENGINES", "build_engine"]

log = logging.getLogger(__name__)

ENGINES = ("auto", "onnx", "torch", "fake")


def build_engine(
    base: Base,
    *,
    kind: str = "auto",
    slots: int,
    device: str = "auto",
    threads: int = 0,
    cache: Path | None = None,
) -> Engine:
    """Build an engine with `slots` adapter slots on `base`.

    `auto` is onnx for an encoder on the CPU and torch for everything else. `threads` is per
    forward, 0 meaning all cores. `cache` keeps exported graphs between runs; None: until `close`.

    Raises:
        BadConfig: no such engine or device, or the engine cannot run this base.
        EngineFailed: the base could not be loaded.
    """
    if kind not in ENGINES:
        raise BadConfig(f"No engine named {kind!r}. There is: {', '.join(ENGINES)}.")
    if kind == "fake":
        from hub.engine.fake import FakeEngine

        return FakeEngine(slots)
    if base.kind is BaseKind.ENCODER_DECODER:
        raise BadConfig(f"No engine runs encoder-decoder bases yet, so {base.name!r} cannot be served.")

    from hub.engine.loading import pick_device
    from hub.engine.torch_engine import TorchEngine

    where = pick_device("cpu" if kind == "onnx" and device == "auto" else device)
    can_onnx = base.kind is BaseKind.ENCODER and where == "cpu"
    if kind == "onnx" and not can_onnx:
        raise BadConfig(
            f"The onnx engine runs encoders on the CPU; {base.name!r} is of kind {base.kind}, on {where}. "
            "Use auto or torch."
        )
    if can_onnx and kind in ("auto", "onnx"):
        from hub.engine.onnx_engine import OnnxEngine

        return OnnxEngine(base, slots=slots, threads=threads, cache=cache)
    return TorchEngine(base, slots=slots, device=where, threads=threads)

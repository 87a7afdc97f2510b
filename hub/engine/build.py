"""Selects and builds the engine for a base; heavy libraries are imported only then."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from hub.bases.base import Base, BaseKind
from hub.engine.protocol import GenerationLimits
from hub.errors import BadConfig

if TYPE_CHECKING:
    from hub.engine.choice.autotune import Tuning
    from hub.engine.protocol import Engine

__all__ = ["ENGINES", "build_engine"]

ENGINES = ("auto", "onnx", "onnx-int8", "openvino", "openvino-bf16", "torch", "torch-bf16", "fake")
_GRAPHS = {"onnx": "onnx", "onnx-int8": "onnx", "openvino": "OpenVINO", "openvino-bf16": "OpenVINO"}


def build_engine(
    base: Base,
    *,
    kind: str = "auto",
    slots: int,
    device: str = "auto",
    threads: int = 0,
    cache: Path | None = None,
    tuning: Tuning | None = None,
    generation: GenerationLimits | None = None,
) -> Engine:
    """Build an engine with `slots` adapter slots on `base`.

    `auto` measures the candidates on an encoder and picks the fastest for each shape; on any other base it is
    torch in the dtype of the base. `threads` is per forward, 0 meaning all cores. `cache` keeps exported
    graphs and measurements between runs; None: until `close`.

    Raises:
        BadConfig: no such engine or device, or the engine cannot run this base.
        MissingExtra: the engine needs a package that is not installed.
        EngineFailed: the base could not be loaded.
    """
    if kind not in ENGINES:
        raise BadConfig(f"No engine named {kind!r}. Choose one of: {', '.join(ENGINES)}.")
    if kind == "fake":
        from hub.engine.fake import FakeEngine

        return FakeEngine(slots)

    from hub.engine.assemble import assemble
    from hub.engine.torch.loading import pick_device

    runtime = _GRAPHS.get(kind, "")
    if runtime and base.kind is not BaseKind.ENCODER:
        raise BadConfig(
            f"The {runtime} engines run encoders; {base.name!r} is of kind {base.kind}. Use torch."
        )
    where = pick_device("cpu" if runtime and device == "auto" else device)
    keeps = base.kind is BaseKind.ENCODER and not kind.startswith("torch")  # graphs and measurements
    own = tempfile.TemporaryDirectory(prefix="hub-engine-") if keeps and cache is None else None
    if own:
        cache = Path(own.name)
    try:
        return assemble(
            base,
            kind,
            slots=slots,
            device=where,
            threads=threads,
            cache=cache,
            own=own,
            tuning=tuning,
            generation=generation or GenerationLimits(),
        )
    except BaseException:
        if own:
            own.cleanup()
        raise

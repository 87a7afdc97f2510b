"""The engines that are built in, by the names of `serve.engine`."""

from __future__ import annotations

from typing import Any, cast

from hub.api import EngineBuilder, EngineRequest, NoOptions
from hub.bases.base import Base
from hub.engine.build import build_engine

__all__ = ["Auto", "Fake", "Onnx", "OnnxInt8", "OpenVino", "OpenVinoBf16", "Torch", "TorchBf16"]


def _builder(kind: str) -> type[EngineBuilder[NoOptions]]:
    class Builder(EngineBuilder[NoOptions]):
        def build(self, request: EngineRequest) -> Any:
            return build_engine(
                cast(Base, request.base),
                kind=kind,
                slots=request.slots,
                device=request.device,
                threads=request.threads,
                cache=request.cache,
                generation=request.generation,
            )

    return Builder


Auto = _builder("auto")
Onnx = _builder("onnx")
OnnxInt8 = _builder("onnx-int8")
OpenVino = _builder("openvino")
OpenVinoBf16 = _builder("openvino-bf16")
Torch = _builder("torch")
TorchBf16 = _builder("torch-bf16")
Fake = _builder("fake")

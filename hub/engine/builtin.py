"""The engines that are built in, by the names of `serve.engine`."""

from __future__ import annotations

from typing import Any, ClassVar, cast

from hub.api import EngineBuilder, EngineRequest, NoOptions
from hub.bases.base import Base
from hub.engine.build import build_engine

__all__ = ["Auto", "Fake", "Onnx", "OnnxInt8", "OpenVino", "OpenVinoBf16", "Torch", "TorchBf16"]


class _Builder(EngineBuilder[NoOptions]):
    kind: ClassVar[str]

    def build(self, request: EngineRequest) -> Any:
        return build_engine(
            cast(Base, request.base),
            kind=self.kind,
            slots=request.slots,
            device=request.device,
            threads=request.threads,
            cache=request.cache,
            generation=request.generation,
        )


class Auto(_Builder):
    kind = "auto"


class Onnx(_Builder):
    kind = "onnx"


class OnnxInt8(_Builder):
    kind = "onnx-int8"


class OpenVino(_Builder):
    kind = "openvino"


class OpenVinoBf16(_Builder):
    kind = "openvino-bf16"


class Torch(_Builder):
    kind = "torch"


class TorchBf16(_Builder):
    kind = "torch-bf16"


class Fake(_Builder):
    kind = "fake"

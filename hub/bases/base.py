"""The description of a base model."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from hub.api import ImageInput, Pooling

__all__ = ["Base", "BaseKind"]


class BaseKind(StrEnum):
    """The architecture of a base: encoders classify and extract, decoders generate, vision reads images."""

    ENCODER = "encoder"
    DECODER = "decoder"
    ENCODER_DECODER = "encoder-decoder"
    VISION = "vision"

    @property
    def generates(self) -> bool:
        """Whether it writes text."""
        return self in (BaseKind.DECODER, BaseKind.ENCODER_DECODER)


@dataclass(frozen=True, slots=True)
class Base:
    """A pulled base: a folder with config.json, model.safetensors, and tokenizer or image processor files.

    `fingerprint` is the sha256 over all of them; `max_length` is in tokens. `image` is how one of kind VISION
    takes images. `pooling` is that with which it was trained to make vectors; None if it was not, or if
    nobody says.
    """

    name: str
    source: str
    fingerprint: str
    kind: BaseKind
    model_type: str
    max_length: int
    path: Path
    image: ImageInput | None = None
    pooling: Pooling | None = None

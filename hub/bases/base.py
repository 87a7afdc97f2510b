"""The description of a base model."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

__all__ = ["Base", "BaseKind"]


class BaseKind(StrEnum):
    """The architecture of a base: encoders classify and extract, the other two generate."""

    ENCODER = "encoder"
    DECODER = "decoder"
    ENCODER_DECODER = "encoder-decoder"


@dataclass(frozen=True, slots=True)
class Base:
    """A pulled base: a folder with config.json, model.safetensors and tokenizer files.

    `fingerprint` is the sha256 over weights, config and tokenizer; `max_length` is in tokens.
    """

    name: str
    source: str
    fingerprint: str
    kind: BaseKind
    model_type: str
    max_length: int
    path: Path

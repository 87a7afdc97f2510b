"""The transformers class for a base with a head of each kind."""

from __future__ import annotations

from collections.abc import Mapping

from hub.api import HeadKind
from hub.bases.base import BaseKind

__all__ = ["AUTO_CLASSES", "auto_class"]

AUTO_CLASSES: Mapping[HeadKind, str] = {
    HeadKind.SEQUENCE: "AutoModelForSequenceClassification",
    HeadKind.TOKEN: "AutoModelForTokenClassification",
    HeadKind.SPAN: "AutoModelForQuestionAnswering",
    HeadKind.EMBEDDING: "AutoModel",
    HeadKind.GENERATE: "AutoModelForCausalLM",
}


def auto_class(head: HeadKind, base: BaseKind) -> str:
    """Return the name of the transformers class for a head kind and a kind of base."""
    if head is HeadKind.SEQUENCE and base is BaseKind.VISION:
        return "AutoModelForImageClassification"
    if head is HeadKind.GENERATE and base is BaseKind.ENCODER_DECODER:
        return "AutoModelForSeq2SeqLM"
    return AUTO_CLASSES[head.layered]

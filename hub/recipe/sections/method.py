"""`method`: the PEFT method and its targets."""

from __future__ import annotations

from typing import Any, Literal, Self

from pydantic import Field, model_validator

from hub.api import MethodSpec, Model
from hub.registry.active import active
from hub.registry.kinds import METHODS

__all__ = ["DEFAULT_RATE", "Method", "known_method"]

DEFAULT_RATE = 1e-3
"""The default learning rate of LoRA."""
MAX_FEW_ROWS = 200  # training rows; between 100, where lora loses, and 300, where it wins: docs/results.md
FEW_SHOT_CLASSES = 2  # of more, ia3 learns more from few rows
IA3_FAMILIES = ("bert", "roberta", "deberta-v2", "bart", "t5", "llama", "qwen2")
"""Types of base on which `auto` may select ia3: those for which PEFT defines its layers."""
_DOUBLED = frozenset({"pissa", "olora"})  # stored as plain LoRA of twice the rank
MAX_DOUBLED_RANK = 128  # half the default of serve.max_rank
_OWN = frozenset({"auto", "lora", "few-shot", "ia3", "bitfit", "head", "full"})
_LORA_ONLY = ("rank", "alpha", "dropout", "rslora", "dora", "init")


class Method(Model):
    """What is trained in addition to the head of the task."""

    type: str = Field(
        "lora",
        description="lora: low-rank updates. few-shot: the same, trained on pairs of rows, with a logistic "
        "head; for one label per text. ia3: learned scales of some layers' outputs. bitfit: the base's "
        "biases. head: only the head. full: all weights, served as a merged copy. auto: few-shot, ia3 or "
        "lora, by rows, labels and base. Or the name of a plugin's method.",
    )
    options: dict[str, Any] = Field({}, description="Options of a plugin's method.")
    rank: int = Field(8, ge=1, le=256, description="LoRA rank.")
    alpha: float | None = Field(None, gt=0, description="LoRA alpha; default: twice the rank.")
    dropout: float = Field(0.0, ge=0, lt=1, description="Dropout before each LoRA update; 0 is fastest.")
    target: Literal["all-linear"] | tuple[str, ...] = Field(
        "all-linear",
        description="all-linear, or a list of module name suffixes such as [query, value]. For ia3, "
        "all-linear means PEFT's default layers for the architecture.",
    )
    pooling: Literal["auto", "mean", "first"] = Field(
        "auto",
        description="How the head reads a text. mean: the mean over its tokens. first: as transformers' own "
        "head of the family, which in most reads the first token. auto: mean on a base that was trained for "
        "means, else first.",
    )
    freeze: int = Field(
        0,
        description="Number of the lowest layers to leave untrained, together with the embeddings; -2: all "
        "but the two highest.",
    )
    rslora: bool = Field(False, description="Scale by alpha/sqrt(rank) (rsLoRA) instead of alpha/rank.")
    dora: bool = Field(False, description="Train magnitude and direction separately (DoRA); slower to train.")
    init: Literal["default", "gaussian", "orthogonal", "pissa", "olora"] = Field(
        "default",
        description="Initialization of the update; pissa and olora start from the base's weights and are "
        "stored as plain LoRA of twice the rank.",
    )
    stored: Literal["fp16", "fp32"] = Field(
        "fp16", description="Precision of the stored weights; always fp32 with pissa and olora."
    )

    @model_validator(mode="after")
    def _agrees(self) -> Self:
        if self.type not in _OWN:
            known_method(self.type)
            return self
        if self.options:
            raise ValueError(f"options are those of plugins' methods, and {self.type} has none")
        if self.type in ("auto", "lora", "few-shot"):
            if self.init in _DOUBLED and self.rank > MAX_DOUBLED_RANK:
                raise ValueError(
                    f"rank is at most {MAX_DOUBLED_RANK} with {self.init}, stored with twice the rank"
                )
            return self
        if given := self._of_lora():
            raise ValueError(f"{given[0]} needs the type lora or few-shot, not {self.type}")
        if self.target != "all-linear" and self.type != "ia3":
            raise ValueError(f"target needs the type lora, few-shot or ia3, not {self.type}")
        return self

    def by_rows(self, rows: int, family: str, classes: int) -> Literal["lora", "few-shot", "ia3"]:
        """Return the method that auto selects for a type of base; docs/results.md has measurements.

        Few rows take few-shot if each has one of two `classes` (0: it has several, or none), else ia3. Where
        a LoRA key is set, layers are named, or PEFT has no ia3 layers for the base, they take few-shot with
        any number of classes, else lora.
        """
        if rows >= MAX_FEW_ROWS:
            return "lora"
        free = not self._of_lora() and self.target == "all-linear" and family in IA3_FAMILIES
        if free and classes != FEW_SHOT_CLASSES:
            return "ia3"
        return "few-shot" if classes else "lora"

    def _of_lora(self) -> list[str]:
        default = {name: type(self).model_fields[name].default for name in _LORA_ONLY}
        return [name for name in _LORA_ONLY if getattr(self, name) != default[name]]

    @property
    def changes_base(self) -> bool:
        """Whether training modifies the base weights, so that the adapter has to be converted."""
        return self.init in _DOUBLED and self.type in _OWN


def known_method(name: str) -> MethodSpec:
    """Return the spec of a training method; ValueError with those there are if it is unknown."""
    known = active().extensions.specs(METHODS)
    if name not in known:
        raise ValueError(f"there is no training method {name!r}; use auto, {', '.join(sorted(known))}")
    return known[name]

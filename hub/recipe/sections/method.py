"""`method`: the PEFT method and its targets."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from hub.api import Model

__all__ = ["RATES", "Method"]

RATES = {"lora": 1e-3, "ia3": 1e-2, "bitfit": 3e-3, "head": 5e-3, "full": 1e-4}
"""Learning rates of the methods where a recipe names none; docs/training.md says how they were found."""
FEW_ROWS = 200  # training rows
IA3_FAMILIES = ("bert", "roberta", "deberta-v2", "bart", "t5", "llama", "qwen2")
"""Types of base on which `auto` may choose ia3: those whose layers PEFT knows for it."""
_DOUBLED = frozenset({"pissa", "olora"})
MAX_DOUBLED = 128  # half the largest rank that is served unless serve.max_rank is raised
_LORA_ONLY = ("rank", "alpha", "dropout", "rslora", "dora", "init")


class Method(Model):
    """What is trained of the base, beside the head of the task."""

    type: Literal["auto", "lora", "ia3", "bitfit", "head", "full"] = Field(
        "lora",
        description="lora: an update of low rank to each layer; ia3: a scale of some layers' outputs; "
        "bitfit: the base's biases; head: nothing of it; full: all of it, served as a merged copy; auto: by "
        "the number of rows, ia3 or lora.",
    )
    rank: int = Field(8, ge=1, le=256, description="Rank of the update of each layer.")
    alpha: float | None = Field(None, gt=0, description="LoRA alpha; none: twice the rank.")
    dropout: float = Field(0.0, ge=0, lt=1, description="Dropout before each update; 0 is fastest.")
    target: Literal["all-linear"] | tuple[str, ...] = Field(
        "all-linear",
        description="all-linear, or a list of module name endings such as [query, value]. For ia3 all-linear "
        "stands for the layers that PEFT names for the family.",
    )
    freeze: int = Field(
        0,
        description="So many of the base's lowest layers, and its embeddings, are left as they are; -2: all "
        "but the two highest.",
    )
    rslora: bool = Field(False, description="Scale by alpha/sqrt(rank) (rsLoRA) instead of alpha/rank.")
    dora: bool = Field(False, description="Train the magnitude of each output apart (DoRA); slower to train.")
    init: Literal["default", "gaussian", "orthogonal", "pissa", "olora"] = Field(
        "default",
        description="What the update starts from; pissa and olora start from the base's own weights and are "
        "stored as plain LoRA of twice the rank.",
    )
    stored: Literal["fp16", "fp32"] = Field(
        "fp16", description="Precision of the stored weights; always fp32 with pissa and olora."
    )

    @model_validator(mode="after")
    def _agrees(self) -> Self:
        if self.type in ("auto", "lora"):
            if self.init in _DOUBLED and self.rank > MAX_DOUBLED:
                raise ValueError(
                    f"rank is at most {MAX_DOUBLED} with {self.init}, which is stored with twice it"
                )
            return self
        if given := self._of_lora():
            raise ValueError(f"{given[0]} goes with the type lora, not {self.type}")
        if self.target != "all-linear" and self.type != "ia3":
            raise ValueError(f"target goes with the types lora and ia3, not {self.type}")
        return self

    def by_rows(self, rows: int, family: str) -> Literal["lora", "ia3"]:
        """Return what auto stands for on a type of base; docs/training.md has the figures behind it.

        It is lora where a key is set that only lora has, or layers are named.
        """
        if self._of_lora() or self.target != "all-linear" or family not in IA3_FAMILIES:
            return "lora"
        return "ia3" if rows < FEW_ROWS else "lora"

    def _of_lora(self) -> list[str]:
        default = {name: type(self).model_fields[name].default for name in _LORA_ONLY}
        return [name for name in _LORA_ONLY if getattr(self, name) != default[name]]

    @property
    def changes_base(self) -> bool:
        """Whether the base is another one while training, so that what was trained has to be converted."""
        return self.init in ("pissa", "olora")

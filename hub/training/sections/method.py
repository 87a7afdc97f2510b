"""`method`: what is trained."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from hub.api import Model

__all__ = ["Method"]


class Method(Model):
    """What is trained on the frozen base."""

    type: Literal["lora"] = Field("lora", description="The PEFT method.")
    rank: int = Field(8, ge=1, le=256, description="Rank of the update of each layer.")
    alpha: float | None = Field(None, gt=0, description="LoRA alpha; none: twice the rank.")
    dropout: float = Field(0.0, ge=0, lt=1, description="Dropout before each update; 0 is fastest.")
    target: Literal["all-linear"] | tuple[str, ...] = Field(
        "all-linear", description="all-linear, or a list of module name endings such as [query, value]."
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

    @property
    def changes_base(self) -> bool:
        """Whether the base is another one while training, so that what was trained has to be converted."""
        return self.init in ("pissa", "olora")

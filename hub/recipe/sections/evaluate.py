"""`evaluate` and `deploy`: evaluation settings, and the gate before deployment."""

from __future__ import annotations

from typing import Annotated

from pydantic import BeforeValidator, Field

from hub.api import Model
from hub.recipe.sections.values import Column, Words, listed

__all__ = ["DeployGate", "Evaluate"]


class Evaluate(Model):
    """What is evaluated in addition to the metrics."""

    calibrate: bool = Field(
        True,
        description="Fit a temperature on the validation rows and divide the head's weights by it, so that "
        "probabilities match accuracy; no answer changes. For tasks with labels.",
    )
    slices: Annotated[tuple[Column, ...], BeforeValidator(listed)] = Field(
        (),
        description="Columns of the data, or task fields; each of their values becomes a slice, in addition "
        "to slices by length, label and file.",
    )
    metrics: Words = Field(
        (),
        description="Metrics in addition to those of the task: balanced_accuracy, matthews, or those of "
        "plugins.",
    )
    int8: bool = Field(
        True,
        description="Also evaluate the held-out rows on an int8 base; if the answers are as good, the "
        "version may be served in int8.",
    )
    folds: int | None = Field(
        None,
        ge=2,
        le=50,
        description="Cross-validate with this many folds of the training rows before the final training.",
    )


class DeployGate(Model):
    """The gate of `hub train --deploy`."""

    max_drop: float = Field(
        0.0,
        ge=0,
        description="Maximum amount by which the metric may be worse than the live version's.",
    )
    paired: bool = Field(
        True,
        description="Run the live version on the same held-out rows; with 200 or more rows, a drop that is "
        "not significant passes. false: compare the metrics in the manifests.",
    )

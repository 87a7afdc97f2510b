"""`evaluate` and `deploy`: evaluation settings, and the gate before deployment."""

from __future__ import annotations

from typing import Annotated

from pydantic import BeforeValidator, Field

from hub.api import Model
from hub.recipe.sections.values import Column, listed

__all__ = ["DeployGate", "Evaluate"]


class Evaluate(Model):
    """What is measured of the stored version besides its metrics."""

    calibrate: bool = Field(
        True,
        description="Fit a temperature on the validation rows and divide the head's weights by it, so that "
        "probabilities say how often an answer is right; no answer changes. For tasks with labels.",
    )
    slices: Annotated[tuple[Column, ...], BeforeValidator(listed)] = Field(
        (),
        description="Columns of the data, or task fields, by whose values the held-out rows are measured "
        "apart too; by length, label and file they always are.",
    )
    int8: bool = Field(
        True,
        description="Run held-out rows on the base in int8 too: where the answers are as good, the version "
        "may be served so.",
    )
    folds: int | None = Field(
        None,
        ge=2,
        le=50,
        description="Cross-validate: before the training proper, train this many times on parts of the "
        "training rows and measure on the rest of them.",
    )


class DeployGate(Model):
    """The gate of `hub train --deploy`."""

    max_drop: float = Field(
        0.0,
        ge=0,
        description="How much worse than the live version's the metric may be and still be deployed.",
    )
    paired: bool = Field(
        True,
        description="Run the live version on the same held-out rows; where there are 200 or more, a drop "
        "that chance explains is none. false: compare the figures in the manifests.",
    )

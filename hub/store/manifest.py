"""The manifest: what a version is, beside its weights in `manifest.json`."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, field_validator

from hub.api import HeadKind, Model
from hub.contract import PluginRef

__all__ = [
    "MAX_LABELS",
    "BaseRef",
    "Calibration",
    "DataRef",
    "Manifest",
    "PrecisionRecord",
    "Search",
    "Serving",
    "Spread",
    "UnderperformingSlice",
    "too_many_labels",
]

MANIFEST_FILE = "manifest.json"

# Of one adapter: twice what 10,000 intents need. Each slot of a base holds a row for every label of the
# largest head: on a base of width 768, 32 slots take 2 GB for a head of 20,000.
MAX_LABELS = 20_000


class BaseRef(Model):
    """The base an adapter was trained on."""

    name: str
    source: str
    fingerprint: str


class DataRef(Model):
    """The training data, by content; counts are rows after cleaning."""

    source: str
    sha256: str
    train_rows: int
    eval_rows: int
    rejected_rows: int = 0
    licence: str = ""
    data_report: dict[str, Any] = Field(
        default_factory=dict,
        exclude_if=lambda data_report: not data_report,
        description="What became of the rows: read, changed, left out and why, duplicates, personal data.",
    )


class Spread(Model):
    """A metric in cross-validation; `std` is that of a sample (n - 1)."""

    mean: float
    std: float
    folds: tuple[float, ...]


class Calibration(Model):
    """Whether probabilities say how often an answer is right, on the held-out rows."""

    temperature: float = Field(description="What the head's last layer was divided by.")
    rows: int = Field(0, description="Validation rows that chose it.")
    ece_before: float = Field(description="Expected calibration error before that.")
    ece_after: float
    reason: str = Field("", description="Why nothing was divided.")


class UnderperformingSlice(Model):
    """Held-out rows on which the version is worse than on all others by more than chance explains."""

    column: str
    value: str
    rows: int
    metric: float
    others: float


class PrecisionRecord(Model):
    """How a version answers on a base of another precision than float32, on a sample of its held-out rows."""

    passed: bool = Field(description="Whether it may be served so.")
    reason: str = Field("", description="Why not: the gate it failed, or why nothing was measured.")
    rows: int = 0
    agreement: float | None = Field(None, description="Share of decisions that are those in float32.")
    metric: float | None = None
    metric_float32: float | None = None


def too_many_labels(count: int) -> str:
    """Say what to do about a head of more labels than `MAX_LABELS`; "" where it has no more."""
    if count <= MAX_LABELS:
        return ""
    return (
        f"it has {count:,} labels, and the limit is {MAX_LABELS:,}: each slot of the base would take memory "
        "for as many. Divide the labels among several adapters, such as one that picks a group and one for "
        "each group"
    )


class Serving(Model):
    """All that changes an answer besides the weights; part of the content hash."""

    task: str
    head: HeadKind
    base: BaseRef
    labels: tuple[str, ...] = ()
    settings: dict[str, Any] = Field(default_factory=dict)
    max_length: int = Field(128, gt=0)
    merged: bool = Field(
        False,
        exclude_if=lambda merged: not merged,  # older contents keep their hash
        description="Served from a copy of the base with the adapter merged into it, instead of from a slot.",
    )
    contract: str = Field(
        "",
        exclude_if=lambda contract: not contract,
        description="Fingerprint of the plugin it was made with: what its answers mean depends on it.",
    )

    @field_validator("labels")
    @classmethod
    def _are_few(cls, labels: tuple[str, ...]) -> tuple[str, ...]:
        if reason := too_many_labels(len(labels)):
            raise ValueError(reason)
        return labels


class Search(Model):
    """What `hub tune` tried; the metric is on the rows that choose the checkpoint, not on held-out ones."""

    trials: int
    pruned: int
    failed: int
    sampler: str
    space: dict[str, Any]
    metric: str
    best: float
    values: dict[str, Any] = Field(description="Those of the best trial, by key of the recipe.")
    seconds: float = Field(0.0, description="Of all trials together.")


SCHEMA_VERSION = 1
READING = ("encoding", "header", "delimiter", "quotes", "separator", "columns")


class Manifest(Model):
    """One version's manifest; `sha256` of a version covers the weights, their config and `serving`."""

    schema_version: int = Field(SCHEMA_VERSION, ge=1)
    serving: Serving
    created: str = Field(description="UTC, ISO 8601.")
    origin: str = Field(description="trained or imported.")
    metrics: dict[str, float] = Field(default_factory=dict)
    metric: str = Field("", description="Key of `metrics` that the deploy gate reads.")
    metric_goal: Literal["max", "min"] = Field(
        "max", exclude_if=lambda goal: goal == "max", description="Whether a higher or a lower one is better."
    )
    metrics_cv: dict[str, Spread] = Field(
        default_factory=dict,
        exclude_if=lambda known: not known,
        description="`metrics` over the folds of cross-validation.",
    )
    intervals: dict[str, tuple[float, float]] = Field(
        default_factory=dict, exclude_if=lambda known: not known, description="Of 95 %, for `metrics`."
    )
    calibration: Calibration | None = Field(None, exclude_if=lambda known: known is None)
    underperforming_slices: tuple[UnderperformingSlice, ...] = Field((), exclude_if=lambda known: not known)
    data: DataRef | None = None
    recipe: dict[str, Any] | None = None
    search: Search | None = Field(
        None, exclude_if=lambda known: known is None, description="The search that found the recipe."
    )
    ablation: dict[str, Any] = Field(
        default_factory=dict,
        exclude_if=lambda known: not known,
        description="What augmentation changed: the metric with copies and without, on the same held-out "
        "rows, their difference with its interval of 95 %, and the copies by change.",
    )
    plugin: PluginRef | None = Field(
        None, exclude_if=lambda known: known is None, description="The plugin it was made with."
    )
    libraries: dict[str, str] = Field(default_factory=dict)
    train_seconds: float | None = None
    precision: dict[str, PrecisionRecord] = Field(
        default_factory=dict, exclude_if=lambda known: not known, description="By name: int8."
    )

    @field_validator("schema_version")
    @classmethod
    def _is_known(cls, version: int) -> int:
        if version > SCHEMA_VERSION:
            raise ValueError(f"version {version} is of a newer GraftHub; this one reads {SCHEMA_VERSION}")
        return version

    @property
    def reading(self) -> dict[str, Any]:
        """The settings of the recipe's section `data` that say how the training files were read."""
        data = (self.recipe or {}).get("data")
        return (
            {key: data[key] for key in READING if data.get(key) is not None} if isinstance(data, dict) else {}
        )

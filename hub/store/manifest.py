"""The manifest of a version: `manifest.json` beside its weights."""

from __future__ import annotations

from copy import deepcopy
from types import MappingProxyType
from typing import Any, Literal

from pydantic import Field, field_validator

from hub.api import AdapterInfo, HeadKind, ImageInput, Model, TargetKind
from hub.contract import PluginRef

__all__ = [
    "MAX_LABELS",
    "BaseRef",
    "Calibration",
    "DataRef",
    "Manifest",
    "NumberScale",
    "PrecisionRecord",
    "Search",
    "SearchTrial",
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
    invalid_rows: int = 0
    licence: str = ""
    data_report: dict[str, Any] = Field(
        default_factory=dict,
        exclude_if=lambda data_report: not data_report,
        description="Counts of rows: read, changed, filtered by reason, duplicates, personal data.",
    )


class Spread(Model):
    """A metric in cross-validation; `std` is that of a sample (n - 1)."""

    mean: float
    std: float
    folds: tuple[float, ...]


class Calibration(Model):
    """The calibration of probabilities on the held-out rows."""

    temperature: float = Field(description="Divisor of the head's last layer.")
    rows: int = Field(0, description="Validation rows that it was fitted on.")
    ece_before: float = Field(description="Expected calibration error before that.")
    ece_after: float
    reason: str = Field("", description="Reason why no temperature was applied.")


class UnderperformingSlice(Model):
    """Held-out rows on which the version is significantly worse than on all others."""

    column: str
    value: str
    rows: int
    metric: float
    others: float


class PrecisionRecord(Model):
    """The evaluation of a version on a base of lower precision, on a sample of its held-out rows."""

    passed: bool = Field(description="Whether it may be served in this precision.")
    reason: str = Field("", description="The gate that failed, or the reason why it was not measured.")
    rows: int = 0
    agreement: float | None = Field(None, description="Share of decisions that equal those in float32.")
    metric: float | None = None
    metric_float32: float | None = None


def too_many_labels(count: int) -> str:
    """Return the problem with more labels than `MAX_LABELS`, and the remedy; "" if there is none."""
    if count <= MAX_LABELS:
        return ""
    return (
        f"it has {count:,} labels, and the limit is {MAX_LABELS:,}: each slot of the base would take memory "
        "for as many. Divide the labels among several adapters, such as one that picks a group and one for "
        "each group"
    )


class NumberScale(Model):
    """The numbers that a head learned; its output is in their units."""

    kind: TargetKind
    center: float = Field(description="Mean of the training rows.")
    spread: float = Field(gt=0, description="Standard deviation of the training rows.")
    levels: tuple[float, ...] = Field((), description="Of an ordinal target, ascending.")


class Serving(Model):
    """The settings that affect answers besides the weights; part of the content hash."""

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
    encoder_decoder: bool = Field(
        False, exclude_if=lambda known: not known, description="The base is an encoder-decoder."
    )
    contract: str = Field(
        "",
        exclude_if=lambda contract: not contract,
        description="Fingerprint of the plugin's contract, which defines the meaning of answers.",
    )

    numbers: NumberScale | None = Field(
        None,
        exclude_if=lambda numbers: numbers is None,
        description="Of a head that gives a number instead of scores of labels.",
    )
    image: ImageInput | None = Field(
        None,
        exclude_if=lambda image: image is None,
        description="How the base takes images, if it reads them.",
    )

    @field_validator("labels")
    @classmethod
    def _are_few(cls, labels: tuple[str, ...]) -> tuple[str, ...]:
        if reason := too_many_labels(len(labels)):
            raise ValueError(reason)
        return labels

    def info(self, name: str, version: int) -> AdapterInfo:
        """Return the part of an adapter that tasks see."""
        settings = MappingProxyType(deepcopy(self.settings))  # a task may change what it is given
        return AdapterInfo(
            name,
            version,
            self.labels,
            settings,
            self.max_length,
            encoder_decoder=self.encoder_decoder,
            levels=self.numbers.levels if self.numbers else (),
            image=self.image,
        )


class SearchTrial(Model):
    """One trial of a search; `metric` is its best on the validation rows, None without an evaluation."""

    number: int
    state: Literal["complete", "pruned", "failed"]
    metric: float | None
    values: dict[str, Any] = Field(description="Recipe values, by key.")
    seconds: float = 0.0


class Search(Model):
    """The search of `hub tune`; its metric is measured on validation rows, not on held-out rows."""

    trials: int
    pruned: int
    failed: int
    sampler: str
    space: dict[str, Any]
    metric: str
    best: float
    values: dict[str, Any] = Field(description="Recipe values of the best trial, by key.")
    seconds: float = Field(0.0, description="Total of all trials.")
    listed: tuple[SearchTrial, ...] = Field(
        (), exclude_if=lambda listed: not listed, description="The trials, in order; of many the newest."
    )


SCHEMA_VERSION = 1
READING = ("encoding", "header", "delimiter", "quotes", "separator", "columns")


class Manifest(Model):
    """The manifest of a version, whose `sha256` covers weights, config and `serving`."""

    schema_version: int = Field(SCHEMA_VERSION, ge=1)
    serving: Serving
    created: str = Field(description="UTC, ISO 8601.")
    origin: str = Field(description="trained or imported.")
    metrics: dict[str, float] = Field(default_factory=dict)
    metric: str = Field("", description="Key of `metrics` that the deploy gate reads.")
    metric_goal: Literal["max", "min"] = Field(
        "max",
        exclude_if=lambda goal: goal == "max",
        description="Whether higher or lower is better.",
    )
    signatures: dict[str, str] = Field(
        default_factory=dict,
        exclude_if=lambda known: not known,
        description="How `metrics` were computed, such as sacrebleu's signatures.",
    )
    metrics_cv: dict[str, Spread] = Field(
        default_factory=dict,
        exclude_if=lambda known: not known,
        description="`metrics` over the folds of cross-validation.",
    )
    intervals: dict[str, tuple[float, float]] = Field(
        default_factory=dict, exclude_if=lambda known: not known, description="95 % intervals of `metrics`."
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
        description="Effect of augmentation: the metric with and without copies on the same held-out rows, "
        "the difference with its 95 % interval, and the copies by change.",
    )
    plugin: PluginRef | None = Field(
        None, exclude_if=lambda known: known is None, description="The plugin that trained or imported it."
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
        """The settings in the recipe's section `data` with which the training files were read."""
        data = (self.recipe or {}).get("data")
        return (
            {key: data[key] for key in READING if data.get(key) is not None} if isinstance(data, dict) else {}
        )

"""The report of a training run as JSON (`report.json`), from which the page is rendered."""

from __future__ import annotations

import math
import os
import platform
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hub.training.train import TrainResult

__all__ = ["curves_of", "report_of"]

SCHEMA_VERSION = 1
MAX_POINTS = 500  # of one curve

Json = dict[str, Any]


def report_of(result: TrainResult) -> Json:
    """Return the report of a finished run.

    It has the texts of at most `report.examples` wrong answers, and of no other row.
    """
    version, plan, outcome = result.version, result.plan, result.outcome
    manifest = version.manifest.model_dump(mode="json")
    report = {
        "schema_version": SCHEMA_VERSION,
        "version": str(version.ref),
        "name": version.name,
        "number": version.number,
        "sha256": version.sha256,
        "created": version.created.isoformat(timespec="seconds"),
        "summary": plan.recipe.summary,
        "task": plan.recipe.task,
        "head": plan.head.value,
        "labels": list(plan.serving.labels),
        "options": dict(plan.serving.settings),
        "max_length": plan.serving.max_length,
        "base": {**plan.serving.base.model_dump(), "kind": plan.base.kind.value},
        "evaluation": _evaluation(result),
        "metrics_cv": manifest.get("metrics_cv", {}),
        "gate": None,
        "training": _training(result),
        "curves": curves_of(outcome.fitted.history),
        "data": _data(result),
        "search": manifest.get("search"),
        "precision": manifest.get("precision", {}),
        "recipe": plan.recipe.resolved(),
        "trackers": [{"name": one.name, "problem": one.problem} for one in result.trackers],
        "environment": _environment(manifest["libraries"], plan.recipe.train.seed),
        "times": {
            "total_seconds": round(result.seconds, 1),
            "fit_seconds": round(outcome.fitted.seconds, 1),
        },
    }
    plain: Json = _finite(report)
    return plain


def curves_of(history: Sequence[Mapping[str, float]]) -> Json:
    """Return `loss`, `learning_rate` and `grad_norm` as points [step, value], and `metrics` by name.

    Metrics are of the validation rows. Values that are not finite are skipped; long curves are thinned.
    """
    found: dict[str, list[list[float]]] = {}
    for entry in history:
        for name, value in entry.items():
            if name not in ("step", "epoch") and math.isfinite(value):
                found.setdefault(name, []).append([entry["step"], value])
    thinned = {name: _thinned(points) for name, points in found.items()}
    return {
        **{name: thinned.get(name, []) for name in ("loss", "learning_rate", "grad_norm")},
        "metrics": {
            name.removeprefix("eval_"): points for name, points in thinned.items() if name.startswith("eval_")
        },
    }


def _finite(value: Any) -> Any:
    """Return JSON values with None in place of numbers that are not finite."""
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _thinned(points: list[list[float]]) -> list[list[float]]:
    """Return at most MAX_POINTS of the points, including the last one."""
    stride = math.ceil(len(points) / MAX_POINTS)
    return points[::-1][::stride][::-1]


def _evaluation(result: TrainResult) -> Json:
    value = result.evaluation.to_json(texts=True)
    value["mistakes"] = value["mistakes"][: result.plan.recipe.report.examples]
    return value


def _training(result: TrainResult) -> Json:
    outcome, recipe = result.outcome, result.plan.recipe
    fitted = outcome.fitted
    return {
        "method": recipe.method.type,
        "optimizer": recipe.train.optimizer,
        "schedule": recipe.train.schedule,
        "learning_rate": recipe.train.learning_rate,
        "batch_size": recipe.train.batch_size,
        "dtype": outcome.dtype,
        "steps": fitted.steps,
        "epochs": fitted.epochs,
        "best_step": fitted.best_step,
        "best_metric": fitted.best_metric,
        "stopped_early": fitted.stopped_early,
        "resumed_from": fitted.resumed_from,
        "weights_bytes": (result.version.path / "adapter_model.safetensors").stat().st_size,
    }


def _data(result: TrainResult) -> Json:
    recipe, dataset = result.plan.recipe, result.plan.dataset
    return {
        "source": [part.source for part in recipe.data.source],
        "eval": [part.source for part in recipe.data.eval],
        "sha256": dataset.sha256,
        "licence": recipe.data.licence,
        "rows": {
            "train": len(dataset.train),
            "validation": len(dataset.validation),
            "held_out": len(dataset.held_out),
        },
        "data_report": {**dataset.data_report.to_json(), "invalid": len(result.invalid)},
        "augmented": dict(result.outcome.augmented),
        "augmented_dropped": {change: dict(reason) for change, reason in result.outcome.dropped.items()},
        "ablation": result.ablation.as_dict() if result.ablation else None,
    }


def _environment(libraries: Mapping[str, str], seed: int) -> Json:
    return {
        "device": _device(),
        "platform": platform.platform(terse=True),
        "python": platform.python_version(),
        "libraries": dict(sorted(libraries.items())),
        "seed": seed,
    }


def _device() -> str:
    """Return the name of the GPU, or the processor type and the number of threads."""
    import torch

    if torch.cuda.is_available():
        return str(torch.cuda.get_device_name())
    if torch.backends.mps.is_available():
        return "Apple GPU (MPS)"
    return f"CPU {platform.machine()}, {torch.get_num_threads()} of {os.cpu_count()} threads"

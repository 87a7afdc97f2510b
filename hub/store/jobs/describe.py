"""Jobs, events and checkpoints as JSON values, in the form that OpenAI's clients read."""

from __future__ import annotations

from typing import Any

from hub.store.jobs.records import Event, JobStatus, TrainingJob

__all__ = ["CHECKPOINT", "EVENT", "describe_checkpoint", "describe_job", "describe_job_event"]

Json = dict[str, Any]

EVENT, CHECKPOINT = "ftevent-", "ftckpt-"  # begin the ids of what the catalog numbers
DEFAULT_SEED = 13  # of a recipe
_SHOWN = (
    "sha256",
    "metric",
    "metrics",
    "steps",
    "epochs",
    "seconds",
    "rows",
    "resumed_from",
    "gate",
    "deploy",
)


def describe_job(job: TrainingJob) -> Json:
    """Describe a job."""
    spec, result, recipe = job.spec, job.result, job.spec.recipe
    shown = {
        "n_epochs": recipe.get("train.epochs", "auto"),
        "batch_size": recipe.get("train.batch_size", "auto"),
        "learning_rate_multiplier": spec.rate_multiplier or "auto",
    }
    status = JobStatus.RUNNING if job.status is JobStatus.STORING else job.status
    return {
        "id": job.id,
        "object": "fine_tuning.job",
        "status": status,
        "model": spec.base,
        "task": spec.task,
        "adapter": spec.name,
        "fine_tuned_model": result.get("version"),
        "created_at": int(job.created.timestamp()),
        "finished_at": int(job.finished.timestamp()) if job.finished else None,
        "estimated_finish": None,
        "training_file": spec.training_file,
        "validation_file": spec.validation_file,
        "hyperparameters": shown,
        "method": {"type": "supervised", "supervised": {"hyperparameters": shown}},
        "seed": recipe.get("train.seed", DEFAULT_SEED),
        "trained_tokens": result.get("trained_tokens"),
        "result_files": [file] if (file := result.get("result_file")) else [],
        "error": job.error,
        "metadata": spec.asked.get("metadata") or {},
        "organization_id": "grafthub",
        "integrations": [],
        "result": {key: result[key] for key in _SHOWN if key in result} or None,
    }


def describe_job_event(event: Event) -> Json:
    """Describe an event."""
    return {
        "id": f"{EVENT}{event.id}",
        "object": "fine_tuning.job.event",
        "created_at": int(event.created.timestamp()),
        "level": event.level,
        "message": event.message,
        "type": event.kind,
        "data": event.data,
    }


def describe_checkpoint(event: Event) -> Json:
    """Describe a checkpoint."""
    data = event.data or {}
    return {
        "id": f"{CHECKPOINT}{event.id}",
        "object": "fine_tuning.job.checkpoint",
        "created_at": int(event.created.timestamp()),
        "fine_tuning_job_id": event.job,
        "fine_tuned_model_checkpoint": f"{event.job}:step-{data.get('step', 0)}",
        "step_number": data.get("step", 0),
        "metrics": {"step": data.get("step", 0), **data.get("metrics", {})},
    }

# ruff: noqa: TID253 - imported when a training run starts, and by nothing else
"""The settings of Hugging Face's Trainer from those of a recipe."""

from __future__ import annotations

from pathlib import Path

import torch
from transformers import TrainingArguments

from hub.api import BadRecipe
from hub.engine.torch.loading import computes_in_bf16, pick_device
from hub.evaluation.evaluator import Evaluator
from hub.recipe.recipe import Train
from hub.recipe.sections.method import DEFAULT_RATE
from hub.recipe.sections.train import DEFAULT_BATCH, DEFAULT_EPOCHS

__all__ = ["arguments_of", "pick_dtype", "stored_as"]

LOG_EVERY = 10  # steps


def pick_dtype(wanted: str) -> str:
    """Resolve "auto": bf16 if the device has instructions for it, else fp32.

    Raises:
        BadRecipe: fp16, and there is no CUDA device.
    """
    if wanted == "fp16" and not torch.cuda.is_available():
        raise BadRecipe("train.dtype: fp16 needs a CUDA device, and there is none. Set it to auto.")
    if wanted != "auto":
        return wanted
    return "bf16" if computes_in_bf16(torch.device(pick_device("auto"))) else "fp32"


def stored_as(train: Train) -> torch.dtype:
    """Return the type in which activations are cached."""
    return {"bf16": torch.bfloat16, "fp16": torch.float16}.get(pick_dtype(train.dtype), torch.float32)


def arguments_of(train: Train, folder: Path, validation: Evaluator | None) -> TrainingArguments:
    """Return the arguments of a run with checkpoints in `folder`; with `validation`, it evaluates."""
    metric = validation.metric if validation else None
    every = {"save_steps": train.checkpoint_steps, "eval_steps": train.checkpoint_steps}
    strategy = "steps" if train.checkpoint_steps else "epoch"
    arguments = TrainingArguments(
        output_dir=str(folder),
        num_train_epochs=train.epochs or DEFAULT_EPOCHS,
        max_steps=train.max_steps or -1,
        per_device_train_batch_size=train.batch_size or DEFAULT_BATCH,
        gradient_accumulation_steps=train.accumulate,
        activation_checkpointing=train.gradient_checkpointing,
        learning_rate=train.learning_rate or DEFAULT_RATE,
        weight_decay=train.weight_decay,
        lr_scheduler_type="reduce_lr_on_plateau" if train.schedule == "plateau" else "linear",
        max_grad_norm=train.max_grad_norm,
        seed=train.seed,
        use_cpu=not (torch.cuda.is_available() or torch.backends.mps.is_available()),
        bf16=pick_dtype(train.dtype) == "bf16",
        fp16=train.dtype == "fp16",
        save_strategy=strategy,
        eval_strategy=strategy if metric else "no",
        **(every if train.checkpoint_steps else {}),
        load_best_model_at_end=metric is not None,
        metric_for_best_model=metric,
        greater_is_better=validation.goal == "max" if validation else None,
        save_total_limit=2,
        restore_callback_states_from_checkpoint=True,
        logging_steps=LOG_EVERY,
        logging_nan_inf_filter=False,
        report_to="none",
        disable_tqdm=True,
        dataloader_pin_memory=False,
        remove_unused_columns=False,
    )
    arguments._n_gpu = min(arguments.n_gpu, 1)  # no DataParallel; private in transformers 5.23
    return arguments

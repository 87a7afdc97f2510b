"""Fine-tuning the way the guides of transformers and PEFT show it; a process of benchmarks.train's own."""

from __future__ import annotations

import tempfile
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

__all__ = ["WARM", "accuracy", "plain", "step_clock"]

WARM = 5  # steps that are run before time is taken, in a run cut short
SAMPLE = 320  # rows that such a run is measured on
RATES = {
    "peft": 1e-3,
    "full": 2e-5,
}  # of PEFT's quick tour, and of transformers' guide to text classification


def plain(way: str, data: Path, base: Path, epochs: int, max_steps: int | None) -> dict[str, Any]:
    """Train all of the base ("full") or LoRA on it ("peft"), padded to 128 tokens, in float32.

    With `max_steps` it stops there, measures itself on some of the rows, and says how long a step
    took: the median, so that what else the machine did for a while does not count against it.
    """
    from datasets import load_dataset
    from transformers import (
        AutoModelForSequenceClassification,
        AutoTokenizer,
        DataCollatorWithPadding,
        Trainer,
        TrainingArguments,
    )

    labels = ["negative", "positive"]
    tokenizer = AutoTokenizer.from_pretrained(base)

    def encode(batch: dict[str, list[str]]) -> dict[str, Any]:
        encoded: dict[str, Any] = tokenizer(
            batch["text"], padding="max_length", truncation=True, max_length=128
        )
        return {**encoded, "labels": [labels.index(label) for label in batch["label"]]}

    with tempfile.TemporaryDirectory() as scratch:
        files = {name: str(data / f"{name}.csv") for name in ("train", "test")}
        rows = load_dataset("csv", data_files=files, cache_dir=f"{scratch}/cache")
        rows = rows.map(encode, batched=True, remove_columns=["text", "label"])
        model = AutoModelForSequenceClassification.from_pretrained(base, num_labels=2)
        trainer = Trainer(
            model=_with_lora(model) if way == "peft" else model,
            args=TrainingArguments(
                output_dir=f"{scratch}/run",
                learning_rate=RATES[way],
                per_device_train_batch_size=32,
                per_device_eval_batch_size=32,
                num_train_epochs=epochs,
                max_steps=max_steps or -1,
                weight_decay=0.01,
                report_to="none",
            ),
            train_dataset=rows["train"],
            eval_dataset=rows["test"].select(range(SAMPLE)) if max_steps else rows["test"],
            processing_class=tokenizer,
            data_collator=DataCollatorWithPadding(tokenizer),
            compute_metrics=accuracy,
        )
        clock = step_clock()
        trainer.add_callback(clock)
        trained = trainer.train()
        measured = trainer.evaluate()
    batches = -(-len(rows["train"]) // 32)
    return {
        "accuracy": measured["eval_accuracy"],
        "steps": trained.global_step,
        "fit_seconds": trained.metrics["train_runtime"],
        "step_seconds": median(clock.seconds[WARM:]),
        "eval_seconds": measured["eval_runtime"],
        "all_steps": batches * epochs,
        "evals": len(rows["test"]) / (SAMPLE if max_steps else len(rows["test"])),
    }


def _with_lora(model: Any) -> Any:
    from peft import LoraConfig, TaskType, get_peft_model

    return get_peft_model(
        model,
        LoraConfig(
            task_type=TaskType.SEQ_CLS, r=8, lora_alpha=16, lora_dropout=0.1, target_modules="all-linear"
        ),
    )


def accuracy(prediction: Any) -> dict[str, float]:
    import numpy as np

    return {"accuracy": float((np.argmax(prediction.predictions, -1) == prediction.label_ids).mean())}


def step_clock() -> Any:
    from transformers import TrainerCallback

    class Clock(TrainerCallback):  # type: ignore[misc]
        """Takes the time of each step, from the end of the one before."""

        def __init__(self) -> None:
            self.seconds: list[float] = []
            self._last = perf_counter()

        def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            now = perf_counter()
            self.seconds.append(now - self._last)
            self._last = now

    return Clock()

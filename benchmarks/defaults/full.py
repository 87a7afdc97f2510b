"""Plain full fine-tuning with transformers: Trainer as in its guide to text classification."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median
from time import process_time
from typing import Any

from benchmarks.defaults.cells import Result
from benchmarks.defaults.sets import Parts, TextRow
from benchmarks.plain_train import WARM, accuracy, step_clock

__all__ = ["EPOCHS", "RATES", "full_settings", "padded_step_seconds", "steps_of", "train_full"]

RATES = (2e-5, 5e-5, 1e-4, 2e-4)
"""The guide's rate, TrainingArguments' own, and two higher ones, which a base as small as MiniLM takes."""
EPOCHS, BATCH, WEIGHT_DECAY = 3, 16, 0.01  # of TrainingArguments, and of the guide
MIN_STEPS = 300  # few rows need more epochs (arXiv:2006.04884)
MAX_LENGTH = 128
UNKNOWN = -100  # no label of a row; no answer equals it
PADDED_BATCH, TIMED_STEPS = 32, 15  # of the runs padded to MAX_LENGTH


def steps_of(rows: int) -> int:
    """Return the number of steps on some rows."""
    return max(MIN_STEPS, EPOCHS * math.ceil(rows / BATCH))


def full_settings(rate: float, rows: int) -> str:
    """Return all that decides the result, besides rows and seed."""
    return f"rate {rate:g}, steps {steps_of(rows)}, batch {BATCH}, decay {WEIGHT_DECAY}, tokens {MAX_LENGTH}"


def train_full(base: Path, parts: Parts, rows: Sequence[TextRow], rate: float, seed: int) -> Result:
    """Train all weights in float32 on batches padded to their longest row."""
    labels = sorted({label for _, label in rows})
    started = process_time()
    with tempfile.TemporaryDirectory() as scratch:
        run = _Run(rate=rate, seed=seed, steps=steps_of(len(rows)))
        trainer = _trainer(base, labels, rows, Path(scratch), run)
        trained = trainer.train()
        used = process_time() - started
        accuracy = {
            part: trainer.evaluate(trainer.train_dataset.like(held_out))["eval_accuracy"]
            for part, held_out in parts.held_out.items()
        }
    return Result(
        choose=accuracy["choose"],
        test=accuracy.get("test"),
        steps=trained.global_step,
        seconds=trained.metrics["train_runtime"],
        cpu_seconds=used,
    )


def padded_step_seconds(base: Path, rows: Sequence[TextRow]) -> float:
    """Return the median time of a step on 32 rows that are padded to MAX_LENGTH, as in benchmarks.train."""
    labels = sorted({label for _, label in rows})
    with tempfile.TemporaryDirectory() as scratch:
        run = _Run(steps=WARM + TIMED_STEPS, batch=PADDED_BATCH, padding="max_length")
        trainer = _trainer(base, labels, rows, Path(scratch), run)
        clock = step_clock()
        trainer.add_callback(clock)
        trainer.train()
    return median(clock.seconds[WARM:])


@dataclass(frozen=True, slots=True)
class _Run:
    steps: int
    rate: float = RATES[0]
    seed: int = 0
    batch: int = BATCH
    padding: Any = False  # as tokenizers take it


class _Encoded:
    """Tokenized rows as Trainer reads them; an unknown label counts as wrong."""

    def __init__(self, rows: Sequence[TextRow], labels: Sequence[str], encode: Callable[..., Any]) -> None:
        self._labels, self._encode = labels, encode
        encoded = encode([text for text, _ in rows])
        ids = {label: number for number, label in enumerate(labels)}
        self._rows = [
            {name: encoded[name][at] for name in encoded} | {"labels": ids.get(label, UNKNOWN)}
            for at, (_, label) in enumerate(rows)
        ]

    def like(self, rows: Sequence[TextRow]) -> _Encoded:
        """Encode other rows in the same way."""
        return _Encoded(rows, self._labels, self._encode)

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, at: int) -> dict[str, Any]:
        return self._rows[at]


def _trainer(base: Path, labels: Sequence[str], rows: Sequence[TextRow], scratch: Path, run: _Run) -> Any:
    from transformers import (
        AutoModelForSequenceClassification,
        AutoTokenizer,
        DataCollatorWithPadding,
        PrinterCallback,
        Trainer,
        TrainingArguments,
        set_seed,
    )

    from hub.engine.quiet import quiet

    set_seed(run.seed)
    tokenizer = AutoTokenizer.from_pretrained(base)
    with quiet():  # it notes that the head is new
        model = AutoModelForSequenceClassification.from_pretrained(base, num_labels=len(labels))
    length = min(MAX_LENGTH, model.config.max_position_embeddings)
    encode = partial(tokenizer, truncation=True, max_length=length, padding=run.padding)
    trainer = Trainer(
        model=model,
        args=TrainingArguments(
            output_dir=str(scratch),
            learning_rate=run.rate,
            per_device_train_batch_size=run.batch,
            per_device_eval_batch_size=32,
            max_steps=run.steps,
            weight_decay=WEIGHT_DECAY,
            seed=run.seed,
            save_strategy="no",
            logging_strategy="no",
            report_to="none",
            disable_tqdm=True,
            dataloader_pin_memory=False,
        ),
        train_dataset=_Encoded(rows, labels, encode),
        processing_class=tokenizer,
        data_collator=DataCollatorWithPadding(tokenizer),
        compute_metrics=accuracy,
    )
    trainer.remove_callback(PrinterCallback)
    return trainer

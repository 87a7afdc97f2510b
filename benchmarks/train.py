"""Train SST-2 by `hub train` and by the plain way (Trainer, PEFT, padding to 128, fp32), in one run.

    python -m benchmarks.train --data FOLDER [--quick] [--epochs N]

FOLDER holds train.csv and test.csv with the columns text and label. Both ways train LoRA of rank 8 on
all linear layers of MiniLM, on all rows of train.csv, batch 32, N epochs (3), one after the other, each in
a process of its own, and are timed from the start of the process to its accuracy on test.csv. The
quick run times 60 steps of each, by themselves.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from time import perf_counter
from typing import Any

from benchmarks.report import Target, report

EPOCHS = 3
QUICK_STEPS = 60
LEARNING_RATE = 1e-3  # of both; what PEFT's quick tour uses
TARGETS: dict[str, Target] = {"speedup": (">=", 8), "accuracy": (">=", 0.875)}

_HUB = "from hub.cli.main import main; main()"
RECIPE = """
name: bench-sst2
task: sentiment
base: minilm
data: {{source: {train}, eval: {test}}}
train: {{epochs: {epochs}, batch_size: 32, learning_rate: {rate}, patience: 0}}
"""


def main() -> None:
    arguments = _arguments()
    data = arguments.data.resolve()
    if arguments.plain:
        steps = QUICK_STEPS if arguments.quick else None
        print(json.dumps(_plain(data, arguments.plain, arguments.epochs, steps)))
        return
    from hub.bases.cache import Bases
    from hub.config import find_home

    home = find_home()
    base = Bases(home).pull("minilm")
    ours = _ours(data, home, arguments.epochs, arguments.quick)
    plain = _plain_process(data, base.path, arguments.epochs, arguments.quick)
    _report(ours, plain, arguments.quick)


def _report(ours: dict[str, Any], plain: dict[str, Any], quick: bool) -> None:
    clock = "fit_seconds" if quick else "total_seconds"
    figures = {"speedup": plain[clock] / ours[clock]}
    targets = dict(TARGETS)
    if not quick:
        figures |= {"accuracy": ours["accuracy"], "accuracy_plain": plain["accuracy"]}
        targets["accuracy_plain"] = ("<=", round(ours["accuracy"] + 0.01, 4))
    rows = [
        (
            name,
            way["steps"],
            f"{way['fit_seconds']:.1f}",
            f"{way['total_seconds']:.1f}",
            f"{way['accuracy']:.4f}",
        )
        for name, way in (("hub train", ours), ("plain", plain))
    ]
    report("train", ("WAY", "STEPS", "TRAINING S", "IN ALL S", "ACCURACY"), rows, figures, targets)


def _ours(data: Path, home: Path, epochs: int, quick: bool) -> dict[str, Any]:
    """Run the command in a fresh state folder that borrows the bases of this one."""
    with tempfile.TemporaryDirectory() as scratch:
        recipe = Path(scratch, "recipe.yaml")
        recipe.write_text(
            RECIPE.format(train=data / "train.csv", test=data / "test.csv", epochs=epochs, rate=LEARNING_RATE)
        )
        fresh = Path(scratch, "home")
        fresh.mkdir()
        (fresh / "bases").symlink_to(home / "bases")
        extra = ["--set", f"train.max_steps={QUICK_STEPS}"] if quick else []
        command = [sys.executable, "-c", _HUB, "train", str(recipe), "--json", *extra]
        started = perf_counter()
        answer = json.loads(_output(command, HUB_HOME=str(fresh)))
    return {
        "accuracy": answer["metrics"]["accuracy"],
        "steps": answer["steps"],
        "fit_seconds": answer["fit_seconds"],
        "total_seconds": perf_counter() - started,
    }


def _plain_process(data: Path, base: Path, epochs: int, quick: bool) -> dict[str, Any]:
    command = [sys.executable, "-m", "benchmarks.train", "--data", str(data), "--plain", str(base)]
    command += ["--epochs", str(epochs)]
    started = perf_counter()
    answer = json.loads(_output([*command, "--quick"] if quick else command).splitlines()[-1])
    return {**answer, "total_seconds": perf_counter() - started}


def _output(command: list[str], **environment: str) -> str:
    done = subprocess.run(
        command, env={**os.environ, **environment}, stdout=subprocess.PIPE, text=True, check=True
    )
    return done.stdout


def _plain(data: Path, base: Path, epochs: int, max_steps: int | None) -> dict[str, Any]:
    """Fine-tune the way the guides of transformers and PEFT show it."""
    import numpy as np
    from datasets import load_dataset
    from peft import LoraConfig, TaskType, get_peft_model
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

    def accuracy(prediction: Any) -> dict[str, float]:
        return {"accuracy": float((np.argmax(prediction.predictions, -1) == prediction.label_ids).mean())}

    with tempfile.TemporaryDirectory() as scratch:
        files = {name: str(data / f"{name}.csv") for name in ("train", "test")}
        rows = load_dataset("csv", data_files=files, cache_dir=f"{scratch}/cache")
        rows = rows.map(encode, batched=True, remove_columns=["text", "label"])
        model = AutoModelForSequenceClassification.from_pretrained(base, num_labels=2)
        config = LoraConfig(
            task_type=TaskType.SEQ_CLS, r=8, lora_alpha=16, lora_dropout=0.1, target_modules="all-linear"
        )
        trainer = Trainer(
            model=get_peft_model(model, config),
            args=TrainingArguments(
                output_dir=f"{scratch}/run",
                learning_rate=LEARNING_RATE,
                per_device_train_batch_size=32,
                per_device_eval_batch_size=32,
                num_train_epochs=epochs,
                max_steps=max_steps or -1,
                weight_decay=0.01,
                report_to="none",
            ),
            train_dataset=rows["train"],
            eval_dataset=rows["test"].select(range(320)) if max_steps else rows["test"],
            processing_class=tokenizer,
            data_collator=DataCollatorWithPadding(tokenizer),
            compute_metrics=accuracy,
        )
        trained = trainer.train()
        return {
            "accuracy": trainer.evaluate()["eval_accuracy"],
            "steps": trained.global_step,
            "fit_seconds": trained.metrics["train_runtime"],
        }


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="Folder with train.csv and test.csv.")
    parser.add_argument("--quick", action="store_true", help=f"Time {QUICK_STEPS} steps of each only.")
    parser.add_argument("--epochs", type=int, default=EPOCHS, help="Epochs of both; targets are for 3.")
    parser.add_argument("--plain", type=Path, help=argparse.SUPPRESS)  # the base; used by the run itself
    return parser.parse_args()


if __name__ == "__main__":
    main()

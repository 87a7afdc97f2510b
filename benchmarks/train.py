"""Train SST-2 by `hub train` and by the plain ways (Trainer, padding to 128, float32), in one run.

    python -m benchmarks.train --data FOLDER [--quick] [--epochs N] [--ways default,fast,best,peft,full]

FOLDER holds train.csv and test.csv with the columns text and label. All ways train MiniLM on all rows of
train.csv, batch 32, N epochs (3), one after the other, each in a process of its own, and are timed from the
start of the process to its accuracy on test.csv:

    default  hub train: LoRA of rank 8 on all linear layers
    fast     hub train with `preset: fast`
    best     hub train with `preset: best`, which has its own number of epochs
    peft     Trainer and PEFT: the same LoRA
    full     Trainer: all of the base

The quick run makes 60 steps of each plain way and reckons the rest: median step by number of steps, time of
measuring a row by number of rows, and everything else as measured. Their accuracy is then unknown.
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

from benchmarks.plain_train import plain
from benchmarks.report import Target, report

EPOCHS = 3
QUICK_STEPS = 60
LEARNING_RATE = 1e-3  # of default and peft; what PEFT's quick tour uses
PLAIN = ("peft", "full")
TARGETS: dict[str, Target] = {
    "speedup": (">=", 8),
    "speedup_default_vs_full": (">=", 10),
    "speedup_fast_vs_full": (">=", 25),
    "accuracy": (">=", 0.875),
}

_HUB = "from hub.cli.main import main; main()"
RECIPE = """
name: bench-sst2
task: sentiment
base: minilm
data: {{source: {train}, eval: {test}}}
"""
OURS = {
    "default": "train: {{epochs: {epochs}, batch_size: 32, learning_rate: {rate}, patience: 0}}\n",
    "fast": "preset: fast\ntrain: {{epochs: {epochs}, batch_size: 32, patience: 0}}\n",
    "best": "preset: best\n",
}

Way = dict[str, Any]


def main() -> None:
    arguments = _arguments()
    data = arguments.data.resolve()
    steps = QUICK_STEPS if arguments.quick else None
    if arguments.plain:
        print(json.dumps(plain(arguments.ways[0], data, arguments.plain, arguments.epochs, steps)))
        return
    from hub.bases.cache import Bases
    from hub.config import find_home

    home = find_home()
    base = Bases(home).pull("minilm")
    found: dict[str, Way] = {}
    for way in arguments.ways:
        if way in PLAIN:
            found[way] = _plain_process(way, data, base.path, arguments.epochs, arguments.quick)
        else:
            found[way] = _ours(way, data, home, arguments.epochs)
    _report(found)


def _report(found: dict[str, Way]) -> None:
    seconds = {way: one["total_seconds"] for way, one in found.items()}
    ratios = {
        "speedup": ("peft", "default"),
        "speedup_default_vs_full": ("full", "default"),
        "speedup_fast_vs_full": ("full", "fast"),
    }
    figures = {
        name: seconds[slow] / seconds[quick]
        for name, (slow, quick) in ratios.items()
        if slow in seconds and quick in seconds
    }
    known = {way: one["accuracy"] for way, one in found.items() if one["accuracy"] is not None}
    figures |= {f"accuracy_{way}" if way != "default" else "accuracy": value for way, value in known.items()}
    targets = dict(TARGETS)
    if "default" in known:
        targets |= {f"accuracy_{way}": ("<=", round(known["default"] + 0.01, 4)) for way in PLAIN}
    report("train", ("WAY", "STEPS", "TRAINING S", "IN ALL S", "ACCURACY"), _rows(found), figures, targets)


def _rows(found: dict[str, Way]) -> list[tuple[object, ...]]:
    return [
        (
            way,
            f"{one['steps']}{' (reckoned)' if one['accuracy'] is None else ''}",
            f"{one['fit_seconds']:.1f}",
            f"{one['total_seconds']:.1f}",
            "" if one["accuracy"] is None else f"{one['accuracy']:.4f}",
        )
        for way, one in found.items()
    ]


def _ours(way: str, data: Path, home: Path, epochs: int) -> Way:
    """Run the command in a fresh state folder that borrows the bases of this one."""
    with tempfile.TemporaryDirectory() as scratch:
        recipe = Path(scratch, "recipe.yaml")
        text = RECIPE + OURS[way]
        recipe.write_text(
            text.format(train=data / "train.csv", test=data / "test.csv", epochs=epochs, rate=LEARNING_RATE)
        )
        fresh = Path(scratch, "home")
        fresh.mkdir()
        (fresh / "bases").symlink_to(home / "bases")
        command = [sys.executable, "-c", _HUB, "train", str(recipe), "--json"]
        started = perf_counter()
        answer = json.loads(_output(command, HUB_HOME=str(fresh)))
    return {
        "accuracy": answer["metrics"]["accuracy"],
        "steps": answer["steps"],
        "fit_seconds": answer["fit_seconds"],
        "total_seconds": perf_counter() - started,
    }


def _plain_process(way: str, data: Path, base: Path, epochs: int, quick: bool) -> Way:
    command = [sys.executable, "-m", "benchmarks.train", "--data", str(data), "--plain", str(base)]
    command += ["--epochs", str(epochs), "--ways", way]
    started = perf_counter()
    answer = json.loads(_output([*command, "--quick"] if quick else command).splitlines()[-1])
    seconds = perf_counter() - started
    return _reckoned(answer, seconds) if quick else answer | {"total_seconds": seconds}


def _reckoned(answer: Way, seconds: float) -> Way:
    """Return what the whole run would have taken, from one that was cut short."""
    besides = seconds - answer["fit_seconds"] - answer["eval_seconds"]
    fit = answer["step_seconds"] * answer["all_steps"]
    measuring = answer["eval_seconds"] * answer["evals"]
    return {
        "accuracy": None,
        "steps": answer["all_steps"],
        "fit_seconds": fit,
        "total_seconds": besides + fit + measuring,
    }


def _output(command: list[str], **environment: str) -> str:
    done = subprocess.run(
        command, env={**os.environ, **environment}, stdout=subprocess.PIPE, text=True, check=True
    )
    return done.stdout


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="Folder with train.csv and test.csv.")
    parser.add_argument(
        "--quick", action="store_true", help=f"{QUICK_STEPS} steps of each plain way; reckon the rest."
    )
    parser.add_argument("--epochs", type=int, default=EPOCHS, help="Of all but best; targets are for 3.")
    parser.add_argument(
        "--ways",
        type=lambda text: text.split(","),
        default=[*OURS, *PLAIN],
        help="Which, in this order: default,fast,best,peft,full",
    )
    parser.add_argument("--plain", type=Path, help=argparse.SUPPRESS)  # the base; used by the run itself
    arguments = parser.parse_args()
    if unknown := set(arguments.ways) - {*OURS, *PLAIN}:
        parser.error(f"--ways: there is no {', '.join(sorted(unknown))}")
    return arguments


if __name__ == "__main__":
    main()

"""Search settings by `hub tune`, and train each of the same settings by `hub train`, in one run.

    python -m benchmarks.tune --data FOLDER [--quick | --rows N] [--prune]

FOLDER holds train.csv and test.csv with the columns text and label. The recipe is `preset: fast` on MiniLM,
and the grid has eight settings: four learning rates by two batch sizes. Both ways start from an empty state
folder that borrows the pulled base, and each command is a process of its own, timed from start to end:

    tune     one `hub tune --grid`: eight trials, then the best of them trained in full, measured and stored
    single   eight `hub train`, each of them measured and stored

`tune_speedup` is the time of all single commands over that of the whole one, training the best included;
`search_speedup` leaves that training out: `search_seconds` is the command without it. Nothing is pruned, so
that both train the same steps; with `--prune` the search may stop trials early, as it does unless it is told
not to. `--rows` takes the first rows of train.csv, `--quick` the first 2,000. Accuracy is on test.csv: of the
version that the search stored, and of the single one with the same setting.
"""

from __future__ import annotations

import argparse
import csv
import itertools
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import perf_counter
from typing import Any

from benchmarks.report import Target, report

QUICK_ROWS = 2000
TARGETS: dict[str, Target] = {"tune_speedup": (">=", 2)}
RATES = (5e-4, 1e-3, 2e-3, 4e-3)
BATCHES = (16, 32)

_HUB = "from hub.cli.main import main; main()"
RECIPE = """
name: bench-tune
task: sentiment
base: minilm
preset: fast
data: {{source: {train}, eval: {test}}}
tune:
  sampler: grid
  prune: {prune}
  space: {{train.learning_rate: {rates}, train.batch_size: {batches}}}
"""


def main() -> None:
    """Run both ways and report."""
    arguments = _arguments()
    with tempfile.TemporaryDirectory() as scratch:
        recipe = _recipe(arguments, Path(scratch))
        searched, tune_seconds = _tune(recipe)
        singles = {setting: _single(recipe, *setting) for setting in itertools.product(RATES, BATCHES)}
    single_seconds = sum(seconds for _, seconds in singles.values())
    chosen = searched["best"]["values"]
    same, _ = singles[chosen["train.learning_rate"], chosen["train.batch_size"]]
    search_seconds = tune_seconds - searched["train_seconds"]
    trials = sum(trial["seconds"] for trial in searched["trials"])
    figures = {
        "tune_speedup": single_seconds / tune_seconds,
        "search_speedup": single_seconds / search_seconds,
        "tune_seconds": tune_seconds,
        "search_seconds": search_seconds,
        "trials_seconds": trials,
        "single_seconds": single_seconds,
        "accuracy_tune": searched["metrics"]["accuracy"],
        "accuracy_single": same["metrics"]["accuracy"],
        "pruned": sum(trial["state"] == "pruned" for trial in searched["trials"]),
    }
    rows = [
        ("tune", len(searched["trials"]), f"{tune_seconds:.1f}", f"{figures['accuracy_tune']:.4f}"),
        ("single", len(singles), f"{single_seconds:.1f}", f"{figures['accuracy_single']:.4f}"),
    ]
    report("tune", ("WAY", "SETTINGS", "IN ALL S", "ACCURACY OF THE BEST"), rows, figures, TARGETS)


def _recipe(arguments: argparse.Namespace, scratch: Path) -> Path:
    train = arguments.data.resolve() / "train.csv"
    if arguments.rows:
        with train.open(newline="", encoding="utf-8") as source:
            head = list(itertools.islice(csv.reader(source), arguments.rows + 1))
        train = scratch / "train.csv"
        with train.open("w", newline="", encoding="utf-8") as target:
            csv.writer(target).writerows(head)
    recipe = scratch / "recipe.yaml"
    recipe.write_text(
        RECIPE.format(
            train=train,
            test=arguments.data.resolve() / "test.csv",
            prune="median" if arguments.prune else "none",
            rates=list(RATES),
            batches=list(BATCHES),
        ),
        encoding="utf-8",
    )
    return recipe


def _tune(recipe: Path) -> tuple[dict[str, Any], float]:
    with _home() as home:
        trials = str(len(RATES) * len(BATCHES))
        return _run(home, "tune", str(recipe), "--trials", trials)


def _single(recipe: Path, rate: float, batch: int) -> tuple[dict[str, Any], float]:
    with _home() as home:
        settings = (f"train.learning_rate={rate}", f"train.batch_size={batch}")
        return _run(home, "train", str(recipe), *itertools.chain(*(("--set", one) for one in settings)))


@contextmanager
def _home() -> Iterator[Path]:
    from hub.bases.cache import Bases
    from hub.config import find_home

    pulled = find_home()
    Bases(pulled).pull("minilm")
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        (home / "bases").symlink_to(pulled / "bases")
        yield home


def _run(home: Path, *words: str) -> tuple[dict[str, Any], float]:
    started = perf_counter()
    done = subprocess.run(
        [sys.executable, "-c", _HUB, *words, "--json"],
        env={**os.environ, "HUB_HOME": str(home)},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return json.loads(done.stdout), perf_counter() - started


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="Folder with train.csv and test.csv.")
    size = parser.add_mutually_exclusive_group()
    size.add_argument("--rows", type=int, default=0, help="Only the first rows of train.csv; 0: all.")
    size.add_argument(
        "--quick", dest="rows", action="store_const", const=QUICK_ROWS, help=f"The first {QUICK_ROWS} rows."
    )
    parser.add_argument("--prune", action="store_true", help="Let the search stop trials early.")
    return parser.parse_args()


if __name__ == "__main__":
    main()

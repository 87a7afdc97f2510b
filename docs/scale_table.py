"""Reckons what a number of adapters and a rate of requests need, for docs/scale.md.

    python -m docs.scale_table [--adapters N ...] [--rate N ...] [--requests-s-core N] ...

The defaults are measured figures of docs/results.md; give those of your own machine and adapters
(`hub bench`, `python -m benchmarks.serve`). Nothing here was run at this size: it is arithmetic.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["Assumptions", "Need", "markdown", "reckon"]

HEADERS = (
    "ADAPTERS",
    "REQUESTS/S",
    "MACHINES",
    "ADAPTERS EACH",
    "SLOTS EACH",
    "STACKS EACH",
    "STORE",
    "JOIN",
    "CATALOG READS/S",
)
EXAMPLES = ((100, 1_000), (1_000, 10_000), (10_000, 100_000))
SPARE = 1.5  # of the slots, so that a neighbour's share fits when it is gone


@dataclass(frozen=True, slots=True)
class Assumptions:
    """What one machine does and what one adapter takes.

    `requests_s_core` is over HTTP, of rows like those measured; `load_share` of it is planned with, as the
    rest is for peaks and for replicas that are gone. `stack_mb` is one adapter in the slots of a base,
    `file_mb` its files; a load reads them from S3 in `read_ms` and takes `load_ms` of a core. `poll_s` is
    between two reads of the catalog by one replica.
    """

    requests_s_core: float = 186.0
    cores: int = 16
    load_share: float = 0.6
    stack_mb: float = 1.4
    file_mb: float = 0.7
    read_ms: float = 50.0
    load_ms: float = 22.0
    poll_s: float = 5.0


@dataclass(frozen=True, slots=True)
class Need:
    """What a size needs; `join_s` is how long a new machine loads its share of adapters."""

    machines: int
    adapters_each: int
    slots_each: int
    stacks_gb: float
    store_gb: float
    join_s: float
    catalog_reads_s: float


def reckon(adapters: int, rate: float, given: Assumptions) -> Need:
    """Return what so many adapters and requests a second need, each deployment on one replica at a time."""
    machines = max(2, math.ceil(rate / (given.requests_s_core * given.cores * given.load_share)))
    each = math.ceil(adapters / machines)
    slots = math.ceil(each * SPARE)
    return Need(
        machines=machines,
        adapters_each=each,
        slots_each=slots,
        stacks_gb=slots * given.stack_mb / 1000,
        store_gb=adapters * given.file_mb / 1000,
        join_s=each * (given.read_ms + given.load_ms) / 1000,
        catalog_reads_s=machines / given.poll_s,
    )


def markdown(sizes: Sequence[tuple[int, int]] = EXAMPLES, given: Assumptions | None = None) -> str:
    """Return the table."""
    lines = ["| " + " | ".join(HEADERS) + " |", "|" + "---|" * len(HEADERS)]
    for adapters, rate in sizes:
        need = reckon(adapters, rate, given or Assumptions())
        cells = (
            f"{adapters:,}",
            f"{rate:,}",
            f"{need.machines:,}",
            f"{need.adapters_each:,}",
            f"{need.slots_each:,}",
            f"{need.stacks_gb:.2f} GB",
            f"{need.store_gb:.1f} GB",
            f"{need.join_s:.0f} s",
            f"{need.catalog_reads_s:.1f}",
        )
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> None:
    """Print the table for the sizes and the assumptions that the command line gives."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--adapters", type=int, nargs="+", default=[size for size, _ in EXAMPLES])
    parser.add_argument("--rate", type=int, nargs="+", default=[rate for _, rate in EXAMPLES])
    for name, default in Assumptions.__dataclass_fields__.items():
        parser.add_argument(
            f"--{name.replace('_', '-')}", type=type(default.default), default=default.default
        )
    options = vars(parser.parse_args())
    sizes = list(zip(options.pop("adapters"), options.pop("rate"), strict=True))
    print(markdown(sizes, Assumptions(**options)))


if __name__ == "__main__":
    main()

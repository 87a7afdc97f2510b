"""Swaps under load: is any answer wrong, does any request fail, and what do swaps cost?

    python -m benchmarks.hot_swap [--seconds N] [--engine NAME] [--streams]

A real `hub serve` on MiniLM with 16 slots; 32 clients that ask 40 deployments by Zipf's law, short texts.
Half of the time, in periods of three seconds that alternate, deployments move `--rate` times a second: a
stored version is deployed, a new content is stored under the same name and deployed, a deployment is rolled
back, or it is deleted with its versions and created again with another content. Each move is of a deployment
drawn evenly, so that most are not resident. Evictions, and loads of what was evicted, go on all the time.
Versions are stored and removed beside the server, on the same cores, as often in either kind of period:
without moves they are stored under a name that is not deployed.

Each adapter is a fingerprinted test adapter (benchmarks/fingerprinted.py): `wrong` counts answers that differ
from those of the version
they name, and answers of a version that was not live at any time between question and answer. `failed` counts
requests without an answer, moves that were refused, and a 404 while the deployment was there.

With `--streams`, the base is a tiny Llama in float32 and answers are streams of 48 tokens. A stream must name
its version first and end with the whole answer, else it has `failed`; a text that differs from what PEFT
writes with the adapter of that version alone is `wrong`.

- `deploy_to_live_*_ms`: from sending the PUT to its return; from then on only the new version may answer.
- `rollback_*_ms`: the same, where the version to go back to was in a slot just before.
- `throughput_during_swaps`: answers a second in periods with moves over that in periods without.
- `pause_p99_ms`: the 99th percentile of the latency of requests under way while a move was (from when it was
  sent until it returned), less that of requests under way in windows of the same lengths at the same places
  in the period without moves before. A window catches long requests more often than short ones, in both
  alike. `pause_p50_ms` is the difference of the medians; `pause_noise_ms` is how far the 99th percentiles of
  one half of the windows without moves and of the other are apart: less than that cannot be seen.
- `reloads`: loads that no move asked for. `separation`: how far a head on any wrong LoRA, or on none, is at
  least from what it should say; TOLERANCE is what is let pass.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

from benchmarks.fingerprinted import TOLERANCE, short_texts
from benchmarks.hot_swap.figures import figures
from benchmarks.hot_swap.run import Outcome, Plan, run
from benchmarks.report import Target, report
from hub.bases.cache import Bases
from hub.cli.screen.output import error_console
from hub.config import find_home

TARGETS: dict[str, Target] = {
    "failed": ("<=", 0),
    "wrong": ("<=", 0),
    "deploy_to_live_p99_ms": ("<=", 100),
    "pause_p99_ms": ("<=", 5),
    "throughput_during_swaps": (">=", 0.9),
    "rollback_p99_ms": ("<=", 50),
    "separation": (">=", 2 * TOLERANCE),
}


def main() -> bool:
    """Run, judge and report."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=60.0, help="Length of the load.")
    parser.add_argument("--engine", default="auto", help="As serve.engine.")
    parser.add_argument("--streams", action="store_true", help="Stream generated text.")
    parser.add_argument("--rate", type=float, default=6.0, help="Moves a second, in periods with moves.")
    options = parser.parse_args()
    plan = Plan(
        short_texts(random.Random(0), 12), seconds=options.seconds, engine=options.engine, rate=options.rate
    )
    outcome = _streams(plan) if options.streams else run(Bases(find_home()).pull("minilm"), plan)
    for example in outcome.verdicts.examples:
        error_console().print(example, markup=False)
    for move in outcome.moves:
        if move.problem:
            error_console().print(f"{move.kind} of {move.deployment}: {move.problem}", markup=False)
    found = figures(outcome)
    kinds = outcome.kinds
    rows = [[kind, kinds[kind], ""] for kind in sorted(kinds)]
    rows += [[name, f"{value:.2f}", _aim(name)] for name, value in found.items()]
    return report("hot_swap", ("FIGURE", "VALUE", "AIM"), rows, found, TARGETS)


def _streams(plan: Plan) -> Outcome:
    from tests.support.tiny import tiny_decoder

    few = replace(plan, texts=plan.texts[:4], clients=16, deployments=12, slots=6, engine="torch")
    with tempfile.TemporaryDirectory(prefix="bench-streams-") as folder:
        return run(tiny_decoder(Path(folder) / "tiny", "llama"), few)


def _aim(name: str) -> str:
    return f"{TARGETS[name][0]} {TARGETS[name][1]}" if name in TARGETS else ""


if __name__ == "__main__":
    sys.exit(0 if main() else 1)

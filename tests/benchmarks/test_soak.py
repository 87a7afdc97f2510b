"""The soak benchmark finds growth in noisy samples, and measures an engine in a process of its own."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.soak.growth import Sample, growth_mb_per_hour, level_mb

ROOT = Path(__file__).parents[2]


def samples(mb_per_hour: float, *, jump: float = 0.0) -> list[Sample]:
    """Half an hour of samples with noise, a steep first ten minutes, and a jump at the last sample."""
    noise = random.Random(0)
    sizes = [
        600 + min(second, 600) + mb_per_hour * second / 3600 + noise.gauss(0, 3)
        for second in range(0, 1800, 3)
    ]
    sizes[-1] += jump
    return [Sample(3.0 * index, size + 50, size) for index, size in enumerate(sizes)]


@pytest.mark.parametrize("rate", [0.0, 100.0])
def test_growth_is_the_slope_after_the_warm_up_whatever_the_last_sample_is(rate: float) -> None:
    for jump in (-200.0, 0.0, 200.0):
        assert growth_mb_per_hour(samples(rate, jump=jump), 600) == pytest.approx(rate, abs=5)


def test_the_level_is_the_resident_memory_after_the_warm_up() -> None:
    assert level_mb(samples(0.0), 600) == pytest.approx(1250, abs=2)


def test_a_run_that_ends_during_the_warm_up_has_no_growth() -> None:
    with pytest.raises(ValueError, match="warm-up of 1800 s"):
        growth_mb_per_hour(samples(0.0), 1800)


def test_a_short_run_reports_growth_and_what_a_large_rank_leaves_behind() -> None:
    command = [sys.executable, "-m", "benchmarks.soak", "--minutes", "0.05", "--base", "tiny"]
    done = subprocess.run(
        [*command, "--engines", "torch"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.stdout, done.stderr
    told = json.loads(done.stdout.splitlines()[-1])
    assert told["name"] == "soak"
    assert {"growth_mb_per_hour", "growth_mb_per_hour_torch", "rank_kept_mb_torch"} <= told["figures"].keys()
    assert told["targets"]["growth_mb_per_hour"] == ["<=", 10.0]

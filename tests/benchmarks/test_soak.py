"""The soak benchmark finds growth in noisy samples, and reports it for each engine."""

from __future__ import annotations

import json
import random
import sys

import pytest

import benchmarks.soak.__main__ as soak
from benchmarks.soak.growth import Sample, growth, level_mb, lows


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
        assert growth(samples(rate, jump=jump), 600).rate == pytest.approx(rate, abs=5)


def test_the_floor_is_the_slope_of_what_is_held_whatever_is_free_beside_it() -> None:
    free = random.Random(1)
    level = [Sample(2.0 * i, 700.0, 600 + 20 * i / 1800 + free.choice((0, 80, 200))) for i in range(900)]
    floor = growth(lows(level), 600)
    assert floor.rate == pytest.approx(20, abs=10)
    assert floor.low < floor.rate < floor.high
    assert len(lows(level)) == 1800 / 15


def test_the_level_is_the_resident_memory_after_the_warm_up() -> None:
    assert level_mb(samples(0.0), 600) == pytest.approx(1250, abs=2)


def test_a_run_that_ends_during_the_warm_up_has_no_growth() -> None:
    with pytest.raises(ValueError, match="warm-up of 1800 s"):
        growth(samples(0.0), 1800)


def test_the_last_line_has_the_growth_of_each_engine_and_the_largest(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = {"torch": samples(2.0), "onnx": samples(60.0)}
    counts = {"calls": 10.0, "rows": 99.0, "rank_took_mb": 400.0, "rank_kept_mb": 3.0}
    monkeypatch.setattr(soak, "_prepare", lambda home, base: None)
    monkeypatch.setattr(soak, "_run", lambda order: (runs[order.engine], counts))
    monkeypatch.setattr(sys, "argv", ["soak", "--engines", *runs])
    assert soak.main() is False
    told = json.loads(capsys.readouterr().out.splitlines()[-1])
    figures = told["figures"]
    assert figures["growth_mb_per_hour"] == figures["growth_mb_per_hour_onnx"] == pytest.approx(60, abs=5)
    assert figures["growth_mb_per_hour_torch"] == pytest.approx(2, abs=5)
    assert figures["floor_low_onnx"] < figures["floor_mb_per_hour_onnx"] < figures["floor_high_onnx"]
    assert (figures["rank_took_mb_onnx"], figures["rank_kept_mb_onnx"]) == (400, 3)
    assert told["targets"]["growth_mb_per_hour_torch"] == ["<=", 10.0]

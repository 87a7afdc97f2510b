"""The draws and the report of `benchmarks.few_shot`."""

from __future__ import annotations

import json
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from benchmarks import few_shot
from benchmarks.defaults.sets import write_rows
from hub.bases.cache import Bases
from hub.config import find_home
from tests.support.tiny import tiny_encoder

ROWS = [(f"Text {number}", "odd" if number % 2 else "even") for number in range(1000)]


def test_a_draw_has_the_same_number_of_rows_of_each_label_and_is_part_of_a_larger_one() -> None:
    small, large = few_shot.drawn(ROWS, 4, 1), few_shot.drawn(ROWS, 16, 1)
    assert Counter(label for _, label in small) == {"odd": 4, "even": 4}
    assert set(small) < set(large)
    assert few_shot.drawn(ROWS, 4, 2) != small


def test_all_ways_are_measured_once_and_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    tiny_encoder(tmp_path / "tiny")
    Bases(find_home()).pull(str(tmp_path / "tiny"), "tiny")
    (tmp_path / "mine").mkdir()
    write_rows(tmp_path / "mine" / "train.csv", ROWS)
    flags = ["--data", str(tmp_path), "--base", "tiny", "--sets", "mine", "--rows", "4", "--draws", "1"]

    def run(*more: str) -> dict[str, Any]:
        monkeypatch.setattr(sys, "argv", ["few_shot", *flags, "--held-out", "20", *more])
        few_shot.main()
        found: dict[str, Any] = json.loads(capsys.readouterr().out.splitlines()[-1])["figures"]
        return found

    measured = run()
    assert set(measured) == {
        "few_shot_mine_4",
        "few_shot_mine_4_over_ia3",
        "few_shot_mine_4_over_lora",
        "few_shot_mine_4_over_frozen",
    }
    for function in ("_trained", "_frozen"):
        monkeypatch.setattr(few_shot, function, lambda *_: pytest.fail("measured again"))
    assert run("--only-finished") == measured

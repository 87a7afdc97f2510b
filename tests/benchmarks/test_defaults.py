"""The sets and cells of `benchmarks.defaults`: no row leaks, finished cells stay, gaps are fair."""

from __future__ import annotations

import csv
import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from benchmarks.defaults import __main__ as command
from benchmarks.defaults import full, ours, table
from benchmarks.defaults.cells import Cell, Finished, Result
from benchmarks.defaults.sets import parts_of, subset, write_rows
from hub.bases.cache import Bases
from hub.config import find_home
from tests.support.tiny import tiny_encoder

GUIDE = "full 2e-05"


def result(choose: float, test: float, seconds: float = 1.0) -> Result:
    return Result(choose=choose, test=test, steps=10, seconds=seconds, cpu_seconds=1.0)


def cell(way: str, name: str = "a", rows: int = 300, seed: int = 0) -> Cell:
    return Cell(name, rows, seed, way, "settings")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folder = tmp_path / "mine"
    folder.mkdir()
    rows = [(f"Text {number}", "odd" if number % 2 else "even") for number in range(1000)]
    write_rows(folder / "train.csv", [*rows, ("text  7", "odd"), ("", "even")])
    return tmp_path


def test_the_parts_of_a_set_share_no_text(data: Path) -> None:
    parts = parts_of("mine", data, data)
    texts = [text for part in (parts.pool, parts.choose, parts.test) for text, _ in part]
    assert len(texts) == len(set(texts)) == 1000
    assert parts == parts_of("mine", data, data)


def test_a_test_file_is_used_and_its_texts_are_not_trained_on(data: Path) -> None:
    write_rows(data / "mine" / "test.csv", [("TEXT 7", "odd"), ("new", "even")])
    parts = parts_of("mine", data, data)
    assert sorted(parts.test) == [("TEXT 7", "odd"), ("new", "even")]
    assert len(parts.pool) + len(parts.choose) == 999


def test_a_smaller_subset_is_part_of_a_larger_one_with_the_same_seed(data: Path) -> None:
    pool = parts_of("mine", data, data).pool
    assert subset("mine", pool, 30, 1)[:10] == subset("mine", pool, 10, 1)
    assert subset("mine", pool, 10, 1) != subset("mine", pool, 10, 2)


def test_written_rows_are_read_as_they_were(tmp_path: Path) -> None:
    rows = [('a "quoted", text', "x"), ("second", "y")]
    with write_rows(tmp_path / "rows.csv", rows).open(newline="", encoding="utf-8") as file:
        assert [(row["text"], row["label"]) for row in csv.DictReader(file)] == rows


def test_a_finished_cell_is_not_trained_again(tmp_path: Path) -> None:
    path = tmp_path / "state" / "cells.jsonl"
    first = Finished(path).of(cell("default"), lambda: result(0.5, 0.6))
    again = Finished(path).of(cell("default"), lambda: pytest.fail("trained again"))
    assert first == again == result(0.5, 0.6)


def test_a_cell_with_other_settings_is_another_cell(tmp_path: Path) -> None:
    path = tmp_path / "cells.jsonl"
    Finished(path).of(cell("default"), lambda: result(0.5, 0.6))
    assert Finished(path).of(Cell("a", 300, 0, "default", "others"), None) is None


def test_the_gap_is_to_the_rate_that_is_best_by_the_rows_to_choose_by() -> None:
    measured = {
        cell("default"): result(0.9, 0.80, seconds=2.0),
        cell(GUIDE): result(0.7, 0.95),  # best on the test rows alone
        cell("full 0.0001"): result(0.8, 0.85),
    }
    found = table.figures(measured, GUIDE, {300: 30.0})
    assert found["gap_to_full"] == pytest.approx(0.05)
    assert found["speedup_300"] == pytest.approx(15.0)
    [row] = table.rows(measured, GUIDE, {})
    assert row == ("a", 300, "default", 1, "0.8000", "0.8500", "0.9500", "+0.0500", "")


def test_the_worst_gap_is_of_a_set_over_its_sizes() -> None:
    measured = {}
    for name, rows, gap in (("a", 100, 0.04), ("a", 300, 0.0), ("b", 100, 0.01), ("b", 300, 0.01)):
        measured[cell("default", name, rows)] = result(0.5, 0.8)
        measured[cell(GUIDE, name, rows)] = result(0.5, 0.8 + gap)
    found = table.figures(measured, GUIDE, {})
    assert found["worst_gap_to_full"] == pytest.approx(0.02)
    assert found["gap_to_full"] == pytest.approx(0.015)
    assert found["gap_to_full_100"] == pytest.approx(0.025)


def test_settings_are_compared_on_the_rows_to_choose_by_without_test_rows() -> None:
    measured = {
        cell("default"): replace(result(0.7, 0.0), test=None),
        cell(GUIDE): replace(result(0.8, 0.0), test=None),
    }
    assert table.figures(measured, GUIDE, {})["gap_to_full"] == pytest.approx(0.1)


def test_only_seeds_that_every_way_has_are_compared() -> None:
    measured = {
        cell("default", seed=0): result(0.5, 0.8),
        cell("default", seed=1): result(0.5, 0.2),
        cell(GUIDE, seed=0): result(0.5, 0.8),
    }
    assert table.figures(measured, GUIDE, {})["gap_to_full"] == 0


def test_a_way_is_shown_without_full_fine_tuning_beside_it() -> None:
    measured = {cell("default"): result(0.5, 0.8)}
    assert table.figures(measured, GUIDE, {}) == {}
    assert table.rows(measured, GUIDE, {}) == [("a", 300, "default", 1, "0.8000", "", "", "", "")]


def test_both_ways_train_once_and_the_report_is_of_their_cells(
    data: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    tiny_encoder(data / "tiny")
    Bases(find_home()).pull(str(data / "tiny"), "tiny")
    monkeypatch.setattr(full, "MIN_STEPS", 3)
    monkeypatch.setattr(full, "TIMED_STEPS", 1)
    flags = ["--data", str(data), "--base", "tiny", "--sets", "mine", "--sizes", "12", "--seeds", "1"]
    flags += ["--full-rates", "1e-3", "--set", "train.max_steps=2"]

    def run(*more: str) -> dict[str, Any]:
        monkeypatch.setattr(sys, "argv", ["defaults", *flags, *more])
        command.main()
        figures: dict[str, Any] = json.loads(capsys.readouterr().out.splitlines()[-1])["figures"]
        return figures

    trained = run()
    assert trained["speedup_12"] > 0
    for module, function in ((ours, "train_ours"), (full, "train_full")):
        monkeypatch.setattr(module, function, lambda *_: pytest.fail("trained again"))
    assert run("--only-finished") == {key: trained[key] for key in trained if key != "speedup_12"}
    assert run("--only-finished", "--set", "method.rank=2") == run("--only-finished", "--choose") == {}

# ruff: noqa: E501 - a report as a table
"""Report pages of tasks without labels and calibration."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from hub.report.page import page
from hub.report.record import curves_of

REPORT: dict[str, Any] = {
    "version": "t@1", "name": "t", "number": 1, "sha256": "a" * 64, "created": "2026-01-01T00:00:00+00:00",
    "summary": "", "task": "translation", "labels": [], "head": "generate", "gate": None, "metrics_cv": {},
    "base": {"name": "tiny", "kind": "decoder", "source": "tiny", "fingerprint": "f" * 64},
    "evaluation": {
        "metric": "chrf", "rows": 3, "metrics": {"chrf": 41.5}, "intervals": {}, "baseline": {}, "labels": {},
        "calibration": None, "slice_metric": "chrf", "slices": [],
        "mistakes": [{
            "source": "a.po", "line": 7, "score": 1.0, "expected": "", "answered": "",
            "texts": {"request": {"text": "<b>one</b>"}, "expected": {"target": "un"}, "answer": {"text": "deux"}},
        }],
    },
    "training": {
        "method": "lora", "dtype": "fp32", "steps": 2, "epochs": 1.0, "best_step": None, "stopped_early": False,
        "resumed_from": None, "weights_bytes": 10,
    },
    "curves": {"loss": [], "learning_rate": [], "grad_norm": [], "metrics": {}},
    "data": {
        "source": ["a.po"], "eval": [], "sha256": "d" * 64, "licence": "", "augmented": {},
        "rows": {"train": 5, "validation": 0, "held_out": 3}, "data_report": {"read": 8, "pii": {}},
    },
    "search": None, "precision": {}, "recipe": {"name": "t"},
    "environment": {"device": "CPU", "platform": "x", "python": "3", "libraries": {}, "seed": 1},
    "times": {"total_seconds": 1.0, "fit_seconds": 0.5},
}  # fmt: skip


def test_sections_without_values_are_omitted() -> None:
    made = page(REPORT)
    for absent in ("Confusion", "Calibration", "Slices", "Learning curves", "Gate", "Search", "Augmentation"):
        assert absent not in made, absent
    assert '<b id="headline">41.5000</b>' in made


def test_an_answer_in_words_stands_beside_the_right_one() -> None:
    made = page(REPORT)
    for part in ("a.po:7", "&lt;b&gt;one&lt;/b&gt;", "target:</span> un", "text:</span> deux"):
        assert part in made, part


@pytest.mark.parametrize("place", ["summary", "task"])
def test_words_of_others_are_escaped(place: str) -> None:
    report = copy.deepcopy(REPORT)
    report[place] = "<script>"
    assert "<script>" not in page(report)


def test_curves_leave_out_what_is_no_number_and_keep_the_last_point_of_many() -> None:
    history = [{"loss": float(step), "step": step, "epoch": 0.1} for step in range(1, 1201)]
    curves = curves_of([*history, {"loss": float("nan"), "step": 1201}, {"eval_f1": 0.5, "step": 1201}])
    assert len(curves["loss"]) <= 500
    assert curves["loss"][-1] == [1200, 1200.0]
    assert curves["metrics"] == {"f1": [[1201, 0.5]]}

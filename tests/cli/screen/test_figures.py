"""Figures are printed with how they were computed."""

from __future__ import annotations

import pytest

from hub.cli.screen.figures import print_metrics
from hub.evaluation.evaluation import Evaluation

SIGNATURE = "nrefs:1|case:mixed|eff:yes|nc:6|nw:0|space:no|version:2.6.0"


def test_a_metric_is_printed_with_its_signature(capsys: pytest.CaptureFixture[str]) -> None:
    evaluation = Evaluation(
        task="translation",
        metric="chrf",
        rows=3,
        metrics={"chrf": 0.5},
        intervals={},
        baseline={},
        labels={},
        calibration=None,
        slice_metric="chrf",
        slices=(),
        mistakes=(),
        signatures={"chrf": SIGNATURE},
    )
    print_metrics(evaluation, "3 ROWS")
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1] == f"chrf: {SIGNATURE}"
    assert any("0.5000" in line for line in lines[:-1])

"""An evaluation is one JSON value, without texts unless they are asked for."""

from __future__ import annotations

import json

from hub.evaluation.calibration import CalibrationBin
from hub.evaluation.evaluation import Calibrated, Evaluation, Mistake
from hub.evaluation.intervals import Interval
from hub.evaluation.labels import single_label_figures
from hub.evaluation.slices import Slice

EVALUATION = Evaluation(
    task="sentiment",
    metric="accuracy",
    rows=3,
    metrics={"accuracy": 2 / 3},
    intervals={"accuracy": Interval(0.0, 1.0, 1000)},
    baseline={},
    labels=single_label_figures([0, 0, 1], [0, 1, 1], ("a", "b")),
    calibration=Calibrated(1.5, 60, 0.2, 0.1, (CalibrationBin(3, 0.9, 0.7),), (CalibrationBin(3, 0.8, 0.7),)),
    slice_metric="accuracy",
    slices=(
        Slice("source", "a.csv", 2, 0.5, Interval(0.0, 0.9, 1000), 1.0, underperforms=True),
        Slice("source", "b.csv", 1, 1.0, Interval(1.0, 1.0, 1000), 0.5, underperforms=False),
    ),
    mistakes=(Mistake("a.csv", 2, 0.9, "a", "b", {"request": {"text": "secret"}}),),
)


def test_an_evaluation_survives_being_written_and_read() -> None:
    assert Evaluation.from_json(json.loads(json.dumps(EVALUATION.to_json(texts=True)))) == EVALUATION


def test_texts_are_written_only_for_reports() -> None:
    assert "secret" not in json.dumps(EVALUATION.to_json())
    assert "secret" in json.dumps(EVALUATION.to_json(texts=True))


def test_gaps_are_the_slices_that_are_flagged() -> None:
    assert [one.value for one in EVALUATION.underperforming_slices] == ["a.csv"]

"""The figures of answers to held-out rows, for any task, by its outputs and metrics alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Literal

import numpy as np
import pytest

from hub.api import AdapterInfo, HeadKind, Output, TaskSpec
from hub.data.examples import Item
from hub.errors import BadData
from hub.evaluation.assess import Measured, assess, measured, recorded
from hub.evaluation.evaluation import Evaluation
from hub.evaluation.evaluator import Evaluator
from hub.evaluation.stored.measure import compared
from hub.evaluation.temperature import Temperature
from hub.registry.host import Registry
from hub.registry.loaded import LoadedTask

SPEC = TaskSpec("t", "A task.", HeadKind.SEQUENCE, "m:A", "m:B", "m:C")


class Words:
    """A tokenizer of letters."""

    is_fast, pad_token_id, eos_token_id, truncation_side = True, 0, 1, "right"

    def __call__(self, text: str, pair: str | None = None, **settings: Any) -> Any:
        ids = [ord(letter) for letter in text]
        offsets = [(place, place + 1) for place in range(len(ids))]
        return _Encoding(input_ids=ids, offset_mapping=offsets)


class _Encoding(dict[str, Any]):
    def sequence_ids(self, index: int) -> list[int]:
        return [0] * len(self["input_ids"])


def items_of(count: int) -> list[Item]:
    """Return rows of two labels and two files; odd ones are long."""
    return [
        Item(
            {"text": f"{'a long ' * 4 * (n % 2)}text {n}", "label": "ab"[n // 2 % 2], "tags": None},
            "",
            f"{n % 3 > 0}.csv",
            n,
            extra=(("channel", "web" if n % 4 else "mail"),),
        )
        for n in range(count)
    ]


def labelled(
    labelling: Any, items: Sequence[Item], wrong: Sequence[int], names: str = "ab", spec: TaskSpec = SPEC
) -> Measured:
    """Return answers that are right but for some rows, the surer the later."""
    loaded = LoadedTask(spec, labelling, object, object)
    info = AdapterInfo("demo", 0, tuple(names), max_length=64)
    evaluator = Evaluator.of(loaded, Words(), info, items)
    outputs = []
    for n, (row, item) in enumerate(zip(evaluator.rows, items, strict=True)):
        values = np.zeros(2, np.float32)
        values[names.index(item.example["label"]) ^ (n in wrong)] = 1 + n / len(items)
        outputs.append(Output(row, values))
    return measured(evaluator, evaluator.score(outputs))


def assessed(found: Measured, **settings: Any) -> Evaluation:
    return assess(found, **({"baseline": {"accuracy": 0.5}, "temperature": None} | settings))


def test_one_label_a_row_gets_everything(labelling) -> None:
    wrong = [1, 5, 9]
    found = assessed(labelled(labelling, items_of(120), wrong), temperature=Temperature(2.0, 60))
    assert (found.rows, found.metrics, found.baseline) == (120, {"accuracy": 117 / 120}, {"accuracy": 0.5})
    interval = found.intervals["accuracy"]
    assert interval.low < 117 / 120 < interval.high
    assert interval.resamples == 1000
    assert found.labels["confusion"]["rows"] == [[57, 3], [0, 60]]
    assert found.calibration is not None
    assert (found.calibration.temperature, found.calibration.rows) == (2.0, 60)
    assert found.calibration.before[-1].confidence > found.calibration.after[-1].confidence
    surest = [(one.line, one.expected, one.answered) for one in found.mistakes]
    assert surest == [(9, "a", "b"), (5, "a", "b"), (1, "a", "b")]
    assert found.mistakes[0].texts is not None
    assert found.mistakes[0].texts["answer"] == {"label": found.mistakes[0].answered}
    assert Evaluation.from_json(found.to_json(texts=True)) == found


def test_rows_are_sliced_by_length_label_file_and_columns_and_gaps_are_flagged(labelling) -> None:
    items = items_of(120)
    wrong = [n for n, item in enumerate(items) if dict(item.extra)["channel"] == "mail" and n % 8]
    found = assessed(labelled(labelling, items, wrong), columns=["channel", "text"])
    assert {one.column for one in found.slices} == {"length", "label", "file", "channel", "text"}
    assert found.slice_metric == "accuracy"
    found_slices = {(one.column, one.value): one for one in found.underperforming_slices}
    mail = found_slices["channel", "mail"]
    assert (mail.rows, mail.metric, mail.others) == (30, 0.5, 1.0)
    kept = recorded(found)
    assert ("channel", "mail") in {(one.column, one.value) for one in kept["underperforming_slices"]}
    assert kept["intervals"]["accuracy"] == (
        found.intervals["accuracy"].low, found.intervals["accuracy"].high,
    )  # fmt: skip


def test_rows_with_a_label_the_version_does_not_know_count_as_wrong_and_are_in_no_label_figure(
    labelling,
) -> None:
    items = items_of(40)
    strange = Item({"text": "strange", "label": "c", "tags": None}, "", "x.csv", 41)
    loaded = LoadedTask(SPEC, labelling, object, object)
    evaluator = Evaluator.of(
        loaded, Words(), AdapterInfo("demo", 0, ("a", "b"), max_length=64), [*items, strange]
    )
    values = [np.eye(2, dtype=np.float32)["ab".find(one.example["label"])] for one in (*items, strange)]
    outputs = [Output(row, value) for row, value in zip(evaluator.rows, values, strict=True)]
    found = assessed(measured(evaluator, evaluator.score(outputs)))
    assert found.metrics["accuracy"] == 40 / 41
    assert sum(map(sum, found.labels["confusion"]["rows"])) == 40
    assert [(m.line, m.expected) for m in found.mistakes] == [(41, "c")]


@pytest.mark.parametrize("multi_label", [False, True])
def test_one_unknown_label_leaves_the_figures_of_all_other_rows_as_they_are(multi_label: bool) -> None:
    loaded = Registry.load().task("classification")
    names = ("x", "y", "z")
    info = AdapterInfo("demo", 0, names, {"multi_label": multi_label}, 64)
    chance = np.random.default_rng(0)

    def item(row: int, labels: tuple[str, ...]) -> Item:
        correct = {"label": None, "labels": labels} if multi_label else {"label": labels[0], "labels": None}
        return Item({"text": f"t{row}", "text_pair": None, **correct}, "", "a.csv", row)

    true = [tuple(n for n in names if chance.random() < 0.4) or ("x",) for _ in range(60)]
    items = [item(row, labels) for row, labels in enumerate(true)]
    strange = [item(60, ("x", "strange")) if multi_label else item(60, ("strange",)), item(61, ("other",))]
    evaluator = Evaluator.of(loaded, Words(), info, [*items, *strange])
    logits = [
        [2.0 if name in (labels if multi_label else labels[:1]) else -2.0 for name in names]
        for labels in [*true, ("x",), ("x",)]
    ]
    wrong = logits[3].index(-2.0)
    logits[3] = [9.0 if place == wrong else -9.0 for place in range(3)]
    outputs = [
        Output(row, np.array(values, np.float32)) for row, values in zip(evaluator.rows, logits, strict=True)
    ]
    found = measured(evaluator, evaluator.score(outputs))
    assert found.decisions is not None
    assert found.decisions.correct.tolist() == [row not in (3, 60, 61) for row in range(62)]
    assert found.score.accuracy_metric == "accuracy"
    assert all(found.score.is_fast(name) for name in found.scored.metrics), (
        "counts give the task's own metrics"
    )
    evaluation = assessed(found, baseline={})
    assert evaluation.metrics["accuracy"] == 59 / 62
    assert {one.resamples for one in evaluation.intervals.values()} == {1000}
    assert evaluation.mistakes[0].line == 3
    assert {mistake.line: mistake.expected for mistake in evaluation.mistakes if mistake.line > 59} == {
        60: "x, strange" if multi_label else "strange",
        61: "other",
    }
    known = assessed(measured(*_first(evaluator, items, outputs, loaded, info)), baseline={})
    assert evaluation.labels == known.labels


def _first(
    evaluator: Evaluator, items: list[Item], outputs: list[Output], loaded: LoadedTask, info: AdapterInfo
) -> tuple[Evaluator, Any]:
    """Return the evaluator of the items alone, and their answers scored."""
    alone = Evaluator.of(loaded, Words(), info, items)
    return alone, alone.score(outputs[: len(items)])


def test_several_labels_a_row_are_measured_each(labelling) -> None:
    loaded = Registry.load().task("classification")
    info = AdapterInfo("demo", 0, ("x", "y", "z"), {"multi_label": True}, 64)
    chance = np.random.default_rng(0)
    true = chance.random((60, 3)) < 0.4
    items = [
        Item(
            {"text": f"t{n}", "text_pair": None, "label": None, "labels": tuple(np.array(info.labels)[row])},
            "", "a.csv", n,
        )
        for n, row in enumerate(true)
    ]  # fmt: skip
    evaluator = Evaluator.of(loaded, Words(), info, items)
    predicted = true.copy()
    predicted[3, 0] ^= True
    predicted[7, 2] ^= True
    outputs = [
        Output(row, np.where(values, 2.0 + n, -2.0 - n).astype(np.float32))
        for n, (row, values) in enumerate(zip(evaluator.rows, predicted, strict=True))
    ]
    found = assessed(measured(evaluator, evaluator.score(outputs)), baseline={})
    assert found.labels["exact_match"] == pytest.approx(58 / 60)
    assert found.labels["f1_macro"] == pytest.approx(found.metrics["f1_macro"])
    assert found.slice_metric == "accuracy"
    assert [mistake.line for mistake in found.mistakes] == [7, 3]
    assert found.calibration is not None
    assert sum(one.rows for one in found.calibration.after) == 180


def test_other_heads_get_the_metrics_of_their_task_with_intervals_and_the_worst_rows(labelling) -> None:
    def metrics(predictions: Sequence[Any], references: Sequence[Any]) -> dict[str, float]:
        pairs = list(zip(predictions, references, strict=True))
        correct = [answer.label == example["label"] for answer, example in pairs]
        if not any(correct):
            raise ValueError("nothing to score")  # as some metrics do on a few rows
        credit = sum(1.0 if ok else 0.25 for ok in correct) / len(correct)
        return {"credit": credit, "answers": float(len({answer.label for answer, _ in pairs}))}

    labelling.metrics, labelling.metric = metrics, "credit"
    spec = replace(SPEC, head=HeadKind.SPAN)
    found = assessed(labelled(labelling, items_of(120), wrong=[1, 5, 9], spec=spec), baseline={})
    assert (found.labels, found.calibration, found.slice_metric) == ({}, None, "credit")
    assert found.metrics == {"credit": 117.75 / 120, "answers": 2.0}
    assert found.intervals["credit"].low < 117.75 / 120 < found.intervals["credit"].high
    assert (found.intervals["answers"].low, found.intervals["answers"].high) == (2.0, 2.0)
    assert {one.column for one in found.slices} == {"length", "label", "file"}
    assert found.mistakes == ()  # a row alone has no figure here, so none can be called the worst

    labelling.metrics = lambda predictions, references: {
        "credit": sum(
            1.0 if answer.label == example["label"] else 0.25
            for answer, example in zip(predictions, references, strict=True)
        )
        / len(references)
    }
    found = assessed(labelled(labelling, items_of(120), wrong=[1, 5, 9], spec=spec), baseline={})
    assert [(one.line, one.score, one.expected) for one in found.mistakes] == [
        (1, 0.25, ""),
        (5, 0.25, ""),
        (9, 0.25, ""),
    ]


@pytest.mark.parametrize(
    ("goal", "wrong", "right"), [("max", 0.0, 1.0), ("max", 0.5, 1.0), ("min", 2.0, 0.0)]
)
def test_rows_that_all_have_the_same_bad_figure_are_mistakes(
    labelling, goal: Literal["max", "min"], wrong: float, right: float
) -> None:
    def metrics(predictions: Sequence[Any], references: Sequence[Any]) -> dict[str, float]:
        pairs = list(zip(predictions, references, strict=True))
        return {"credit": sum(right if a.label == b["label"] else wrong for a, b in pairs) / len(pairs)}

    labelling.metrics, labelling.metric, labelling.metric_goal = metrics, "credit", goal
    spec = replace(SPEC, head=HeadKind.SPAN)
    found = assessed(labelled(labelling, items_of(40), range(40), spec=spec), baseline={}, mistakes=60)
    assert [one.score for one in found.mistakes] == [wrong] * 40
    assert assessed(labelled(labelling, items_of(40), [], spec=spec), baseline={}).mistakes == ()


def test_two_versions_are_compared_on_the_rows_that_both_answered(labelling) -> None:
    items = items_of(100)
    first = labelled(labelling, items[:90], wrong=[1, 2])
    second = labelled(labelling, items[10:], wrong=[0, 1, 2, 3], names="ba")
    found = compared(first, second, 0)
    assert (found.metric, found.rows) == ("accuracy", 80)
    assert (found.first, found.second) == (1.0, 76 / 80)
    assert found.mcnemar == pytest.approx(2 * 0.5**4)
    assert found.is_better
    with pytest.raises(Exception, match="no row that both versions can answer"):
        compared(first, labelled(labelling, items_of(20), wrong=[]), 0)


@pytest.mark.parametrize("needed", [lambda rows: len(rows) >= 90, lambda rows: len({*map(id, rows)}) >= 80])
def test_a_metric_that_is_undefined_on_common_rows_or_samples_of_them_compares_nothing(
    labelling, needed, recwarn
) -> None:
    def metrics(predictions: Sequence[Any], references: Sequence[Any]) -> dict[str, float]:
        return {"credit": 0.5 if needed(references) else float("nan")}

    labelling.metrics, labelling.metric = metrics, "credit"
    items, spec = items_of(100), replace(SPEC, head=HeadKind.SPAN)
    first, second = (labelled(labelling, part, wrong=[], spec=spec) for part in (items[:90], items[10:]))
    with pytest.raises(BadData, match="credit of the 80 rows that both versions can answer"):
        compared(first, second, 0)
    assert not [one for one in recwarn if issubclass(one.category, RuntimeWarning)]

"""Trackers with their real local back ends, read back by their own readers; and those that fail."""

from __future__ import annotations

import json
import os
import sqlite3
import struct
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from hub.api.kinds.tracker import Begun, Ended, Scalars
from hub.errors import BadRecipe, MissingExtra
from hub.recipe.recipe import Recipe
from hub.report.write import write_report
from hub.training.trackers import start as places
from hub.training.trackers.fan_out import Tracked, TrackerPlace, Trackers
from hub.training.train import TrainResult
from tests.support.plugins import Install, write_page

RECIPE = """
summary: a sentence for people
task: sentiment
base: tiny
data: {source: a.csv, eval_fraction: 0.2, where: {kind: secretly}}
train: {epochs: 2, batch_size: 8, learning_rate: 0.01, patience: 1, validation_fraction: 0.2}
"""
ROWS = "text,label,kind\n" + "".join(
    f"the {thing} is {word} {extra},{label},secretly\n"
    for thing in ("film", "book", "phone", "food", "plot", "actor", "zyzzyva")
    for extra in ("", "and very long", "in paris", "and i like this", "quetzalcoatl")
    for word, label in (
        ("good", "positive"),
        ("great", "positive"),
        ("bad", "negative"),
        ("awful", "negative"),
    )
)
WORDS = (b"zyzzyva", b"quetzalcoatl", b"secretly", b"a sentence for people")
SMALL = Begun("demo", "one", {"train.epochs": "2"}, {"task": "sentiment"})


class Kept:
    """A tracker that keeps what it is told."""

    def __init__(self) -> None:
        self.told: list[Any] = []

    def start(self, run: Begun) -> None:
        self.told.append(run.name)

    def scalars(self, step: int, values: Scalars) -> None:
        self.told.append((step, dict(values)))

    def end(self, run: Ended) -> None:
        self.told.append((run.status, run.step, dict(run.metrics), dict(run.tags)))


class Broken(Kept):
    """A tracker that fails from its second call on."""

    calls = 0

    def scalars(self, step: int, values: Scalars) -> None:
        self.calls += 1
        raise ConnectionError("no answer from http://me:hunter2@server/api\nand a second line")


class Hanging(Kept):
    """A tracker that never comes back."""

    def scalars(self, step: int, values: Scalars) -> None:
        threading.Event().wait(60)


@pytest.fixture(autouse=True)
def _own_server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)


@pytest.fixture
def run(run: Callable[..., TrainResult]) -> Callable[..., TrainResult]:
    return partial(run, report=write_report)


def scalars_of(folder: Path) -> dict[str, list[tuple[int, float]]]:
    """Read the scalars of an event file: each record has its length, a checksum, an event, a checksum."""
    from tensorboardX.proto.event_pb2 import Event

    [file] = folder.glob("events.*")
    data, found = file.read_bytes(), dict[str, list[tuple[int, float]]]()
    while data:
        (length,) = struct.unpack("<Q", data[:8])
        event = Event.FromString(data[12 : 12 + length])
        for value in event.summary.value:
            if value.HasField("simple_value"):
                found.setdefault(value.tag, []).append((event.step, value.simple_value))
        data = data[16 + length :]
    return found


def place(tracker: Any, name: str = "one") -> TrackerPlace:
    return TrackerPlace(name, "here", lambda: tracker)


def written(home: Path) -> bytes:
    """Return all bytes that trackers wrote."""
    folders = (home / "tensorboard", home / "mlflow", home / "trackio")
    return b"".join(path.read_bytes() for folder in folders for path in folder.rglob("*") if path.is_file())


def test_every_tracker_has_the_run_and_none_a_text(
    make_recipe: Callable[..., Recipe], run: Callable[..., TrainResult], tmp_path: Path
) -> None:
    recipe = make_recipe(RECIPE, "report.trackers=[tensorboard, mlflow, trackio]", a_csv=ROWS)
    result, home = run(recipe), tmp_path / "home"
    assert [(one.name, one.problem) for one in result.trackers] == [
        ("tensorboard", ""),
        ("mlflow", ""),
        ("trackio", ""),
    ]
    metric = result.version.manifest.metric
    figure, interval = result.evaluation.metrics[metric], result.evaluation.intervals[metric]
    final = {
        f"held_out/{metric}": figure,
        f"held_out/{metric}_low": interval.low,
        f"held_out/{metric}_high": interval.high,
    }
    history = result.outcome.fitted.history
    losses = [(entry["step"], entry["loss"]) for entry in history if "loss" in entry]
    checked = [(entry["step"], entry[f"eval_{metric}"]) for entry in history if f"eval_{metric}" in entry]
    assert losses and checked

    scalars = scalars_of(Path(result.trackers[0].where))
    assert dict(scalars["train/loss"]) == pytest.approx(dict(losses))
    assert dict(scalars[f"validation/{metric}"]) == pytest.approx(dict(checked))
    assert {name: scalars[name][0][1] for name in final} == pytest.approx(final)

    from mlflow.tracking import MlflowClient

    client = MlflowClient(tracking_uri=result.trackers[1].where)
    experiment = client.get_experiment_by_name("grafthub")
    [found] = client.search_runs([experiment.experiment_id])
    assert found.info.status == "FINISHED"
    assert found.data.tags["version"] == str(result.version.ref)
    assert found.data.tags["sha256"] == result.version.sha256
    assert (found.data.tags["base"], found.data.tags["task"]) == ("tiny", "sentiment")
    assert found.data.params["train.batch_size"] == "8"
    assert {name: found.data.metrics[name] for name in final} == pytest.approx(final)
    logged = client.get_metric_history(found.info.run_id, "train/loss")
    assert {one.step: one.value for one in logged} == pytest.approx(dict(losses))

    [file] = (home / "trackio").glob("grafthub*.db")
    rows = sqlite3.connect(file)
    steps = [(step, json.loads(text)) for step, text in rows.execute("select step, metrics from metrics")]
    [config] = [json.loads(text) for (text,) in rows.execute("select config from configs")]
    rows.close()
    told = {step: one["train/loss"] for step, one in steps if "train/loss" in one}
    assert told == pytest.approx(dict(losses))
    assert final.items() <= steps[-1][1].items()
    assert (config["version"], config["status"]) == (str(result.version.ref), "finished")

    everything = written(home)
    assert b"train/loss" in everything
    assert [word for word in WORDS if word in everything] == []


def test_by_default_tensorboard_alone_is_written(
    make_recipe: Callable[..., Recipe], run: Callable[..., TrainResult], tmp_path: Path
) -> None:
    home = tmp_path / "home"
    [first] = run(make_recipe(RECIPE, a_csv=ROWS)).trackers
    [second] = run(make_recipe(RECIPE, "train.seed=1", a_csv=ROWS)).trackers
    assert Path(first.where).parent == Path(second.where).parent == home / "tensorboard" / "demo"
    assert first.where != second.where
    assert not (home / "mlflow").exists() and not (home / "trackio").exists()


def test_a_run_that_fails_is_told_as_failed(
    make_recipe: Callable[..., Recipe], run: Callable[..., TrainResult], monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = Kept()
    monkeypatch.setattr("hub.training.trackers.start.places", lambda *_: [place(kept)])
    monkeypatch.setattr("hub.training.train.assess", lambda *_, **__: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        run(make_recipe(RECIPE, a_csv=ROWS))
    assert kept.told[-1][0] == "failed"


def test_trackers_that_fail_or_hang_end_no_run(
    make_recipe: Callable[..., Recipe],
    run: Callable[..., TrainResult],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    kept, broken = Kept(), Broken()
    every = [place(broken, "broken"), place(Hanging(), "hanging"), place(kept, "kept")]
    monkeypatch.setattr("hub.training.trackers.start.places", lambda *_: every)
    monkeypatch.setattr(places.track, "__defaults__", (0.5,))
    result = run(make_recipe(RECIPE, a_csv=ROWS))
    problems = {one.name: one.problem for one in result.trackers}
    assert problems["broken"] == "ConnectionError: no answer from http://server/api"
    assert problems["hanging"].startswith("had not written everything")
    assert problems["kept"] == ""
    assert kept.told[0] and kept.told[-1][0] == "finished"
    assert broken.calls == 1
    said = [record for record in caplog.records if record.name == "hub.training.trackers.fan_out"]
    assert len(said) == 2
    report = json.loads(result.report.with_name("report.json").read_text()) if result.report else {}
    assert {one["name"]: one["problem"] for one in report["trackers"]} == problems


def test_a_server_that_is_not_there_is_a_problem_of_the_tracker(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from hub.training.trackers.mlflow import MLflow

    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    trackers = Trackers([TrackerPlace("mlflow", "", lambda: MLflow("http://127.0.0.1:9", "grafthub"))], SMALL)
    [told] = trackers.end("finished")
    assert told.problem


def test_the_end_waits_no_longer_than_it_may(caplog: pytest.LogCaptureFixture) -> None:
    trackers = Trackers([place(Hanging(), "a"), place(Hanging(), "b")], SMALL, wait_s=0.3)
    trackers.logged([{"step": 1, "loss": 0.5}])
    begun = time.monotonic()
    told = trackers.end("finished")
    assert time.monotonic() - begun < 30
    assert all(one.problem for one in told)
    assert len(caplog.records) == 2


def test_what_was_logged_before_is_told_once() -> None:
    kept = Kept()
    trackers = Trackers([place(kept)], SMALL)
    history: list[dict[str, float]] = [{"step": 1, "loss": 2.0, "epoch": 0.5}]
    trackers.logged(history)
    history.append({"step": 2, "loss": float("nan"), "eval_f1 @ 5": 0.25})
    trackers.logged(history)
    trackers.logged(history)
    assert trackers.end("finished", {"f1": 1.0}, {"version": "demo@1"}) == (Tracked("one", "here"),)
    assert kept.told == [
        "one",
        (1, {"train/loss": 2.0}),
        (2, {"validation/f1 _ 5": 0.25}),
        ("finished", 2, {"held_out/f1": 1.0}, {"version": "demo@1"}),
    ]


def test_an_absent_package_is_told_before_the_run(
    make_recipe: Callable[..., Recipe], run: Callable[..., TrainResult], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hub.training.trackers.builtin.find_spec", lambda name: None)
    with pytest.raises(MissingExtra, match=r"grafthub\[mlflow\]"):
        run(make_recipe(RECIPE, "report.trackers=[tensorboard, mlflow]", a_csv=ROWS))


def test_a_tracker_of_a_plugin_gets_the_run(
    install: Install, tmp_path: Path, make_recipe: Callable[..., Recipe], run: Callable[..., TrainResult]
) -> None:
    """The example of docs/plugins/trackers.md."""
    install(write_page("trackers", tmp_path))
    result = run(make_recipe(RECIPE, "report.trackers=[jsonlog]", a_csv=ROWS))
    [tracked] = result.trackers
    assert (tracked.name, tracked.problem) == ("jsonlog", "")
    told = [json.loads(line) for line in Path(tracked.where).read_text().splitlines()]
    assert told[0]["adapter"] == "demo"
    assert any("train/loss" in line for line in told)
    assert told[-1]["status"] == "finished"


def test_an_unknown_tracker_lists_those_there_are(
    make_recipe: Callable[..., Recipe], run: Callable[..., TrainResult]
) -> None:
    with pytest.raises(
        BadRecipe, match=r"report\.trackers: No tracker named 'wandb'. Available: mlflow, tens"
    ):
        run(make_recipe(RECIPE, "report.trackers=[wandb]", a_csv=ROWS))


def test_a_recipe_takes_no_password(make_recipe: Callable[..., Recipe]) -> None:
    with pytest.raises(BadRecipe, match="MLFLOW_TRACKING_PASSWORD") as raised:
        make_recipe(RECIPE, "report.mlflow_uri=https://me:hunter2@server", a_csv=ROWS)
    assert "hunter2" not in str(raised.value)


def test_importing_mlflow_turns_its_usage_data_off() -> None:
    import hub.training.trackers.mlflow  # noqa: F401

    assert os.environ["MLFLOW_DISABLE_TELEMETRY"] == "true"


def test_a_value_that_breaks_a_table_is_quoted(tmp_path: Path) -> None:
    from hub.training.trackers.tensorboard import TensorBoard

    board = TensorBoard(tmp_path / "run")
    board.start(replace(SMALL, params={"options.sign": "a|b"}))
    board.end(Ended("finished", 0, {}, {}))
    [file] = (tmp_path / "run").glob("events.*")
    assert b"a\\|b" in file.read_bytes()

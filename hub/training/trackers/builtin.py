"""The trackers that are built in; their packages are imported when a run opens one."""

from __future__ import annotations

import os
from importlib.util import find_spec
from pathlib import Path

from hub.api import NoOptions, RunLog, TrackedRun, Tracker
from hub.errors import MissingExtra

__all__ = ["TENSORBOARD", "MLflowTracker", "TensorBoardTracker", "TrackioTracker"]

TENSORBOARD = "tensorboard"


class TensorBoardTracker(Tracker[NoOptions]):
    """TensorBoard's event files in the state folder."""

    def where(self, run: TrackedRun) -> str:
        return str(_events(run))

    def open(self, run: TrackedRun) -> RunLog:
        from hub.training.trackers.tensorboard import TensorBoard

        return TensorBoard(_events(run))


class MLflowTracker(Tracker[NoOptions]):
    """A server of MLflow, or a file in the state folder."""

    def check(self) -> None:
        _check_package("mlflow")

    def where(self, run: TrackedRun) -> str:
        uri, artifacts = _mlflow(run)
        return uri if artifacts else "a server"

    def open(self, run: TrackedRun) -> RunLog:
        from hub.training.trackers.mlflow import MLflow

        uri, artifacts = _mlflow(run)
        return MLflow(uri, run.experiment, artifacts)


class TrackioTracker(Tracker[NoOptions]):
    """trackio's local files."""

    def check(self) -> None:
        _check_package("trackio")

    def where(self, run: TrackedRun) -> str:
        from hub.training.trackers.trackio import folder_of

        return str(folder_of(run.home))

    def open(self, run: TrackedRun) -> RunLog:
        from hub.training.trackers.trackio import Trackio, folder_of

        return Trackio(folder_of(run.home), run.experiment)


def _check_package(name: str) -> None:
    if find_spec(name) is None:
        raise MissingExtra.of(f"report.trackers: {name}", name)


def _events(run: TrackedRun) -> Path:
    return run.home / TENSORBOARD / run.group / run.name


def _mlflow(run: TrackedRun) -> tuple[str, Path | None]:
    """Return the store, and the artifact folder of a local store."""
    if uri := run.mlflow_uri or os.environ.get("MLFLOW_TRACKING_URI", ""):
        return uri, None
    folder = run.home.absolute() / "mlflow"
    return f"sqlite:///{folder / 'mlflow.db'}", folder / "artifacts"

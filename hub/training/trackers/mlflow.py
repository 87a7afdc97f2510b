"""MLflow: one run per training, in a local SQLite file or on a server."""

from __future__ import annotations

import logging
import os
import time
from pathlib import Path

from hub.api.kinds.tracker import Begun, Ended, Scalars
from hub.errors import MissingExtra

# Read when mlflow is imported; otherwise it sends usage data.
os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"

try:
    from mlflow.entities import Metric, Param, RunTag
    from mlflow.tracking import MlflowClient
except ModuleNotFoundError:
    raise MissingExtra.of("report.trackers: mlflow", "mlflow") from None

__all__ = ["MLflow"]

_STATUS = {"finished": "FINISHED", "failed": "FAILED", "interrupted": "KILLED"}
MAX_PARAMS = 100  # per call, a limit of MLflow servers

logging.getLogger("mlflow").setLevel(logging.WARNING)
logging.getLogger("alembic").setLevel(logging.WARNING)


class MLflow:
    """Writes to `uri`; `artifacts` is the artifact folder of a local store.

    User name, password and token are read from MLflow's environment variables.
    """

    def __init__(self, uri: str, experiment: str, artifacts: Path | None = None) -> None:
        if artifacts:
            artifacts.parent.mkdir(parents=True, exist_ok=True)
        self._experiment, self._artifacts = experiment, artifacts
        self._client = MlflowClient(tracking_uri=uri, registry_uri=uri)
        self._run = ""

    def start(self, run: Begun) -> None:
        found = self._client.get_experiment_by_name(self._experiment)
        where = self._artifacts.as_uri() if self._artifacts else None
        experiment = (
            found.experiment_id
            if found
            else self._client.create_experiment(self._experiment, artifact_location=where)
        )
        made = self._client.create_run(experiment, run_name=f"{run.group}/{run.name}", tags=dict(run.tags))
        self._run = made.info.run_id
        params = [Param(key, value) for key, value in run.params.items()]
        for first in range(0, len(params), MAX_PARAMS):
            self._client.log_batch(self._run, params=params[first : first + MAX_PARAMS])

    def scalars(self, step: int, values: Scalars) -> None:
        now = int(time.time() * 1000)
        self._client.log_batch(
            self._run, metrics=[Metric(name, value, now, step) for name, value in values.items()]
        )

    def end(self, run: Ended) -> None:
        self.scalars(run.step, run.metrics)
        self._client.log_batch(self._run, tags=[RunTag(key, value) for key, value in run.tags.items()])
        self._client.set_terminated(self._run, _STATUS[run.status])

# ruff: noqa: TID253 - imported when a training run starts, and by nothing else
"""Trains a plan on workers of a Ray cluster: Ray Train starts them, and torch averages the gradients."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from peft import PeftModel
from safetensors.torch import load_file

from hub.api import Features, HeadKind
from hub.config import Settings
from hub.errors import ClusterUnavailable
from hub.progress import Progress
from hub.recipe.recipe import Recipe
from hub.scale.cluster import Cluster, cluster, resulting
from hub.scale.hub_here import settings_for_workers
from hub.scale.train_control import StepBoard, own_error, stopping_at_own_errors
from hub.scale.train_work import FITTED, WEIGHTS, TrainWork
from hub.training.fit.activation_cache import CacheUse
from hub.training.fit.trainer import Fitted
from hub.training.plan import Plan

if TYPE_CHECKING:
    from ray.train import Checkpoint
    from ray.train.torch import TorchTrainer

__all__ = ["RayFitting", "check_recipe", "fitting_on_ray"]

MAX_FAILURES = 3  # of workers in a run; each time all of them go on from the last checkpoint
WAIT_S = 4 * 3600  # of the other workers while the first one evaluates
ASK_S = 1.0  # between two questions how far the run is
_RUNS = "ray"


def check_recipe(recipe: Recipe) -> None:
    """Refuse a recipe whose loss or first weights cannot be shared out.

    Raises:
        BadRecipe: the loss of a row depends on the other rows of its batch, or the method changes the base.
    """
    if recipe.method.type == "few-shot":
        reason = "few-shot compares all rows of a batch with one another, which --on ray would separate"
        raise recipe.error("method.type", reason)
    if recipe.method.changes_base:
        reason = "each worker of --on ray would change its base by its own decomposition of the weights"
        raise recipe.error("method", reason)


@contextmanager
def fitting_on_ray(recipe: Recipe, settings: Settings, workers: int) -> Iterator[RayFitting]:
    """Connect to the cluster, or start one, and yield what trains a run of the recipe on it.

    Raises:
        BadRecipe: as `check_recipe`.
        BadRequest: the cluster has too few CPUs.
        ClusterUnavailable, MissingExtra: as `cluster`.
    """
    check_recipe(recipe)
    with cluster(settings.ray) as found:
        found.share(workers)
        yield RayFitting(settings, workers)


@dataclass(frozen=True, slots=True)
class RayFitting:
    """Trains the model of a plan on `workers` workers; a `Fitting`.

    The batches are those of one process, each shared out by rows, so that the weights are the same up to the
    order of sums. Checkpoints go to `ray.checkpoints`, by default to the folder of the run.

    Raises:
        BadRecipe, ClusterUnavailable, MissingExtra: as `check_recipe` and `cluster`.
    """

    settings: Settings
    workers: int

    def __call__(
        self,
        plan: Plan,
        model: PeftModel,
        features: Sequence[Features],
        folder: Path,
        progress: Progress,
        resume: bool,
    ) -> Fitted:
        """Train `model` in place."""
        check_recipe(plan.recipe)
        if plan.head is HeadKind.EMBEDDING:
            reason = f"task {plan.recipe.task} compares all texts of a batch, which --on ray would separate"
            raise plan.recipe.error("task", reason)
        work = TrainWork(
            settings_for_workers(self.settings),
            plan.recipe,
            plan.serving,
            replace(plan.dataset, train=(), held_out=()),
            features,
        )
        folder.mkdir(parents=True, exist_ok=True)
        with cluster(self.settings.ray) as found:
            import ray
            from ray.exceptions import RayError

            progress(f"train on {self.workers} workers", 0, 0)
            board = ray.remote(StepBoard).options(num_cpus=0).remote()

            def show() -> None:
                with suppress(RayError):  # it shows less; the run itself reports what is wrong
                    if last := ray.get(board.last.remote(), timeout=ASK_S):
                        progress(*last)

            trainer = self._trainer(found, replace(work, board=board), plan, folder, resume)
            result = resulting(lambda: _beside(lambda: _raising(trainer.fit), show))
            if result.checkpoint is None:
                raise ClusterUnavailable("The workers have no result. See /tmp/ray/session_latest/logs.")
            fitted = _load(result.checkpoint, model)
            if self.settings.ray.checkpoints:  # those in the run's folder end with it
                _remove(*_storage(self.settings.ray.checkpoints, folder), _name(plan))
            return fitted

    def _trainer(
        self, found: Cluster, work: TrainWork, plan: Plan, folder: Path, resume: bool
    ) -> TorchTrainer:
        from ray.train import CheckpointConfig, FailureConfig, LoggingConfig, RunConfig, ScalingConfig
        from ray.train.torch import TorchConfig, TorchTrainer

        cpus, gpus = found.share(self.workers)
        files, path = _storage(self.settings.ray.checkpoints, folder)
        if not resume:
            _remove(files, path, _name(plan))
        return TorchTrainer(
            work,
            torch_config=TorchConfig(timeout_s=WAIT_S),
            scaling_config=ScalingConfig(
                num_workers=self.workers,
                use_gpu=bool(gpus),
                resources_per_worker={"CPU": cpus, "GPU": gpus} if gpus else {"CPU": cpus},
            ),
            run_config=RunConfig(
                name=_name(plan),
                storage_path=path,
                storage_filesystem=files,
                failure_config=FailureConfig(max_failures=MAX_FAILURES),
                callbacks=[stopping_at_own_errors()],
                checkpoint_config=CheckpointConfig(num_to_keep=1),
                logging_config=LoggingConfig(log_level="ERROR"),
            ),
        )


def _load(checkpoint: Checkpoint, model: PeftModel) -> Fitted:
    """Put the trained weights into the model, and return the result of the loop."""
    with checkpoint.as_directory() as stored:
        weights = load_file(Path(stored) / WEIGHTS)
        fitted = json.loads((Path(stored) / FITTED).read_text(encoding="utf-8"))
    trained = {name: weight for name, weight in model.named_parameters() if weight.requires_grad}
    if trained.keys() != weights.keys():
        raise ClusterUnavailable("The workers trained other weights than this version of the hub would.")
    with torch.no_grad():
        for name, weight in trained.items():
            weight.copy_(weights[name])
    history = tuple(fitted.pop("history"))
    return Fitted(**fitted | {"cache": CacheUse(**fitted["cache"]), "history": history})


def _storage(url: str, folder: Path) -> tuple[Any, str]:
    """Return the file system of the checkpoints, and the path in it."""
    import pyarrow.fs

    if not url:
        return pyarrow.fs.LocalFileSystem(), str(folder / _RUNS)
    from fsspec.core import url_to_fs

    files, path = url_to_fs(url)
    return pyarrow.fs.PyFileSystem(pyarrow.fs.FSSpecHandler(files)), path.rstrip("/")


def _name(plan: Plan) -> str:
    """Return the folder of a plan's checkpoints: Ray Train goes on with those of the same name."""
    return f"{plan.recipe.name}-{plan.sha256[:12]}"


def _remove(files: Any, path: str, name: str) -> None:
    import pyarrow.fs

    if files.get_file_info(f"{path}/{name}").type is pyarrow.fs.FileType.Directory:
        files.delete_dir(f"{path}/{name}")


def _raising(run: Callable[[], Any]) -> Any:
    """Run Ray Train; raise the error of the hub that ended its workers, if there is one."""
    from ray.train import ControllerError, TrainingFailedError, WorkerGroupError

    try:
        return run()
    except TrainingFailedError as error:
        failures: list[Exception] = []
        if isinstance(error, WorkerGroupError):
            failures = [*error.worker_failures.values()]
        elif isinstance(error, ControllerError):
            failures = [error.controller_failure]
        if own := own_error(failures):
            raise own from None
        raise ClusterUnavailable(
            f"The workers failed {MAX_FAILURES + 1} times. Their logs are in /tmp/ray/session_latest/logs on "
            "their machines; --resume goes on from the last checkpoint."
        ) from error


def _beside(run: Callable[[], Any], meanwhile: Callable[[], None]) -> Any:
    """Run in a thread, where Ray Train installs no handler of SIGINT: it would end this process itself."""
    ended: list[tuple[Any, BaseException | None]] = []

    def work() -> None:
        try:
            ended.append((run(), None))
        except BaseException as error:
            ended.append((None, error))

    thread = threading.Thread(target=work, name="ray-train", daemon=True)
    thread.start()
    while thread.is_alive():
        thread.join(ASK_S)
        meanwhile()
    result, error = ended[0]
    if error:
        raise error
    return result

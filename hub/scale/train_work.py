# ruff: noqa: TID253 - imported when a training run starts, and by nothing else
"""What each worker of a training run does: it trains its part of every batch, and reports to Ray Train."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from shutil import copytree
from typing import TYPE_CHECKING, Any

from peft import PeftModel
from safetensors.torch import save_file
from transformers import TrainerCallback

from hub.api import Features
from hub.data.dataset import Dataset, InvalidRows
from hub.engine.tokenizer import load_tokenizer
from hub.errors import BaseMismatch
from hub.progress import silent
from hub.recipe.recipe import Recipe
from hub.scale.hub_here import hub_here
from hub.scale.train_control import put_on
from hub.store.manifest import Serving
from hub.training.fit.checkpoints import at_home
from hub.training.fit.number import NumberHead
from hub.training.fit.trainer import Fitted, fit
from hub.training.objective import loss_of
from hub.training.plan import Plan
from hub.training.run import evaluator_of, new_model
from hub.training.shard import Shard

if TYPE_CHECKING:
    from ray.train import Checkpoint

__all__ = ["FITTED", "WEIGHTS", "TrainWork"]

WEIGHTS, FITTED = "weights.safetensors", "fitted.json"  # of a run that has ended


@dataclass(frozen=True, slots=True)
class TrainWork:
    """What each worker does; Ray sends it to them."""

    settings: str
    recipe: Recipe
    serving: Serving
    validation: Dataset
    features: Sequence[Features]
    board: Any = None

    def __call__(self) -> None:
        """Train this worker's share, and report checkpoints and the result."""
        from ray.train import Checkpoint, get_checkpoint, get_context, report

        context = get_context()
        shard = Shard(context.get_world_rank(), context.get_world_size())
        with tempfile.TemporaryDirectory(prefix="hub-train-") as temporary:
            folder = Path(temporary) / "checkpoints"
            last = get_checkpoint()
            if last and _fetched(last, folder):
                return  # it was reported before another worker was lost
            model, fitted = self._fit(folder, shard, resume=last is not None)
            ended = Path(temporary) / "ended"
            if shard.rank == 0:
                _save(ended, model, fitted)
            report({"step": fitted.steps}, Checkpoint.from_directory(ended) if shard.rank == 0 else None)

    def _fit(self, folder: Path, shard: Shard, *, resume: bool) -> tuple[PeftModel, Fitted]:
        plan = self._plan()
        tokenizer = load_tokenizer(plan.base)
        validation = evaluator_of(plan, tokenizer, plan.dataset.validation, InvalidRows(plan.recipe))
        model = new_model(plan, self.features)
        NumberHead.of(model, plan.serving.numbers)
        fitted = fit(
            model,
            self.features,
            plan.recipe.train,
            folder=folder,
            pad=tokenizer.pad_token_id or 0,
            loss=loss_of(plan, self.features),
            validation=validation if plan.dataset.chooses else None,
            progress=silent if shard.rank else put_on(self.board),
            resume=resume,
            callbacks=[_Report(folder, shard)],
            shard=shard,
        )
        return model, fitted

    def _plan(self) -> Plan:
        here = hub_here(self.settings)
        base = here.bases.get(self.serving.base.name)
        if base.fingerprint != self.serving.base.fingerprint:
            raise BaseMismatch(
                f"The base {base.name} of this worker is another one than that of the command. "
                "Let all machines use one home, or pull the same base on each."
            )
        loaded = here.registry.task(self.recipe.task)
        return Plan(self.recipe, loaded, base, self.validation, self.serving)


class _Report(TrainerCallback):  # type: ignore[misc]
    """Hands the checkpoints of the first worker to Ray, which stores them; all workers wait for that."""

    def __init__(self, folder: Path, shard: Shard) -> None:
        self._folder, self._shard = folder, shard

    def on_save(self, args: object, state: Any, control: object, **_: object) -> None:
        from ray.train import Checkpoint, report

        first = self._shard.rank == 0
        report({"step": state.global_step}, Checkpoint.from_directory(self._folder) if first else None)


def _fetched(checkpoint: Checkpoint, folder: Path) -> bool:
    """Copy Trainer's checkpoints to `folder`; return whether the run has ended instead."""
    with checkpoint.as_directory() as stored:
        if (Path(stored) / FITTED).is_file():
            return True
        copytree(stored, folder)
    at_home(folder)
    return False


def _save(folder: Path, model: PeftModel, fitted: Fitted) -> None:
    folder.mkdir()
    trained = {name: weight for name, weight in model.named_parameters() if weight.requires_grad}
    save_file(
        {name: weight.detach().cpu().contiguous() for name, weight in trained.items()}, folder / WEIGHTS
    )
    (folder / FITTED).write_text(json.dumps(asdict(fitted)), encoding="utf-8")

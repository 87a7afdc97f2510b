# ruff: noqa: TID253 - trains a tiny model
"""A training run leaves the rest of its process alone."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from threading import Thread
from typing import Any

import torch
from transformers import TrainerCallback

from hub.api import HeadKind
from hub.engine.torch.loading import load_model
from hub.progress import silent
from hub.recipe.recipe import Recipe
from hub.recipe.sections.train import Train
from hub.training.fit.loss import Loss
from hub.training.fit.model import add_adapter, load_base
from hub.training.fit.trainer import fit
from tests.support.tiny import tiny_encoder


def test_another_thread_loads_a_base_during_a_run(tmp_path: Path, make_recipe: Callable[..., Recipe]) -> None:
    base, loaded = tiny_encoder(tmp_path / "base"), []

    class Load(TrainerCallback):  # type: ignore[misc]
        def on_step_begin(self, *args: Any, **kwargs: Any) -> None:
            def load() -> None:
                loaded.append(load_model(base, torch.device("cpu")))

            other = Thread(target=load, daemon=True)
            other.start()
            other.join(60)
            assert loaded, "the load waits for the run"

    head = HeadKind.SEQUENCE
    model = add_adapter(load_base(base, head, 2), make_recipe("task: sentiment\ndata: a.csv\n"), head)
    train = {"epochs": 1, "batch_size": 2, "validation_fraction": 0, "dtype": "fp32"}
    done = fit(
        model,
        [{"input_ids": [2, 9, 3], "labels": 0}, {"input_ids": [2, 11, 3], "labels": 1}],
        Train.model_validate(train),
        folder=tmp_path / "run",
        pad=0,
        loss=Loss(head),
        validation=None,
        progress=silent,
        resume=False,
        callbacks=[Load()],
    )
    assert done.steps == len(loaded) == 1

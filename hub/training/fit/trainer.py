# ruff: noqa: TID253 - imported when a training run starts, and by nothing else
"""Hugging Face's Trainer with our batches, losses and optimizers, and the task's own metric."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from torch.utils.data import DataLoader, Sampler
from transformers import (
    EarlyStoppingCallback,
    PrinterCallback,
    Trainer,
    TrainerCallback,
    TrainerControl,
    TrainerState,
)

from hub.api import Features, HeadKind
from hub.engine.quiet import peft_quiet
from hub.errors import BadRecipe
from hub.evaluation.evaluator import Evaluator
from hub.evaluation.predict import BeforeBatch
from hub.progress import Progress
from hub.recipe.recipe import Train
from hub.recipe.sections.train import DEFAULT_BATCH
from hub.training.arguments import arguments_of, pick_dtype, stored_as
from hub.training.fit.activation_cache import (
    CHOOSING,
    ROWS,
    TRAINED,
    UNUSED,
    Activations,
    Batch,
    CacheUse,
    Stock,
    cached,
    fixed_layers,
    numbered,
)
from hub.training.fit.answers_only import answers_only
from hub.training.fit.batches import Batches, LengthGroups, PairBatches, collator, pad_alike
from hub.training.fit.callbacks import TrainingCallback
from hub.training.fit.checkpoints import ended_early, last_checkpoint, step_of
from hub.training.fit.few_shot import LogisticHead
from hub.training.fit.first_token import first_token
from hub.training.fit.fused_kernels import fused, short_attention
from hub.training.fit.loss import WHOLE, Loss, row_weights
from hub.training.fit.optim import is_schedule_free, make_optimizer, make_schedule
from hub.training.shard import Shard

__all__ = ["Fitted", "fit"]

SHARE = "share"  # the key of a batch for its share of the step's loss


@dataclass(frozen=True, slots=True)
class Fitted:
    """The result of the loop; `best_step` is the kept checkpoint, None without validation.

    `tokens` counts those of the training rows, once for each epoch.
    `history` has the log entries, including those before `--resume`: `step`, `loss` (the mean since the
    previous entry), `grad_norm`, `learning_rate`, and metrics with the prefix `eval_`.
    """

    seconds: float
    steps: int
    tokens: int
    epochs: float
    best_step: int | None
    best_metric: float | None
    resumed_from: int | None
    stopped_early: bool
    cache: CacheUse = UNUSED
    history: tuple[Mapping[str, float], ...] = ()


def fit(  # noqa: PLR0913 - a training loop is all of these
    model: PeftModel,
    features: Sequence[Features],
    train: Train,
    *,
    folder: Path,
    pad: int,
    loss: Loss,
    validation: Evaluator | None,
    progress: Progress,
    resume: bool,
    callbacks: Sequence[TrainerCallback] = (),
    stock: Stock | None = None,
    head: LogisticHead | None = None,
    shard: Shard | None = None,
) -> Fitted:
    """Train the adapter in place; with `validation`, the best checkpoint is loaded at the end.

    Activations of frozen layers are cached in `stock`, which runs over the same features can share. With
    `head`, rows come in pairs, and the head is fitted before each evaluation; at the end the caller does it.
    With `shard`, this process is one of several that train together; the first one evaluates.

    Raises:
        BadRecipe: the loss became infinite or NaN, or the GPU's memory does not suffice.
    """
    lengths = [max(len(tokens["input_ids"]) for tokens in (row, row.get("good", row))) for row in features]
    batches = PairBatches(head.labels, train.seed) if head else _by_length(train, features, lengths)
    dtype = torch.bfloat16 if pick_dtype(train.dtype) == "bf16" else None
    collate = collator(pad)
    # An encoder-decoder's decoder reads all encoder states; an example of vectors is several rows.
    caches = train.cache and not model.config.is_encoder_decoder and loss.head is not HeadKind.EMBEDDING
    fixed = fixed_layers(model, collate(features[:1])) if caches else 0
    with ExitStack() as during:
        if loss.head is HeadKind.GENERATE and not loss.smoothing:
            share = not (fixed or train.gradient_checkpointing)  # those layers take whole rows only
            during.enter_context(answers_only(model, collate(features[:2]), share=share))
        narrow = first_token(model, collate(features[:2]))
        for context in (peft_quiet(), narrow, fused(model, dtype), short_attention(model, dtype, lengths)):
            during.enter_context(context)
        kept = _kept(stock or Stock(folder), lengths, validation, fixed, stored_as(train)) if fixed else {}
        batch = during.enter_context(cached(model, kept)) if kept else None
        trainer = _Trainer(
            _Parts(train, batches, loss, validation, progress, pad, batch, head, shard),
            model=model,
            args=arguments_of(train, folder, validation),
            train_dataset=numbered(features) if kept else features,
            eval_dataset=features[:1] if validation else None,
            data_collator=collate,
            callbacks=[TrainingCallback(progress, batches), *callbacks, *_early_stopping(train, validation)],
        )
        trainer.remove_callback(PrinterCallback)
        checkpoint = last_checkpoint(folder) if resume else None
        started = time.perf_counter()
        with _memory_told(train, trainer):
            _train_from(checkpoint, trainer, model, train.stops_after)
    seconds, use = time.perf_counter() - started, kept[TRAINED].use if kept else UNUSED
    return _fitted(trainer.state, seconds, sum(lengths), use, checkpoint, chosen=validation is not None)


def _by_length(train: Train, features: Sequence[Features], lengths: Sequence[int]) -> LengthGroups:
    weights = row_weights(features) if train.balance == "sample" else None
    return LengthGroups(lengths, train.batch_size or DEFAULT_BATCH, train.seed, weights)


def _early_stopping(train: Train, validation: Evaluator | None) -> list[TrainerCallback]:
    return [EarlyStoppingCallback(early_stopping_patience=train.stops_after)] if validation else []


@contextmanager
def _memory_told(train: Train, trainer: _Trainer) -> Iterator[None]:
    """Raise BadRecipe with the keys to change where a step needs more memory than the GPU has."""
    try:
        yield
    except torch.OutOfMemoryError as error:
        size, step = train.batch_size or DEFAULT_BATCH, trainer.state.global_step + 1
        raise BadRecipe(
            f"train.batch_size: the GPU has too little memory for step {step}. Lower it; it is {size}. "
            "Or set train.gradient_checkpointing to true."
        ) from error


def _train_from(checkpoint: Path | None, trainer: _Trainer, model: PeftModel, patience: int) -> None:
    """Train from a checkpoint or the start; load the weights of a run that early stopping has ended."""
    if checkpoint and (ended := ended_early(checkpoint, patience)):
        trainer.state = ended
        model.load_adapter(ended.best_model_checkpoint, model.active_adapter)
    else:
        trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    trainer.use_weights()
    # accelerate wraps the forward in autocast under bf16, and the stored weights are evaluated in fp32.
    trainer.accelerator.unwrap_model(trainer.model_wrapped, keep_fp32_wrapper=False)


def _fitted(
    state: TrainerState, seconds: float, tokens: int, use: CacheUse, checkpoint: Path | None, *, chosen: bool
) -> Fitted:
    """Return the result from the trainer's state.

    `tokens` are those of one epoch; `chosen`: the checkpoint was chosen by validation rows.
    """
    return Fitted(
        seconds=seconds,
        steps=state.global_step,
        tokens=round(tokens * (state.epoch or 0.0)),
        epochs=round(state.epoch or 0.0, 3),
        best_step=state.best_global_step if chosen else None,
        best_metric=state.best_metric if chosen else None,
        resumed_from=step_of(checkpoint) if checkpoint else None,
        stopped_early=state.global_step < state.max_steps,
        cache=use,
        history=tuple(entry for entry in state.log_history if "train_runtime" not in entry),
    )


def _kept(
    stock: Stock, lengths: Sequence[int], validation: Evaluator | None, depth: int, dtype: torch.dtype
) -> dict[str, Activations]:
    """Return the activation caches by use; generated texts are not cached."""
    kept = {TRAINED: stock.of(TRAINED, lengths, depth, dtype)}
    if validation and validation.head is not HeadKind.GENERATE:
        rows = [len(row.input_ids) for row in validation.rows]
        kept[CHOOSING] = stock.of(CHOOSING, rows, depth, dtype)
    return kept


@dataclass(frozen=True, slots=True)
class _Parts:
    train: Train
    batches: Batches
    loss: Loss
    validation: Evaluator | None
    progress: Progress
    pad: int
    batch: Batch | None = None
    head: LogisticHead | None = None
    shard: Shard | None = None


class _Trainer(Trainer):  # type: ignore[misc]
    """Trainer with our order, loss, optimizer and evaluation."""

    # Without it, transformers 5.23 divides the loss of some models by the number of accumulated batches.
    loss_is_scaled_for_ga = True

    control: TrainerControl
    optimizer: Any
    lr_scheduler: Any

    def __init__(self, parts: _Parts, **settings: Any) -> None:
        super().__init__(**settings)
        self._parts = parts
        self._validation, self._progress = parts.validation, parts.progress

    def use_weights(self) -> None:
        """Swap in the weights for evaluation, if the optimizer averages weights."""
        if is_schedule_free(self.optimizer):
            self.optimizer.eval()

    def create_optimizer(self, model: Any = None) -> torch.optim.Optimizer:
        if self.optimizer is None:
            decayed = self.get_decay_parameter_names(self.model)
            self.optimizer = make_optimizer(self.model, self._parts.train, decayed)
        made: torch.optim.Optimizer = self.optimizer
        return made

    def create_scheduler(self, num_training_steps: int, optimizer: Any = None) -> Any:
        if self.lr_scheduler is None:
            goal = self._validation.goal if self._validation else "max"
            self.lr_scheduler = make_schedule(
                optimizer or self.optimizer, self._parts.train, num_training_steps, goal
            )
            self._created_lr_scheduler = True
        return self.lr_scheduler

    def get_batch_samples(
        self, epoch_iterator: Iterator[dict[str, Any]], num_batches: int, device: torch.device
    ) -> tuple[list[dict[str, Any]], None]:
        """Return the batches of one optimizer step; several batches get their shares of the loss."""
        batches, parts = list(itertools.islice(epoch_iterator, num_batches)), self._parts
        if len(batches) > 1 and parts.loss.head is HeadKind.SPAN:  # its softmax includes the padding
            batches = pad_alike(batches, parts.pad)
        if parts.shard:
            return [{**part, SHARE: share} for part, share in parts.shard.parts(batches, parts.loss)], None
        if len(batches) > 1:
            for batch, share in zip(batches, parts.loss.shares(batches), strict=True):
                batch[SHARE] = share
        return batches, None

    def get_train_dataloader(self) -> DataLoader[Any]:
        """Return the batches; those of a shard are whole, as accelerate would deal out other batches."""
        if not self._parts.shard:
            whole: DataLoader[Any] = super().get_train_dataloader()
            return whole
        return DataLoader(
            self.train_dataset,
            batch_size=self._parts.train.batch_size or DEFAULT_BATCH,
            sampler=self._parts.batches,
            collate_fn=self.data_collator,
        )

    def compute_loss(
        self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, **settings: Any
    ) -> Any:
        if self._parts.batch:
            self._parts.batch(inputs.pop(ROWS), TRAINED)
        loss, outputs = self._parts.loss(model, inputs, inputs.pop(SHARE, WHOLE))
        return (loss, outputs) if return_outputs else loss

    def floating_point_ops(self, inputs: dict[str, Any]) -> int:
        return 0  # not used, and Trainer would count all parameters at each step

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        self.use_weights()
        super()._save_checkpoint(model, trial)

    def _get_train_sampler(self, train_dataset: Any = None) -> Sampler[int]:
        return self._parts.batches

    def evaluate(self, *args: Any, **kwargs: Any) -> dict[str, float]:
        self.use_weights()
        shard = self._parts.shard
        metrics = shard.agreed(self._metrics) if shard else self._metrics()
        named = {f"eval_{name}": value for name, value in metrics.items()}
        self.log(named)
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, named)
        return named

    def _metrics(self) -> dict[str, float]:
        assert self._validation is not None, "Trainer evaluates only with validation rows"
        batch = self._parts.batch
        if head := self._parts.head:
            head.fit(self.model, _before(batch, TRAINED))
        before = _before(batch, CHOOSING)
        metrics = self._validation.run(self.model, self._progress, before).metrics
        if batch:
            batch(None, CHOOSING)
        return dict(metrics)


def _before(batch: Batch | None, use: str) -> BeforeBatch | None:
    return (lambda rows: batch(torch.tensor(rows), use)) if batch else None

# ruff: noqa: TID253 - imported when a training run starts, and by nothing else
"""Temperature scaling of a trained head, applied to its weights: probabilities change, answers do not.

Logits divided by a temperature above 1 give less confident probabilities (arXiv:1706.04599). Dividing weight
and bias of the head's last linear layer has the same effect in a server, PEFT and an exported graph, at no
cost.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from peft import PeftModel
from pydantic import BaseModel
from torch import nn

from hub.api import HeadKind, Output
from hub.evaluation.calibration import fit_temperature
from hub.evaluation.evaluator import Evaluator
from hub.evaluation.predict import forward_rows
from hub.progress import Progress, named, silent

__all__ = ["Temperature", "calibrate", "output_layer"]

MIN_VALIDATION_ROWS = 50
PROBES = 8  # rows on which the divided head is checked to give divided logits
TOLERANCE = 1e-3


@dataclass(frozen=True, slots=True)
class Temperature:
    """The fitted temperature, the number of validation rows, and the reason if it is 1."""

    value: float = 1.0
    rows: int = 0
    reason: str = ""


def calibrate(
    model: PeftModel, validation: Evaluator | None, wanted: bool, progress: Progress = silent
) -> Temperature:
    """Fit a temperature on validation rows and divide the head's last layer by it, in place.

    The head is left unchanged if the answer to any row would change: tasks with thresholds other than 0.5, or
    with means over tokens, decide differently at another temperature.
    """
    if not wanted:
        return Temperature(reason="disabled in the recipe (evaluate.calibrate)")
    count = validation.examples if validation else 0
    if validation is None or count < MIN_VALIDATION_ROWS:
        return Temperature(reason=f"{count} validation rows are too few; {MIN_VALIDATION_ROWS} are needed")
    shown = named(progress, "calibrate")
    outputs = forward_rows(model, validation.tokenizer, validation.head, validation.rows, shown)
    known = validation.labelled(outputs)
    value = fit_temperature(known.logits, known.targets, multi_label=known.multi_label) if known else 1.0
    if value == 1.0:
        return Temperature(rows=count, reason="the validation rows show no significant miscalibration")
    cooled = [replace(output, values=_values(output) / value) for output in outputs]
    if _decisions(validation, outputs) != _decisions(validation, cooled):
        return Temperature(reason="answers would change: the task decides by fixed probabilities")
    if not _divide_head(model, validation, value):
        return Temperature(reason="the head does not end in a linear layer")
    return Temperature(value, count)


def _values(output: Output) -> Any:
    assert output.values is not None, "heads with labels give values"
    return output.values


def _decisions(validation: Evaluator, outputs: Sequence[Output]) -> list[Any]:
    return [_without_numbers(answer) for answer in validation.decode(outputs)]


def _without_numbers(value: Any) -> Any:
    if isinstance(value, BaseModel):
        value = value.model_dump()
    if isinstance(value, Mapping):
        return {key: _without_numbers(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_without_numbers(item) for item in value]
    return None if isinstance(value, float) else value


def _divide_head(model: PeftModel, validation: Evaluator, value: float) -> bool:
    """Divide the last linear layer; restore it and return False if this does not divide the logits."""
    layer = output_layer(model, len(validation.info.labels))
    if layer is None:
        return False
    before = _logits(model, validation)
    kept = {name: parameter.detach().clone() for name, parameter in layer.named_parameters()}
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.div_(value)
    if torch.allclose(_logits(model, validation), before / value, rtol=TOLERANCE, atol=TOLERANCE):
        return True
    with torch.no_grad():
        for name, parameter in layer.named_parameters():
            parameter.copy_(kept[name])
    return False


def output_layer(model: PeftModel, labels: int) -> nn.Linear | None:
    """Return the last linear layer of the trained head that has an output for each label."""
    found = [
        module
        for name, module in model.get_base_model().named_modules()
        if isinstance(module, nn.Linear) and ".modules_to_save." in name and module.out_features == labels
    ]
    return found[-1] if found else None


def _logits(model: PeftModel, validation: Evaluator) -> torch.Tensor:
    rows = validation.rows[:PROBES]
    outputs = forward_rows(model, validation.tokenizer, HeadKind.TOKEN, rows)
    return torch.cat([torch.from_numpy(_values(output)).reshape(-1) for output in outputs])

"""Training methods: how the recipe's `method` becomes a PEFT model."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import BaseModel

from hub.api.kinds.extension import Extension, ExtensionSpec, SettingsT
from hub.api.models import NoOptions

if TYPE_CHECKING:
    from peft import PeftModel
    from transformers import PreTrainedModel


@dataclass(frozen=True, slots=True)
class MethodSpec(ExtensionSpec):
    """A training method; its name is a value of the recipe's `method.type`.

    `rate` is its default learning rate. `merged`: its adapters are served as a merged copy of the base, since
    they do not fit into a slot.
    """

    rate: float = 1e-3
    merged: bool = False


@dataclass(frozen=True, slots=True)
class MethodRequest:
    """What a recipe asks of its method, and what of the base it must leave alone.

    `method` is the recipe's section of that name as plain values, `options` its key `options` as the
    method's model. `task_type` is that of PEFT, `heads` are the modules outside the backbone, which PEFT must
    save whole (`modules_to_save`), `frozen` those that are not trained; `excluded` is a regular expression
    of both for PEFT's `exclude_modules`. `backbone` is the path of the backbone, "" if the model is it.
    `error` makes an error of the recipe from a key and a reason.
    """

    method: Mapping[str, Any]
    options: BaseModel
    task_type: Any
    heads: Sequence[str]
    frozen: Sequence[str]
    excluded: str | None
    backbone: str
    error: Callable[[str, str], Exception]


class TrainingMethod(Extension[SettingsT], ABC):
    """Adds trainable parameters to a base; the hub trains, saves and checks them."""

    options: ClassVar[type[BaseModel]] = NoOptions
    """Model of the recipe's `method.options`."""

    @abstractmethod
    def adapt(self, model: PreTrainedModel, request: MethodRequest) -> PeftModel:
        """Return the PEFT model; the base keeps its weights.

        Raises:
            BadRecipe: by `request.error`: the base and the recipe do not suit the method.
        """

# ruff: noqa: TID253 - imported when an adapter is to be converted, and by nothing else
"""What an adapter was before training, where its initialisation follows from the base alone."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import peft
import torch

from hub.api import HeadKind
from hub.bases.base import Base
from hub.engine.peft.model import fresh_adapter, head_model

if TYPE_CHECKING:
    from hub.engine.protocol import Array

__all__ = ["initial_tensors"]


def initial_tensors(
    base: Base, config: Mapping[str, Any], names: Iterable[str], *, kind: HeadKind, num_labels: int
) -> dict[str, Array]:
    """Return the tensors of a PiSSA or OLoRA adapter as PEFT initialises it, by the names PEFT saves.

    `names` are those of the adapter's tensors.

    Raises:
        UnsupportedAdapter: the initialisation draws numbers or looks at data.
        BadAdapter: the config is unsound, or not of an adapter on this base.
        EngineFailed: the base could not be loaded.
    """
    with torch.no_grad():
        adapted = fresh_adapter(head_model(base, kind, num_labels).model, config, names)
        state = peft.get_peft_model_state_dict(adapted, save_embedding_layers=False)
    return {name: value.float().numpy() for name, value in state.items()}

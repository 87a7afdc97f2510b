"""The model that is trained is the one that is served."""

from __future__ import annotations

from pathlib import Path

import torch  # noqa: TID253

from hub.api import HeadKind
from hub.engine.peft.model import load_adapted
from hub.recipe.recipe import Recipe
from hub.training.fit.model import add_adapter, load_base, save_adapter
from tests.support.tiny import tiny_encoder

IDS = torch.tensor([[2, 5, 6, 3, 7, 8, 3]])
PAIR = torch.tensor([[0, 0, 0, 0, 1, 1, 1]])


def test_question_and_context_are_told_apart_in_training_and_after_loading(tmp_path: Path) -> None:
    base = tiny_encoder(tmp_path / "base")
    recipe = Recipe.model_validate({"task": "qa", "data": "unused.json"})
    model = add_adapter(load_base(base, HeadKind.SPAN, 0), recipe, HeadKind.SPAN).eval()
    save_adapter(model, tmp_path / "adapter", torch.float32)
    stored = load_adapted(tmp_path / "adapter", base, HeadKind.SPAN, 0, "cpu")
    with torch.inference_mode():
        for each in (model, stored):
            told = each(input_ids=IDS, token_type_ids=PAIR).start_logits
            untold = each(input_ids=IDS, token_type_ids=torch.zeros_like(PAIR)).start_logits
            assert not torch.allclose(told, untold)

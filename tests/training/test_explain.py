"""What an explanation says of a model's scores."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import torch  # noqa: TID253

from hub.api import AdapterInfo, HeadKind, Row
from hub.bases.base import Base
from hub.errors import BadRequest, MissingExtra, NotFound
from hub.testing.tiny import ENCODERS, peft_model, tiny_adapter, tiny_encoder
from hub.training.explain import Wish, explain_row
from hub.training.explanation import Explanation
from hub.training.model import load_tokenizer
from hub.training.token_places import find_places, words_of

TEXT = "the service was slow"
LABELS = {
    HeadKind.SEQUENCE: ("negative", "positive"),
    HeadKind.TOKEN: ("O", "B-PER", "I-PER"),
    HeadKind.SPAN: (),
}


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> Base:
    return tiny_encoder(tmp_path_factory.mktemp("bases") / "bert")


def explained(
    base: Base, folder: Path, head: HeadKind = HeadKind.SEQUENCE, wish: Wish = Wish(), text: str = TEXT
) -> Explanation:
    labels = LABELS[head]
    adapter = tiny_adapter(base, folder / "adapter", kind=head, labels=labels)
    model, tokenizer = peft_model(base, adapter, head, len(labels)), load_tokenizer(base)
    row = Row(**tokenizer(text, return_attention_mask=False))
    info = AdapterInfo("demo", 3, labels)
    return explain_row(model, tokenizer, head, info, [row], {"text": text}, wish)


@pytest.mark.parametrize("model_type", sorted(ENCODERS))
def test_gradients_sum_up_to_the_difference_of_the_scores(model_type: str, tmp_path: Path) -> None:
    found = explained(tiny_encoder(tmp_path / "base", model_type), tmp_path)
    assert found.baseline_score is not None and found.convergence_delta is not None
    difference = found.score - found.baseline_score
    assert abs(difference) > 1e-3
    assert sum(found.scores) == pytest.approx(difference, abs=0.03)
    assert found.convergence_delta == pytest.approx(sum(found.scores) - difference)

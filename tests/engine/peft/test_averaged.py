# ruff: noqa: TID253 - compares with transformers
"""Models that score the mean over a text's tokens, beside the token classification of transformers."""

from __future__ import annotations

import pytest
import torch

from hub.api import HeadKind
from hub.engine.peft.averaged import averaged
from hub.engine.peft.model import load_with_head
from hub.errors import UnsupportedAdapter
from hub.training.pooled import MEAN_FAMILIES
from tests.support import tiny

LABELS = 3
IDS = torch.tensor([[2, 30, 41, 52, 3], [2, 33, 3, 0, 0]])
MASK = torch.tensor([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0]])


def models(base):
    """The model of transformers, and one with the same weights that scores means."""
    plain = tiny.head_model(base, HeadKind.TOKEN, LABELS)
    model, _ = load_with_head(base, HeadKind.SEQUENCE_MEAN, LABELS)
    model.load_state_dict(plain.state_dict())
    return plain, model.eval()


@pytest.mark.parametrize("family", sorted(MEAN_FAMILIES))
def test_scores_are_the_means_over_the_tokens_of_what_transformers_gives_them(family, base_of) -> None:
    plain, model = models(base_of(family))
    with torch.inference_mode():
        of_tokens = plain(input_ids=IDS, attention_mask=MASK).logits
        scores = model(input_ids=IDS, attention_mask=MASK).logits
        alone = model(input_ids=IDS[1:, :3]).logits
    expected = torch.stack([of_tokens[0].mean(0), of_tokens[1, :3].mean(0)])
    torch.testing.assert_close(scores, expected, atol=1e-5, rtol=0)
    torch.testing.assert_close(alone, expected[1:], atol=1e-5, rtol=0)


def test_the_loss_is_that_of_whole_texts(bert) -> None:
    _, model = models(bert)
    labels, several = torch.tensor([2, 0]), torch.tensor([[1.0, 0, 1], [0, 0, 1]])
    model.config.problem_type = "single_label_classification"
    found = model(input_ids=IDS, attention_mask=MASK, labels=labels)
    torch.testing.assert_close(found.loss, torch.nn.functional.cross_entropy(found.logits, labels))
    model.config.problem_type = "multi_label_classification"
    found = model(input_ids=IDS, attention_mask=MASK, labels=several)
    expected = torch.nn.functional.binary_cross_entropy_with_logits(found.logits, several)
    torch.testing.assert_close(found.loss, expected)


def test_a_head_of_several_layers_is_refused(base_of) -> None:
    with pytest.raises(UnsupportedAdapter, match="head of modernbert is more than one linear layer"):
        load_with_head(base_of("modernbert"), HeadKind.SEQUENCE_MEAN, LABELS)


def test_the_class_keeps_the_name_that_a_saved_config_gives(bert) -> None:
    model = averaged(tiny.head_model(bert, HeadKind.TOKEN, LABELS))
    assert type(model).__name__ == "BertForTokenClassification"

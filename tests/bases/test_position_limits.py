# ruff: noqa: TID253 - runs models
"""Families that number positions after the padding index have room for fewer tokens than they state."""

from __future__ import annotations

import pytest
import torch
from transformers import AutoConfig, AutoModel

from hub.bases.inspect import inspect_folder

SMALL = {"hidden_size": 24, "num_hidden_layers": 1, "num_attention_heads": 4, "intermediate_size": 8}
FAMILIES = {
    "data2vec-text": {},
    "esm": {"position_embedding_type": "absolute"},
    "ibert": {},
    "longformer": {"attention_window": [4]},
    "luke": {"entity_vocab_size": 4, "entity_emb_size": 4},
    "markuplm": {},
    "mpnet": {},
    "roberta": {},
    "xmod": {"default_language": "en_XX"},
}


@pytest.mark.parametrize("family", FAMILIES)
def test_a_model_takes_as_many_tokens_as_the_limit_says_and_no_more(model_folder, family) -> None:
    settings = SMALL | {"vocab_size": 30, "pad_token_id": 1, "max_position_embeddings": 8}
    config = AutoConfig.for_model(family, **settings, **FAMILIES[family])
    model = AutoModel.from_config(config).eval()
    limit = inspect_folder(model_folder(**config.to_dict())).max_length
    ids = torch.arange(5, 5 + limit)[None]
    assert model(ids, attention_mask=torch.ones_like(ids)).last_hidden_state.shape[1] == limit
    ids = torch.arange(5, 5 + limit + 1)[None]
    with pytest.raises((IndexError, RuntimeError)):
        model(ids, attention_mask=torch.ones_like(ids))

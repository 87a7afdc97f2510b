from __future__ import annotations

import json

import numpy as np
import pytest
from safetensors.numpy import save_file

from hub.bases.base import BaseKind
from hub.bases.inspect import Facts, check_model_folder, inspect_folder, refuse_pickles, weight_shapes
from hub.errors import BadBase, UnsafeWeights


@pytest.mark.parametrize(
    ("config", "kind"),
    [
        ({"model_type": "bert", "architectures": ["BertForMaskedLM"]}, BaseKind.ENCODER),
        ({"model_type": "deberta-v2", "architectures": None}, BaseKind.ENCODER),
        ({"model_type": "bert", "architectures": ["BertLMHeadModel"], "is_decoder": True}, BaseKind.DECODER),
        ({"model_type": "llama", "architectures": ["LlamaForSequenceClassification"]}, BaseKind.DECODER),
        ({"model_type": "newthing", "architectures": ["NewThingForCausalLM"]}, BaseKind.DECODER),
        ({"model_type": "t5", "architectures": ["T5Model"]}, BaseKind.ENCODER_DECODER),
        ({"model_type": "newthing", "is_encoder_decoder": True}, BaseKind.ENCODER_DECODER),
        ({"model_type": "roberta", "architectures": ["RobertaForMaskedLM"]}, BaseKind.ENCODER),
        ({"model_type": "xlm-roberta", "architectures": ["XLMRobertaForMaskedLM"]}, BaseKind.ENCODER),
        ({"model_type": "distilbert", "architectures": ["DistilBertForMaskedLM"]}, BaseKind.ENCODER),
        ({"model_type": "electra", "architectures": ["ElectraForPreTraining"]}, BaseKind.ENCODER),
        ({"model_type": "modernbert", "architectures": ["ModernBertForMaskedLM"]}, BaseKind.ENCODER),
        ({"model_type": "qwen2", "architectures": ["Qwen2Model"]}, BaseKind.DECODER),
        ({"model_type": "t5", "is_encoder_decoder": True, "is_decoder": False}, BaseKind.ENCODER_DECODER),
        (
            {"model_type": "bart", "architectures": ["BartForSequenceClassification"]},
            BaseKind.ENCODER_DECODER,
        ),
        ({"model_type": "marian", "architectures": ["MarianMTModel"]}, BaseKind.ENCODER_DECODER),
        (
            {"model_type": "bart", "architectures": ["BartForCausalLM"], "is_encoder_decoder": False},
            BaseKind.DECODER,
        ),
    ],
)
def test_the_kind_is_told_from_the_config(model_folder, config, kind: BaseKind) -> None:
    assert inspect_folder(model_folder(**config)).kind is kind


@pytest.mark.parametrize(
    ("config", "tokenizer", "length"),
    [
        ({"max_position_embeddings": 512}, {"model_max_length": 512}, 512),
        ({"max_position_embeddings": 512}, {"model_max_length": 128}, 128),
        ({"max_position_embeddings": 512}, {"model_max_length": 10**30}, 512),
        ({"model_type": "roberta", "max_position_embeddings": 514, "pad_token_id": 1}, {}, 512),
        ({"model_type": "roberta", "max_position_embeddings": 513, "pad_token_id": 0}, {}, 512),
        ({"model_type": "xlm-roberta", "max_position_embeddings": 514}, {}, 512),
        ({"model_type": "mpnet", "max_position_embeddings": 514}, {}, 512),
        ({"model_type": "longformer", "max_position_embeddings": 4098, "pad_token_id": 1}, {}, 4096),
        ({"max_position_embeddings": None, "n_positions": 1024}, {}, 1024),
        ({"max_position_embeddings": None}, {}, 512),
    ],
)
def test_the_token_limit_is_the_smaller_of_model_and_tokenizer(
    model_folder, config, tokenizer, length
) -> None:
    folder = model_folder(**config)
    (folder / "tokenizer_config.json").write_text(json.dumps(tokenizer))
    assert inspect_folder(folder).max_length == length


def test_a_config_without_a_model_type_is_refused(model_folder) -> None:
    with pytest.raises(BadBase, match="model_type"):
        inspect_folder(model_folder(model_type=None))


@pytest.mark.parametrize("missing", ["config.json", "tokenizer.json", "model.safetensors"])
def test_a_folder_that_lacks_a_part_is_refused(model_folder, missing: str) -> None:
    folder = model_folder()
    (folder / missing).unlink()
    with pytest.raises(BadBase, match=missing):
        check_model_folder(folder)


def test_a_folder_with_pickled_weights_alone_is_unsafe(model_folder) -> None:
    folder = model_folder()
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(UnsafeWeights, match=r"pytorch_model\.bin"):
        check_model_folder(folder)


def test_pickles_beside_safetensors_are_left_alone() -> None:
    refuse_pickles({"model.safetensors", "pytorch_model.bin"}, "here")


def test_weights_in_several_files_are_one_model(model_folder) -> None:
    folder = model_folder()
    (folder / "model.safetensors").unlink()
    shards = {"a.weight": "model-00001-of-00002.safetensors", "b.weight": "model-00002-of-00002.safetensors"}
    for name, file in shards.items():
        save_file({name: np.ones((2, 5), np.float32)}, folder / file)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": shards}))
    check_model_folder(folder)
    assert weight_shapes(folder) == {"a.weight": (2, 5), "b.weight": (2, 5)}
    (folder / "model-00002-of-00002.safetensors").unlink()
    with pytest.raises(BadBase, match="model-00002"):
        check_model_folder(folder)


def test_an_index_that_names_no_file_is_refused(model_folder) -> None:
    folder = model_folder()
    (folder / "model.safetensors").unlink()
    (folder / "model.safetensors.index.json").write_text("{}")
    with pytest.raises(BadBase, match="names no weight file"):
        check_model_folder(folder)


@pytest.mark.parametrize("name", ["/elsewhere/model-00001-of-00001.safetensors", "../w.safetensors", "w.bin"])
def test_an_index_that_names_weights_elsewhere_is_refused(model_folder, name: str) -> None:
    """transformers would read them there, and they are no part of the fingerprint."""
    folder = model_folder()
    (folder / "model.safetensors").unlink()
    for beside in ("model-00001-of-00001.safetensors", "w.safetensors", "w.bin"):
        save_file({"a": np.zeros(2, np.float32)}, folder / beside)
    index = {"weight_map": {"a": "model-00001-of-00001.safetensors", "b": name}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(BadBase, match="not a file of weights beside it"):
        check_model_folder(folder)


@pytest.mark.parametrize("odd", [True, "x", [1], {"a": 1}, 0.5])
@pytest.mark.parametrize("key", ["architectures", "pad_token_id", "max_position_embeddings"])
def test_a_value_of_another_type_in_a_config_is_as_if_left_out(model_folder, key: str, odd: object) -> None:
    config = {"model_type": "roberta", "max_position_embeddings": 514, "pad_token_id": 1}
    facts = inspect_folder(model_folder(**config | {key: odd}))
    assert facts.kind is BaseKind.ENCODER
    assert (type(facts.max_length), facts.max_length) == (int, 512)


def test_minilm_is_told_from_its_own_files(minilm) -> None:
    found = inspect_folder(minilm.path)
    assert (found.kind, found.model_type, found.max_length) == (BaseKind.ENCODER, "bert", 512)
    assert found.pooling is minilm.pooling


@pytest.mark.slow
def test_smollm2_is_told_from_its_own_files(smollm2) -> None:
    assert inspect_folder(smollm2.path) == Facts(BaseKind.DECODER, "llama", 8192)

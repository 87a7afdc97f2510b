# ruff: noqa: TID253 - loads what was exported with transformers
"""The merged folder: transformers alone loads it and computes what the adapter on its base does."""

from __future__ import annotations

import json

import pytest
import torch
import transformers

from hub.api import HeadKind
from hub.bases.cache import Bases
from hub.errors import ExportFailed
from hub.export import parity
from hub.export.export import export_version
from hub.export.formats import Format
from hub.store.importing import import_peft
from hub.store.store import Store
from tests.export.conftest import heads_of
from tests.support.tiny import tiny_adapter, tiny_decoder

ENCODERS = ("bert", "roberta", "xlm-roberta", "distilbert", "electra", "deberta-v2", "modernbert")
DECODERS = ("llama", "qwen2")
ENCODER_DECODERS = ("t5", "bart", "marian")
CASES = [
    *heads_of(ENCODERS),
    ("roberta", HeadKind.SEQUENCE_MEAN),
    *((model_type, kind) for model_type in DECODERS for kind in (HeadKind.SEQUENCE, HeadKind.GENERATE)),
    *((model_type, HeadKind.GENERATE) for model_type in ENCODER_DECODERS),
    ("bart", HeadKind.SEQUENCE),
    ("t5", HeadKind.SEQUENCE),
]


def merged(made, folder):
    return export_version(made.store, "made", folder, Format.MERGED)


@pytest.mark.parametrize(("model_type", "kind"), CASES)
def test_every_family_and_head_computes_what_peft_does(made, tmp_path, model_type, kind) -> None:
    exported = merged(made(kind, model_type), tmp_path / "out")
    assert exported.parity.total.max_difference <= 1e-4
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out"]
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert {
        "config.json",
        "model.safetensors",
        "tokenizer.json",
        "task.json",
        "parity.json",
        "README.md",
    } <= names
    assert not any("adapter" in name for name in names)


def test_a_pipeline_of_transformers_names_the_labels(made, tmp_path) -> None:
    merged(made(HeadKind.SEQUENCE), tmp_path / "out")
    pipe = transformers.pipeline("text-classification", str(tmp_path / "out"), top_k=None)
    assert {each["label"] for each in pipe(["a fine film"])[0]} == {"billing", "bug", "how to"}
    config = json.loads((tmp_path / "out" / "config.json").read_text())
    assert config["label2id"] == {"billing": 0, "bug": 1, "how to": 2}
    assert config["problem_type"] == "single_label_classification"


def test_a_decoder_s_config_names_the_padding_of_its_tokenizer(tmp_path) -> None:
    """A base may name another one, and the head would read the padding of the shorter text."""
    base = tiny_decoder(tmp_path / "tiny")
    config = json.loads((base.path / "config.json").read_text())
    (base.path / "config.json").write_text(json.dumps(config | {"pad_token_id": 250}))
    store = Store(tmp_path / "home")
    pulled = Bases(store.home).pull(str(base.path))
    adapter = tiny_adapter(pulled, tmp_path / "adapter", kind=HeadKind.SEQUENCE, labels=("a", "b"))
    import_peft(store, adapter, "made", task="classification", head=None, base=pulled, labels=("a", "b"))
    export_version(store, "made", tmp_path / "out", Format.MERGED)
    model = transformers.AutoModelForSequenceClassification.from_pretrained(tmp_path / "out").eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path / "out")
    with torch.inference_mode():
        short, _ = model(**tokenizer(["no", "a longer text"], padding=True, return_tensors="pt")).logits
        [alone] = model(**tokenizer(["no"], return_tensors="pt")).logits
    torch.testing.assert_close(short, alone, atol=1e-5, rtol=0)


@pytest.mark.parametrize("normalize", [True, False])
def test_a_folder_of_vectors_says_how_to_pool_as_sentence_transformers_reads_it(
    made, tmp_path, normalize
) -> None:
    settings = {"pooling": "cls", "normalize": normalize, "query_prompt": "query: "}
    merged(made(HeadKind.EMBEDDING, settings=settings), tmp_path / "out")
    read = {path.name: json.loads(path.read_text()) for path in (tmp_path / "out").glob("*.json")}
    kinds = [module["type"].rpartition(".")[2] for module in read["modules.json"]]
    assert kinds == ["Transformer", "Pooling", "Normalize"][: 2 + normalize]
    assert all((tmp_path / "out" / module["path"]).is_dir() for module in read["modules.json"])
    pooling = json.loads((tmp_path / "out" / "1_Pooling" / "config.json").read_text())
    assert {name for name, value in pooling.items() if value is True} == {"pooling_mode_cls_token"}
    assert pooling["word_embedding_dimension"] == 32
    assert read["config_sentence_transformers.json"]["prompts"] == {"query": "query: ", "document": ""}
    assert read["sentence_bert_config.json"] == {"max_seq_length": 48}


def test_the_config_says_when_several_labels_may_be_right(made, tmp_path) -> None:
    merged(made(HeadKind.SEQUENCE, settings={"multi_label": True}), tmp_path / "out")
    config = json.loads((tmp_path / "out" / "config.json").read_text())
    assert config["problem_type"] == "multi_label_classification"


@pytest.mark.parametrize(
    ("kind", "model_type", "result"),
    [
        ("sequence", "bert", "outputs"),
        ("sequence-mean", "bert", "scores"),
        ("span", "bert", "outputs"),
        ("embedding", "bert", "outputs"),
        ("generate", "llama", "tokens"),
        ("generate", "t5", "tokens"),
    ],
)
def test_the_readme_runs(made, tmp_path, monkeypatch, kind, model_type, result) -> None:
    merged(made(HeadKind(kind), model_type), tmp_path / "out")
    monkeypatch.chdir(tmp_path / "out")
    code = (tmp_path / "out" / "README.md").read_text().partition("```python\n")[2].partition("```")[0]
    left: dict = {}
    exec(code, left)
    found = left[result]
    assert (found if isinstance(found, torch.Tensor) else found[0]).numel() > 0


@pytest.mark.slow
def test_a_real_decoder_is_merged(smollm2, tmp_path) -> None:
    store = Store(tmp_path / "home")
    (tmp_path / "home" / "bases").mkdir(parents=True)
    (tmp_path / "home" / "bases" / smollm2.name).symlink_to(smollm2.path, target_is_directory=True)
    adapter = tiny_adapter(smollm2, tmp_path / "adapter", kind=HeadKind.GENERATE, labels=(), spread=0.02)
    import_peft(store, adapter, "made", task="translation", head=None, base=smollm2)
    exported = export_version(store, "made", tmp_path / "out", Format.MERGED)
    assert exported.parity.total.max_difference <= exported.parity.gate["max_difference"]
    assert exported.parity.total.agreement == 1.0


def test_a_model_that_fails_its_gate_leaves_nothing(made, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(parity, "TOLERANCE", 0.0)
    with pytest.raises(ExportFailed, match="nothing was written"):
        merged(made(HeadKind.SEQUENCE, "roberta"), tmp_path / "out")
    assert list(tmp_path.iterdir()) == []

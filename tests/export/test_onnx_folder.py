# ruff: noqa: TID253 - loads what was exported with onnxruntime
"""The ONNX folder: onnxruntime alone computes what the adapter on its base does."""

from __future__ import annotations

import ast
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from safetensors.numpy import load_file, save_file

from hub.api import HeadKind, Pooling, Row, truncate
from hub.bases.base import Base
from hub.bases.cache import Bases
from hub.engine.batch import pad_rows
from hub.errors import BadAdapter, BadRequest, BaseMismatch, Conflict, ExportFailed, UnsupportedFormat
from hub.evaluation.evaluator import Evaluator
from hub.evaluation.predict import forward_rows
from hub.export import parity
from hub.export.export import export_version
from hub.export.formats import Format, Precision
from hub.registry.host import Registry
from hub.store.importing import import_version
from hub.store.records import Version
from hub.store.store import Store
from tests.export.conftest import heads_of
from tests.support.tiny import head_model, peft_model

ENCODERS = ("bert", "roberta", "xlm-roberta", "distilbert", "electra", "deberta-v2", "modernbert")
TYPED = ("bert", "electra")
ADAPTERS = Path(__file__).parents[2] / "adapters"


def onnx(made, folder: Path, precision: Precision = Precision.FP32):
    return export_version(made.store, "made", folder, Format.ONNX, precision=precision)


def run_readme(folder: Path, names: str) -> dict:
    """Run the README's code in a fresh process there; return the variables that it leaves."""
    show = f"print(json.dumps({{name: globals()[name].tolist() for name in {names.split()!r}}}))"
    clean = "assert {'torch', 'transformers', 'hub'}.isdisjoint(sys.modules)"
    command = [sys.executable, "-c", f"{readme_code(folder)}\nimport json, sys\n{clean}\n{show}"]
    done = subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True)
    return {name: np.array(value) for name, value in json.loads(done.stdout).items()}


def readme_code(folder: Path) -> str:
    return re.search(r"```python\n(.*?)```", (folder / "README.md").read_text(), re.DOTALL)[1]


@pytest.mark.parametrize(("model_type", "kind"), [*heads_of(ENCODERS), ("bert", HeadKind.SEQUENCE_MEAN)])
def test_every_family_and_head_computes_what_peft_does(made, tmp_path, model_type, kind) -> None:
    one = made(kind, model_type)
    exported = onnx(one, tmp_path / "out")
    assert exported.parity.total.max_difference <= 1e-4
    assert {(each.rows, each.tokens) for each in exported.parity.batches} >= {(1, 48), (3, 48)}
    session = onnxruntime.InferenceSession(tmp_path / "out" / "model.onnx")
    names = ["input_ids", "attention_mask", *(["token_type_ids"] if model_type in TYPED else [])]
    assert [meta.name for meta in session.get_inputs()] == names
    assert all(meta.shape == ["batch", "tokens"] for meta in session.get_inputs())
    outputs = {"span": ["start_logits", "end_logits"], "embedding": ["embedding"]}.get(kind, ["logits"])
    assert [meta.name for meta in session.get_outputs()] == outputs
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out"]


def test_the_graph_is_not_the_bare_base(made, tmp_path) -> None:
    one = made(HeadKind.SEQUENCE)
    onnx(one, tmp_path / "out")
    session = onnxruntime.InferenceSession(tmp_path / "out" / "model.onnx")
    ids = np.array([[2, 30, 41, 52, 3]])
    feed = {
        meta.name: ids if meta.name == "input_ids" else np.ones_like(ids) for meta in session.get_inputs()
    }
    feed["token_type_ids"] = np.zeros_like(ids)
    row = Row(ids[0].tolist())
    for model, equal in (
        (peft_model(one.base, one.adapter, HeadKind.SEQUENCE, 3), True),
        (head_model(one.base, HeadKind.SEQUENCE, 3), False),
    ):
        (output,) = forward_rows(model, _tokenizer(one.base), HeadKind.SEQUENCE, [row])
        assert np.allclose(session.run(None, feed)[0][0], output.values, atol=1e-4) is equal


@pytest.mark.parametrize(
    "settings",
    [
        {"use_dora": True},
        {"method": "ia3", "targets": ["key", "value", "output.dense"]},
        {"use_rslora": True},
    ],
)
def test_what_peft_can_merge_is_exported_whether_or_not_a_slot_could_hold_it(
    made, tmp_path, settings
) -> None:
    assert onnx(made(HeadKind.SEQUENCE, **settings), tmp_path / "out").parity.total.max_difference <= 1e-4


def test_the_readme_answers_what_the_hub_does(made, tmp_path) -> None:
    one = made(HeadKind.SEQUENCE, settings={"temperature": 2.0})
    onnx(one, tmp_path / "out")
    statements = ast.parse(readme_code(tmp_path / "out")).body
    assert len([each for each in statements if not isinstance(each, ast.Import)]) == 3
    logits = run_readme(tmp_path / "out", "logits")["logits"]
    task = json.loads((tmp_path / "out" / "task.json").read_text())
    loaded = Registry.load().task("classification")
    examples = [{"text": "A text.", "label": "bug"}, {"text": "And another one.", "label": "bug"}]
    evaluator = Evaluator(loaded, _tokenizer(one.base), one.version.info, examples)
    asked = evaluator.run(peft_model(one.base, one.adapter, HeadKind.SEQUENCE, 3)).predictions
    scaled = np.exp(logits / task["settings"]["temperature"])
    for scores, answer in zip(scaled / scaled.sum(1, keepdims=True), asked, strict=True):
        assert task["labels"][scores.argmax()] == answer.label
        assert scores.max() == pytest.approx(answer.score, abs=1e-5)


def test_the_readme_of_a_span_adapter_scores_the_tokens_that_the_hub_would(made, tmp_path) -> None:
    one = made(HeadKind.SPAN)
    onnx(one, tmp_path / "out")
    found = run_readme(tmp_path / "out", "start_logits end_logits")
    loaded, tokenizer = Registry.load().task("qa"), _tokenizer(one.base)
    request = loaded.request(question="A question?", context="Its context.")
    rows = loaded.task.encode(request, tokenizer, one.version.info)
    model = peft_model(one.base, one.adapter, HeadKind.SPAN).base_model
    (output,) = forward_rows(model, tokenizer, HeadKind.SPAN, rows)
    assert np.stack((found["start_logits"][0], found["end_logits"][0]), -1) == pytest.approx(
        output.values, abs=1e-4
    )


def test_the_readme_of_an_embedding_adapter_gives_one_vector_per_text(made, tmp_path) -> None:
    onnx(made(HeadKind.EMBEDDING), tmp_path / "out")
    assert run_readme(tmp_path / "out", "embedding")["embedding"].shape == (2, 32)


@pytest.mark.parametrize("pooling", ["cls", "last"])
def test_the_graph_pools_as_the_version_does(made, tmp_path, pooling) -> None:
    one = made(HeadKind.EMBEDDING, settings={"pooling": pooling})
    assert onnx(one, tmp_path / "out").parity.total.max_difference <= 1e-4
    session = onnxruntime.InferenceSession(tmp_path / "out" / "model.onnx")
    rows = [
        Row([2, 30, 41, 3], pooling=Pooling(pooling)),
        Row([2, 30, 41, 52, 60, 3], pooling=Pooling(pooling)),
    ]
    feed = pad_rows(rows, 0)
    names = [meta.name for meta in session.get_inputs()]
    feed = {name: feed.get(name, np.zeros_like(feed["input_ids"])) for name in names}
    model = peft_model(one.base, one.adapter, HeadKind.EMBEDDING)
    outputs = forward_rows(model, _tokenizer(one.base), HeadKind.EMBEDDING, rows)
    expected = np.stack([output.values for output in outputs])
    assert np.allclose(session.run(None, feed)[0], expected, atol=1e-4)
    state = {"cls": "first", "last": "last"}[pooling]
    assert f"the state of its {state} token" in (tmp_path / "out" / "README.md").read_text()


def test_task_json_has_all_that_decoding_needs(made, tmp_path) -> None:
    one = made(HeadKind.SEQUENCE, settings={"multi_label": True, "threshold": 0.4})
    onnx(one, tmp_path / "out")
    task = json.loads((tmp_path / "out" / "task.json").read_text())
    assert task["labels"] == ["billing", "bug", "how to"]
    assert task["settings"] == {"multi_label": True, "threshold": 0.4}
    assert (task["head"], task["max_length"], task["task"]) == ("sequence", 48, "classification")
    assert task["sha256"] == one.version.sha256
    assert task["base"]["fingerprint"] == one.base.fingerprint
    assert (task["inputs"][0], task["outputs"]) == ("input_ids", ["logits"])


def test_the_tokenizer_file_pads_and_cuts_by_itself(made, tmp_path) -> None:
    from tokenizers import Tokenizer
    from transformers import AutoTokenizer

    one = made(HeadKind.SEQUENCE)
    onnx(one, tmp_path / "out")
    tokenizer = Tokenizer.from_file(str(tmp_path / "out" / "tokenizer.json"))
    short, long = tokenizer.encode_batch(["film", "film " * 100])
    assert (len(short.ids), len(long.ids)) == (48, 48)
    assert sum(short.attention_mask) == 3
    whole = AutoTokenizer.from_pretrained(one.base.path)("film " * 40, "good book " * 30, verbose=False)
    assert tokenizer.encode("film " * 40, "good book " * 30).ids == truncate(whole, 48)["input_ids"]


def test_int8_is_smaller_and_near(made, tmp_path) -> None:
    one = made(HeadKind.SEQUENCE)
    exact = onnx(one, tmp_path / "fp32").folder / "model.onnx"
    exported = onnx(one, tmp_path / "int8", Precision.INT8)
    assert exported.parity.total.cosine >= 0.99
    assert exported.parity.total.max_difference > 1e-4
    assert (exported.folder / "model.onnx").stat().st_size < exact.stat().st_size
    report = json.loads((exported.folder / "parity.json").read_text())
    assert (report["precision"], set(report["gate"])) == ("int8", {"cosine", "clear_agreement"})
    names = sorted(path.name for path in exported.folder.iterdir())
    assert [name for name in names if "onnx" in name] == ["model.onnx"]


@pytest.mark.parametrize(
    ("precision", "gate"), [(Precision.FP32, "TOLERANCE"), (Precision.INT8, "MIN_INT8_COSINE")]
)
def test_a_model_that_fails_its_gate_leaves_nothing(made, tmp_path, monkeypatch, precision, gate) -> None:
    monkeypatch.setattr(parity, gate, 0.0 if precision is Precision.FP32 else 1.1)
    with pytest.raises(ExportFailed, match="nothing was written"):
        onnx(made(HeadKind.SEQUENCE), tmp_path / "out", precision)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_in_use_is_refused_before_anything_is_loaded(made, tmp_path) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(Conflict, match="not empty"):
        onnx(made(HeadKind.SEQUENCE), tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize(
    ("model_type", "kind"), [("llama", "generate"), ("llama", "sequence"), ("t5", "generate")]
)
def test_other_models_than_encoders_are_refused_with_what_to_use(made, tmp_path, model_type, kind) -> None:
    with pytest.raises(UnsupportedFormat, match="Use --format safetensors-merged") as caught:
        onnx(made(HeadKind(kind), model_type), tmp_path / "out")
    assert caught.value.code == "unsupported_format"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("form", [Format.MERGED, Format.PEFT])
def test_int8_of_another_format_is_refused(made, tmp_path, form) -> None:
    one = made(HeadKind.SEQUENCE)
    with pytest.raises(BadRequest, match="--int8 is for --format onnx"):
        export_version(one.store, "made", tmp_path / "out", form, precision=Precision.INT8)


def test_a_base_that_is_not_here_is_named_with_the_command_that_brings_it(made, tmp_path) -> None:
    one, store = made(HeadKind.SEQUENCE), Store(tmp_path / "home")
    store.add("made", one.adapter, one.version.manifest.serving, origin="imported")
    with pytest.raises(BaseMismatch, match="hub base pull"):
        export_version(store, "made", tmp_path / "out", Format.ONNX)


def test_files_altered_in_the_store_are_not_exported(made, tmp_path) -> None:
    one, store = made(HeadKind.SEQUENCE), Store(tmp_path / "home")
    Bases(store.home).pull(one.base.source)
    version = store.add("made", one.adapter, one.version.manifest.serving, origin="imported")
    (version.path / "adapter_config.json").write_text('{"peft_type": "LORA"}')
    with pytest.raises(BadAdapter, match="altered after"):
        export_version(store, "made", tmp_path / "out", Format.ONNX)


def test_an_adapter_that_lacks_tensors_is_refused(made, tmp_path) -> None:
    one, store = made(HeadKind.SEQUENCE), Store(tmp_path / "home")
    Bases(store.home).pull(one.base.source)
    shutil.copytree(one.adapter, tmp_path / "cut")
    tensors = load_file(tmp_path / "cut" / "adapter_model.safetensors")
    lost = next(name for name in tensors if "lora_A" in name)
    kept = {name: tensor for name, tensor in tensors.items() if name != lost}
    save_file(kept, tmp_path / "cut" / "adapter_model.safetensors")
    store.add("made", tmp_path / "cut", one.version.manifest.serving, origin="imported")
    with pytest.raises(BadAdapter, match="does not fit its base: Found missing adapter keys"):
        export_version(store, "made", tmp_path / "out", Format.ONNX)


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")
def test_a_prompt_is_no_weight_and_cannot_be_merged(made, tmp_path) -> None:
    from peft import PromptTuningConfig, get_peft_model

    one, store = made(HeadKind.SEQUENCE), Store(tmp_path / "home")
    Bases(store.home).pull(one.base.source)
    config = PromptTuningConfig(task_type="SEQ_CLS", num_virtual_tokens=2)
    get_peft_model(head_model(one.base, HeadKind.SEQUENCE, 3), config).save_pretrained(tmp_path / "prompt")
    store.add("made", tmp_path / "prompt", one.version.manifest.serving, origin="imported")
    with pytest.raises(UnsupportedFormat, match="A PROMPT_TUNING adapter cannot be merged"):
        export_version(store, "made", tmp_path / "out", Format.ONNX)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "precision"),
    [
        ("text-domain", Precision.FP32),
        ("movie-sentiment", Precision.INT8),  # the strictest gate: two labels
        ("reading-qa", Precision.INT8),
    ],
)
def test_shipped_adapters_pass_their_gates_on_real_weights(tmp_path, minilm, name, precision) -> None:
    store = _shipped(tmp_path, minilm, name)[0]
    exported = export_version(store, name, tmp_path / "out", Format.ONNX, precision=precision)
    if precision is Precision.FP32:
        assert exported.parity.total.max_difference <= 1e-4
    else:
        assert exported.parity.total.cosine >= 0.99
        assert (exported.folder / "model.onnx").stat().st_size < 70e6  # embeddings stay fp32


def _shipped(tmp_path: Path, base: Base, name: str) -> tuple[Store, Version]:
    (tmp_path / "home" / "bases").mkdir(parents=True)
    (tmp_path / "home" / "bases" / base.name).symlink_to(base.path, target_is_directory=True)
    store = Store(tmp_path / "home")
    return store, import_version(store, ADAPTERS / name, name)


def _tokenizer(base: Base):
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(base.path)

"""An exported folder as PEFT, and a model hub, see it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from hub.api import HeadKind, ImageInput
from hub.bases.base import Base
from hub.bases.cache import Bases
from hub.errors import BadAdapter
from hub.store.card.card import card
from hub.store.content.weights import read_adapter
from hub.store.importing import import_peft, import_version
from hub.store.manifest import BaseRef, DataRef, Serving
from hub.store.store import Store

TASKS = {HeadKind.SEQUENCE: "classification", HeadKind.SPAN: "qa", HeadKind.GENERATE: "translation"}


@pytest.fixture
def tiny_base(request: pytest.FixtureRequest, home: Path, tmp_path: Path) -> Base:
    from tests.support.tiny import tiny_decoder, tiny_encoder

    make = tiny_decoder if request.node.callspec.params["kind"] is HeadKind.GENERATE else tiny_encoder
    return Bases(home).pull(str(make(tmp_path / "tiny").path))


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")
@pytest.mark.parametrize("kind", list(TASKS))
def test_an_exported_adapter_computes_in_peft_what_it_did_before(
    store: Store, tiny_base: Base, tmp_path: Path, kind: HeadKind
) -> None:
    import torch
    from peft import PeftModel

    from tests.support.tiny import head_model, tiny_adapter

    labels = ("billing", "bug", "howto") if kind is HeadKind.SEQUENCE else ()
    made = tiny_adapter(tiny_base, tmp_path / "made", kind=kind, labels=labels)
    import_peft(store, made, "x", task=TASKS[kind], head=None, base=tiny_base, labels=labels)
    exported = store.export("x", tmp_path / "out")

    def logits(folder: Path) -> torch.Tensor:
        model = PeftModel.from_pretrained(head_model(tiny_base, kind, len(labels)), folder).eval()
        with torch.no_grad():
            answer = model(input_ids=torch.tensor([[2, 30, 41, 52, 3]]))
        return answer.start_logits if kind is HeadKind.SPAN else answer.logits

    assert torch.equal(logits(exported), logits(made))
    with torch.no_grad():
        bare = head_model(tiny_base, kind, len(labels))(input_ids=torch.tensor([[2, 30, 41, 52, 3]]))
    assert not torch.allclose(bare[0], logits(exported))


@pytest.fixture
def carded(store: Store, peft_folder):
    base = BaseRef(name="minilm", source="minilm", fingerprint="f" * 64)
    serving = Serving(
        task="classification",
        head=HeadKind.SEQUENCE,
        base=base,
        labels=("yes: or", "no # not"),
        max_length=64,
    )
    return store.add(
        "tickets",
        peft_folder(labels=2),
        serving,
        origin="trained",
        metrics={"accuracy": 0.91234, "macro_f1": 0.9},
        metric="accuracy",
        data=DataRef(
            source="rows: [1].csv",
            sha256="d" * 64,
            train_rows=1200,
            eval_rows=300,
            invalid_rows=4,
            licence="CC0-1.0",
        ),
        recipe={"summary": "Sorts tickets."},
        libraries={"torch": "2.13.0", "peft": "0.21.2"},
    )


def front_and_body(text: str) -> tuple[dict, str]:
    _, front, body = text.split("---\n", 2)
    return yaml.safe_load(front), body


def test_the_front_matter_is_what_a_model_hub_reads(carded) -> None:
    from huggingface_hub import ModelCard

    text = card(carded)
    front, _ = front_and_body(text)
    assert (front["library_name"], front["pipeline_tag"]) == ("peft", "text-classification")
    assert front["base_model"] == "sentence-transformers/all-MiniLM-L6-v2"
    data = ModelCard(text).data
    assert {
        (result.dataset_name, result.metric_type, result.metric_value) for result in data.eval_results
    } == {
        ("rows: [1].csv", "accuracy", 0.91234),
        ("rows: [1].csv", "macro_f1", 0.9),
    }


def test_the_card_says_labels_figures_data_licence_and_how_to_load(carded) -> None:
    _, body = front_and_body(card(carded))
    for part in (
        "# tickets\n\nSorts tickets.\n",
        "`yes: or`, `no # not`",
        "| accuracy | 0.9123 |",
        "1,200 rows of `rows: [1].csv`",
        "Licence of the data: CC0-1.0",
        "4 rows could not be used",
        "hub base pull minilm",
        "num_labels=2",
        "PeftModel.from_pretrained",
        "peft 0.21.2, torch 2.13.0",
    ):
        assert part in body


def test_the_card_of_images_tells_of_images(carded) -> None:
    image = ImageInput(height=224, width=224, tokens=257, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))
    manifest = carded.manifest
    serving = manifest.serving.model_copy(update={"image": image})
    text = card(replace(carded, manifest=manifest.model_copy(update={"serving": serving})))
    assert "pipeline_tag: image-classification" in text
    assert "AutoModelForImageClassification.from_pretrained(" in text
    assert "Images like those of the rows" in text
    assert "SequenceClassification" not in text and "text-classification" not in text


def test_a_card_without_figures_or_data_says_so(stocked: Store) -> None:
    front, body = front_and_body(card(stocked.get("x@1")))
    assert "model-index" not in front
    assert "None were recorded." in body
    assert "## Data" not in body


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda text: text.replace('"schema_version": 1', '"schema_version": 99'), "newer GraftHub"),
        (lambda text: text.replace('"metrics": {', '"metrics": {"f1": NaN'), "NaN"),
        (lambda text: text.replace('"max_length": 128', f'"max_length": {"9" * 400}'), "400 digits"),
        (lambda text: text.replace('"max_length": 128', '"max_length": 128, "max_length": 64'), "twice"),
        (lambda text: text.replace('"settings": {}', f'"settings": {"[" * 1000}{"]" * 1000}'), "nested"),
    ],
)
def test_a_manifest_of_others_is_read_within_bounds(
    store, peft_folder, serving, small_base, tmp_path, change, said
) -> None:
    base = small_base()
    mine = serving.model_copy(
        update={"base": serving.base.model_copy(update={"fingerprint": base.fingerprint})}
    )
    store.add("x", peft_folder(), mine, origin="trained")
    folder = store.export("x@1", tmp_path / "out")
    path = folder / "manifest.json"
    changed = change(path.read_text())
    assert changed != path.read_text()
    path.write_text(changed)
    with pytest.raises(BadAdapter, match=said):
        import_version(store, folder, "y")


def test_a_config_of_others_is_read_within_bounds(peft_folder) -> None:
    folder = peft_folder()
    (folder / "adapter_config.json").write_text('{"peft_type": "LORA", "r": ' + "9" * 400 + "}")
    with pytest.raises(BadAdapter, match="400 digits"):
        read_adapter(folder)

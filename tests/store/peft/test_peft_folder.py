from __future__ import annotations

import json

import numpy as np
import pytest

from hub.api import HeadKind
from hub.errors import BadAdapter
from hub.store.content.weights import AdapterFiles, read_adapter
from hub.store.peft.peft_folder import head_config, head_of, head_rows, labels_of


@pytest.mark.parametrize(
    ("kind", "labels", "rows"),
    [
        (HeadKind.SEQUENCE, ("a", "b", "c"), 3),
        (HeadKind.TOKEN, ("O", "B"), 2),
        (HeadKind.SPAN, (), 2),
        (HeadKind.EMBEDDING, (), 0),
    ],
)
def test_what_plain_peft_saves_tells_its_head(tmp_path, kind: HeadKind, labels, rows: int) -> None:
    from tests.support.tiny import tiny_adapter, tiny_encoder

    base = tiny_encoder(tmp_path / "base")
    files = read_adapter(tiny_adapter(base, tmp_path / "adapter", kind=kind, labels=labels))
    assert (head_of(files), head_rows(files)) == (kind, rows)
    assert labels_of(files, kind, labels) == labels


@pytest.mark.parametrize("model_type", ["bart", "t5"])
def test_the_head_of_an_encoder_decoder_that_classifies_is_found(tmp_path, model_type: str) -> None:
    from tests.support.tiny import tiny_adapter, tiny_encoder_decoder

    base, labels = tiny_encoder_decoder(tmp_path / "base", model_type), ("a", "b", "c")
    files = read_adapter(tiny_adapter(base, tmp_path / "adapter", kind=HeadKind.SEQUENCE, labels=labels))
    assert head_rows(files) == 3
    assert labels_of(files, HeadKind.SEQUENCE, labels) == labels


def test_a_causal_adapter_generates(tmp_path) -> None:
    from tests.support.tiny import tiny_adapter, tiny_decoder

    base = tiny_decoder(tmp_path / "base")
    files = read_adapter(tiny_adapter(base, tmp_path / "adapter", kind=HeadKind.GENERATE, labels=()))
    assert (head_of(files), head_rows(files), labels_of(files, HeadKind.GENERATE, ())) == (
        HeadKind.GENERATE,
        0,
        (),
    )


def test_of_a_two_layer_head_the_last_counts() -> None:
    head = {
        "base_model.model.classifier.dense.weight": np.ones((32, 32), np.float32),
        "base_model.model.classifier.out_proj.weight": np.ones((4, 32), np.float32),
    }
    assert head_rows(AdapterFiles({}, head)) == 4


def test_a_classifier_without_a_head_is_refused() -> None:
    with pytest.raises(BadAdapter, match="has no classification head"):
        labels_of(AdapterFiles({}, {}), HeadKind.SEQUENCE, ())


@pytest.mark.parametrize("names", [5, True, 0.5, "ab", ["a", "b"], {"1": "a"}, {"1" * 5000: "a"}, {"0": " "}])
def test_an_id2label_that_names_no_outputs_is_told(tmp_path, names: object) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"id2label": names}))
    with pytest.raises(BadAdapter, match="does not name the outputs"):
        head_config(tmp_path)


def test_a_label_that_no_file_can_have_is_told(tmp_path) -> None:
    (tmp_path / "config.json").write_text(r'{"id2label": {"0": "good", "1": "bad \ud83d"}}')
    with pytest.raises(BadAdapter, match=r"Label 2 \('bad \\ud83d'\) is not valid Unicode"):
        head_config(tmp_path)
    with pytest.raises(BadAdapter, match="Label 1"):
        labels_of(AdapterFiles({}, {}), HeadKind.SEQUENCE, ("\udce9", "x"))

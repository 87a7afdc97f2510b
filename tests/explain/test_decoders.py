"""Explanations of classifiers on decoders and encoder-decoders, which are imported."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from hub.api import HeadKind, Row
from hub.bases.cache import Bases
from hub.engine.tokenizer import load_tokenizer
from hub.explain.attribution import ExplainOptions, explain_rows
from hub.explain.explanation import Explanation
from hub.store.importing import import_peft
from hub.store.store import Store
from tests.support.tiny import tiny_adapter, tiny_decoder, tiny_encoder_decoder

LABELS = ("negative", "positive")
TEXT = "the service was slow"


def explained(home: Path, base_folder: Path, method: str, bos: bool = False) -> Explanation:
    bases = Bases(home)
    base = bases.pull(str(base_folder))
    adapter = tiny_adapter(base, home / "adapter", kind=HeadKind.SEQUENCE, labels=LABELS)
    store = Store(home)
    version = import_peft(store, adapter, "demo", task="sentiment", head=None, base=base, labels=LABELS)
    tokenizer = load_tokenizer(base)
    ids = tokenizer(TEXT)["input_ids"]
    row = Row([tokenizer.bos_token_id, *ids] if bos else ids)
    found = explain_rows(version, [row], {"text": TEXT}, ExplainOptions(method), store)
    assert isinstance(found, Explanation)
    return found


@pytest.mark.parametrize("pad", [None, 0, 2])
@pytest.mark.parametrize("bos", [False, True])
def test_gradients_of_a_decoder_are_those_of_its_last_token(
    tmp_path: Path, pad: int | None, bos: bool
) -> None:
    """A masked row is one of padding, and the head finds the last token before padding."""
    folder = tiny_decoder(tmp_path / "base").path
    config: dict[str, Any] = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"pad_token_id": pad}))
    found = explained(tmp_path / "home", folder, "gradients", bos)
    assert found.convergence_delta == pytest.approx(0, abs=0.03)
    assert abs(found.scores[-1]) > 1e-3


def test_attention_of_a_decoder_is_that_of_its_last_token(tmp_path: Path) -> None:
    found = explained(tmp_path / "home", tiny_decoder(tmp_path / "base").path, "attention")
    assert sum(found.scores) == pytest.approx(1)
    assert min(found.scores) > 0


@pytest.mark.parametrize("model_type", ["bart", "t5"])
def test_gradients_of_two_stacks_are_those_of_both(tmp_path: Path, model_type: str) -> None:
    folder = tiny_encoder_decoder(tmp_path / "base", model_type).path
    found = explained(tmp_path / "home", folder, "gradients")
    assert found.convergence_delta == pytest.approx(0, abs=0.03)
    assert any(abs(score) > 1e-3 for score in found.scores)

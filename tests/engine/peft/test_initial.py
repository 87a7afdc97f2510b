"""PiSSA and OLoRA, converted to plain LoRA, answer from a slot as PEFT runs them unconverted."""

from __future__ import annotations

import numpy as np
import pytest

from hub.api import HeadKind
from hub.engine.peft.format import parse
from hub.engine.peft.model import initial_tensors
from hub.errors import UnsupportedAdapter
from hub.store.content.weights import AdapterFiles, read_adapter
from hub.store.peft.plain_lora import to_plain_lora
from tests.engine.conftest import Trained
from tests.support.tiny import peft_model, tiny_adapter, tiny_decoder

TOLERANCE = 1e-4
PATTERNS = {"rank_pattern": {"query": 2}, "alpha_pattern": {"value": 3}}


def converted(base, folder, kind, labels) -> Trained:
    files = read_adapter(folder)
    initial = initial_tensors(base, files.config, files.tensors, kind=kind, num_labels=labels)
    plain = to_plain_lora(files, initial)
    weights = parse(plain.config, plain.tensors, kind=kind, num_labels=labels, sha256="0")
    return Trained(weights, peft_model(base, folder, kind, labels), base, folder)


@pytest.mark.parametrize("init", ["pissa", "olora"])
@pytest.mark.parametrize("settings", [{}, {"use_rslora": True}, PATTERNS, {"use_dora": True}])
def test_a_converted_adapter_answers_as_peft_runs_the_unconverted(
    init, settings, bert, engine_of, tmp_path
) -> None:
    kind = HeadKind.SEQUENCE
    tiny_adapter(bert, tmp_path, kind=kind, labels=("a", "b", "c"), init_lora_weights=init, **settings)
    adapter, engine = converted(bert, tmp_path, kind, 3), engine_of(bert, "torch", slots=1)
    assert adapter.weights.rank == 8
    engine.write(1, adapter.weights)
    for length in (3, 14):
        row = adapter.row(1, length, seed=length)
        assert np.abs(engine.run([row])[0].values - adapter.alone(row.row)).max() <= TOLERANCE


def test_a_decoder_too(engine_of, tmp_path) -> None:
    base = tiny_decoder(tmp_path / "llama")
    tiny_adapter(
        base, tmp_path / "made", kind=HeadKind.SEQUENCE, labels=("a", "b"), init_lora_weights="pissa"
    )
    adapter, engine = (
        converted(base, tmp_path / "made", HeadKind.SEQUENCE, 2),
        engine_of(base, "torch", slots=1),
    )
    engine.write(1, adapter.weights)
    row = adapter.row(1, 9)
    assert np.abs(engine.run([row])[0].values - adapter.alone(row.row)).max() <= TOLERANCE


def test_an_initialisation_by_chance_is_refused(bert, tmp_path) -> None:
    tiny_adapter(bert, tmp_path, kind=HeadKind.EMBEDDING, labels=())
    files = read_adapter(tmp_path)
    files = AdapterFiles({**files.config, "init_lora_weights": "pissa_niter_4"}, files.tensors)
    with pytest.raises(UnsupportedAdapter, match="pissa_niter_4"):
        initial_tensors(bert, files.config, files.tensors, kind=HeadKind.EMBEDDING, num_labels=0)

"""Every family, head and method: any mix in one forward answers as PEFT does with each row alone."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hub.api import HeadKind, Row
from hub.bases.base import Base, BaseKind
from hub.engine.protocol import EngineRow
from hub.errors import BadRequest, TooLarge, UnsupportedAdapter
from tests.engine.conftest import EngineMaker, Trained, bare_embedding, random_row
from tests.support import tiny
from tests.support.profiles import thorough

TOLERANCE = 1e-4
LABELS = 3
FAMILIES = (*tiny.ENCODERS, *tiny.DECODERS, *tiny.ENCODER_DECODERS)
# Two linear layers of each layer's attention, as each family names them.
TARGETS = {
    "distilbert": ("q_lin", "v_lin"),
    "deberta-v2": ("query_proj", "value_proj"),
    "modernbert": ("Wqkv", "Wo"),
    "llama": ("q_proj", "v_proj"),
    "qwen2": ("q_proj", "v_proj"),
    "t5": ("q", "v"),
    "bart": ("q_proj", "v_proj"),
    "marian": ("q_proj", "v_proj"),
}
# What modules_to_save may name besides the new layers of a head: layers of a head that come with the base.
OWN_HEAD_LAYERS = {
    ("bert", HeadKind.SEQUENCE): ["pooler"],
    ("bert", HeadKind.EMBEDDING): ["pooler"],
    ("modernbert", HeadKind.SEQUENCE): ["head"],
    ("modernbert", HeadKind.TOKEN): ["head"],
}
# DeBERTa normalises its table of relative positions, which all rows share.
SHARED_NORM = {"deberta-v2"}


def targets(family: str) -> tuple[str, str]:
    return TARGETS.get(family, ("query", "value"))


def methods(base: Base, kind: HeadKind) -> dict[str, Mapping[str, object]]:
    """What can be asked of PEFT for this family and head, by name."""
    first, second = targets(base.model_type)
    some = {"targets": [first, second]}
    found: dict[str, Mapping[str, object]] = {
        "some targets": some,
        "all linear layers": {},
        "patterns": some | {"rank_pattern": {first: 2, second: 6}, "alpha_pattern": {second: 3}},
        "rslora": {"use_rslora": True, "rank": 8},
        "dora": {"use_dora": True, "rank": 2},
        "bias all": {"bias": "all"},
        "bias lora_only": {"bias": "lora_only"},
        "ia3": {"method": "ia3"},
    }
    if kind is tiny.head_kinds(base)[0]:  # once a family is enough for what joins methods
        found["dora, rslora, some targets"] = some | {"use_dora": True, "use_rslora": True}
        found["dora, bias all"] = {"use_dora": True, "bias": "all"}
        found["ia3, some targets"] = some | {"method": "ia3", "feedforward_modules": [second]}
    # PEFT looks for the number of a layer after a dot, and a bare decoder's "layers.1" has none before it.
    if not (kind is HeadKind.EMBEDDING and base.model_type in ("llama", "qwen2", "modernbert")):
        pattern = {"layers_pattern": "block"} if base.model_type == "t5" else {}
        found["last layer"] = some | pattern | {"layers_to_transform": [1]}
    if own := OWN_HEAD_LAYERS.get((base.model_type, kind)):
        found["modules_to_save"] = {"modules_to_save": own}
        found["dora, modules_to_save"] = some | {"use_dora": True, "modules_to_save": own}
    return found


def refused(base: Base, kind: HeadKind, settings: Mapping[str, object]) -> str:
    """Say what of an adapter no slot can hold; "" if one can."""
    if base.model_type == "t5" and kind is HeadKind.SPAN:
        return "no span head to serve"
    if base.model_type in SHARED_NORM and settings.get("bias") == "all":
        return r"'(deberta\.)?encoder\.LayerNorm' was trained in full"
    return ""


def served(base: Base, kind: HeadKind) -> dict[str, Mapping[str, object]]:
    asked = methods(base, kind)
    return {name: settings for name, settings in asked.items() if not refused(base, kind, settings)}


def scored(base: Base) -> list[HeadKind]:
    return [kind for kind in tiny.head_kinds(base) if kind is not HeadKind.GENERATE]


def dealt(base: Base) -> dict[HeadKind, dict[str, Mapping[str, object]]]:
    """Each method for one head, which is another one in the next family; for every head in a thorough run."""
    able = {kind: served(base, kind) for kind in scored(base)}
    if thorough():
        return able
    names = dict.fromkeys(name for found in able.values() for name in found)
    taken: dict[HeadKind, dict[str, Mapping[str, object]]] = {kind: {} for kind in able}
    for turn, name in enumerate(names, FAMILIES.index(base.model_type)):
        kinds = [kind for kind in able if name in able[kind]]
        # What a head has of its own is no method: each head for itself.
        for kind in kinds if "modules_to_save" in name else [kinds[turn % len(kinds)]]:
            taken[kind][name] = able[kind][name]
    return taken


def made(
    base: Base, kind: HeadKind, asked: Mapping[str, Mapping[str, object]], make: Callable[..., Trained]
) -> dict[str, Trained]:
    labels = 0 if kind in (HeadKind.EMBEDDING, HeadKind.GENERATE) else LABELS
    return {
        f"{kind}: {name}": make(base, kind, labels=labels, seed=seed, **settings)
        for seed, (name, settings) in enumerate(asked.items())
    }


def pool(base: Base, make: Callable[..., Trained]) -> dict[str, Trained]:
    """All adapters that score; the same for every test, so that a graph of the family is made once."""
    return {
        name: one
        for kind, asked in dealt(base).items()
        for name, one in made(base, kind, asked, make).items()
    }


def texts(base: Base, make: Callable[..., Trained]) -> dict[str, Trained]:
    """All adapters that generate."""
    return made(base, HeadKind.GENERATE, served(base, HeadKind.GENERATE), make)


def one_of_each_head(base: Base, make: Callable[..., Trained]) -> list[Trained]:
    found = list(pool(base, make).values())
    if HeadKind.GENERATE in tiny.head_kinds(base):
        found += texts(base, make).values()
    return list({adapter.kind: adapter for adapter in reversed(found)}.values())


def assert_exact(
    engine, adapters: Sequence[Trained], rows: Sequence[EngineRow], names=None, tolerance: float = TOLERANCE
) -> None:
    outputs = engine.run(rows)
    off = {}
    for row, output in zip(rows, outputs, strict=True):
        expected = adapters[row.slot - 1].alone(row.row)
        assert output.row is row.row
        assert output.values.shape == expected.shape
        difference = float(np.abs(output.values - expected).max())
        if not difference <= tolerance:
            off[names[row.slot - 1] if names else row.slot] = difference
    assert not off


def mixed_rows(adapters: Sequence[Trained]) -> list[EngineRow]:
    """Make two rows of each adapter, of different lengths, and some of the shortest and longest."""
    longest, random = adapters[0].base.max_length, np.random.default_rng(0)
    rows = [
        adapter.row(slot, int(length), seed=turn)
        for turn in range(2)
        for slot, (adapter, length) in enumerate(
            zip(adapters, random.integers(1, 40, len(adapters)), strict=True), 1
        )
    ]
    ends = [adapters[0].row(1, longest), adapters[-1].row(len(adapters), 1), adapters[2].row(3, longest)]
    return [*rows, *ends]


@pytest.mark.parametrize(
    ("family", "kind"),
    [(family, "torch") for family in FAMILIES if family != "marian"]  # which has no head
    + [(family, kind) for family in tiny.ENCODERS for kind in ("onnx", "openvino")],
)
def test_all_heads_and_methods_in_one_forward(family, kind, base_of, trained, engine_of, fill, watch) -> None:
    base = base_of(family)
    named = pool(base, trained)
    names, adapters = list(named), list(named.values())
    engine = engine_of(base, kind, slots=len(adapters))
    for adapter in adapters:
        engine.check(adapter.weights)
    fill(engine, adapters)
    ran = watch(engine)
    assert_exact(engine, adapters, mixed_rows(adapters), names)
    assert ran == [f"{kind} float32"]


def test_every_family_has_the_heads_that_are_tested(base_of) -> None:
    """A head that transformers drops, or a family without rows above, would go unnoticed."""
    heads = {family: {kind.value for kind in tiny.head_kinds(base_of(family))} for family in FAMILIES}
    encoder = {"sequence", "token", "span", "embedding"}
    assert heads == {
        **dict.fromkeys(tiny.ENCODERS, encoder | {"sequence-mean"}),
        "modernbert": encoder,
        **dict.fromkeys(tiny.DECODERS, encoder | {"generate"}),
        "t5": {"sequence", "token", "span", "generate"},
        "bart": {"sequence", "span", "generate"},
        "marian": {"generate"},
    }


def test_every_method_is_run_with_every_head_and_in_every_family(base_of) -> None:
    bases = [base_of(family) for family in FAMILIES]
    asked = {base.model_type: {k: set(served(base, k)) for k in scored(base)} for base in bases}
    run = {base.model_type: {k: set(names) for k, names in dealt(base).items()} for base in bases}
    for family, wanted in asked.items():
        assert set.union(set(), *run[family].values()) == set.union(set(), *wanted.values())
        assert all(run[family][kind] for kind in wanted if wanted[kind])
    for kind in (kind for kind in HeadKind if kind is not HeadKind.GENERATE):
        wanted, found = (
            set.union(*(of[kind] for of in all_.values() if kind in of)) for all_ in (asked, run)
        )
        assert found == wanted


def test_peft_answers_as_well_with_an_adapter_that_it_read_as_with_the_one_it_saved(bert, trained) -> None:
    """What the tests here compare with is the model that was saved: it is not read back each time."""
    kind, row = HeadKind.SEQUENCE, random_row(bert, 9)
    for adapter in made(bert, kind, methods(bert, kind), trained).values():
        read = tiny.peft_model(bert, adapter.folder, kind, LABELS)
        np.testing.assert_allclose(replace(adapter, model=read).alone(row), adapter.alone(row), atol=1e-6)


@pytest.mark.parametrize("family", [*tiny.DECODERS, *tiny.ENCODER_DECODERS])
def test_generation_with_all_methods_in_one_call(family, base_of, trained, engine_of, fill) -> None:
    base = base_of(family)
    named = texts(base, trained)
    adapters = list(named.values())
    engine = engine_of(base, "torch", slots=len(adapters))
    fill(engine, adapters)
    rows = [
        adapter.row(slot, length=2 + 5 * slot % 23, seed=slot, max_new_tokens=4 + slot)
        for slot, adapter in enumerate(adapters, 1)
    ]
    got = {name: output.text for name, output in zip(named, engine.run(rows), strict=True)}
    expected = {n: a.alone_text(row.row) for (n, a), row in zip(named.items(), rows, strict=True)}
    assert got == expected
    assert len(set(expected.values())) > len(expected) // 2


@pytest.mark.parametrize("family", FAMILIES)
def test_what_no_slot_can_hold_is_refused_with_a_way_out(family, base_of, trained, engine_of) -> None:
    base = base_of(family)
    engine = engine_of(base, "torch", slots=1)
    for kind in scored(base):
        seen = set()
        for asked in methods(base, kind).values():
            reason = refused(base, kind, asked)
            if reason and (thorough() or reason not in seen):
                seen.add(reason)
                labels = 0 if kind is HeadKind.EMBEDDING else LABELS
                weights = trained(base, kind, labels=labels, seed=0, **asked).weights
                with pytest.raises(UnsupportedAdapter, match=reason) as caught:
                    engine.check(weights)
                if "head to serve" not in reason:
                    assert re.search("serve: merged in the recipe, --merged at import", str(caught.value))
                with pytest.raises(UnsupportedAdapter, match=reason):
                    engine.write(1, weights)
    assert engine.info().slot_bytes == 0


MIXED = ("bert", "deberta-v2", "llama", "bart")


@pytest.mark.parametrize(
    ("family", "kind"),
    [(family, "torch") for family in MIXED]
    + [(family, kind) for family in ("bert", "deberta-v2") for kind in ("onnx", "openvino")],
)
def test_random_mixes_are_exact(family, kind, base_of, trained, engine_of, fill, watch) -> None:
    base = base_of(family)
    adapters = list(pool(base, trained).values())
    empty = len(adapters) + 1
    engine = engine_of(base, kind, slots=empty)
    fill(engine, [*adapters, adapters[0]])
    engine.clear(empty)
    ran = watch(engine)
    lengths = st.integers(1, base.max_length) | st.sampled_from([1, 2, base.max_length])

    @cache
    def expected(slot: int, length: int, seed: int) -> np.ndarray:
        if slot in (0, empty):
            return bare_embedding(base, random_row(base, length, seed))
        return adapters[slot - 1].alone(random_row(base, length, seed))

    @settings(max_examples=15, derandomize=True, suppress_health_check=list(HealthCheck))
    @given(st.lists(st.tuples(st.integers(0, empty), lengths, st.integers(0, 3)), min_size=1, max_size=16))
    def check(picks: list[tuple[int, int, int]]) -> None:
        kinds = {slot: a.kind for slot, a in enumerate(adapters, 1)}
        rows = [
            EngineRow(random_row(base, length, seed), slot, kinds.get(slot, HeadKind.EMBEDDING))
            for slot, length, seed in picks
        ]
        for pick, output in zip(picks, engine.run(rows), strict=True):
            assert np.abs(output.values - expected(*pick)).max() <= TOLERANCE, pick

    check()
    assert set(ran) == {f"{kind} float32"}


@pytest.mark.parametrize("family", FAMILIES)
def test_slot_0_an_empty_and_a_cleared_slot_are_the_bare_base(
    family, base_of, trained, engine_of, fill
) -> None:
    base = base_of(family)
    kind = tiny.head_kinds(base)[0]
    labels = 0 if kind is HeadKind.GENERATE else LABELS
    engine = engine_of(base, "torch", slots=4)
    fill(
        engine,
        [trained(base, kind, labels=labels, seed=n, **m) for n, m in enumerate(({}, {"method": "ia3"}))],
    )
    row = random_row(base, 9)
    bare = bare_embedding(base, row)

    def embeddings() -> list[np.ndarray]:
        rows = [EngineRow(row, slot, HeadKind.EMBEDDING) for slot in range(5)]
        return [output.values for output in engine.run(rows)]

    before = embeddings()
    for slot in (0, 3, 4):
        np.testing.assert_allclose(before[slot], bare, atol=TOLERANCE)
    for slot in (1, 2):
        assert np.abs(before[slot] - bare).max() > 0.01
    engine.clear(1)
    after = embeddings()
    np.testing.assert_allclose(after[1], bare, atol=TOLERANCE)
    np.testing.assert_allclose(after[2], before[2], atol=1e-6)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_row_answers_alike_alone_and_beside_longer_ones(family, base_of, trained, engine_of, fill) -> None:
    base = base_of(family)
    adapters = one_of_each_head(base, trained)
    engine = engine_of(base, "torch", slots=len(adapters))
    fill(engine, adapters)
    for slot, adapter in enumerate(adapters, 1):
        short = adapter.row(slot, 5, seed=1, max_new_tokens=6)
        long = adapter.row(slot, base.max_length - 8, seed=2, max_new_tokens=6)
        [alone] = engine.run([short])
        for rows in ([short, long], [long, short]):
            padded = engine.run(rows)[rows.index(short)]
            if adapter.kind is HeadKind.GENERATE:
                assert padded.text == alone.text
            else:
                np.testing.assert_allclose(padded.values, alone.values, atol=2e-5)


@pytest.mark.parametrize("padding", [None, 250])
@pytest.mark.parametrize("family", tiny.DECODERS)
def test_a_decoder_with_no_padding_token_or_another_one_reads_the_last_token_of_each_row(
    family, padding, base_of, trained, engine_of, fill, tmp_path
) -> None:
    """Its sequence head cannot tell padding by an id, and the id that pads is one that a row may end with.

    Nor can one whose config names another padding token than the tokenizer, which pads the rows.
    """
    whole = base_of(family)
    base = replace(whole, path=shutil.copytree(whole.path, tmp_path / "base"))
    config = json.loads((base.path / "config.json").read_text())
    (base.path / "config.json").write_text(json.dumps(config | {"pad_token_id": padding}))
    adapter = trained(base, HeadKind.SEQUENCE, labels=LABELS, seed=72)
    engine = engine_of(base, "torch", slots=1)
    fill(engine, [adapter])
    rows = [adapter.row(1, length, seed=length) for length in (3, 12, 1)]
    rows += [EngineRow(Row([9, 8, 0, 0]), 1, HeadKind.SEQUENCE)]
    assert_exact(engine, [adapter], rows)


@pytest.mark.parametrize("family", ["bart", "t5"])
def test_rows_with_different_numbers_of_end_tokens_run_together(
    family, base_of, trained, engine_of, fill
) -> None:
    """A text may hold one too; the sequence head reads the last."""
    base = base_of(family)
    adapter = trained(base, HeadKind.SEQUENCE, labels=LABELS, seed=73)
    engine = engine_of(base, "torch", slots=1)
    fill(engine, [adapter])
    end = random_row(base, 1).input_ids[0]
    texts = ([10, 11, end], [end], [10, end, 12, 13, end, 14, end], [end, end])
    assert_exact(engine, [adapter], [EngineRow(Row(ids), 1, HeadKind.SEQUENCE) for ids in texts])


@pytest.mark.parametrize("family", FAMILIES)
def test_rows_that_are_empty_or_too_long_are_refused_and_the_next_is_served(
    family, base_of, trained, engine_of, fill
) -> None:
    base = base_of(family)
    kind = HeadKind.GENERATE if base.kind is BaseKind.ENCODER_DECODER else HeadKind.TOKEN
    [adapter] = [one for one in one_of_each_head(base, trained) if one.kind is kind]
    engine = engine_of(base, "torch", slots=1)
    fill(engine, [adapter])
    good = adapter.row(1, 4, max_new_tokens=3)
    for ids, error in (([], BadRequest), ([7] * (base.max_length + 1), TooLarge)):
        with pytest.raises(error):
            engine.run([good, EngineRow(Row(ids, max_new_tokens=3), 1, kind)])
    [output] = engine.run([good])
    if kind is HeadKind.TOKEN:
        assert np.abs(output.values - adapter.alone(good.row)).max() <= TOLERANCE
    else:
        assert output.text == adapter.alone_text(good.row)


def cosine(first: np.ndarray, second: np.ndarray) -> float:
    one, other = first.ravel().astype(np.float64), second.ravel().astype(np.float64)
    return float(one @ other / np.linalg.norm(one) / np.linalg.norm(other))


@pytest.mark.parametrize("family", ["bert", "modernbert", "llama", "bart"])
def test_bf16_is_close_to_fp32(family, base_of, trained, engine_of, fill, monkeypatch) -> None:
    """Slow where a CPU has no instructions for bf16, but exact all the same: so it is forced there."""
    monkeypatch.setattr("hub.engine.assemble.computes_in_bf16", lambda device: True)
    base = base_of(family)
    kinds = [kind for kind in scored(base) if kind in (HeadKind.SEQUENCE, HeadKind.SPAN)]
    adapters = [
        trained(base, kind, labels=8 if kind is HeadKind.SEQUENCE else 0, seed=80 + n, spread=0.1, **asked)
        for n, asked in enumerate(({"rank": 4}, {"rank": 4, "use_dora": True}, {"method": "ia3"}))
        for kind in kinds
    ]
    engine = engine_of(base, "torch-bf16", slots=len(adapters))
    assert engine.info().dtype == "bfloat16"
    fill(engine, adapters)
    for slot, adapter in enumerate(adapters, 1):
        rows = [adapter.row(slot, length, seed=length) for length in range(3, 30, 3)]
        got = np.concatenate([output.values.ravel() for output in engine.run(rows)])
        expected = np.concatenate([adapter.alone(row.row).ravel() for row in rows])
        assert cosine(got, expected) >= 0.999
        with adapter.model.disable_adapter():
            bare = np.concatenate([adapter.alone(row.row).ravel() for row in rows])
        assert cosine(bare, expected) < 0.995, "the adapter hardly changes anything, so this says nothing"


@pytest.mark.slow
def test_bf16_on_real_weights(minilm, trained, engine_of: EngineMaker, fill, monkeypatch) -> None:
    monkeypatch.setattr("hub.engine.assemble.computes_in_bf16", lambda device: True)
    adapters = [
        trained(minilm, HeadKind.SEQUENCE, labels=8, rank=8, seed=91, spread=0.05),
        trained(minilm, HeadKind.TOKEN, labels=9, rank=8, seed=92, spread=0.05, use_dora=True),
        trained(minilm, HeadKind.EMBEDDING, rank=8, seed=93, spread=0.05),
    ]
    engine = engine_of(minilm, "torch-bf16", slots=3)
    fill(engine, adapters)
    for slot, adapter in enumerate(adapters, 1):
        rows = [adapter.row(slot, length, seed=length) for length in (3, 20, 60, 120)]
        for row, output in zip(rows, engine.run(rows), strict=True):
            assert cosine(output.values, adapter.alone(row.row)) >= 0.999

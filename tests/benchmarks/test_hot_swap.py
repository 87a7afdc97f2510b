"""The judge of the hot-swap benchmark: it lets rounding pass, and nothing else."""

from __future__ import annotations

import json
import math
import random
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.fingerprinted import (
    LABELS,
    TOLERANCE,
    Content,
    Oracle,
    Truth,
    draw,
    number_of,
    save,
    short_texts,
)
from benchmarks.hot_swap.figures import figures
from benchmarks.hot_swap.judge import Answer, Judge, Verdicts
from benchmarks.hot_swap.moves import Move
from benchmarks.hot_swap.run import Outcome, Period
from benchmarks.hot_swap.scores import Scores
from benchmarks.hot_swap.timeline import Live, Timeline
from hub.api import HeadKind, Row
from hub.bases.base import Base
from hub.engine.build import build_engine
from hub.engine.peft.format import parse
from hub.engine.protocol import AdapterWeights, EngineRow
from hub.engine.tokenizer import load_tokenizer
from hub.engine.torch.loading import computes_in_bf16
from tests.support.tiny import peft_model, tiny_encoder

TEXTS = short_texts(random.Random(0), 6)
NUMBERS = (7, 12, 40_000, 2**16 - 1)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Base:
    return tiny_encoder(tmp_path_factory.mktemp("bases") / "tiny")


@pytest.fixture(scope="module")
def oracle(base: Base) -> Oracle:
    return Oracle(base, TEXTS)


@pytest.fixture(scope="module")
def contents(oracle: Oracle) -> list[Content]:
    return [draw(oracle, number) for number in NUMBERS]


@pytest.fixture(scope="module")
def truth(oracle: Oracle, contents: list[Content]) -> Truth:
    truth = Truth(oracle)
    for content in contents:
        truth.add(content)
        truth.stored(f"sha-{content.number}", content.number)
    return truth


def said(head: Content, pooled: Any) -> dict[str, float]:
    """What a head makes of pooled states [H], as the wire has it."""
    return dict(zip(LABELS, head.scores(pooled).tolist(), strict=True))


def test_an_answer_spells_the_number_of_its_content(oracle, contents) -> None:
    for content in contents:
        for state in (*oracle.pooled(content), *oracle.bare):
            assert number_of(said(content, state)) == content.number


def test_the_right_answer_has_no_fault(oracle, truth, contents) -> None:
    for content in contents:
        for text, state in zip(TEXTS, oracle.pooled(content), strict=True):
            assert truth.fault(f"sha-{content.number}", text, said(content, state)) is None


def test_mixtures_and_strangers_are_faults(oracle, truth, contents) -> None:
    one, other = contents[:2]
    own, others = oracle.pooled(one), oracle.pooled(other)
    sha256 = f"sha-{one.number}"
    for at, text in enumerate(TEXTS):
        assert truth.fault(sha256, text, said(other, own[at])) == "the head of another content"
        assert truth.fault(sha256, text, said(other, others[at])) == "the head of another content"
        for state in (others[at], oracle.bare[at]):
            fault = truth.fault(sha256, text, said(one, state))
            assert fault == "the LoRA of another content, or none"
    assert truth.fault("sha-of-nobody", TEXTS[0], said(one, own[0])) == "not a content of ours"


def test_the_text_counts(oracle, truth, contents) -> None:
    """An answer to another request of the same content, such as a row in the wrong place, is a fault."""
    content = contents[0]
    states = oracle.pooled(content)
    faults = [truth.fault(f"sha-{content.number}", TEXTS[0], said(content, state)) for state in states[1:]]
    assert all(faults)


def test_contents_are_far_apart(truth) -> None:
    assert truth.separation() > 3 * TOLERANCE


def test_the_truth_is_what_peft_answers(base, oracle, contents, tmp_path) -> None:
    import torch

    content = contents[0]
    model = peft_model(base, save(content, tmp_path / "adapter"), HeadKind.SEQUENCE, len(LABELS))
    encoded = load_tokenizer(base)(TEXTS, return_tensors="pt", padding=True)
    with torch.inference_mode():
        scores = torch.sigmoid(model(**encoded).logits).numpy()
    np.testing.assert_allclose(scores, content.scores(oracle.pooled(content)), atol=1e-5)


@pytest.mark.parametrize("kind", ["torch", "torch-bf16", "onnx", "openvino-bf16", "auto"])
def test_no_engine_is_found_at_fault(kind, base, truth, contents, tmp_path) -> None:
    import torch

    if kind.startswith("openvino"):
        pytest.importorskip("openvino")
    if "bf16" in kind and not computes_in_bf16(torch.device("cpu")):
        pytest.skip("NOT TESTED: this processor has no bf16 instructions")
    engine = build_engine(base, kind=kind, slots=len(contents), device="cpu", cache=tmp_path / "cache")
    try:
        for slot, content in enumerate(contents, start=1):
            engine.write(slot, weights(content, tmp_path / str(slot)))
        engine.settle(120)
        tokenizer = load_tokenizer(base)
        rows = [
            EngineRow(Row(tokenizer(text)["input_ids"]), slot, HeadKind.SEQUENCE)
            for slot in range(1, len(contents) + 1)
            for text in TEXTS
        ]
        outputs = iter(engine.run(rows))
    finally:
        engine.close()
    for content in contents:
        for text in TEXTS:
            scores = 1 / (1 + np.exp(-np.asarray(next(outputs).values)))
            told = dict(zip(LABELS, scores.tolist(), strict=True))
            assert truth.fault(f"sha-{content.number}", text, told) is None


def weights(content: Content, folder: Path) -> AdapterWeights:
    from safetensors.numpy import load_file

    save(content, folder)
    config = json.loads((folder / "adapter_config.json").read_text())
    tensors = load_file(folder / "adapter_model.safetensors")
    return parse(config, tensors, kind=HeadKind.SEQUENCE, num_labels=len(LABELS), sha256=folder.name)


OLD, NEW = (Live(f"mood@{at + 1}", f"sha-{number}") for at, number in enumerate(NUMBERS[:2]))


@pytest.fixture
def timeline() -> Timeline:
    """`mood` goes from OLD to NEW between 10 and 11, and is away from 20 (or 21) to 30 (or 31)."""
    timeline = Timeline()
    timeline.sent("mood", OLD, -math.inf)
    timeline.sent("other", Live("other@1", f"sha-{NUMBERS[2]}"), -math.inf)
    for at, live in ((10, NEW), (20, None), (30, OLD)):
        timeline.sent("mood", live, at)
        timeline.returned("mood", at + 1)
    return timeline


@pytest.fixture
def ask(oracle, truth, timeline, contents):
    """Judge one answer of `mood`, right in all that is not changed."""
    judge = Judge(Scores(oracle, truth), timeline)

    def ask(live: Live, asked: float, answered: float, **changed: Any) -> Verdicts:
        content = next(content for content in contents if live.sha256 == f"sha-{content.number}")
        scores = said(content, oracle.pooled(content)[0])
        answer = Answer(
            "mood", TEXTS[0], asked, answered, 200, "mood", live.ref, live.sha256, told({"scores": scores})
        )
        return judge.all([replace(answer, **changed)])

    return ask


def told(body: Mapping[str, Any]) -> bytes:
    return json.dumps(body).encode()


def error(code: str) -> bytes:
    return told({"error": {"code": code, "message": ""}})


@pytest.mark.parametrize(
    ("live", "asked", "answered", "right"),
    [
        (OLD, 1, 2, True),
        (NEW, 1, 2, False),  # not even asked for
        (OLD, 9, 10.5, True),  # while the move was under way
        (NEW, 9, 10.5, True),
        (OLD, 10.9, 15, True),
        (OLD, 11.1, 11.2, False),  # stale: the move had returned
        (NEW, 11.1, 11.2, True),
        (NEW, 20.5, 25, True),  # admitted before it was taken away
        (NEW, 21.1, 22, False),  # it is away
        (OLD, 22, 29, False),
        (OLD, 22, 30.5, True),  # it is back
        (NEW, 31.5, 32, False),
    ],
)
def test_an_answer_is_of_what_was_live(ask, live, asked, answered, right) -> None:
    verdicts = ask(live, asked, answered)
    assert verdicts.answered == 1
    assert verdicts.wrong == ({} if right else {"a version that was not live": 1})
    assert not verdicts.failed


def test_another_tenants_content_under_the_right_name_is_wrong(ask) -> None:
    stranger = Live("other@1", f"sha-{NUMBERS[2]}")
    assert ask(stranger, 1, 2).wrong.total() == 1
    assert ask(stranger, 1, 2, ref=OLD.ref).wrong.total() == 1
    assert ask(stranger, 1, 2, ref=OLD.ref, sha256=OLD.sha256).wrong == {"the head of another content": 1}
    assert ask(OLD, 1, 2, served="other").wrong == {"answered for another deployment": 1}
    assert ask(OLD, 1, 2, ref=NEW.ref).wrong == {"a version that was not live": 1}


def test_a_404_is_right_only_while_the_deployment_is_away(ask) -> None:
    gone = {"status": 404, "body": error("not_found")}
    assert ask(OLD, 22, 23, **gone).absent == 1
    assert ask(OLD, 19, 20.5, **gone).absent == 1
    for asked, answered in ((1, 2), (12, 19), (31.5, 32)):
        assert ask(OLD, asked, answered, **gone).failed == {"404 for a deployment that is there": 1}


def test_any_other_error_is_a_failure(ask) -> None:
    assert ask(OLD, 22, 23, status=503, body=error("not_ready")).failed == {"503 not_ready": 1}
    assert ask(OLD, 1, 2, status=0, body=b"").failed == {"connection broken": 1}
    assert ask(OLD, 1, 2, status=0, body=b"").requests == 1


def test_a_move_that_was_refused_leaves_what_was_live(timeline) -> None:
    timeline.sent("other", NEW, 5)
    timeline.returned("other", 6, moved=False)
    assert timeline.allowed("other", 7, 8) == {Live("other@1", f"sha-{NUMBERS[2]}")}


def outcome(slower_ms: float, every_ms: float) -> Outcome:
    """Four periods of a second, one client; where moves go on, answers are fewer and take longer."""
    answers: list[Answer] = []
    periods = [Period(at, at + 1.0, bool(at % 2)) for at in range(4)]
    for period in periods:
        step = every_ms / 1000 if period.moves else 0.01
        took = 0.008 + (slower_ms / 1000 if period.moves else 0.0)
        for turn in range(round(1 / step)):
            asked = period.began + turn * step
            answers.append(Answer("mood", TEXTS[0], asked, asked + took, 200))
    moves = [
        Move("deploy", "mood", at + offset, at + offset + 0.03) for at in (1, 3) for offset in (0.2, 0.5, 0.8)
    ]
    moves += [
        Move("rollback", "mood", 1.9, 1.91, resident=True),
        Move("rollback", "mood", 3.9, 3.98, resident=False),
        Move("deploy", "mood", 3.95, 3.99, problem="503"),
    ]
    verdicts = Verdicts(len(answers), 0, Counter({"503": 2}), Counter({"the head of another content": 1}))
    return Outcome(answers, moves, periods, verdicts, loads=20, separation=0.2)


def test_figures_are_of_what_they_say() -> None:
    found = figures(outcome(slower_ms=4, every_ms=20))
    assert found["requests"] == 302
    assert found["failed"] == 3  # requests and a refused move
    assert found["wrong"] == 1
    assert found["throughput_during_swaps"] == pytest.approx(0.5, abs=0.02)
    assert found["deploy_to_live_p99_ms"] == pytest.approx(30)
    assert found["rollback_p99_ms"] == pytest.approx(10)  # of a resident version only
    assert found["pause_p50_ms"] == found["pause_p99_ms"] == pytest.approx(4)
    assert found["pause_noise_ms"] == pytest.approx(0, abs=1e-6)
    assert found["reloads"] == 12


def test_swaps_that_cost_nothing_show_no_pause() -> None:
    found = figures(outcome(slower_ms=0, every_ms=10))
    assert found["pause_p99_ms"] == pytest.approx(0, abs=1e-6)
    assert found["throughput_during_swaps"] == pytest.approx(1, abs=0.02)

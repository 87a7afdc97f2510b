"""What runs beside a request, in its forward: never returned, never in the caller's way, always let go."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from secrets import token_hex

import pytest
from grafthub_sentiment.task import SentimentTask
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hub.engine.protocol import EngineRow
from hub.errors import EngineFailed, InvalidText, Overloaded, TooLarge
from hub.serving.observation import Track
from hub.store.change import Deploy, DeploymentChange

TEXTS = [f"film number {number}" for number in range(12)]
SHADOW = {"shadow": True}
ELECTRA = "electra.encoder.layer.0.attention.self.query"


@pytest.fixture
def begin(add, start, watching):
    """A runtime with `mood` on its first version and the second as its shadow."""

    def build(**limits: int):
        hub = start(limits=limits, observer=watching)
        add(seed=1), add(seed=2)
        hub.runtime.deploy("mood", Deploy(version="mood@1", by="t"))
        hub.runtime.deploy("mood", Deploy(version="mood@2", **SHADOW, by="t"))
        return hub

    return build


@pytest.fixture
def live(begin):
    return begin()


class Engine:
    """Stands between the batcher and the fake engine."""

    def __init__(self, hub, monkeypatch) -> None:
        self.forwards: list[list[int]] = []
        self.failing: set[int] = set()
        self.inside, self.gate = threading.Event(), threading.Event()
        self.gate.set()
        self._run = hub.base_worker.engine.run
        monkeypatch.setattr(hub.base_worker.engine, "run", self.run)

    def run(self, rows: list[EngineRow], *, aside: bool = False):
        if aside:
            return self._run(rows, aside=True)
        self.forwards.append([row.slot for row in rows])
        self.inside.set()
        self.gate.wait(30)
        if self.failing & {row.slot for row in rows}:
            raise EngineFailed("Not this slot.")
        return self._run(rows)


@pytest.fixture
def engine(live, monkeypatch) -> Engine:
    return Engine(live, monkeypatch)


def slot_of(hub, ref: str) -> int:
    sha256 = hub.runtime.store.get(ref).sha256
    return next(view.slot for view in hub.base_worker.slots.view() if view.key == sha256)


def only_version(hub, monkeypatch, step: str, number: int, act) -> None:
    """Have a step of the task do something first, for one version alone."""
    real = getattr(SentimentTask, step)

    def patched(self, *given):
        if given[-1].version == number:
            act()
        return real(self, *given)

    monkeypatch.setattr(SentimentTask, step, patched)


def test_both_run_in_one_forward_each_at_its_own_slot(live, engine) -> None:
    live.ask("mood", *TEXTS[:3])
    one, two = slot_of(live, "mood@1"), slot_of(live, "mood@2")
    assert engine.forwards == [[one, two, one, two, one, two]]


def test_the_callers_answer_is_the_stable_versions_and_agreement_is_told(live, watching, until) -> None:
    answers = live.ask("mood", *TEXTS).items
    assert until(lambda: len(watching.seen) == len(TEXTS))
    live.runtime.promote("mood", DeploymentChange(by="t"))
    others = live.ask("mood", *TEXTS).items
    seen = watching.seen[: len(TEXTS)]
    assert [one.response for one in seen] == answers
    assert {str(one.beside.ref) for one in seen} == {"mood@2"}
    same = [one.label == two.label for one, two in zip(answers, others, strict=True)]
    assert [one.agreed for one in seen] == same
    assert set(same) == {True, False}, "texts on which both happen"
    assert {one.track for one in seen} == {Track.STABLE}


def test_the_caller_does_not_wait_for_the_shadows_decoding(live, watching, until, monkeypatch) -> None:
    go = threading.Event()
    only_version(live, monkeypatch, "decode", 2, lambda: go.wait(30))
    assert live.ask("mood", TEXTS[0]).version == "mood@1"
    assert watching.seen == []
    go.set()
    assert until(lambda: len(watching.seen) == 1)
    assert watching.seen[0].agreed is not None


@pytest.mark.parametrize("step", ["encode", "decode"])
@pytest.mark.parametrize("error", [ValueError("a fault"), InvalidText("Not this one.")])
def test_a_shadow_that_fails_in_its_task_fails_nobody(
    live, watching, until, monkeypatch, step, error
) -> None:
    def fail() -> None:
        raise error

    only_version(live, monkeypatch, step, 2, fail)
    assert live.ask("mood", TEXTS[0]).scores
    assert until(lambda: len(watching.seen) == 1)
    assert (watching.seen[0].error, watching.seen[0].agreed) == ("", None)
    assert until(lambda: live.leases() == 0)


def test_a_shadow_that_fails_in_the_forward_fails_nobody(live, engine, watching, until) -> None:
    engine.failing = {slot_of(live, "mood@2")}
    assert all(item.label for item in live.ask("mood", *TEXTS[:3]).items)
    assert until(lambda: len(watching.seen) == 3)
    assert {(one.error, one.agreed, str(one.beside.ref)) for one in watching.seen} == {("", None, "mood@2")}
    assert until(lambda: live.leases() == 0)


def test_a_request_that_fails_while_its_shadow_does_not_is_told_as_failed(
    live, engine, watching, until
) -> None:
    engine.failing = {slot_of(live, "mood@1")}
    with pytest.raises(EngineFailed):
        _ = live.ask("mood", TEXTS[0]).scores
    assert until(lambda: len(watching.seen) == 1)
    assert (watching.seen[0].error, watching.seen[0].agreed) == ("engine_failed", None)
    assert until(lambda: live.leases() == 0)


def test_rows_of_a_shadow_do_not_count_against_the_callers_limit(begin) -> None:
    hub = begin(rows=3)
    assert len(hub.ask("mood", *TEXTS[:3]).items) == 3
    with pytest.raises(TooLarge):
        hub.ask("mood", *TEXTS[:4])
    assert hub.leases() == 0


def test_a_nearly_full_queue_takes_the_caller_and_not_its_shadow(begin, watching, until, monkeypatch) -> None:
    hub = begin(queued_rows=8)
    engine = Engine(hub, monkeypatch)
    engine.gate.clear()
    first = hub.submit("mood", TEXTS[0])
    assert engine.inside.wait(10)
    waiting = [hub.submit("mood", TEXTS[number]) for number in (1, 2, 3)]
    assert until(lambda: hub.base_worker.batcher.waiting == 6)
    late = [hub.submit("mood", TEXTS[number]) for number in (4, 5)]
    assert until(lambda: hub.base_worker.batcher.waiting == 8)
    with pytest.raises(Overloaded):
        hub.ask("mood", TEXTS[6])
    engine.gate.set()
    assert all(call.result(10).scores for call in [first, *waiting, *late])
    assert until(lambda: len(watching.seen) == 7)
    by_text = {one.request.text: one for one in watching.seen}
    assert [by_text[TEXTS[number]].beside is None for number in range(7)] == [False] * 4 + [True] * 3
    assert by_text[TEXTS[6]].error == "overloaded"
    assert until(lambda: hub.leases() == 0)


def test_both_slots_stay_leased_while_a_cancelled_call_is_in_a_forward(live, engine, watching, until) -> None:
    engine.gate.clear()
    call = live.submit("mood", TEXTS[0])
    assert engine.inside.wait(10)
    call.cancel()
    assert not until(lambda: live.leases() < 2, seconds=0.3), "the engine still reads both slots"
    engine.gate.set()
    assert until(lambda: live.leases() == 0)
    assert [one.error for one in watching.seen] == ["cancelled"]


def test_rows_of_a_shadow_that_wait_are_dropped_with_the_call(live, engine, until) -> None:
    engine.gate.clear()
    first = live.submit("mood", TEXTS[0])
    assert engine.inside.wait(10)
    waiting = live.submit("mood", *TEXTS[:2])
    assert until(lambda: live.base_worker.batcher.waiting == 4)
    waiting.cancel()
    assert until(lambda: live.base_worker.batcher.waiting == 0)
    assert live.leases() == 2
    engine.gate.set()
    assert first.result(10).scores
    assert until(lambda: live.leases() == 0)


def test_a_canary_guarded_on_agreement_runs_beside_the_stable_version(live, engine, watching, until) -> None:
    live.runtime.rollback("mood", DeploymentChange(by="t"))
    live.runtime.deploy("mood", Deploy(version="mood@2", canary=100.0, guard={"agreement": 0.9}, by="t"))
    engine.forwards.clear()
    assert live.ask("mood", TEXTS[0]).version == "mood@2"
    assert until(lambda: len(watching.seen) == 1)
    (seen,) = watching.seen
    assert (seen.track, str(seen.version.ref), str(seen.beside.ref)) == (Track.CANARY, "mood@2", "mood@1")
    assert seen.agreed is not None
    assert engine.forwards == [[slot_of(live, "mood@2"), slot_of(live, "mood@1")]]


def test_an_unguarded_canary_and_the_requests_of_a_shadow_run_apart(live, engine, watching, until) -> None:
    live.runtime.deploy("mood", Deploy(version="mood@2", canary=100.0, by="t"))
    engine.forwards.clear()
    live.ask("mood", TEXTS[0])
    assert engine.forwards == [[slot_of(live, "mood@2")]]
    assert watching.seen[0].beside is None


def test_an_admission_that_is_not_used_gives_both_slots_back(live) -> None:
    from hub.serving.routing.routes import by_name

    async def admit_and_leave() -> int:
        with await live.runtime.router.admit(by_name("mood")):
            return live.leases()

    assert asyncio.run_coroutine_threadsafe(admit_and_leave(), live.loop).result(10) == 2
    assert live.leases() == 0


@given(data=st.data())
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_becomes_of_calls_no_lease_is_left_and_each_request_is_told_once(
    live, watching, until, monkeypatch, data
) -> None:
    """Faults in any step of either version, calls given up at any time, shares, failing forwards."""
    failing = data.draw(st.sets(st.sampled_from(["mood@1", "mood@2"])))
    faults = data.draw(st.sets(st.tuples(st.sampled_from(["encode", "decode"]), st.sampled_from([1, 2]))))
    sizes = data.draw(st.lists(st.integers(1, 4), min_size=1, max_size=5))
    given_up = data.draw(st.sets(st.integers(0, len(sizes) - 1)))
    held = data.draw(st.booleans())
    with monkeypatch.context() as patch:
        engine = Engine(live, patch)
        engine.failing = {slot_of(live, ref) for ref in failing}
        for step, number in faults:
            only_version(live, patch, step, number, lambda: 1 / 0)
        if held:
            engine.gate.clear()
        texts = [[f"{token_hex(4)} {number}" for number in range(size)] for size in sizes]
        calls = [live.submit("mood", *group) for group in texts]
        for place in given_up:
            calls[place].cancel()
        engine.gate.set()
        for call in calls:
            if not call.cancelled():
                call.exception(10)
        kept = [
            text for call, group in zip(calls, texts, strict=True) if not call.cancelled() for text in group
        ]
        assert until(lambda: live.leases() == 0 and live.base_worker.batcher.waiting == 0)
        assert until(lambda: set(kept) <= {one.request.text for one in watching.seen})
    told = Counter(one.request.text for one in watching.seen)
    assert [told[text] for text in kept] == [1] * len(kept)
    assert all(told[text] <= 1 for group in texts for text in group)


def test_a_shadow_on_another_base_runs_in_a_forward_of_its_own(
    live, home, watching, until, tmp_path_factory, monkeypatch
) -> None:
    from tests.support.homes import add_version, plain_adapter
    from tests.support.tiny import tiny_encoder

    folder = tmp_path_factory.mktemp("bases") / "electra"
    tiny_encoder(folder, "electra")
    base = home.store.bases.pull(str(folder), "electra")
    other = add_version(
        home.store, base, "mood", plain_adapter(folder.parent / "adapter", seed=5, module=ELECTRA)
    )
    live.runtime.deploy("mood", Deploy(version=other.ref, **SHADOW, by="t"))
    first, second = live.runtime._ready().base_workers.all()
    assert live.ask("mood", *TEXTS[:3]).version == "mood@1"
    assert until(lambda: len(watching.seen) == 3)
    assert {(one.beside.ref, one.agreed is None) for one in watching.seen} == {(other.ref, False)}

    def refuse(*given, **more):
        raise Overloaded("No room here.")

    both = {base_worker.base.fingerprint: base_worker for base_worker in (first, second)}
    with monkeypatch.context() as patch:
        patch.setattr(both[base.fingerprint].batcher, "submit", refuse)
        assert live.ask("mood", TEXTS[0]).scores, "its base worker is full, the caller is answered anyway"
    with monkeypatch.context() as patch:
        patch.setattr(both[home.base.fingerprint].batcher, "submit", refuse)
        with pytest.raises(Overloaded):
            live.ask("mood", TEXTS[0])
    assert until(
        lambda: sum(view.leases for base_worker in (first, second) for view in base_worker.slots.view()) == 0
    )
    assert [(one.error, one.beside is None) for one in watching.seen[3:]] == [
        ("", True),
        ("overloaded", True),
    ]

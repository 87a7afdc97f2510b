"""The batcher: every caller gets its own rows back, whatever fails, leaves or floods in beside it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hub.api import HeadKind, Output, Row
from hub.engine.protocol import AdapterWeights, EngineInfo, EngineRow
from hub.engine.shares import Flow
from hub.errors import EngineFailed, NotReady, Overloaded
from hub.serving.batching.batcher import MAX_REST_S, Batcher
from hub.serving.batching.cost import INITIAL_FIXED_TOKENS, MAX_FIXED_TOKENS, MIN_FIXED_TOKENS, ForwardCost
from hub.serving.batching.fair_queue import MIN_FLOOD_ROWS, NOBODY, RECENT_S, TOKENS_PER_ROW, FairQueue, Job

POISON = 13


class EchoEngine:
    """Answers each row with its own ids; fails any forward that holds POISON; can be held back."""

    streams = False
    packs = False

    def __init__(self) -> None:
        self.forwards: list[list[EngineRow]] = []
        self.gate = threading.Event()
        self.gate.set()
        self.entered = threading.Event()

    def run(self, rows: Sequence[EngineRow]) -> list[Output]:
        self.entered.set()
        self.gate.wait()
        self.forwards.append(list(rows))
        if any(POISON in row.row.input_ids for row in rows):
            raise RuntimeError("a row the engine cannot take")
        return [Output(row.row, np.asarray([row.slot, *row.row.input_ids], np.float32)) for row in rows]

    def check(self, weights: AdapterWeights) -> None: ...
    def write(self, slot: int, weights: AdapterWeights) -> None: ...
    def clear(self, slot: int) -> None: ...
    def close(self) -> None: ...
    def info(self) -> EngineInfo:
        return EngineInfo("echo", "none", "float32", 1, 0, 0)


def row(*ids: int, slot: int = 1) -> EngineRow:
    return EngineRow(Row(list(ids)), slot, HeadKind.SEQUENCE)


def said(outputs: Sequence[Output]) -> list[list[float]]:
    return [list(output.values) for output in outputs if output.values is not None]


def run(batcher: Batcher, rows: Sequence[EngineRow]) -> list[Output]:
    """Submit rows and wait for their answers."""
    settled = threading.Event()
    job = batcher.submit(rows, settled.set, None)
    assert settled.wait(10)
    return job.results()


@pytest.fixture
def engine() -> Iterator[EchoEngine]:
    engine = EchoEngine()
    yield engine
    engine.gate.set()


@pytest.fixture
def start(engine: EchoEngine) -> Iterator[Callable[..., Batcher]]:
    started: list[Batcher] = []

    def build(batch_rows: int = 8, queued_rows: int = 1000, **more: object) -> Batcher:
        batcher = Batcher(engine, name="echo", batch_rows=batch_rows, queued_rows=queued_rows, **more)
        started.append(batcher)
        return batcher

    yield build
    engine.gate.set()
    for batcher in started:
        batcher.close()


def hold(engine: EchoEngine, batcher: Batcher) -> threading.Thread:
    """Keep the engine busy with a row of its own until the gate opens."""
    engine.gate.clear()
    engine.entered.clear()
    thread = threading.Thread(target=run, args=(batcher, [row(0)]))
    thread.start()
    assert engine.entered.wait(10)
    return thread


def submit(batcher: Batcher, *rows: EngineRow) -> tuple[Job, threading.Event]:
    settled = threading.Event()
    return batcher.submit(rows, settled.set, None), settled


def test_an_idle_engine_starts_on_a_single_row(engine, start) -> None:
    assert said(run(start(), [row(7, 8, slot=3)])) == [[3, 7, 8]]
    assert [len(forward) for forward in engine.forwards] == [1]


def test_what_queued_during_a_forward_makes_the_next_one(engine, start) -> None:
    batcher = start()
    busy = hold(engine, batcher)
    waiting = [submit(batcher, row(i)) for i in range(1, 6)]
    engine.gate.set()
    assert all(settled.wait(10) for _, settled in waiting)
    busy.join()
    assert [len(forward) for forward in engine.forwards] == [1, 5]
    assert [said(job.results()) for job, _ in waiting] == [[[1, i]] for i in range(1, 6)]


@settings(max_examples=60, deadline=None)
@given(
    jobs=st.lists(
        st.lists(st.tuples(st.integers(1, 9), st.integers(1, 40)), min_size=1, max_size=12),
        min_size=1,
        max_size=12,
    ),
    batch_rows=st.integers(1, 8),
)
def test_every_caller_gets_its_own_rows_in_order(jobs, batch_rows) -> None:
    engine = EchoEngine()
    batcher = Batcher(engine, name="echo", batch_rows=batch_rows, queued_rows=10_000)
    answers: dict[int, list[list[float]]] = {}

    def call(number: int, rows: list[EngineRow]) -> None:
        answers[number] = said(run(batcher, rows))

    asked = {
        number: [
            row(number + 100, i, *range(20, 20 + length), slot=slot) for i, (slot, length) in enumerate(job)
        ]
        for number, job in enumerate(jobs)
    }
    threads = [threading.Thread(target=call, args=item) for item in asked.items()]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    batcher.close()
    assert answers == {
        number: [[one.slot, *one.row.input_ids] for one in rows] for number, rows in asked.items()
    }
    assert sum(len(forward) for forward in engine.forwards) == sum(len(job) for job in jobs)
    assert max(len(forward) for forward in engine.forwards) <= batch_rows


@settings(max_examples=60, deadline=None)
@given(poisoned=st.sets(st.integers(0, 15)))
def test_a_poisoned_row_fails_its_caller_and_nobody_else(poisoned) -> None:
    engine = EchoEngine()
    batcher = Batcher(engine, name="echo", batch_rows=16, queued_rows=100)
    busy = hold(engine, batcher)
    waiting = [submit(batcher, row(POISON if i in poisoned else 50 + i)) for i in range(16)]
    engine.gate.set()
    assert all(settled.wait(10) for _, settled in waiting)
    busy.join()
    batcher.close()
    for i, (job, _) in enumerate(waiting):
        if i in poisoned:
            with pytest.raises(EngineFailed):
                job.results()
        else:
            assert said(job.results()) == [[1, 50 + i]]


def test_a_failing_forward_reaches_every_waiting_caller(engine, start) -> None:
    batcher = start()
    busy = hold(engine, batcher)
    waiting = [submit(batcher, row(POISON, i)) for i in range(5)]
    engine.gate.set()
    busy.join()
    for job, settled in waiting:
        assert settled.wait(10)
        with pytest.raises(EngineFailed, match="RuntimeError"):
            job.results()


def test_a_full_queue_refuses_and_then_accepts_again(engine, start) -> None:
    batcher = start(queued_rows=3)
    busy = hold(engine, batcher)
    _, settled = submit(batcher, row(1), row(2))
    with pytest.raises(Overloaded, match=r"limits\.queued_rows"):
        submit(batcher, row(3), row(4))
    engine.gate.set()
    assert settled.wait(10)
    busy.join()
    assert said(run(batcher, [row(5)])) == [[1, 5]]


def test_a_cancelled_callers_waiting_rows_never_run(engine, start) -> None:
    heard: list[Job] = []
    batcher = start(deliver=heard.extend)
    busy = hold(engine, batcher)
    settled = threading.Event()
    job = batcher.submit([row(1), row(2)], settled.set, waiter="somebody")
    _, kept_settled = submit(batcher, row(3))
    batcher.cancel(job)
    assert settled.is_set(), "nothing of it runs, so its slot may go"
    engine.gate.set()
    assert kept_settled.wait(10)
    busy.join()
    assert [[one.row.input_ids for one in forward] for forward in engine.forwards] == [[[0]], [[3]]]
    assert heard == []


def test_a_row_in_a_forward_settles_only_when_the_forward_is_over(engine, start) -> None:
    batcher = start()
    engine.gate.clear()
    job, settled = submit(batcher, row(1))
    assert engine.entered.wait(10)
    batcher.cancel(job)
    assert not settled.is_set(), "the engine still reads its slot"
    engine.gate.set()
    assert settled.wait(10)


def test_delivery_tells_all_callers_of_a_forward_at_once(engine, start) -> None:
    deliveries: list[list[Job]] = []
    delivered = threading.Event()

    def deliver(jobs: Sequence[Job]) -> None:
        deliveries.append(list(jobs))
        delivered.set()

    batcher = start(deliver=deliver)
    busy = hold(engine, batcher)
    jobs = [batcher.submit([row(i)], lambda: None, waiter=i) for i in range(1, 5)]
    engine.gate.set()
    busy.join()
    assert delivered.wait(10)
    assert deliveries == [jobs]


def test_closing_fails_what_waits_and_refuses_what_comes(engine, start) -> None:
    batcher = start()
    busy = hold(engine, batcher)
    job, settled = submit(batcher, row(1))
    closing = threading.Thread(target=batcher.close)
    closing.start()
    assert settled.wait(10)
    engine.gate.set()
    closing.join(10)
    busy.join()
    with pytest.raises(NotReady):
        job.results()
    with pytest.raises(NotReady):
        run(batcher, [row(2)])


def queued(*lengths_of_jobs: Sequence[int]) -> tuple[FairQueue, list[Job]]:
    queue = FairQueue()
    jobs = [Job([row(*range(length)) for length in lengths], lambda: None) for lengths in lengths_of_jobs]
    for job in jobs:
        queue.add(job)
    return queue, jobs


def test_a_bulk_call_leaves_room_for_single_rows() -> None:
    queue, (bulk, one, two) = queued([5] * 100, [5], [5])
    assert {(bulk, 0), (bulk, 1), (one, 0), (two, 0)} == set(queue.take(4, fixed_tokens=32))


def test_a_bulk_call_moves_on_although_single_rows_keep_coming() -> None:
    queue, (bulk,) = queued([5] * 4)
    for _ in range(4):
        for _ in range(3):
            queue.add(Job([row(1, 2, 3, 4, 5)], lambda: None))
        queue.take(2, fixed_tokens=32)
        queue.take(2, fixed_tokens=32)
    assert bulk.pending == []


def test_short_rows_do_not_ride_with_a_long_one() -> None:
    queue, (long, *_) = queued([500], *([12] for _ in range(31)))
    assert queue.take(64, fixed_tokens=32) == [(long, 0)]
    rest = queue.take(64, fixed_tokens=32)
    assert {len(job.rows[index].row.input_ids) for job, index in rest} == {12}
    assert len(rest) == 31


def test_where_a_forward_costs_more_than_padding_they_do() -> None:
    queue, _ = queued([100], *([12] for _ in range(31)))
    assert len(queue.take(64, fixed_tokens=5000)) == 32


def test_rows_of_any_length_go_together_where_they_are_packed_but_not_a_few_short_ones_with_a_long() -> None:
    queue = FairQueue(packs=True)
    for length in (30, 10, 25, 7, 18, 5):
        queue.add(Job([row(*range(length))], lambda: None))
    assert len(queue.take(64, 40.0)) == 6
    for length in (400, 10, 20):
        queue.add(Job([row(*range(length))], lambda: None))
    assert len(queue.take(64, 40.0)) == 1
    assert len(queue.take(64, 40.0)) == 2


def test_packed_rows_go_in_turn_while_they_are_short_and_by_length_from_then_on() -> None:
    queue = FairQueue(packs=True)
    lengths = [9, 60, 12, 40, 10, 150, 9, 160, 10]
    for length in lengths:
        queue.add(Job([row(*range(length))], lambda: None))
    found = [[len(job.rows[index].row.input_ids) for job, index in queue.take(4, 40.0)] for _ in range(3)]
    assert found == [[9, 60, 12, 40], [10, 9, 10], [150, 160]]


def test_rows_of_like_length_go_together() -> None:
    lengths = [20, 8, 21, 60, 19, 22, 9, 58, 20]
    queue, _ = queued(*([length] for length in lengths))
    forwards = []
    while queue:
        picks = queue.take(64, fixed_tokens=8)
        forwards.append(sorted(len(job.rows[index].row.input_ids) for job, index in picks))
    assert forwards == [[19, 20, 20, 21, 22], [8, 9], [58, 60]]


@given(
    lengths=st.lists(st.lists(st.integers(1, 512), min_size=1, max_size=20), min_size=1, max_size=20),
    limit=st.integers(1, 16),
    fixed=st.floats(8, 8192),
)
def test_the_queue_hands_out_every_row_once_oldest_turn_first(lengths, limit, fixed) -> None:
    queue, jobs = queued(*lengths)
    seen: list[tuple[int, int]] = []
    while queue:
        _, turn = next(iter(queue._in_turn(NOBODY)))
        picks = queue.take(limit, fixed)
        assert turn in picks, "whoever's turn it is never waits for a better fit"
        longest = max(len(job.rows[index].row.input_ids) for job, index in picks)
        assert len(picks) == 1 or len(picks) * longest <= limit * TOKENS_PER_ROW
        assert len(picks) <= limit
        seen += [(jobs.index(job), index) for job, index in picks]
    assert sorted(seen) == [(i, j) for i, job in enumerate(lengths) for j in range(len(job))]


@given(
    fixed=st.floats(1e-4, 0.05),
    per_token=st.floats(1e-6, 1e-3),
    sizes=st.lists(st.integers(1, 4000), min_size=20, max_size=60, unique=True),
)
def test_the_cost_of_a_forward_is_learned(fixed, per_token, sizes) -> None:
    cost = ForwardCost()
    for size in sizes:
        cost.note(size, fixed + per_token * size)
    expected = min(max(fixed / per_token, MIN_FIXED_TOKENS), MAX_FIXED_TOKENS)
    assert cost.fixed_tokens == pytest.approx(expected, rel=0.05)


def test_little_knowledge_of_the_cost_is_not_believed() -> None:
    cost = ForwardCost()
    assert cost.fixed_tokens == INITIAL_FIXED_TOKENS
    for _ in range(50):
        cost.note(40, 0.01)  # one size says nothing of the slope
    assert cost.fixed_tokens == INITIAL_FIXED_TOKENS


def test_a_cost_that_does_not_grow_with_the_tokens_asks_for_full_batches() -> None:
    cost = ForwardCost()
    for size in range(10, 500, 10):
        cost.note(size, 0.02 - size * 1e-6)
    assert cost.fixed_tokens == MAX_FIXED_TOKENS


FLOWS = [Flow("greedy", "mood"), Flow("quiet", "mood"), Flow("quiet", "taste"), Flow("vip", "mood", 4.0)]


@settings(max_examples=80, deadline=None)
@given(
    jobs=st.lists(
        st.tuples(st.integers(0, 3), st.lists(st.integers(1, 60), min_size=1, max_size=10)),
        min_size=1,
        max_size=20,
    ),
    limit=st.integers(1, 8),
    dropped=st.sets(st.integers(0, 19)),
)
def test_a_queue_with_flows_keeps_its_books_and_never_idles(jobs, limit, dropped) -> None:
    queue = FairQueue()
    queued = [
        Job([row(*range(length)) for length in lengths], lambda: None, flow=FLOWS[flow])
        for flow, lengths in jobs
    ]
    for job in queued:
        queue.add(job)
    kept = [job for number, job in enumerate(queued) if number not in dropped]
    for job in queued:
        if job not in kept:
            queue.drop(job)
    wanted = {(job, index) for job in kept for index in range(len(job.rows))}
    assert (len(queue), queue.jobs) == (len(wanted), len(kept))
    taken: list[tuple[Job, int]] = []
    while queue:
        picks = queue.take(limit, INITIAL_FIXED_TOKENS)
        assert 1 <= len(picks) <= limit
        taken += picks
    assert len(taken) == len(wanted)
    assert set(taken) == wanted
    assert (queue.jobs, queue._jobs, len(queue._shares._callers)) == (0, {}, 0)


def test_a_quiet_caller_is_in_the_next_forward_whatever_a_flood_has_queued() -> None:
    queue = FairQueue()
    flood = [Job([row(*range(20))] * 10, lambda: None, flow=FLOWS[0]) for _ in range(50)]
    for job in flood:
        queue.add(job)
    queue.take(8, INITIAL_FIXED_TOKENS)
    quiet = Job([row(*range(20))], lambda: None, flow=FLOWS[1])
    queue.add(quiet)
    assert (quiet, 0) in queue.take(8, INITIAL_FIXED_TOKENS)


def test_a_quiet_row_of_another_length_is_in_the_next_forward_each_time_it_comes() -> None:
    queue = FairQueue()
    for _ in range(50):
        queue.add(Job([row(*range(300))] * 10, lambda: None, flow=FLOWS[0]))
    queue.take(8, MIN_FIXED_TOKENS)
    for _ in range(3):
        quiet = Job([row(1, 2)], lambda: None, flow=FLOWS[1])
        queue.add(quiet)
        assert (quiet, 0) in queue.take(8, MIN_FIXED_TOKENS)
        queue.take(8, MIN_FIXED_TOKENS)


def test_the_engine_is_shared_in_tokens_by_weight() -> None:
    queue = FairQueue()
    for _ in range(100):
        queue.add(Job([row(*range(40))] * 2, lambda: None, flow=FLOWS[0]))
        queue.add(Job([row(*range(10))] * 8, lambda: None, flow=FLOWS[1]))
        queue.add(Job([row(*range(20))] * 16, lambda: None, flow=FLOWS[3]))
    served = dict.fromkeys(FLOWS, 0)
    for _ in range(60):
        for job, index in queue.take(8, MAX_FIXED_TOKENS):
            served[job.flow] += len(job.rows[index].row.input_ids)
    assert served[FLOWS[1]] == pytest.approx(served[FLOWS[0]], rel=0.15)
    assert served[FLOWS[3]] == pytest.approx(4 * served[FLOWS[0]], rel=0.15)


def test_a_flood_that_fills_the_queue_does_not_keep_a_quiet_caller_out(engine, start) -> None:
    batcher = start(queued_rows=4)
    busy = hold(engine, batcher)
    flood, flooded = threading.Event(), threading.Event()
    batcher.submit([row(1)] * 4, flood.set, None, flow=FLOWS[0])
    with pytest.raises(Overloaded, match=r"limits\.queued_rows"):
        batcher.submit([row(2)], flooded.set, None, flow=FLOWS[0])
    quiet = threading.Event()
    batcher.submit([row(3)], quiet.set, None, flow=FLOWS[1])
    engine.gate.set()
    assert quiet.wait(10)
    assert flood.wait(10)
    busy.join()


def test_the_engine_rests_between_forwards_while_it_is_flooded_and_at_no_other_time(
    engine, start, monkeypatch
) -> None:
    rests: list[float] = []
    monkeypatch.setattr("hub.serving.batching.batcher.time.sleep", rests.append)
    batcher = start(batch_rows=4)
    run(batcher, [row(1)] * 3 * MIN_FLOOD_ROWS)
    assert not rests, "one flow alone may fill the queue"
    busy = hold(engine, batcher)
    flood, quiet = threading.Event(), threading.Event()
    batcher.submit([row(2)] * 3 * MIN_FLOOD_ROWS, flood.set, None, flow=FLOWS[0])
    batcher.submit([row(3)], quiet.set, None, flow=FLOWS[1])
    engine.gate.set()
    assert flood.wait(10)
    assert quiet.wait(10)
    assert rests
    assert max(rests) <= MAX_REST_S
    busy.join()


def flooded(monkeypatch, now: float = 1000.0) -> FairQueue:
    """Return a queue with many rows of one flow, in which another flow was active just before."""
    clock = [now]
    monkeypatch.setattr("hub.serving.batching.fair_queue.time.perf_counter", lambda: clock[0])
    queue = FairQueue()
    quiet = Job([row(*range(20))], lambda: None, flow=FLOWS[1])
    queue.add(quiet)
    queue.drop(quiet)
    for _ in range(64):
        queue.add(Job([row(*range(20))], lambda: None, flow=FLOWS[0]))
    return queue


def test_a_flood_leaves_forwards_short_while_another_flow_may_come(monkeypatch) -> None:
    queue = flooded(monkeypatch)
    picks = queue.take(64, 100.0, lambda tokens: 7 * tokens)
    assert sum(len(job.rows[index].row.input_ids) for job, index in picks) == 140


def test_a_few_rows_are_no_flood(monkeypatch) -> None:
    queue = flooded(monkeypatch)
    while len(queue) >= MIN_FLOOD_ROWS:
        queue.take(1, 100.0)
    assert len(queue.take(64, 100.0, lambda tokens: tokens)) == MIN_FLOOD_ROWS - 1


def test_a_short_forward_takes_at_most_twice_as_long_as_its_first_row() -> None:
    cost = ForwardCost()
    for tokens in (16, 20, 32, 40, 64, 80, 128, 200, 256, 512):
        cost.note(tokens, 0.005 + tokens * 1e-4)
    limit = cost.within_twice(20)
    assert limit == pytest.approx(90, rel=0.2), "what takes 14 ms, where the first row takes 7"
    for _ in range(30):  # such forwards turn out to be slower, as beside other work
        cost.note(64, 0.1)
    assert 20 <= cost.within_twice(20) <= 46


def test_a_short_forward_is_as_full_as_a_size_was_measured_and_one_step_more() -> None:
    cost = ForwardCost()
    assert 20 <= cost.within_twice(20) <= 40
    for tokens in (16, 22, 32):
        cost.note(tokens, 0.01)
    assert 32 < cost.within_twice(16) <= 46


def test_forwards_stay_full_where_rows_cost_little(monkeypatch) -> None:
    cost = ForwardCost()
    for tokens in range(1, 3000):
        cost.note(tokens, 0.01)
    assert len(flooded(monkeypatch).take(64, MAX_FIXED_TOKENS, cost.within_twice)) == 64


def test_forwards_are_full_again_when_the_others_have_been_away_for_long(monkeypatch) -> None:
    queue = flooded(monkeypatch)
    monkeypatch.setattr("hub.serving.batching.fair_queue.time.perf_counter", lambda: 1000.0 + RECENT_S + 1)
    assert len(queue.take(64, 100.0)) == 64
    assert len(queue._active_at) == 1, "those that are away are forgotten"


def test_flows_with_equal_rows_fill_a_forward() -> None:
    queue = FairQueue()
    for flow in FLOWS:
        for _ in range(16):
            queue.add(Job([row(*range(20))], lambda: None, flow=flow))
    assert len(queue.take(64, 100.0)) == 64

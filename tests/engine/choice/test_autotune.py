# ruff: noqa: TID253 - backbones return tensors
"""What is measured decides what runs; measured by a clock that only the stubs move."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace

import pytest
import torch

from hub.engine.choice import autotune as tune
from hub.engine.choice.autotune import SHAPES, Tuner, Tuning
from hub.engine.choice.backbones import Backbones
from hub.engine.torch.heads import Hidden
from hub.engine.torch.tensors import BatchTensors
from hub.errors import EngineFailed

TORCH, BF16, ONNX, INT8 = "torch float32", "torch bfloat16", "onnx float32", "onnx int8"
OPENVINO = "openvino bfloat16"
Cost = Callable[[int, int], float]


class Stub:
    """A backbone that takes `cost(rows, tokens)` seconds and computes something near the ids."""

    int8 = False
    parallel = True
    device = torch.device("cpu")
    model = SimpleNamespace(config=SimpleNamespace(vocab_size=50))
    nbytes = 0

    def __init__(
        self, clock, name: str, cost: Cost, noise: float = 0.0, stacks: tuple[str, ...] = ()
    ) -> None:
        self.clock, self.name, self.cost, self.noise = clock, name, cost, noise
        self.stacks = frozenset(stacks)
        self.ran: list[tuple[int, int]] = []
        self.covered = True

    def covers(self, slots: frozenset[int]) -> bool:
        return self.covered

    def run(self, batch: BatchTensors, *, decode: bool = False) -> Hidden:
        rows, tokens = batch.input_ids.shape
        self.ran.append((rows, tokens))
        self.clock.now += self.cost(rows, tokens)
        states = torch.nn.functional.one_hot(batch.input_ids, 50).float()
        return Hidden(states + self.noise * torch.ones_like(states))


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    clock = SimpleNamespace(now=0.0)
    clock.perf_counter = lambda: clock.now
    monkeypatch.setattr(tune, "time", clock)
    return clock


@pytest.fixture
def base() -> SimpleNamespace:
    return SimpleNamespace(name="base", fingerprint="f" * 64, max_length=512)


@pytest.fixture
def stub(clock):
    def make(name: str, cost: Cost | float = 1.0, **settings) -> Stub:
        return Stub(clock, name, cost if callable(cost) else lambda rows, tokens: cost, **settings)

    return make


def backbones_of(reference: Stub, other: Stub | None = None, graphs: tuple[Stub, ...] = ()) -> Backbones:
    return Backbones(reference, other=other, graphs=graphs)


def tuner(base, folder, budget_s: float = 1e9, *, again: bool = False, threads: int = 1) -> Tuner:
    return Tuner(base, folder, threads, Tuning(budget_s, again))


def names(order, rows: int, tokens: int) -> list[str]:
    return [backbone.name for backbone in order(rows, tokens)]


def test_the_fastest_runs_each_shape(stub, base, tmp_path) -> None:
    """One has a cost per call, the other one per token; they meet at 100 tokens."""
    backbones = backbones_of(stub(TORCH, lambda r, t: 1e-2), graphs=(stub(ONNX, lambda r, t: 1e-4 * r * t),))
    order = tuner(base, tmp_path)(backbones)
    for rows, tokens in [*SHAPES, (2, 16), (1, 20), (48, 48), (200, 200)]:
        fastest = [ONNX, TORCH] if rows * tokens < 100 else [TORCH, ONNX]
        assert names(order, rows, tokens) == fastest, (rows, tokens)


def test_what_was_measured_is_kept_for_those_who_ask(stub, base, tmp_path) -> None:
    measure = tuner(base, tmp_path)
    assert measure.timings is None
    measure(backbones_of(stub(TORCH, 2.0), graphs=(stub(ONNX, 0.5),)))
    assert measure.timings.best() == dict.fromkeys(SHAPES, ONNX)
    assert measure.timings.seconds[TORCH][1, 16] == pytest.approx(2.0)


def test_a_candidate_that_computes_something_else_is_refused(stub, base, tmp_path) -> None:
    wrong = stub(ONNX, 0.01, noise=0.1)
    measure = tuner(base, tmp_path)
    order = measure(backbones_of(stub(TORCH, 1.0), graphs=(wrong,)))
    assert names(order, 1, 16) == [TORCH]
    assert "cosine" in measure.timings.refused[ONNX]
    assert len(wrong.ran) == 1, "nothing is timed that is not to be used"


def test_a_candidate_that_computes_nearly_the_same_is_not(stub, base, tmp_path) -> None:
    order = tuner(base, tmp_path)(backbones_of(stub(TORCH, 1.0), stub(BF16, 0.1, noise=0.003)))
    assert names(order, 1, 16) == [BF16, TORCH]


def test_one_whose_output_is_not_finite_is_refused(stub, base, tmp_path) -> None:
    order = tuner(base, tmp_path)(
        backbones_of(stub(TORCH, 1.0), graphs=(stub(ONNX, 0.01, noise=float("nan")),))
    )
    assert names(order, 1, 16) == [TORCH]


@pytest.mark.parametrize(
    ("name", "at"), [(ONNX, (4, 24)), (ONNX, (1, 16)), (ONNX, (16, 24)), (INT8, (1, 16))]
)
def test_one_that_fails_is_dropped_at_once_the_others_are_measured_and_it_is_tried_again_by_the_next_engine(
    stub, base, tmp_path, name, at
) -> None:
    good, seen = stub(OPENVINO, 0.5), []

    def cost(rows: int, tokens: int) -> float:
        if (rows, tokens) == at:
            raise RuntimeError("no kernel")
        return 0.01

    backbones = backbones_of(stub(TORCH, 1.0), graphs=(stub(name, cost), good))
    good.cost = lambda rows, tokens: seen.append(backbones.chosen(1, 16).name) or 0.5
    order = tuner(base, tmp_path)(backbones)
    assert all(names(order, *shape) == [OPENVINO, TORCH] for shape in SHAPES)
    assert [graph.name for graph in backbones.graphs] == [OPENVINO]
    assert seen[-1] == OPENVINO
    again = stub(name, 0.01)
    order = tuner(base, tmp_path)(backbones_of(stub(TORCH, 1.0), graphs=(again, stub(OPENVINO, 0.5))))
    assert names(order, 1, 16)[0] == name


def test_the_reference_may_not_fail(stub, base, tmp_path) -> None:
    def cost(rows: int, tokens: int) -> float:
        raise RuntimeError("no memory")

    with pytest.raises(RuntimeError, match="no memory"):
        tuner(base, tmp_path)(backbones_of(stub(TORCH, cost), graphs=(stub(ONNX, 0.5),)))


def test_int8_is_not_compared_because_only_adapters_measured_on_it_run_there(stub, base, tmp_path) -> None:
    int8 = stub(INT8, 0.1, noise=0.2)
    order = tuner(base, tmp_path)(backbones_of(stub(TORCH, 1.0), graphs=(stub(ONNX, 0.5), int8)))
    assert names(order, 1, 16) == [INT8, ONNX, TORCH]


def test_what_is_never_the_fastest_is_dropped(stub, base, tmp_path) -> None:
    backbones = backbones_of(stub(TORCH, 1.0), stub(BF16, 0.6), (stub(ONNX, 0.5),))
    order = tuner(base, tmp_path)(backbones)
    assert backbones.other is None
    assert [backbone.name for backbone in backbones.all] == [ONNX, TORCH]
    assert BF16 not in names(order, 1, 16)


def test_a_graph_that_is_never_the_fastest_is_dropped_too(stub, base, tmp_path) -> None:
    backbones = backbones_of(stub(TORCH, 1.0), graphs=(stub(ONNX, 0.6), stub(INT8, 0.8), stub(OPENVINO, 0.5)))
    order = tuner(base, tmp_path)(backbones)
    assert [backbone.name for backbone in backbones.all] == [OPENVINO, TORCH]
    assert names(order, 1, 16) == [OPENVINO, TORCH]


def test_what_is_the_fastest_on_one_shape_is_kept(stub, base, tmp_path) -> None:
    """The largest shape alone is enough."""
    bf16 = stub(BF16, lambda r, t: 0.4 if r * t > 4000 else 0.6)
    backbones = backbones_of(stub(TORCH, 1.0), bf16, (stub(ONNX, 0.5),))
    order = tuner(base, tmp_path)(backbones)
    assert backbones.other is bf16
    assert names(order, 64, 64) == [BF16, ONNX, TORCH]
    assert names(order, 1, 16) == [ONNX, BF16, TORCH]


def test_what_is_the_fastest_but_for_int8_is_kept_for_adapters_that_int8_may_not_run(
    stub, base, tmp_path
) -> None:
    backbones = backbones_of(stub(TORCH, 1.0), stub(BF16, 0.3), (stub(ONNX, 0.5), stub(INT8, 0.1)))
    tuner(base, tmp_path)(backbones)
    assert backbones.other is not None


def test_the_budget_ends_the_measuring_but_every_candidate_is_measured_once(
    stub, base, clock, tmp_path
) -> None:
    measure = tuner(base, tmp_path, budget_s=5.0)
    measure(backbones_of(stub(TORCH, 1.0), graphs=(stub(ONNX, 0.9),)))
    assert clock.now <= 5.0 + 2 * 1.9 + 1.9, "what was begun is ended; the comparison comes before"
    assert measure.timings.shapes == [(1, 16)]
    assert set(measure.timings.seconds) == {TORCH, ONNX}
    assert all(measure.timings.seconds.values())


def test_a_hopeless_candidate_is_not_timed_again_and_again(stub, base, tmp_path) -> None:
    slow, fast = stub(TORCH, 5.0), stub(ONNX, 0.1)
    tuner(base, tmp_path)(backbones_of(slow, graphs=(fast,)))
    assert fast.ran.count((8, 96)) == tune.REPEATS + 1
    assert slow.ran.count((8, 96)) == 2


def test_the_first_run_of_a_shape_does_not_count(stub, base, tmp_path) -> None:
    """It finds memory, and onnxruntime plans it."""
    seen: set[tuple[int, int]] = set()

    def cost(*shape: int) -> float:
        first = shape not in seen
        seen.add(shape)
        return 100.0 if first else 0.5

    order = tuner(base, tmp_path)(backbones_of(stub(TORCH, 1.0), graphs=(stub(ONNX, cost),)))
    assert names(order, 64, 64) == [ONNX, TORCH]


def test_a_shape_is_never_longer_than_the_base_reads(stub, base, tmp_path) -> None:
    base.max_length = 20
    reference = stub(TORCH)
    tuner(base, tmp_path)(backbones_of(reference, graphs=(stub(ONNX),)))
    assert max(tokens for _, tokens in reference.ran) == 20


def test_a_graph_that_is_not_there_yet_is_not_measured(stub, base, tmp_path) -> None:
    graph = stub(ONNX)
    graph.covered = False
    order = tuner(base, tmp_path)(backbones_of(stub(TORCH), graphs=(graph,)))
    assert names(order, 1, 16) == [TORCH]
    assert graph.ran == []


def test_rows_of_all_filled_slots_are_measured(stub, base, tmp_path) -> None:
    reference = stub(TORCH)
    batches: list[BatchTensors] = []
    plain = reference.run
    reference.run = lambda batch, decode=False: batches.append(batch) or plain(batch)
    backbones = backbones_of(reference, graphs=(stub(ONNX),))
    backbones.filled = frozenset({3, 5})
    tuner(base, tmp_path)(backbones)
    assert {slot for batch in batches if len(batch.slots) > 1 for slot in batch.slots.tolist()} == {3, 5}


class TestMeasurementsAreKept:
    @pytest.fixture
    def measured(self, stub, base, tmp_path):
        """Measure with new backbones, as after a restart; return whether any of them ran, and the order."""

        def measure(*, stacks=("a.x",), fingerprint="f" * 64, onnx=0.5, **settings) -> tuple[bool, list[str]]:
            base.fingerprint = fingerprint
            backbones = backbones_of(stub(TORCH, 1.0), stub(BF16, 2.0), (stub(ONNX, onnx, stacks=stacks),))
            everyone = backbones.all
            order = tuner(base, tmp_path, **settings)(backbones)
            assert backbones.other is None, "what is never chosen is dropped, measured now or before"
            return any(one.ran for one in everyone), names(order, 1, 16)

        return measure

    def test_and_read_the_next_time(self, measured) -> None:
        assert measured() == (True, [ONNX, TORCH])
        assert measured(onnx=9.0) == (False, [ONNX, TORCH])

    def test_unless_asked_to_measure_again(self, measured) -> None:
        measured()
        assert measured(onnx=9.0, again=True) == (True, [TORCH])
        assert measured() == (False, [TORCH])

    @pytest.mark.parametrize(
        "other", [{"stacks": ("a.x", "b.x")}, {"fingerprint": "0" * 64}, {"threads": 2}], ids=str
    )
    def test_for_the_same_base_stacks_and_threads_alone(self, measured, other) -> None:
        measured()
        assert measured(**other)[0] is True
        assert measured(**other)[0] is False

    def test_for_the_same_versions_alone(self, measured, monkeypatch) -> None:
        measured()
        monkeypatch.setattr(tune, "_version", lambda package: "99")
        assert measured()[0] is True

    def test_for_the_same_machine_alone(self, measured, monkeypatch) -> None:
        measured()
        monkeypatch.setattr(tune, "_processor", lambda: "another")
        assert measured()[0] is True

    def test_and_made_again_where_the_file_is_damaged(self, measured, tmp_path) -> None:
        measured()
        [file] = tmp_path.glob("tune-*.json")
        file.write_text('{"seconds": [["onnx float32", 1, 16, 0]], "refused": {}}')
        assert measured() == (True, [ONNX, TORCH])


def test_a_measurement_ends_when_the_engine_is_closed(stub, base, tmp_path) -> None:
    reference = stub(TORCH, 1.0)
    backbones = backbones_of(reference, graphs=(stub(ONNX, 0.5),))
    reference.cost = lambda rows, tokens: backbones.__setattr__("_closed", True) or 1.0
    with pytest.raises(EngineFailed, match="closed"):
        tuner(base, tmp_path)(backbones)
    assert len(reference.ran) <= 2
    assert list(tmp_path.iterdir()) == [], "half a measurement is not kept"

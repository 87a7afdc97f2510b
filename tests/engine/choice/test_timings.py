"""Timings say which backbone is likely the fastest on any shape, and survive a restart."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hub.engine.choice.timings import Timings

SIZES = st.sampled_from([1, 2, 4, 8, 16, 32, 64, 128, 256])
SHAPES = st.tuples(SIZES, SIZES)
SECONDS = st.floats(1e-5, 1e2)
MEASURED = st.dictionaries(SHAPES, SECONDS, min_size=1, max_size=9)
NAMES = st.sampled_from(["torch float32", "torch bfloat16", "onnx float32", "onnx int8"])
TIMINGS = st.builds(
    Timings,
    st.dictionaries(NAMES, st.dictionaries(SHAPES, SECONDS, max_size=9), min_size=1),
    st.dictionaries(NAMES, st.text(), max_size=2),
)
ANY = st.tuples(st.integers(1, 4096), st.integers(1, 4096))


@given(TIMINGS, ANY)
def test_the_order_is_by_prediction_and_leaves_out_what_was_refused_or_not_measured(
    timings: Timings, shape: tuple[int, int]
) -> None:
    order = timings.order(*shape)
    assert set(order) == {name for name, one in timings.seconds.items() if one} - set(timings.refused)
    for kind in ("torch", "onnx"):
        predicted = [timings.predict(name, *shape) for name in order if name.startswith(kind)]
        assert predicted == sorted(predicted)


@pytest.mark.parametrize(
    ("torch_s", "first"), [(0.8, "torch float32"), (0.95, "onnx float32"), (1.2, "onnx float32")]
)
def test_torch_has_to_be_faster_by_a_tenth(torch_s: float, first: str) -> None:
    timings = Timings({"torch float32": {(1, 16): torch_s}, "onnx float32": {(1, 16): 1.0}})
    assert timings.order(1, 16)[0] == timings.best()[1, 16] == first
    assert timings.predict("torch float32", 1, 16) == pytest.approx(torch_s)


@given(MEASURED)
def test_a_prediction_is_what_was_measured_where_it_was(measured: dict[tuple[int, int], float]) -> None:
    timings = Timings({"x": measured})
    for shape, seconds in measured.items():
        assert timings.predict("x", *shape) == pytest.approx(seconds, rel=1e-6)


@given(MEASURED, ANY)
def test_a_prediction_lies_between_the_measured_times_per_token(
    measured: dict[tuple[int, int], float], shape: tuple[int, int]
) -> None:
    per_token = [seconds / math.prod(known) for known, seconds in measured.items()]
    predicted = Timings({"x": measured}).predict("x", *shape) / math.prod(shape)
    assert min(per_token) * (1 - 1e-9) <= predicted <= max(per_token) * (1 + 1e-9)


@given(MEASURED, ANY, st.floats(0.01, 100))
def test_a_backbone_that_is_faster_everywhere_always_comes_first(
    measured: dict[tuple[int, int], float], shape: tuple[int, int], factor: float
) -> None:
    other = {known: seconds * factor for known, seconds in measured.items()}
    first = Timings({"x": measured, "y": other}).order(*shape)[0]
    assert factor == pytest.approx(1) or first == ("x" if factor > 1 else "y")


@given(timings=TIMINGS)
def test_what_is_saved_is_loaded(timings: Timings, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.getbasetemp() / "saved" / "timings.json"
    timings.save(path)
    measured = {name: one for name, one in timings.seconds.items() if one}
    assert Timings.load(path) == (Timings(measured, timings.refused) if measured else None)
    assert [file.name for file in path.parent.iterdir()] == ["timings.json"]


def test_the_best_of_each_measured_shape() -> None:
    timings = Timings(
        {"x": {(1, 16): 1.0, (64, 64): 9.0}, "y": {(1, 16): 2.0, (64, 64): 4.0}, "z": {(1, 16): 0.1}},
        {"z": "it is wrong"},
    )
    assert timings.shapes == [(1, 16), (64, 64)]
    assert timings.best() == {(1, 16): "x", (64, 64): "y"}
    assert Timings({}).best() == {}


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=2),
    max_leaves=6,
)
ROWS = st.lists(
    st.tuples(
        NAMES,
        *[st.integers(-1, 3) | JSON] * 2,
        SECONDS | st.sampled_from([0, -1.0, math.inf, 10**400]) | JSON,
    )
)
DAMAGED = JSON | st.fixed_dictionaries({"seconds": ROWS | JSON, "refused": JSON | st.just({})})


@given(content=DAMAGED | st.binary(max_size=40))
def test_a_damaged_file_is_none_or_of_use(content: object, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.getbasetemp() / "damaged.json"
    path.write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())
    if (timings := Timings.load(path)) is not None:
        for name in timings.order(5, 7):
            assert 0 < timings.predict(name, 5, 7) < math.inf
        timings.best()


@pytest.mark.parametrize(
    "content",
    ["", "{", "[]", '{"seconds": []}', '{"seconds": [["x", 1, 2]], "refused": {}}']
    + [f'{{"seconds": [["x", {row}]], "refused": {{}}}}' for row in ("0, 1, 1.0", "1, 1, 0.0", "1, 1, NaN")],
)
def test_such_a_file_is_none(content: str, tmp_path: Path) -> None:
    path = tmp_path / "timings.json"
    assert Timings.load(path) is None
    path.write_text(content)
    assert Timings.load(path) is None

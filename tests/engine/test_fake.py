"""The fake engine repeats itself exactly and has the shapes of a real one."""

from __future__ import annotations

import numpy as np
import pytest

from hub.api import HeadKind, Row
from hub.engine.fake import FakeEngine
from hub.engine.protocol import AdapterWeights, EngineRow
from hub.errors import EngineFailed


def weights(kind: HeadKind, labels: int, sha256: str) -> AdapterWeights:
    return AdapterWeights(kind, {}, {}, labels, sha256)


def one(engine: FakeEngine, ids: list[int], slot: int, head: HeadKind) -> np.ndarray:
    values = engine.run([EngineRow(Row(ids), slot, head)])[0].values
    assert values is not None
    return values


@pytest.mark.parametrize(
    ("kind", "labels", "shape"),
    [
        (HeadKind.SEQUENCE, 3, (3,)),
        (HeadKind.TOKEN, 5, (4, 5)),
        (HeadKind.SPAN, 2, (4, 2)),
        (HeadKind.EMBEDDING, 0, (16,)),
    ],
)
def test_shapes(kind: HeadKind, labels: int, shape: tuple[int, ...]) -> None:
    engine = FakeEngine(4)
    engine.write(1, weights(kind, labels, "a"))
    values = one(engine, [1, 2, 3, 4], 1, kind)
    assert values.shape == shape
    assert values.dtype == np.float32


def test_values_depend_on_the_adapter_and_the_row_but_not_on_the_slot() -> None:
    engine = FakeEngine(4)
    engine.write(1, weights(HeadKind.SEQUENCE, 3, "a"))
    engine.write(2, weights(HeadKind.SEQUENCE, 3, "b"))
    engine.write(3, weights(HeadKind.SEQUENCE, 3, "a"))
    first = one(engine, [1, 2], 1, HeadKind.SEQUENCE)
    assert (first == one(engine, [1, 2], 3, HeadKind.SEQUENCE)).all()
    assert (first != one(engine, [1, 2], 2, HeadKind.SEQUENCE)).all()
    assert (first != one(engine, [2, 1], 1, HeadKind.SEQUENCE)).all()


def test_text_is_at_most_as_long_as_asked() -> None:
    row = Row([1], max_new_tokens=2)
    [output] = FakeEngine(1).run([EngineRow(row, 0, HeadKind.GENERATE)])
    assert len(output.text.split()) == 2


def test_an_empty_slot_has_no_head() -> None:
    engine = FakeEngine(1)
    engine.write(1, weights(HeadKind.SEQUENCE, 3, "a"))
    engine.clear(1)
    with pytest.raises(EngineFailed, match="Slot 1 holds no adapter"):
        one(engine, [1], 1, HeadKind.SEQUENCE)
    with pytest.raises(ValueError, match="not between 1 and 1"):
        engine.write(2, weights(HeadKind.SEQUENCE, 3, "a"))

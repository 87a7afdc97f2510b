"""What the backbones of every graph runtime have in common."""

from __future__ import annotations

from dataclasses import replace
from importlib.util import find_spec

import numpy as np
import pytest

from hub.api import HeadKind

OPENVINO = pytest.param("openvino", marks=pytest.mark.skipif(not find_spec("openvino"), reason="is optional"))


@pytest.mark.parametrize("kind", ["onnx", OPENVINO])
def test_outputs_do_not_share_memory_with_the_next_run(kind, bert, wide, engine_of, fill):
    engine = engine_of(bert, kind)
    fill(engine, [wide])
    first = engine.run([replace(wide.row(1, 6), head=HeadKind.EMBEDDING)])[0].values
    kept = first.copy()
    for seed in range(5):
        engine.run([wide.row(1, 6, seed=seed)])
    np.testing.assert_array_equal(first, kept)

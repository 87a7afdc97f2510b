"""Measured times of backbones on a few shapes, and the estimate for any shape; free of torch."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from hub.files import write_file

__all__ = ["Shape", "Timings"]

Shape = tuple[int, int]  # rows, tokens of the longest row
# A torch forward makes hundreds of calls and competes for the GIL with the server's other threads between
# them; onnxruntime is called once. Torch is chosen only if it is faster by this factor.
INTERPRETER = 1.1


@dataclass(frozen=True, slots=True)
class Timings:
    """Median seconds of a forward by backbone and shape; `refused`: why a backbone is never chosen."""

    seconds: Mapping[str, Mapping[Shape, float]]
    refused: Mapping[str, str] = field(default_factory=dict)

    def order(self, rows: int, tokens: int) -> list[str]:
        """Return the names of the measured backbones that were not refused, fastest first."""
        names = [name for name in self.seconds if name not in self.refused and self.seconds[name]]
        return sorted(names, key=lambda name: self._cost(name, rows, tokens))

    def _cost(self, name: str, rows: int, tokens: int) -> float:
        return self.predict(name, rows, tokens) * (INTERPRETER if name.startswith("torch") else 1.0)

    def predict(self, name: str, rows: int, tokens: int) -> float:
        """Return the estimated seconds for a shape, from the time per token of nearby measured shapes."""
        total = weight = 0.0
        for (known_rows, known_tokens), seconds in self.seconds[name].items():
            distance = math.log2(rows / known_rows) ** 2 + math.log2(tokens / known_tokens) ** 2
            nearness = 1.0 / (distance + 1e-6) ** 2
            total += nearness * math.log(seconds / (known_rows * known_tokens))
            weight += nearness
        return math.exp(total / weight) * rows * tokens

    @property
    def shapes(self) -> list[Shape]:
        """The measured shapes, smallest first."""
        return sorted({shape for one in self.seconds.values() for shape in one}, key=lambda s: s[0] * s[1])

    def best(self) -> dict[Shape, str]:
        """Return the chosen backbone for each measured shape."""
        return {shape: order[0] for shape in self.shapes if (order := self.order(*shape))}

    def save(self, path: Path) -> None:
        """Save to a file for `load`."""
        rows = [[name, *shape, s] for name, one in self.seconds.items() for shape, s in one.items()]
        path.parent.mkdir(parents=True, exist_ok=True)
        write_file(path, json.dumps({"seconds": rows, "refused": dict(self.refused)}))

    @classmethod
    def load(cls, path: Path) -> Timings | None:
        """Read a file that `save` wrote; None if it is missing or invalid."""
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
            return cls(_by_name(found["seconds"]), dict(found["refused"]))
        except (OSError, ValueError, KeyError, TypeError, OverflowError, RecursionError):
            return None


def _by_name(rows: Sequence[tuple[str, int, int, float]]) -> dict[str, dict[Shape, float]]:
    seconds: dict[str, dict[Shape, float]] = {}
    for name, row_count, tokens, took in rows:
        shape, took_s = (int(row_count), int(tokens)), float(took)
        if min(shape) < 1 or not 0 < took_s < math.inf:
            raise ValueError(f"{took_s} s on {shape} is no valid time.")
        seconds.setdefault(str(name), {})[shape] = took_s
    if not seconds:
        raise ValueError("There are no measurements.")
    return seconds

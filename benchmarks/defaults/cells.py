"""One training run of the benchmark, and the file that keeps the finished ones."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

__all__ = ["Cell", "Finished", "Result"]


@dataclass(frozen=True, slots=True)
class Cell:
    """A way of training on some rows of a set.

    `way` is the name in the table; `settings` are all that decide the result, so that a cell is trained again
    once a default changes. `told`: whether the test rows are evaluated.
    """

    set: str
    rows: int
    seed: int
    way: str
    settings: str
    told: bool = True

    @property
    def key(self) -> str:
        """Hash of the cell."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()[:16]


@dataclass(frozen=True, slots=True)
class Result:
    """Accuracy on the rows to choose by and on the test rows, and what the training took.

    `test` is None in a run that chooses settings. `seconds` are those of the training loop, with its
    evaluations; `cpu_seconds` the processor time of it.
    """

    choose: float
    test: float | None
    steps: int
    seconds: float
    cpu_seconds: float

    @property
    def accuracy(self) -> float:
        """On the test rows or, without any, on the rows to choose by."""
        return self.choose if self.test is None else self.test


class Finished:
    """A file with one JSON object per finished cell."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._results: dict[str, Result] = {}
        if path.exists():
            for line in path.read_text(encoding="utf-8").splitlines():
                entry: Mapping[str, Any] = json.loads(line)
                self._results[entry["key"]] = Result(**entry["result"])

    def of(self, cell: Cell, run: Callable[[], Result] | None) -> Result | None:
        """Return the result of a cell, by `run` if it is not finished; None without `run`."""
        if cell.key not in self._results and run:
            result = run()
            self._results[cell.key] = result
            self._path.parent.mkdir(parents=True, exist_ok=True)
            entry = {"key": cell.key, "cell": asdict(cell), "result": asdict(result)}
            with self._path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(entry) + "\n")
        return self._results.get(cell.key)

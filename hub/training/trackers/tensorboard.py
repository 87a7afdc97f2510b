# ruff: noqa: TID253 - imported when such a tracker is opened, and by nothing else
"""TensorBoard: one event file per run, for `tensorboard --logdir HOME/tensorboard`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from tensorboardX import SummaryWriter

from hub.api.kinds.tracker import Begun, Ended, Scalars

__all__ = ["TensorBoard"]


class TensorBoard:
    """Writes to `folder`; settings and tags are shown under TEXT."""

    def __init__(self, folder: Path) -> None:
        self._writer = SummaryWriter(str(folder))

    def start(self, run: Begun) -> None:
        self._writer.add_text("recipe", _table(run.params), 0)
        self._writer.add_text("run", _table(run.tags), 0)
        self._writer.flush()

    def scalars(self, step: int, values: Scalars) -> None:
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)

    def end(self, run: Ended) -> None:
        self.scalars(run.step, run.metrics)
        self._writer.add_text("result", _table({"status": run.status, **run.tags}), run.step)
        self._writer.close()


def _table(rows: Mapping[str, str]) -> str:
    lines = (f"| {key} | {value.replace('|', chr(92) + '|')} |" for key, value in rows.items())
    return "\n".join(["| key | value |", "|---|---|", *lines])

"""The file of a job's metrics by step."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from typing import IO

__all__ = ["PURPOSE", "metrics_csv"]

PURPOSE = "fine-tune-results"


def metrics_csv(history: Sequence[Mapping[str, float]]) -> IO[bytes]:
    """Return the log entries of a run as CSV: a row for each entry, a column for each of their names."""
    names = dict.fromkeys(name for entry in history for name in entry)
    columns = [*(name for name in ("step", "epoch") if name in names)]
    columns += [name for name in names if name not in columns]
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, restval="")
    writer.writeheader()
    writer.writerows(history)
    return io.BytesIO(text.getvalue().encode())

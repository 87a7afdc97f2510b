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
    first = ("step", "epoch")
    columns = list(dict.fromkeys([*first, *(name for entry in history for name in entry)]))
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, restval="")
    writer.writeheader()
    writer.writerows(history)
    return io.BytesIO(text.getvalue().encode())

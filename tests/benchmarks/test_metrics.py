"""What the benchmark of counting and logging measures."""

from __future__ import annotations

import logging

import pytest

from benchmarks import metrics


@pytest.fixture(autouse=True)
def few_calls(monkeypatch) -> None:
    monkeypatch.setattr(metrics, "CALLS", 3)
    monkeypatch.setattr(metrics, "ROUNDS", 2)


def test_each_measured_request_is_a_line(monkeypatch) -> None:
    written = []
    monkeypatch.setattr(
        logging.StreamHandler, "emit", lambda self, record: written.append(self.format(record))
    )
    logger = logging.getLogger("hub.access")
    before = list(logger.handlers), logger.propagate, logger.level
    try:
        metrics.access_log()
    finally:
        logger.handlers, logger.propagate, logger.level = before
    assert len([line for line in written if '"deployment": "mood"' in line]) == 6

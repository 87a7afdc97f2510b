"""Stores reports: written after training, completed by the gate, read by `hub report`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hub.errors import NotFound
from hub.report.page import page
from hub.report.record import report_of
from hub.store.card.card import card
from hub.store.content.reports import CARD_FILE, DATA_FILE, PAGE_FILE
from hub.store.records import Version
from hub.store.store import Store

if TYPE_CHECKING:
    from hub.training.gate import GateDecision
    from hub.training.train import TrainResult

__all__ = ["add_gate", "keep", "page_of", "read", "write_report"]

Json = dict[str, Any]


def write_report(store: Store, result: TrainResult) -> Path:
    """Write the report of a finished run; return the path of its page."""
    return keep(store, result.version, report_of(result))


def keep(store: Store, version: Version, report: Json) -> Path:
    """Write a report, its page and the version's card; return the path of the page."""
    text = json.dumps(report, indent=1, ensure_ascii=False, allow_nan=False)
    files = {PAGE_FILE: page(report), CARD_FILE: card(version, report), DATA_FILE: f"{text}\n"}
    return store.reports.keep(version, files) / PAGE_FILE


def read(store: Store, version: Version) -> Json:
    """Return the report of a version.

    Raises:
        NotFound: the version has no report.
        SourceUnavailable: it is only at the store's URL, which cannot be reached.
    """
    text = store.reports.read(version)
    if text is None:
        origin = version.manifest.origin
        reason = "Imported versions have none" if origin == "imported" else "It predates reports"
        raise NotFound(
            f"{version.ref} has no report. {reason}; `hub evaluate {version.ref} --data FILE` measures it, "
            "and `hub train` with its recipe writes a report."
        )
    report: Json = json.loads(text)
    return report


def page_of(store: Store, version: Version) -> Path:
    """Return the path of a version's page, which is rendered if this machine has only the report's data.

    Raises:
        NotFound, SourceUnavailable: as `read`.
    """
    report = read(store, version)
    folder = store.reports.folder(version)
    if not (folder / PAGE_FILE).is_file():
        (folder / PAGE_FILE).write_text(page(report), encoding="utf-8")
        (folder / CARD_FILE).write_text(card(version, report), encoding="utf-8")
    return folder / PAGE_FILE


def add_gate(
    store: Store, version: Version, deployment: str, live: Version | None, decision: GateDecision
) -> Path:
    """Add the gate's result and the live version's stored metrics to a version's report."""
    report = read(store, version)
    report["gate"] = {
        "deployment": deployment,
        "live": str(live.ref) if live else None,
        "live_metrics": dict(live.manifest.metrics) if live else {},
        "comparison": None,
        **decision.to_json(),
    }
    return keep(store, version, report)

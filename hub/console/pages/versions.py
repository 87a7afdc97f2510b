"""The versions in the store: one with its card, curves and report, and two side by side."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence
from typing import Any

from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import Response

from hub.console.routes import HEADERS, add_page, page
from hub.errors import NotFound
from hub.http.auth import Right
from hub.http.hub import hub_of
from hub.store.records import Version
from hub.store.store import Store

__all__ = ["add_routes"]

MAX_LISTED = 500
MAX_MISTAKES = 20
# The report has its styles and plots in itself, and no script: its page may load nothing.
_REPORT_POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; img-src data:; sandbox; frame-ancestors 'none'"
)
Json = dict[str, Any]


def add_routes(app: FastAPI) -> None:
    """Add the pages."""
    add_page(app, "/versions", _list, Right.DEPLOY)
    add_page(app, "/versions/{ref}", _show, Right.DEPLOY)
    add_page(app, "/versions/{ref}/report", _report, Right.DEPLOY)
    add_page(app, "/compare", _compare, Right.DEPLOY)


async def _list(request: Request) -> Response:
    wanted = request.query_params.get("q", "").strip().lower()
    found = await asyncio.to_thread(hub_of(request).runtime.store.versions)
    newest = sorted(found, key=lambda one: one.created, reverse=True)
    rows = [row for row in map(_row, newest) if _matches(row, wanted)]
    return page(request, "versions.html", "Versions", versions=rows[:MAX_LISTED], all=len(rows))


async def _show(request: Request, ref: str) -> Response:
    store = hub_of(request).runtime.store
    found = await asyncio.to_thread(_described, store, ref)
    return page(request, "version.html", ref, **found)


async def _report(request: Request, ref: str) -> Response:
    """Show the report of `hub report`; its page runs no script and loads nothing."""
    from hub.report.page import page as report_page

    store = hub_of(request).runtime.store
    data = await asyncio.to_thread(_read_report, store, store.get(ref))
    if not data:
        raise NotFound(f"{ref} has no report: it was imported, or its training wrote none.")
    text = await asyncio.to_thread(report_page, data)
    headers = {**HEADERS, "content-security-policy": _REPORT_POLICY}
    return Response(text, headers=headers, media_type="text/html; charset=utf-8")


async def _compare(request: Request) -> Response:
    query = request.query_params
    store = hub_of(request).runtime.store
    refs = [query.get("a", ""), query.get("b", "")]
    found = await asyncio.to_thread(_compared, store, refs)
    return page(request, "compare.html", "Compare", **found)


def _row(version: Version) -> Json:
    manifest = version.manifest
    return {
        "version": str(version.ref),
        "name": version.name,
        "sha256": version.sha256,
        "task": manifest.serving.task,
        "base": manifest.serving.base.name,
        "metric": manifest.metric,
        "value": manifest.metrics.get(manifest.metric),
        "interval": manifest.intervals.get(manifest.metric),
        "origin": manifest.origin,
        "created": version.created.isoformat(),
    }


def _matches(row: Mapping[str, Any], wanted: str) -> bool:
    return not wanted or any(wanted in str(row[key]).lower() for key in ("version", "task", "base"))


def _described(store: Store, ref: str) -> Json:
    """Describe a version; blocks."""
    version = store.get(ref)
    manifest, report = version.manifest, _read_report(store, version)
    described = manifest.model_dump(mode="json")
    live = [one.name for one in store.deployments() if version.ref in {other.ref for other in one.versions}]
    return {
        **_row(version),
        "manifest": described,
        "metrics": _metrics(version),
        "curves": _curves(report),
        "recipe": json.dumps(described["recipe"], indent=2, ensure_ascii=False)
        if described["recipe"]
        else "",
        "mistakes": [_shown(one) for one in _mistakes(report)[:MAX_MISTAKES]],
        "has_report": report is not None,
        "deployments": live,
        "others": [str(one.ref) for one in store.versions() if _comparable(one, version)],
    }


def _metrics(version: Version) -> list[Json]:
    intervals = version.manifest.intervals
    return [
        {"name": name, "value": value, "interval": intervals.get(name)}
        for name, value in version.manifest.metrics.items()
    ]


def _read_report(store: Store, version: Version) -> Json | None:
    text = store.reports.read(version)
    return json.loads(text) if text else None


def _curves(report: Mapping[str, Any] | None) -> list[Json]:
    """Return loss, metric and learning rate over the steps, as uPlot takes them."""
    if report is None:
        return []
    curves, metric = report["curves"], report["evaluation"]["metric"]
    named = {
        "loss": curves["loss"],
        f"validation {metric}": curves["metrics"].get(metric, []),
        "learning rate": curves["learning_rate"],
    }
    return [
        {"name": name, "data": [[x for x, _ in points], [y for _, y in points]]}
        for name, points in named.items()
        if len(points) > 1
    ]


def _comparable(one: Version, other: Version) -> bool:
    return one.ref != other.ref and one.manifest.serving.task == other.manifest.serving.task


def _compared(store: Store, refs: Sequence[str]) -> Json:
    """Describe two versions side by side; blocks."""
    if not all(refs):
        return {"sides": [], "metrics": [], "settings": [], "same_data": False, "rows": []}
    sides = [store.get(ref) for ref in refs]
    names = dict.fromkeys(name for side in sides for name in side.manifest.metrics)
    reports = [_read_report(store, side) for side in sides]
    data = [side.manifest.data.sha256 if side.manifest.data else "" for side in sides]
    return {
        "sides": [_row(side) for side in sides],
        "metrics": [{"name": name, "values": [_value(side, name) for side in sides]} for name in names],
        "settings": _differences(sides),
        "same_data": bool(data[0]) and data[0] == data[1],
        "rows": _one_sided(reports),
    }


def _value(version: Version, name: str) -> Json:
    manifest = version.manifest
    return {"value": manifest.metrics.get(name), "interval": manifest.intervals.get(name)}


def _differences(sides: Sequence[Version]) -> list[Json]:
    """Return the keys of the recipes whose values differ."""
    flat = [_flat(side.manifest.recipe or {}) for side in sides]
    keys = sorted(set(flat[0]) | set(flat[1]))
    pairs = ((key, [one.get(key, "-") for one in flat]) for key in keys)
    return [{"key": key, "values": values} for key, values in pairs if values[0] != values[1]]


def _flat(value: Mapping[str, Any], start: str = "") -> dict[str, str]:
    found: dict[str, str] = {}
    for key, item in value.items():
        if isinstance(item, Mapping) and item:
            found |= _flat(item, f"{start}{key}.")
        else:
            found[f"{start}{key}"] = item if isinstance(item, str) else json.dumps(item, ensure_ascii=False)
    return found


def _one_sided(reports: Sequence[Mapping[str, Any] | None]) -> list[Json]:
    """Return the mistakes that only one of two reports lists: rows on which the versions differ."""
    first, second = reports
    if first is None or second is None:
        return []
    listed = [{(one["source"], one["line"]): one for one in _mistakes(report)} for report in (first, second)]
    return [
        {"wrong": place, **_shown(mistake)}
        for place, mistakes in enumerate(listed)
        for key, mistake in mistakes.items()
        if key not in listed[1 - place]
    ]


def _mistakes(report: Mapping[str, Any] | None) -> list[Json]:
    return list(report["evaluation"]["mistakes"]) if report else []


def _shown(mistake: Mapping[str, Any]) -> Json:
    texts = mistake["texts"] or {}
    return {
        "where": f"{mistake['source']}:{mistake['line']}".lstrip(":"),
        "request": {name: str(value) for name, value in texts.get("request", {}).items()},
        "expected": mistake["expected"] or _plain(texts.get("expected")),
        "answered": mistake["answered"] or _plain(texts.get("answer")),
        "score": mistake["score"],
    }


def _plain(value: Any) -> str:
    return "" if value is None else json.dumps(value, ensure_ascii=False)
